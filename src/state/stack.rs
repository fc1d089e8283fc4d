//! A stack of sorted runs whose sum are the rows: searched by key, read in order. What a trace works on and what its snapshots hold.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::row::Rows;
use headwater_types::{ChangeBatch, Error, Result, RowOrder, consolidate};

use crate::block::Block;
use crate::filter::{hash_rows, is_hashable};
use crate::merge::{Floor, Merge, Sorted, lower_bound};
use crate::trace::{End, Matches};

/// The orders of a table: by all columns, the key's first, and by the key alone. The bytes of a key begin the bytes of its rows.
pub(crate) struct Orders {
    pub(crate) rows: Arc<RowOrder>,
    pub(crate) key: RowOrder,
}

impl Orders {
    pub(crate) fn new(schema: &SchemaRef, key: &[usize]) -> Result<Orders> {
        if schema.fields().is_empty() {
            return Err(Error::unsupported("a relation without columns"));
        }
        let others = (0..schema.fields().len()).filter(|c| !key.contains(c));
        let columns: Vec<usize> = key.iter().copied().chain(others).collect();
        Ok(Orders { rows: Arc::new(RowOrder::new(schema, &columns)?), key: RowOrder::new(schema, key)? })
    }
}

#[derive(Clone)]
pub(crate) struct Stack {
    pub(crate) schema: SchemaRef,
    pub(crate) orders: Arc<Orders>,
    pub(crate) parts: Vec<Sorted>,
    pub(crate) floor: Option<Floor>,
}

/// Rows of the parts that belong to searched keys.
#[derive(Default)]
struct Hits {
    blocks: Vec<Arc<Block>>,
    /// Key, block, row.
    rows: Vec<(u32, u32, u32)>,
}

impl Hits {
    fn add_block(&mut self, block: &Arc<Block>) -> u32 {
        if self.blocks.last().is_none_or(|last| !Arc::ptr_eq(last, block)) {
            self.blocks.push(block.clone());
        }
        self.blocks.len() as u32 - 1
    }
}

impl Stack {
    /// All parts' rows in order, net.
    pub(crate) fn merge(&self) -> Merge {
        Merge::new(&self.schema, &self.orders.rows, self.parts.iter().cloned(), self.floor)
    }

    /// The stack with `changes` on top. They are joined with the batches before that are not twice their size, so that many small changes stay few parts.
    pub(crate) fn with(&self, changes: ChangeBatch) -> Result<Stack> {
        let mut stack = self.clone();
        let mut rows = changes.len();
        let mut batches = vec![changes];
        while let Some(Sorted::Fresh(last)) = stack.parts.last().filter(|last| matches!(last, Sorted::Fresh(b) if b.len() < rows * 2)) {
            rows += last.len();
            batches.push(last.changes().clone());
            stack.parts.pop();
        }
        let net = consolidate(&stack.schema, &stack.orders.rows, &batches)?;
        if !net.is_empty() {
            stack.parts.push(Sorted::Fresh(Arc::new(Block::new(net))));
        }
        Ok(stack)
    }

    /// The rows of each of `keys`.
    pub(crate) fn lookup(&self, keys: &[ArrayRef]) -> Result<Matches> {
        let probe = Probe { bytes: self.key_bytes(keys)?, hashes: self.hashes(keys), width: Width::Key };
        let mut hits = self.search(&probe)?;
        hits.rows.sort_by_key(|&(key, _, _)| key);
        self.collect(&hits)
    }

    /// Net rows, as the sum of all weights.
    pub(crate) fn rows(&self) -> u64 {
        let net: i64 = self.parts.iter().map(Sorted::net).sum();
        net.max(0).cast_unsigned()
    }

    fn key_bytes(&self, keys: &[ArrayRef]) -> Result<Rows> {
        if self.orders.key.columns().is_empty() {
            return Err(Error::unsupported("a lookup in a relation without a key"));
        }
        self.orders.key.convert(keys)
    }

