//! INSERT, UPDATE, DELETE, COPY: the rows are computed by the batch engine, the write is one command to the loop.

pub(crate) mod copy_in;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute;
use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::PhysicalExpr;
use headwater_catalog::{Object, Part};
use headwater_runtime::{Conflict, Published, Refused, TableWrite, WriteDone};
use headwater_sql::{Changed, CopyFrom, Insert, OnConflict, Returning};
use headwater_types::{ChangeBatch, Error, ObjectId, Result, RowOrder, equal_floats};

use crate::block::BlockWrites;
use crate::connect::dated;
use crate::dml::copy_in::WRITE_BYTES;
use crate::outcome::Notice;
use crate::provider::ours;
use crate::{CopyKind, Outcome, Session};

pub use copy_in::CopyIn;

impl Session {
    pub(crate) async fn insert(&mut self, insert: Insert) -> Result<Outcome> {
        self.release_script().await?;
        let schema = insert.table.schema();
        let cut = self.cut();
        let rows = self.rows(insert.input.clone(), &cut).await?;
        let rows = table_rows(&schema, &rows, &insert.table)?;
        match insert.on_conflict.clone() {
            OnConflict::Refuse => self.insert_rows(&insert, rows, Conflict::Refuse).await,
            // In a block the rows must be told before the write is applied: they are those that its cut lacks.
            OnConflict::Nothing if self.block.is_some() => {
                let fresh = fresh(&insert.table, &rows, &cut)?;
                self.insert_rows(&insert, compute::filter_record_batch(&rows, &fresh)?, Conflict::Refuse).await
            }
            OnConflict::Nothing => self.insert_rows(&insert, rows, Conflict::Nothing).await,
            OnConflict::Update { row, filter } => self.upsert(&insert, rows, &row, filter.as_ref()).await,
        }
    }

    /// Rows without a usable event time go to the table's `$errors`; they are neither counted nor returned, a notice tells of them.
    async fn insert_rows(&mut self, insert: &Insert, rows: RecordBatch, conflict: Conflict) -> Result<Outcome> {
        let dated = dated(&self.shared.runtime, self.shared.clock.as_ref(), &insert.table, rows)?;
        // Before the write: an error of RETURNING leaves nothing behind.
        let mut returned = returning(insert.returning.as_ref(), &dated.rows)?;
        let mut count = dated.rows.num_rows() as u64;
        let notices: Vec<String> = dated.refused.iter().map(|refused| refused_notice(&insert.table, refused)).collect();
        let write = TableWrite { insert: Some(dated.rows), refused: dated.refused, conflict, delete: None };
        if let Some(done) = self.write(&insert.table, write).await? {
            count = done.inserted;
            if let (Some(all), Some(kept)) = (&returned, &done.kept) {
                returned = Some(compute::filter_record_batch(all, kept)?);
            }
        }
        let outcome = tagged(format!("INSERT 0 {count}"), returned);
        Ok(notices.into_iter().fold(outcome, Outcome::with_notice))
    }

    /// ON CONFLICT DO UPDATE: rows whose key is there become updates of what is there.
    async fn upsert(
        &mut self,
        insert: &Insert,
        rows: RecordBatch,
        update: &[Arc<dyn PhysicalExpr>],
        filter: Option<&Arc<dyn PhysicalExpr>>,
    ) -> Result<Outcome> {
        let shared = self.shared.clone();
        let _one_at_a_time = shared.dml.lock().await;
        let schema = insert.table.schema();
        let key = insert.table.key().unwrap_or_default().to_vec();
        let keys: Vec<ArrayRef> = key.iter().map(|&c| rows.column(c).clone()).collect();
        let cut = self.cut();
        let found = cut.relation(Part::Rows.of(insert.table.id))?.lookup(&keys)?;
        let mut existing: Vec<Option<u32>> = vec![None; rows.num_rows()];
        for (at, live) in net_rows(&found)? {
            existing[at as usize] = Some(live);
        }
        let fresh: BooleanArray = existing.iter().map(|e| Some(e.is_none())).collect();
        let inserted = compute::filter_record_batch(&rows, &fresh)?;
        refuse_twice(&keys, &key, &schema)?;
        let (new, old): (Vec<u32>, Vec<u32>) =
            existing.iter().enumerate().filter_map(|(row, e)| Some((u32::try_from(row).ok()?, (*e)?))).unzip();
        let old = compute::take_record_batch(found.rows.rows(), &UInt32Array::from(old))?;
        let excluded = compute::take_record_batch(&rows, &UInt32Array::from(new))?;
        let (old, updated) = apply_update(&schema, &old, &excluded, update, filter)?;
        let insert_rows = compute::concat_batches(&schema, [&inserted, &updated])?;
        let returned = returning(insert.returning.as_ref(), &insert_rows)?;
        let count = insert_rows.num_rows();
        let write = TableWrite { delete: Some(old), insert: Some(insert_rows), ..TableWrite::default() };
        self.write(&insert.table, write).await?;
        Ok(tagged(format!("INSERT 0 {count}"), returned))
    }

