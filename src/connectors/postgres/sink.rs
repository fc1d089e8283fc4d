//! A sink into a table: one transaction a delivery, whose first statement moves the mark.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use headwater_types::{ChangeBatch, Epoch, Error, Result};
use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;

use super::connector::Settings;
use super::session::{Session, failed};
use super::statements::Statements;
use super::target::check_target;
use super::values::Values;
use crate::key_changes::KeyChanges;
use crate::{Delivery, Mark, Sink, SinkDefinition};

/// Rows of one statement: enough that its cost is spread, few enough that its parameters stay small.
const STATEMENT_ROWS: usize = 16_384;

/// Delivers a view to a table.
pub(super) struct PostgresSink {
    definition: SinkDefinition,
    settings: Settings,
    connected: Option<(Session, Statements)>,
}

impl PostgresSink {
    pub(super) fn new(definition: SinkDefinition, settings: Settings) -> Self {
        Self { definition, settings, connected: None }
    }

    /// The open connection; connects, checks the target and makes the table of marks where there is none.
    async fn connected(&mut self) -> Result<&mut (Session, Statements)> {
        let connected = match self.connected.take() {
            Some(connected) if !connected.0.client.is_closed() => connected,
            _ => self.connect().await.map_err(|e| e.context(format!("sink '{}'", self.definition.name)))?,
        };
        Ok(self.connected.insert(connected))
    }

    async fn connect(&self) -> Result<(Session, Statements)> {
        let session = Session::connect(&self.settings).await?;
        let types = check_target(&session.client, &self.definition, &self.settings).await?;
        let statements = Statements::new(&self.definition, &self.settings, &types)?;
        session.client.batch_execute(&statements.create_marks).await.map_err(|e| failed(&e))?;
        Ok((session, statements))
    }
}

#[async_trait]
impl Sink for PostgresSink {
    async fn mark(&mut self) -> Result<Option<Mark>> {
        let sink = self.definition.uuid;
        let (session, statements) = self.connected().await?;
        let row = session.client.query_opt(&statements.read_mark, &[&sink]).await.map_err(|e| failed(&e))?;
        let number = |n: i64| u64::try_from(n).map_err(|_| Error::invalid("the table headwater_marks holds a negative number"));
        row.map(|row| Ok(Mark { sink, incarnation: number(row.get(0))?, epoch: Epoch(number(row.get(1))?) })).transpose()
    }

    fn keeps_mark(&self) -> bool {
        true
    }

    async fn deliver(&mut self, delivery: &Delivery) -> Result<()> {
        let definition = self.definition.clone();
        let (session, statements) = self.connected().await?;
        let transaction = session.client.transaction().await.map_err(|e| failed(&e))?;
        move_mark(&transaction, statements, delivery).await?;
        if definition.upsert {
            let changes = KeyChanges::new(&definition.schema, &definition.key, &delivery.changes)?;
            delete_keys(&transaction, statements, &definition, &changes.deletes).await?;
            upsert(&transaction, statements, &definition, &changes.upserts).await?;
        } else {
            for batch in &delivery.changes {
                write(&transaction, statements, &repeated(&definition, batch)?).await?;
            }
        }
        transaction.commit().await.map_err(|e| failed(&e))
    }

    async fn rewrite(&mut self, rows: Vec<ChangeBatch>, mark: Mark) -> Result<()> {
        let definition = self.definition.clone();
        if !definition.upsert {
            return Err(Error::unsupported(format!("rewriting the append sink '{}'", definition.name)));
        }
        let (incarnation, epoch) = numbers(mark)?;
        let (session, statements) = self.connected().await?;
        let transaction = session.client.transaction().await.map_err(|e| failed(&e))?;
        transaction.execute(&statements.set_mark, &[&mark.sink, &incarnation, &epoch]).await.map_err(|e| failed(&e))?;
        let rows = KeyChanges::new(&definition.schema, &definition.key, &rows)?.upserts;
        transaction.batch_execute(&statements.create_keys).await.map_err(|e| failed(&e))?;
        send(&transaction, &statements.add_keys, &rows.project(&definition.key)?).await?;
        transaction.batch_execute("ANALYZE pg_temp.headwater_keys").await.map_err(|e| failed(&e))?;
        for statement in &statements.delete_others {
            transaction.execute(statement, &[]).await.map_err(|e| failed(&e))?;
        }
        upsert(&transaction, statements, &definition, &rows).await?;
        transaction.commit().await.map_err(|e| failed(&e))
    }
}