    fn hashes(&self, keys: &[ArrayRef]) -> Option<Vec<u64>> {
        let is_useful = !keys.is_empty() && self.parts.iter().any(Sorted::is_filtered);
        (is_useful && keys.iter().all(|key| is_hashable(key.data_type()))).then(|| hash_rows(keys))
    }

    fn collect(&self, hits: &Hits) -> Result<Matches> {
        if hits.rows.is_empty() {
            return Ok(Matches { probe: Vec::new(), rows: ChangeBatch::empty(self.schema.clone()) });
        }
        let batches: Vec<&RecordBatch> = hits.blocks.iter().map(|b| b.changes().rows()).collect();
        let picks: Vec<(usize, usize)> = hits.rows.iter().map(|&(_, block, row)| (block as usize, row as usize)).collect();
        let weights: Vec<i64> = picks.iter().map(|&(block, row)| hits.blocks[block].changes().weight(row)).collect();
        let rows = ChangeBatch::new(interleave_record_batch(&batches, &picks)?, weights)?;
        let mut probe: Vec<u32> = hits.rows.iter().map(|&(key, _, _)| key).collect();
        let Some(floor) = self.floor else { return Ok(Matches { probe, rows }) };
        let Some(remaining) = floor.remaining(rows.rows())? else { return Ok(Matches { probe, rows }) };
        let mut at = 0;
        probe.retain(|_| {
            at += 1;
            remaining.value(at - 1)
        });
        Ok(Matches { probe, rows: rows.filter(&remaining)? })
    }

    /// All rows whose key, or which as a whole, are one of `keys`, part by part.
    fn search(&self, probe: &Probe) -> Result<Hits> {
        let keys = &probe.bytes;
        let mut sorted: Vec<u32> = (0..keys.num_rows() as u32).collect();
        sorted.sort_unstable_by(|&a, &b| keys.row(a as usize).cmp(&keys.row(b as usize)));
        let mut hits = Hits::default();
        for part in &self.parts {
            self.search_part(part, probe, &sorted, &mut hits)?;
        }
        Ok(hits)
    }

    /// Keys ascend, and so do the places where they are found: each search starts at the last place.
    fn search_part(&self, part: &Sorted, probe: &Probe, sorted: &[u32], hits: &mut Hits) -> Result<()> {
        let filter = part.filter()?.zip(probe.hashes.as_ref());
        let mut place = Place { block: 0, row: 0 };
        let mut open: Option<(u32, Arc<Block>)> = None;
        for &key in sorted {
            if filter.is_some_and(|(filter, hashes)| !filter.may_contain(hashes[key as usize])) {
                continue;
            }
            let bytes = probe.bytes.row(key as usize).data();
            let Some(first) = first_block(part, &self.orders.rows, place.block, bytes)? else { continue };
            if first != place.block {
                place = Place { block: first, row: 0 };
            }
            let mut number = first;
            let mut from = place.row;
            while number < part.blocks() {
                let block = match &open {
                    Some((at, block)) if *at == number => block.clone(),
                    _ => part.block(number)?,
                };
                let rows = match probe.width {
                    Width::Key => block.short_keys(&self.orders.key)?,
                    Width::Row => block.keys(&self.orders.rows)?,
                };
                let start = lower_bound(from, block.len(), |row| rows.row(row).data() < bytes);
                let end = lower_bound(start, block.len(), |row| rows.row(row).data() == bytes);
                if number == first {
                    // An equal key may follow: the next search starts where this key's rows start.
                    place.row = start;
                }
                if end > start {
                    let at = hits.add_block(&block);
                    hits.rows.extend((start..end).map(|row| (key, at, row as u32)));
                }
                let is_last = end < block.len();
                open = Some((number, block));
                if is_last {
                    break;
                }
                number += 1;
                from = 0;
            }
        }
        Ok(())
    }