    pub(crate) async fn delete(&mut self, changed: Changed) -> Result<Outcome> {
        self.release_script().await?;
        let shared = self.shared.clone();
        let _one_at_a_time = shared.dml.lock().await;
        let schema = changed.table.schema();
        let cut = self.writing_cut();
        let rows = self.rows(changed.rows.clone(), &cut).await?;
        let rows = concat(&schema, &rows)?;
        let returned = returning(changed.returning.as_ref(), &rows)?;
        let count = rows.num_rows();
        self.write(&changed.table, TableWrite { delete: Some(rows), ..TableWrite::default() }).await?;
        Ok(tagged(format!("DELETE {count}"), returned))
    }

    pub(crate) async fn update(&mut self, changed: Changed) -> Result<Outcome> {
        self.release_script().await?;
        let shared = self.shared.clone();
        let _one_at_a_time = shared.dml.lock().await;
        let schema = changed.table.schema();
        let columns = schema.fields().len();
        let cut = self.writing_cut();
        let batches = self.rows(changed.rows.clone(), &cut).await?;
        let half = |from: usize| -> Result<Vec<RecordBatch>> {
            let project = |b: &RecordBatch| Ok(b.project(&(from..from + columns).collect::<Vec<_>>())?);
            batches.iter().map(project).collect()
        };
        let (old, new) = (concat(&schema, &half(0)?)?, table_rows(&schema, &half(columns)?, &changed.table)?);
        let returned = returning(changed.returning.as_ref(), &new)?;
        let count = new.num_rows();
        self.write(&changed.table, TableWrite { delete: Some(old), insert: Some(new), ..TableWrite::default() }).await?;
        Ok(tagged(format!("UPDATE {count}"), returned))
    }

    pub(crate) async fn copy_from(&mut self, copy: CopyFrom) -> Result<Outcome> {
        self.release_script().await?;
        Ok(Outcome { copy: CopyKind::In(Box::new(CopyIn::new(copy))), ..Outcome::done("COPY") })
    }

    /// Takes rows of the columns that `copy` names. They are written once there are many.
    ///
    /// # Errors
    /// As those of an INSERT; `Limit` in a transaction block, whose write must fit memory. Rows of earlier writes stay: see [`CopyIn::explain`].
    pub async fn copy_rows(&mut self, copy: &mut CopyIn, rows: RecordBatch) -> Result<()> {
        let whole = match copy.fill(&rows)? {
            Some(fill) => {
                let cut = self.cut();
                self.rows(fill, &cut).await?
            }
            None => vec![copy.in_order(&rows)?],
        };
        let whole = table_rows(&copy.target().schema(), &whole, copy.target())?;
        if !copy.hold(whole) {
            return Ok(());
        }
        if self.block.is_some() {
            let error = Error::limit(format!("COPY of more than {} MiB inside a transaction block", WRITE_BYTES >> 20));
            return Err(error.with_hint("a block is one write in one epoch: COPY outside of it, or in parts"));
        }
        self.write_copied(copy).await
    }

    /// The rows are complete: writes what is left. Returns the command tag.
    ///
    /// # Errors
    /// As [`Session::copy_rows`].
    pub async fn copy_end(&mut self, copy: &mut CopyIn) -> Result<String> {
        self.write_copied(copy).await?;
        Ok(format!("COPY {}", copy.rows))
    }

    async fn write_copied(&mut self, copy: &mut CopyIn) -> Result<()> {
        if let Some(rows) = copy.take()? {
            let dated = dated(&self.shared.runtime, self.shared.clock.as_ref(), copy.target(), rows)?;
            self.notices.extend(dated.refused.iter().map(|refused| Notice::new(refused_notice(copy.target(), refused))));
            let write = TableWrite { insert: Some(dated.rows), refused: dated.refused, ..TableWrite::default() };
            self.write(copy.target(), write).await?;
            copy.written = copy.rows;
        }
        Ok(())
    }