/// Compare and set. A transaction of ours whose COMMIT was lost holds the mark's row: the statement waits until it is decided.
async fn move_mark(transaction: &Transaction<'_>, statements: &Statements, delivery: &Delivery) -> Result<()> {
    let (sink, (incarnation, epoch)) = (delivery.mark.sink, numbers(delivery.mark)?);
    let moved = match delivery.before {
        Some(before) => {
            let (before_incarnation, before_epoch) = numbers(before)?;
            let parameters: [&(dyn ToSql + Sync); 5] = [&sink, &incarnation, &epoch, &before_incarnation, &before_epoch];
            transaction.execute(&statements.move_mark, &parameters).await
        }
        None => transaction.execute(&statements.first_mark, &[&sink, &incarnation, &epoch]).await,
    };
    if moved.map_err(|e| failed(&e))? == 1 {
        return Ok(());
    }
    let found = transaction.query_opt(&statements.read_mark, &[&sink]).await.map_err(|e| failed(&e))?;
    let found: Option<(i64, i64)> = found.map(|row| (row.get(0), row.get(1)));
    Err(match found {
        Some((found, _)) if found > incarnation => Error::fenced("a later incarnation of this database delivers to the table"),
        // An earlier attempt of ours may have committed unheard: reading the mark again tells where to go on.
        _ => Error::external(format!("the table's mark is {found:?}, not {:?}", delivery.before)),
    })
}

/// Deletes the rows of these keys.
async fn delete_keys(
    transaction: &Transaction<'_>,
    statements: &Statements,
    definition: &SinkDefinition,
    rows: &RecordBatch,
) -> Result<()> {
    let keys = rows.project(&definition.key)?;
    let statement = if has_null(&keys) { &statements.delete_nullable } else { &statements.delete };
    send(transaction, statement, &keys).await
}

/// Writes rows over those of the same key. A unique index takes NULLs for distinct, so such keys are deleted first.
async fn upsert(transaction: &Transaction<'_>, statements: &Statements, definition: &SinkDefinition, rows: &RecordBatch) -> Result<()> {
    let keys = rows.project(&definition.key)?;
    if has_null(&keys) {
        send(transaction, &statements.delete_nullable, &keys).await?;
    }
    send(transaction, &statements.write, rows).await
}

async fn write(transaction: &Transaction<'_>, statements: &Statements, rows: &RecordBatch) -> Result<()> {
    send(transaction, &statements.write, rows).await
}

/// Runs a statement with the columns of `rows` as parameters, in pieces.
async fn send(transaction: &Transaction<'_>, statement: &str, rows: &RecordBatch) -> Result<()> {
    if rows.num_rows() == 0 {
        return Ok(());
    }
    let statement = transaction.prepare(statement).await.map_err(|e| failed(&e))?;
    for at in (0..rows.num_rows()).step_by(STATEMENT_ROWS) {
        let piece = rows.slice(at, STATEMENT_ROWS.min(rows.num_rows() - at));
        let columns: Vec<Values> = piece.columns().iter().map(|column| Values(column.clone())).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
        transaction.execute(&statement, &parameters).await.map_err(|e| failed(&e))?;
    }
    Ok(())
}

/// The rows of an append sink, one of weight n n times.
fn repeated(definition: &SinkDefinition, batch: &ChangeBatch) -> Result<RecordBatch> {
    let Some(weights) = batch.weights() else { return Ok(batch.rows().clone()) };
    let mut indices = Vec::with_capacity(batch.len());
    for (row, &weight) in weights.iter().enumerate() {
        let deletion = |_| Error::bug(format!("sink '{}' appends, and was given a deletion", definition.name));
        let row = u32::try_from(row).expect("a batch has fewer than 2^32 rows");
        indices.extend(std::iter::repeat_n(row, usize::try_from(weight).map_err(deletion)?));
    }
    Ok(batch.take(&indices.into())?.rows().clone())
}

fn has_null(keys: &RecordBatch) -> bool {
    keys.columns().iter().any(|column| column.null_count() > 0)
}

/// Incarnation and epoch as PostgreSQL's numbers.
fn numbers(mark: Mark) -> Result<(i64, i64)> {
    let number = |n: u64| i64::try_from(n).map_err(|_| Error::limit("numbers beyond 2^63"));
    Ok((number(mark.incarnation)?, number(mark.epoch.0)?))
}