    /// The net weight of each of `rows`.
    pub(crate) fn weights_of(&self, rows: &RecordBatch) -> Result<Vec<i64>> {
        let keys: Vec<ArrayRef> = self.orders.key.columns().iter().map(|&c| rows.column(c).clone()).collect();
        let probe = Probe { bytes: self.orders.rows.rows(rows)?, hashes: self.hashes(&keys), width: Width::Row };
        let hits = self.search(&probe)?;
        let mut weights = vec![0; rows.num_rows()];
        for &(key, block, row) in &hits.rows {
            weights[key as usize] += hits.blocks[block as usize].changes().weight(row as usize);
        }
        if let Some(floor) = self.floor
            && let Some(remaining) = floor.remaining(rows)?
        {
            weights.iter_mut().zip(remaining.values()).filter(|(_, remains)| !remains).for_each(|(weight, _)| *weight = 0);
        }
        Ok(weights)
    }

    /// For each key the least or greatest row with positive net weight.
    pub(crate) fn edge(&self, keys: &[ArrayRef], end: End) -> Result<(Vec<Option<u32>>, RecordBatch)> {
        let hashes = self.hashes(keys);
        let keys = self.key_bytes(keys)?;
        let mut found = Hits::default();
        let mut indices = Vec::with_capacity(keys.num_rows());
        for key in 0..keys.num_rows() {
            let hash = hashes.as_ref().map(|hashes| hashes[key]);
            match self.edge_of(keys.row(key).data(), hash, end)? {
                Some((block, row)) => {
                    let at = found.add_block(&block);
                    indices.push(Some(found.rows.len() as u32));
                    found.rows.push((key as u32, at, row as u32));
                }
                None => indices.push(None),
            }
        }
        Ok((indices, self.collect_all(&found)?))
    }

    fn collect_all(&self, found: &Hits) -> Result<RecordBatch> {
        if found.rows.is_empty() {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let batches: Vec<&RecordBatch> = found.blocks.iter().map(|b| b.changes().rows()).collect();
        let picks: Vec<(usize, usize)> = found.rows.iter().map(|&(_, block, row)| (block as usize, row as usize)).collect();
        Ok(interleave_record_batch(&batches, &picks)?)
    }

    /// Steps through the rows of one key, from its end inwards, over all parts at once, until one's weights add up to more than nothing.
    fn edge_of(&self, key: &[u8], hash: Option<u64>, end: End) -> Result<Option<(Arc<Block>, usize)>> {
        let order = &self.orders.rows;
        let mut seekers = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            if part.filter()?.zip(hash).is_some_and(|(filter, hash)| !filter.may_contain(hash)) {
                continue;
            }
            seekers.extend(Seeker::new(part, order, key, end)?);
        }
        loop {
            let Some(best) = self.best(&seekers, end)? else { return Ok(None) };
            let (block, row) = (seekers[best].block.clone(), seekers[best].row);
            let bytes = block.keys(order)?.row(row).data();
            let mut weight = 0;
            let mut at = 0;
            while at < seekers.len() {
                if seekers[at].head(order)? == bytes {
                    weight += seekers[at].block.changes().weight(seekers[at].row);
                    if !seekers[at].step(order, key, end)? {
                        seekers.swap_remove(at);
                        continue;
                    }
                }
                at += 1;
            }
            if weight > 0 && !self.is_forgotten(&block, row)? {
                return Ok(Some((block, row)));
            }
        }
    }