    /// UPDATE and DELETE outside a block read the newest cut, which the lock keeps other writers from moving.
    fn writing_cut(&mut self) -> Arc<headwater_runtime::Published> {
        self.cut()
    }

    /// Writes now; or in a block puts the write on top of what the block sees, to be applied at COMMIT: then `None`.
    async fn write(&mut self, table: &Object, write: TableWrite) -> Result<Option<WriteDone>> {
        if self.block.is_none() {
            let record = self.script_record();
            return Ok(Some(self.shared.runtime.write_all(vec![(table.id, write)], record).await?));
        }
        let mut cut = self.cut();
        let mut changes = Vec::new();
        if let Some(rows) = write.delete.filter(|rows| rows.num_rows() > 0) {
            changes.push(ChangeBatch::insertions(rows).negate());
            cut = Arc::new(cut.with(table.id, changes[0].clone())?);
        }
        if let Some(rows) = write.insert.filter(|rows| rows.num_rows() > 0) {
            if let Some(row) = fresh(table, &rows, &cut)?.iter().position(|fresh| fresh != Some(true)) {
                return Err(headwater_runtime::duplicate_key(&table.name, table.key().unwrap_or_default(), &rows, row));
            }
            changes.push(ChangeBatch::insertions(rows));
            cut = Arc::new(cut.with(table.id, changes[changes.len() - 1].clone())?);
        }
        if let Some(block) = &mut self.block {
            block.cut = Some(cut);
            let writes = block.writes.entry(table.id).or_default();
            writes.changes.extend(changes);
            writes.refused.extend(write.refused);
        }
        Ok(None)
    }

    /// What all changes of a block to table `id` come to.
    pub(crate) fn net_write(&self, id: ObjectId, writes: BlockWrites) -> Result<TableWrite> {
        let BlockWrites { changes, refused } = writes;
        let catalog = self.shared.catalog();
        let table = catalog.get(id).ok_or_else(|| Error::not_found("a table that this block wrote to does not exist any more"))?;
        let schema = table.schema();
        if changes.iter().all(|batch| batch.weights().is_none()) {
            let rows = compute::concat_batches(&schema, changes.iter().map(ChangeBatch::rows))?;
            return Ok(TableWrite { insert: Some(rows), refused, ..TableWrite::default() });
        }
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let net = headwater_types::consolidate(&schema, &RowOrder::new(&schema, &all)?, &changes)?;
        let times = |sign: i64| {
            let of_row = |row: usize| std::iter::repeat_n(row as u32, usize::try_from(net.weight(row) * sign).unwrap_or(0));
            let rows: UInt32Array = (0..net.len()).flat_map(of_row).collect::<Vec<u32>>().into();
            compute::take_record_batch(net.rows(), &rows)
        };
        Ok(TableWrite { delete: Some(times(-1)?), insert: Some(times(1)?), refused, ..TableWrite::default() })
    }
}

/// True for each row whose key `cut` lacks and no earlier row has; for all where there is no key.
fn fresh(table: &Object, rows: &RecordBatch, cut: &Published) -> Result<BooleanArray> {
    let Some(key) = table.key() else { return Ok(BooleanArray::from(vec![true; rows.num_rows()])) };
    let keys: Vec<ArrayRef> = key.iter().map(|&c| rows.column(c).clone()).collect();
    let found = cut.relation(Part::Rows.of(table.id))?.lookup(&keys)?;
    let stored: HashSet<u32> = net_rows(&found)?.into_iter().map(|(probe, _)| probe).collect();
    let order = RowOrder::new(&rows.schema(), key)?.convert(&keys)?;
    let mut seen = HashSet::with_capacity(rows.num_rows());
    Ok((0..rows.num_rows()).map(|r| Some(!stored.contains(&(r as u32)) && seen.insert(order.row(r)))).collect())
}

/// ON CONFLICT DO UPDATE changes a row once: which of two values it ends with would be chance.
fn refuse_twice(keys: &[ArrayRef], key: &[usize], schema: &SchemaRef) -> Result<()> {
    let order = RowOrder::new(schema, key)?.convert(keys)?;
    let rows = keys.first().map_or(0, |k| k.len());
    let mut seen = HashSet::with_capacity(rows);
    if (0..rows).all(|row| seen.insert(order.row(row))) {
        return Ok(());
    }
    let error = Error::invalid("ON CONFLICT DO UPDATE command cannot affect row a second time").with_sqlstate("21000");
    Err(error.with_hint("let no two rows of one statement have the same key"))
}

