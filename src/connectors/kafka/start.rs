//! Where a source begins that was never read: start modes turned into offsets, once.

use headwater_types::{Error, Result};

use super::asker::Asker;
use super::settings::Startup;
use crate::{Partition, Position, Positions};

/// The name of a partition.
pub(super) fn partition_name(number: i32) -> Partition {
    number.to_string().into()
}

/// The position before the record at `offset`.
pub(super) fn position(offset: i64) -> Position {
    Position(offset.to_string())
}

/// The first offset to read of every partition that the topic has now.
pub(super) fn resolve(asker: &Asker, topic: &str, startup: &Startup) -> Result<Positions> {
    let partitions = asker.partitions_patiently(topic)?;
    let at_time = match startup {
        Startup::Timestamp(millis) => asker.offsets_at(topic, &partitions, *millis)?,
        _ => std::collections::BTreeMap::new(),
    };
    if let Startup::Offsets(given) = startup
        && let Some((missing, _)) = given.iter().find(|(number, _)| !partitions.contains(number))
    {
        return Err(Error::invalid(format!("'scan.startup.offsets': topic '{topic}' has no partition {missing}")));
    }
    let mut positions = Positions::new();
    for number in partitions {
        let (low, high) = asker.ends(topic, number)?;
        let offset = match startup {
            Startup::Earliest => low,
            Startup::Latest => high,
            Startup::Timestamp(_) => at_time.get(&number).copied().flatten().unwrap_or(high),
            Startup::Offsets(given) => {
                let offset = given.iter().find(|(n, _)| *n == number).map_or(low, |(_, offset)| *offset);
                if !(low..=high).contains(&offset) {
                    return Err(Error::invalid(format!(
                        "'scan.startup.offsets': partition {number} of topic '{topic}' has offsets {low} to {high}, not {offset}"
                    )));
                }
                offset
            }
        };
        positions.insert(partition_name(number), position(offset));
    }
    Ok(positions)
}
