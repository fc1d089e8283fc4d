//! A sink into the simulated world that keeps its mark in the transaction of the rows and watches for what no sink may see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use headwater_connectors::{Delivery, Mark, Sink, SinkDefinition};
use headwater_types::{ChangeBatch, Error, Result};

use super::world::World;

/// A connection to one target.
pub struct WorldSink {
    world: Arc<World>,
    target: String,
    key: Vec<usize>,
    upsert: bool,
}

impl WorldSink {
    /// A sink as `definition` says.
    pub fn new(world: Arc<World>, definition: &SinkDefinition) -> Self {
        let target = definition.options.get("target").cloned().unwrap_or_default();
        Self { world, target, key: definition.key.clone(), upsert: definition.upsert }
    }

    /// Applies `changes` to a copy of the target's rows; says what does not fit.
    fn apply(&self, rows: &mut BTreeMap<String, i64>, changes: &[ChangeBatch]) -> Result<(), String> {
        let (mut inserted, mut deleted) = (BTreeSet::new(), BTreeSet::new());
        for (key, row, weight) in text_changes(&self.key, changes).map_err(|e| e.to_string())? {
            if self.upsert {
                let seen = if weight > 0 { &mut inserted } else { &mut deleted };
                if weight.abs() != 1 || !seen.insert(key.clone()) {
                    return Err(format!("key {key} comes more than once in one delivery"));
                }
            } else if weight < 0 {
                return Err(format!("an append sink is told to delete {row}"));
            }
            let count = rows.entry(row.clone()).or_insert(0);
            *count += weight;
            if *count < 0 {
                return Err(format!("{row} is deleted, but not there"));
            }
        }
        rows.retain(|_, count| *count != 0);
        Ok(())
    }
}

/// Key, row and weight of each change, deletions first.
fn text_changes(key: &[usize], changes: &[ChangeBatch]) -> Result<Vec<(String, String, i64)>> {
    let mut found = Vec::new();
    for batch in changes {
        for (at, cells) in headwater_pgwire::text_rows(batch.rows())?.into_iter().enumerate() {
            let cells: Vec<String> = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".to_string())).collect();
            let key: Vec<&str> = key.iter().map(|column| cells[*column].as_str()).collect();
            found.push((key.join(" | "), cells.join(" | "), batch.weight(at)));
        }
    }
    found.sort_by_key(|(_, _, weight)| *weight);
    Ok(found)
}

#[async_trait]
impl Sink for WorldSink {
    async fn mark(&mut self) -> Result<Option<Mark>> {
        Ok(self.world.state().targets.entry(self.target.clone()).or_default().mark)
    }

    fn keeps_mark(&self) -> bool {
        true
    }

    async fn deliver(&mut self, delivery: &Delivery) -> Result<()> {
        let state = &mut *self.world.state();
        if state.fail_before > 0 {
            state.fail_before -= 1;
            return Err(Error::external("the target cannot be reached"));
        }
        let target = state.targets.entry(self.target.clone()).or_default();
        if target.mark.is_some() && target.mark != delivery.before {
            let message = format!("{}: the target stands at {:?}, a delivery expects {:?}", self.target, target.mark, delivery.before);
            state.violations.push(message.clone());
            return Err(Error::bug(message));
        }
        if let Err(violation) = self.apply(&mut target.rows, &delivery.changes) {
            let message = format!("{}: {violation}", self.target);
            state.violations.push(message.clone());
            return Err(Error::bug(message));
        }
        target.mark = Some(delivery.mark);
        target.deliveries += 1;
        if state.fail_after > 0 {
            state.fail_after -= 1;
            return Err(Error::external("the target's answer was lost"));
        }
        Ok(())
    }

    async fn rewrite(&mut self, rows: Vec<ChangeBatch>, mark: Mark) -> Result<()> {
        let state = &mut *self.world.state();
        let target = state.targets.entry(self.target.clone()).or_default();
        let mut whole = BTreeMap::new();
        let applied = self.apply(&mut whole, &rows);
        target.rows = whole;
        target.mark = Some(mark);
        target.deliveries += 1;
        if let Err(violation) = applied {
            state.violations.push(format!("{}: in a rewrite: {violation}", self.target));
        }
        Ok(())
    }
}