/// For each probe the index of its one live row.
fn net_rows(found: &headwater_state::Matches) -> Result<Vec<(u32, u32)>> {
    let all: Vec<usize> = (0..found.rows.rows().num_columns()).collect();
    let order = headwater_types::RowOrder::new(&found.rows.schema(), &all)?;
    let bytes = order.rows(found.rows.rows())?;
    let mut net: std::collections::BTreeMap<(u32, &[u8]), (i64, u32)> = std::collections::BTreeMap::new();
    for at in 0..found.rows.len() {
        let index = u32::try_from(at).map_err(|_| Error::limit("a lookup of more than 2^32 rows"))?;
        let entry = net.entry((found.probe[at], bytes.row(at).data())).or_insert((0, index));
        entry.0 += found.rows.weight(at);
    }
    Ok(net.into_iter().filter(|(_, (weight, _))| *weight > 0).map(|((probe, _), (_, at))| (probe, at)).collect())
}

/// The rows of an ON CONFLICT DO UPDATE: old ones that change, and what they become.
fn apply_update(
    schema: &SchemaRef,
    old: &RecordBatch,
    excluded: &RecordBatch,
    update: &[Arc<dyn PhysicalExpr>],
    filter: Option<&Arc<dyn PhysicalExpr>>,
) -> Result<(RecordBatch, RecordBatch)> {
    let fields: Vec<_> = old.schema().fields().iter().chain(excluded.schema().fields().iter()).cloned().collect();
    let columns = old.columns().iter().chain(excluded.columns()).cloned().collect();
    let mut both = RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns)?;
    let mut old = old.clone();
    if let Some(filter) = filter {
        let keep = filter.evaluate(&both).and_then(|v| v.into_array(both.num_rows())).map_err(ours)?;
        let keep = keep.as_any().downcast_ref::<BooleanArray>().ok_or_else(|| Error::bug("WHERE gives a boolean"))?.clone();
        both = compute::filter_record_batch(&both, &keep)?;
        old = compute::filter_record_batch(&old, &keep)?;
    }
    let value = |e: &Arc<dyn PhysicalExpr>| e.evaluate(&both).and_then(|v| v.into_array(both.num_rows())).map_err(ours);
    let new = RecordBatch::try_new(schema.clone(), update.iter().map(value).collect::<Result<_>>()?)?;
    Ok((old, new))
}

/// The batches as rows of the table, NOT NULL checked.
fn table_rows(schema: &SchemaRef, batches: &[RecordBatch], table: &Object) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = (0..schema.fields().len())
        .map(|c| {
            let parts: Vec<&dyn Array> = batches.iter().map(|b| b.column(c).as_ref()).collect();
            if parts.is_empty() { Ok(new_null_array(schema.field(c).data_type(), 0)) } else { Ok(compute::concat(&parts)?) }
        })
        .collect::<Result<_>>()?;
    let mut columns = columns;
    for &key in table.key().unwrap_or_default() {
        columns[key] = equal_floats(&columns[key]);
    }
    for (column, field) in columns.iter().zip(schema.fields()) {
        if !field.is_nullable() && column.null_count() > 0 {
            let message = format!("null value in column \"{}\" of relation \"{}\" violates not-null constraint", field.name(), table.name);
            return Err(Error::invalid(message).with_sqlstate("23502"));
        }
    }
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

fn refused_notice(table: &Object, refused: &Refused) -> String {
    let rows = refused.rows.num_rows();
    format!("{rows} {} went to \"{}$errors\": {}", if rows == 1 { "row" } else { "rows" }, table.name, refused.reason)
}

fn concat(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch> {
    let renamed = batches.iter().map(|b| RecordBatch::try_new(schema.clone(), b.columns().to_vec())).collect::<Result<Vec<_>, _>>()?;
    Ok(compute::concat_batches(schema, renamed.iter())?)
}

fn returning(returning: Option<&Returning>, rows: &RecordBatch) -> Result<Option<RecordBatch>> {
    let Some(returning) = returning else { return Ok(None) };
    let value = |e: &Arc<dyn PhysicalExpr>| e.evaluate(rows).and_then(|v| v.into_array(rows.num_rows())).map_err(ours);
    let columns = returning.exprs.iter().map(value).collect::<Result<_>>()?;
    Ok(Some(RecordBatch::try_new(returning.schema.clone(), columns)?))
}

fn tagged(tag: String, returned: Option<RecordBatch>) -> Outcome {
    match returned {
        Some(batch) => Outcome::batch(&tag, batch),
        None => Outcome::done(tag),
    }
}