    fn best(&self, seekers: &[Seeker<'_>], end: End) -> Result<Option<usize>> {
        let mut best: Option<(usize, &[u8])> = None;
        let better = if end == End::First { Ordering::Less } else { Ordering::Greater };
        for (at, seeker) in seekers.iter().enumerate() {
            let head = seeker.head(&self.orders.rows)?;
            if best.is_none_or(|(_, bytes)| head.cmp(bytes) == better) {
                best = Some((at, head));
            }
        }
        Ok(best.map(|(at, _)| at))
    }

    fn is_forgotten(&self, block: &Block, row: usize) -> Result<bool> {
        match self.floor {
            Some(floor) => Ok(floor.remaining(&block.changes().rows().slice(row, 1))?.is_some()),
            None => Ok(false),
        }
    }
}

/// What is searched for: order bytes, and if the key's types allow it hashes of the keys.
struct Probe {
    bytes: Rows,
    hashes: Option<Vec<u64>>,
    width: Width,
}

#[derive(Clone, Copy)]
enum Width {
    Key,
    Row,
}

struct Place {
    block: u32,
    row: usize,
}

/// The first block from `from` on that may hold rows that begin with `key`: the last one whose first row is below it.
fn first_block(part: &Sorted, order: &RowOrder, from: u32, key: &[u8]) -> Result<Option<u32>> {
    let Sorted::Run(run) = part else { return Ok(Some(0)) };
    let fences = &run.fences(order)?.keys;
    let blocks = run.blocks() as usize;
    let last = fences.row(blocks).data();
    if last < key && !last.starts_with(key) {
        return Ok(None);
    }
    let above = lower_bound(from as usize, blocks, |block| fences.row(block).data() < key);
    Ok(Some(above.saturating_sub(1).max(from as usize) as u32))
}

/// A place in one part among the rows of one key.
struct Seeker<'a> {
    part: &'a Sorted,
    number: u32,
    block: Arc<Block>,
    row: usize,
}

impl<'a> Seeker<'a> {
    /// At the first or last row of `key`; none if the part has no such row.
    fn new(part: &'a Sorted, order: &RowOrder, key: &[u8], end: End) -> Result<Option<Seeker<'a>>> {
        let Some(mut number) = first_block(part, order, 0, key)? else { return Ok(None) };
        if end == End::Last {
            number = last_block(part, order, number, key)?;
        }
        loop {
            let block = part.block(number)?;
            let rows = block.keys(order)?;
            let start = lower_bound(0, block.len(), |row| rows.row(row).data() < key);
            let stop = lower_bound(start, block.len(), |row| rows.row(row).data().starts_with(key));
            if stop > start {
                let row = if end == End::First { start } else { stop - 1 };
                return Ok(Some(Seeker { part, number, block, row }));
            }
            // The key's rows may begin with the next block.
            if end == End::Last || start < block.len() || number + 1 == part.blocks() {
                return Ok(None);
            }
            number += 1;
        }
    }

    fn head(&self, order: &RowOrder) -> Result<&[u8]> {
        Ok(self.block.keys(order)?.row(self.row).data())
    }

    /// One row inwards; false where the key's rows end.
    fn step(&mut self, order: &RowOrder, key: &[u8], end: End) -> Result<bool> {
        match end {
            End::First if self.row + 1 < self.block.len() => self.row += 1,
            End::First if self.number + 1 < self.part.blocks() => {
                self.number += 1;
                self.block = self.part.block(self.number)?;
                self.row = 0;
            }
            End::Last if self.row > 0 => self.row -= 1,
            End::Last if self.number > 0 => {
                self.number -= 1;
                self.block = self.part.block(self.number)?;
                self.row = self.block.len() - 1;
            }
            _ => return Ok(false),
        }
        Ok(self.head(order)?.starts_with(key))
    }
}

/// The last block from `from` on whose first row begins with `key`, or `from`.
fn last_block(part: &Sorted, order: &RowOrder, from: u32, key: &[u8]) -> Result<u32> {
    let Sorted::Run(run) = part else { return Ok(0) };
    let fences = &run.fences(order)?.keys;
    let is_at_most = |block: usize| fences.row(block).data() < key || fences.row(block).data().starts_with(key);
    let above = lower_bound(from as usize, run.blocks() as usize, is_at_most);
    Ok(above.saturating_sub(1).max(from as usize) as u32)
}
