//! Transaction blocks: what a block sees, what it has written, and how it ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_runtime::{Published, Refused};
use headwater_sql::{Bound, Statement};
use headwater_types::{ChangeBatch, Error, ObjectId, Result};

use crate::{Outcome, Session};

/// An open block.
#[derive(Default)]
pub(crate) struct Block {
    /// What its statements see: the cut of the first of them, with its own writes.
    pub cut: Option<Arc<Published>>,
    /// What it has written, by table: applied in one epoch at COMMIT, and on top of the cut already.
    pub writes: BTreeMap<ObjectId, BlockWrites>,
    pub failed: bool,
    /// Opened by a text of several statements, not by BEGIN.
    pub implicit: bool,
    savepoints: Vec<Savepoint>,
}

/// A block as it was.
struct Savepoint {
    name: String,
    cut: Arc<Published>,
    writes: BTreeMap<ObjectId, BlockWrites>,
}

/// What a block has written to one table.
#[derive(Clone, Default)]
pub(crate) struct BlockWrites {
    pub changes: Vec<ChangeBatch>,
    /// Rows for the table's `$errors`.
    pub refused: Vec<Refused>,
}

impl Session {
    /// What reads of this statement see: the latest cut, or that of the block's first read.
    pub(crate) fn cut(&mut self) -> Arc<Published> {
        let latest = || self.shared.runtime.published();
        match &mut self.block {
            Some(block) => block.cut.get_or_insert_with(latest).clone(),
            None => latest(),
        }
    }

    pub(crate) fn check_block(&self, bound: &Bound) -> Result<()> {
        let ends = matches!(bound, Bound::Commit | Bound::Rollback | Bound::Savepoint("ROLLBACK", _));
        match &self.block {
            Some(block) if block.failed && !ends => {
                let error = Error::invalid("current transaction is aborted, commands ignored until end of transaction block");
                Err(error.with_sqlstate("25P02"))
            }
            Some(_) if is_definition(bound) => {
                let error = Error::unsupported("a definition inside a transaction block");
                Err(error.with_hint("definitions take effect at once: COMMIT first"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn begin(&mut self) -> Result<Outcome> {
        let outcome = Outcome::done("BEGIN");
        if self.block.is_some() {
            return Ok(outcome.with_notice("there is already a transaction in progress"));
        }
        self.block = Some(Block::default());
        Ok(outcome)
    }

    pub(crate) async fn commit(&mut self) -> Result<Outcome> {
        self.cursors.retain(|_, cursor| cursor.outlives_block());
        match self.block.take() {
            None => Ok(Outcome::done("COMMIT").with_notice("there is no transaction in progress")),
            Some(block) if block.failed => Ok(Outcome::done("ROLLBACK")),
            Some(block) => {
                let writes = block.writes.into_iter().map(|(id, writes)| Ok((id, self.net_write(id, writes)?)));
                let writes = writes.collect::<Result<Vec<_>>>()?;
                if !writes.is_empty() {
                    let record = self.script_record();
                    self.shared.runtime.write_all(writes, record).await?;
                }
                Ok(Outcome::done("COMMIT"))
            }
        }
    }

    /// Before `statement` of a text of several: queries and writes that follow each other are one block, unless a BEGIN has opened another. What else
    /// there is takes effect at once, and so must what stands before it.
    ///
    /// # Errors
    /// As COMMIT.
    pub async fn join_text(&mut self, statement: &Statement) -> Result<()> {
        if !statement.is_query() && !statement.writes_rows() {
            return self.end_text().await;
        }
        self.block.get_or_insert_with(|| Block { implicit: true, ..Block::default() });
        Ok(())
    }

    /// Commits what [`Session::join_text`] opened.
    ///
    /// # Errors
    /// As COMMIT.
    pub async fn end_text(&mut self) -> Result<()> {
        if self.block.as_ref().is_some_and(|block| block.implicit) {
            self.commit().await?;
        }
        Ok(())
    }

    /// Takes back what a text of several statements wrote since the last of them that took effect at once.
    pub fn fail_text(&mut self) {
        self.block.take_if(|block| block.implicit);
    }

    pub(crate) fn rollback(&mut self) -> Result<Outcome> {
        // What was taken back has not been run.
        let _not_run = self.script_record();
        self.cursors.retain(|_, cursor| cursor.outlives_block());
        let outcome = Outcome::done("ROLLBACK");
        match self.block.take() {
            None => Ok(outcome.with_notice("there is no transaction in progress")),
            Some(_) => Ok(outcome),
        }
    }

    /// SAVEPOINT, RELEASE and ROLLBACK TO, which takes back what was written since and lets a failed block go on.
    pub(crate) fn savepoint(&mut self, tag: &'static str, name: String) -> Result<Outcome> {
        if self.block.as_ref().is_none_or(|block| block.implicit) {
            return Err(Error::invalid(format!("{tag} can only be used in transaction blocks")).with_sqlstate("25P01"));
        }
        let cut = self.cut();
        let Some(block) = &mut self.block else { return Err(Error::bug("the block is open")) };
        if tag == "SAVEPOINT" {
            block.savepoints.push(Savepoint { name, cut, writes: block.writes.clone() });
            return Ok(Outcome::done(tag));
        }
        let missing = || Error::not_found(format!("savepoint \"{name}\" does not exist")).with_sqlstate("3B001");
        let at = block.savepoints.iter().rposition(|savepoint| savepoint.name == name).ok_or_else(missing)?;
        if tag == "RELEASE" {
            block.savepoints.truncate(at);
            return Ok(Outcome::done(tag));
        }
        block.savepoints.truncate(at + 1);
        let savepoint = &block.savepoints[at];
        (block.cut, block.writes, block.failed) = (Some(savepoint.cut.clone()), savepoint.writes.clone(), false);
        Ok(Outcome::done(tag))
    }
}

fn is_definition(bound: &Bound) -> bool {
    use Bound as B;
    matches!(
        bound,
        B::CreateSource(_)
            | B::CreateTable(_)
            | B::CreateView(_)
            | B::CreateMaterializedView(..)
            | B::CreateSink(..)
            | B::Drop(..)
            | B::Comment(_)
    )
}
