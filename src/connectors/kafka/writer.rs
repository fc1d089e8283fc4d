//! The producer of a sink: each delivery is one transaction, which also commits how far the sink is.
//!
//! The mark is an offset that the transaction commits for a group of the sink's own: partition 0 of the topic, the epoch as the offset, and
//! `incarnation,sink,nonce` as its text. `init_transactions` comes before the mark is read: it ends whatever transaction an earlier producer of
//! this sink left open, so that nothing of it can come later.

use arrow::array::RecordBatch;
use headwater_types::{ChangeBatch, Epoch, Error, ErrorKind, Result};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};
use std::time::Duration;
use uuid::Uuid;

use super::asker::{ANSWER_WAIT, Asker, Complaints, unreachable_brokers};
use super::settings::Settings;
use super::topic_keys::live_keys;
use crate::format::JsonEncoder;
use crate::key_changes::KeyChanges;
use crate::{Delivery, Mark, SinkDefinition};

/// How long a commit may take before its outcome counts as unknown.
const COMMIT_WAIT: Duration = Duration::from_secs(60);

/// Waits of a millisecond without a record getting through, before brokers count as out of reach.
const STALLED_WAITS_MAX: u32 = 60_000;

/// How often a producer was waited for in vain.
#[derive(Default)]
struct Stalled {
    waits: u32,
}

/// What the group's committed offset says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Committed {
    mark: Mark,
    /// Which process wrote it.
    nonce: Uuid,
}

impl Committed {
    fn text(&self) -> String {
        format!("{},{},{}", self.mark.incarnation, self.mark.sink, self.nonce)
    }

    fn parse(offset: i64, text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let incarnation = parts.next()?.parse().ok()?;
        let (sink, nonce) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let epoch = Epoch(u64::try_from(offset).ok()?);
        parts.next().is_none().then_some(Self { mark: Mark { sink, incarnation, epoch }, nonce })
    }
}

impl ProducerContext for Complaints {
    type DeliveryOpaque = ();

    // A record that could not be written fails its transaction, so that nothing is to be noted record by record.
    fn delivery(&self, _result: &DeliveryResult<'_>, _opaque: ()) {}
}

/// A connected producer. What fails takes it away; the next one reads the mark anew.
pub(super) struct Writer {
    producer: BaseProducer<Complaints>,
    asker: Asker,
    definition: SinkDefinition,
    settings: Settings,
    values: JsonEncoder,
    keys: JsonEncoder,
    nonce: Uuid,
    committed: Option<Committed>,
}

impl Writer {
    /// Connects, ends transactions that were left open, reads the mark. `nonce` is that of the process.
    pub(super) fn connect(definition: &SinkDefinition, settings: &Settings, nonce: Uuid) -> Result<Self> {
        let id = id(definition);
        let asker = Asker::new(&settings.asker(&id))?;
        asker.partitions_patiently(&settings.topic).map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::invalid(format!("sink '{}': {}", definition.name, e.message())),
            _ => e,
        })?;
        let producer = BaseProducer::from_config_and_context(&settings.producer(&id), Complaints::default())
            .map_err(|e| Error::invalid(format!("sink '{}': {e}", definition.name)))?;
        let all: Vec<usize> = (0..definition.schema.fields().len()).collect();
        let mut writer = Self {
            values: JsonEncoder::new(&definition.schema, &all)?,
            keys: JsonEncoder::new(&definition.schema, &definition.key)?,
            producer,
            asker,
            definition: definition.clone(),
            settings: settings.clone(),
            nonce,
            committed: None,
        };
        writer.producer.init_transactions(COMMIT_WAIT).map_err(|e| writer.trouble(&e))?;
        writer.committed = writer.read_committed()?;
        writer.remark()?;
        Ok(writer)
    }

    fn read_committed(&self) -> Result<Option<Committed>> {
        let Some((offset, text)) = self.asker.committed(&self.settings.topic, 0)? else { return Ok(None) };
        let committed = Committed::parse(offset, &text).filter(|c| c.mark.sink == self.definition.uuid);
        let foreign = || Error::invalid(format!("group '{}' holds the offset of somebody else: '{text}'", id(&self.definition)));
        committed.map(Some).ok_or_else(foreign)
    }

    /// The mark that the target held when this producer took over, or after its own last transaction.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.committed.map(|c| c.mark)
    }

    /// Writes a delivery and its mark.
    pub(super) fn deliver(self, delivery: &Delivery) -> Result<Self> {
        if self.mark() != delivery.before {
            return Err(self.moved(delivery.before));
        }
        match self.transact(self.committed_by_us(delivery.mark), |writer| writer.send_changes(&delivery.changes)) {
            Err(Failure::Fenced(reason)) => self.after_fence(delivery, &reason),
            Err(Failure::Other(error)) => Err(error),
            Ok(()) => Ok(self.committed_now(delivery.mark)),
        }
    }

    /// Another producer took our id: a second process of the same sink, an earlier connection of ours that was given up, or the broker itself
    /// after a transaction that ran too long. Taking it back once tells which: a new mark that is not of our hand means that somebody else
    /// delivers.
    fn after_fence(self, delivery: &Delivery, reason: &str) -> Result<Self> {
        let (writer, before) = self.taken_back()?;
        match writer.committed {
            Some(committed) if committed.nonce == writer.nonce && committed.mark == delivery.mark => Ok(writer),
            committed if committed == before => {
                match writer.transact(writer.committed_by_us(delivery.mark), |w| w.send_changes(&delivery.changes)) {
                    Ok(()) => Ok(writer.committed_now(delivery.mark)),
                    Err(Failure::Fenced(reason)) => Err(fenced(&writer.definition, &reason)),
                    Err(Failure::Other(error)) => Err(error),
                }
            }
            Some(committed) if committed.nonce == writer.nonce => Err(writer.moved(delivery.before)),
            _ => Err(fenced(&writer.definition, reason)),
        }
    }

    /// A producer of the same id, and the mark that this one knew.
    fn taken_back(self) -> Result<(Self, Option<Committed>)> {
        let (definition, settings, nonce, before) = (self.definition.clone(), self.settings.clone(), self.nonce, self.committed);
        drop(self);
        Ok((Self::connect(&definition, &settings, nonce)?, before))
    }

    /// Makes the topic hold the rows of `rows` and no other key.
    pub(super) fn rewrite(self, rows: &[ChangeBatch], mark: Mark) -> Result<Self> {
        let changes = KeyChanges::new(&self.definition.schema, &self.definition.key, rows)?;
        let stale = self.stale_keys(&changes.upserts)?;
        let outcome = self.transact(self.committed_by_us(mark), |writer| {
            for key in &stale {
                writer.send(Some(key), None)?;
            }
            writer.send_upserts(&changes.upserts)
        });
        match outcome {
            Ok(()) => Ok(self.committed_now(mark)),
            Err(Failure::Fenced(reason)) => self.after_fenced_rewrite(mark, &reason),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    /// As [`Writer::after_fence`]; what a rewrite sends is too much to be sent again at once.
    fn after_fenced_rewrite(self, mark: Mark, reason: &str) -> Result<Self> {
        let (writer, before) = self.taken_back()?;
        match writer.committed {
            Some(committed) if committed.nonce == writer.nonce && committed.mark == mark => Ok(writer),
            committed if committed == before => {
                let error = Error::external(format!("sink '{}': the broker gave the transaction up: {reason}", writer.definition.name));
                Err(error.with_hint("if it took too long, set properties.transaction.timeout.ms"))
            }
            _ => Err(fenced(&writer.definition, reason)),
        }
    }

    /// Keys that the topic holds and `rows` have not.
    fn stale_keys(&self, rows: &RecordBatch) -> Result<Vec<Box<[u8]>>> {
        let mut keys = std::collections::HashSet::with_capacity(rows.num_rows());
        let encoded = self.keys.rows(rows)?;
        for row in 0..rows.num_rows() {
            let mut key = Vec::new();
            encoded.write(row, &mut key);
            keys.insert(key.into_boxed_slice());
        }
        let live = live_keys(&self.settings, &self.asker, &id(&self.definition))?;
        Ok(live.into_iter().filter(|key| !keys.contains(key)).collect())
    }

    /// Commits the present mark again, as it is: brokers forget what a group without members has not committed for long.
    pub(super) fn remark(&self) -> Result<()> {
        let Some(committed) = self.committed else { return Ok(()) };
        match self.transact(committed, |_| Ok(())) {
            Ok(()) => Ok(()),
            // Whoever took over keeps the mark.
            Err(Failure::Fenced(reason)) => Err(Error::external(format!("sink '{}': {reason}", self.definition.name))),
            Err(Failure::Other(error)) => Err(error),
        }
    }

    /// One transaction: what `send` sends, then the mark.
    fn transact(&self, committed: Committed, send: impl FnOnce(&Self) -> Result<(), Failure>) -> Result<(), Failure> {
        self.producer.begin_transaction().map_err(|e| self.failure(&e))?;
        let outcome = send(self).and_then(|()| self.commit(committed));
        if let Err(Failure::Other(_)) = &outcome {
            // If this fails too, the next producer's `init_transactions` aborts it.
            let _aborted = self.producer.abort_transaction(ANSWER_WAIT);
        }
        outcome
    }

    fn commit(&self, committed: Committed) -> Result<(), Failure> {
        let mut offsets = TopicPartitionList::new();
        let epoch = i64::try_from(committed.mark.epoch.0).map_err(|_| Error::limit("epochs beyond 2^63"))?;
        offsets.add_partition_offset(&self.settings.topic, 0, Offset::Offset(epoch)).map_err(|e| self.failure(&e))?;
        if let Some(mut element) = offsets.find_partition(&self.settings.topic, 0) {
            element.set_metadata(committed.text());
        }
        self.wait_for_records()?;
        let group = self.asker.group()?;
        self.producer.send_offsets_to_transaction(&offsets, &group, COMMIT_WAIT).map_err(|e| self.failure(&e))?;
        self.producer.commit_transaction(COMMIT_WAIT).map_err(|e| self.failure(&e))
    }

    /// Waits until the broker has every record. The wrapper's own wait, inside its commit, polls a tenth of a second at a time.
    fn wait_for_records(&self) -> Result<(), Failure> {
        let (mut left, mut stalled) = (self.producer.in_flight_count(), Stalled::default());
        while left > 0 {
            self.wait_a_little(&mut stalled)?;
            let now_left = self.producer.in_flight_count();
            if now_left < left {
                stalled = Stalled::default();
            }
            left = now_left;
        }
        Ok(())
    }

    /// Lets the producer work for a millisecond; gives up when it was called too often.
    fn wait_a_little(&self, stalled: &mut Stalled) -> Result<(), Failure> {
        self.producer.poll(Duration::from_millis(1));
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            return Err(self.fatal(code, &reason));
        }
        stalled.waits += 1;
        if stalled.waits > STALLED_WAITS_MAX {
            return Err(self.failure(&KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)));
        }
        Ok(())
    }

    fn send_changes(&self, changes: &[ChangeBatch]) -> Result<(), Failure> {
        if !self.definition.upsert {
            return changes.iter().try_for_each(|batch| self.send_appended(batch));
        }
        let changes = KeyChanges::new(&self.definition.schema, &self.definition.key, changes)?;
        let (keys, mut key) = (self.keys.rows(&changes.deletes)?, Vec::new());
        for row in 0..changes.deletes.num_rows() {
            key.clear();
            keys.write(row, &mut key);
            self.send(Some(&key), None)?;
        }
        self.send_upserts(&changes.upserts)
    }

    fn send_upserts(&self, rows: &RecordBatch) -> Result<(), Failure> {
        let (keys, values) = (self.keys.rows(rows)?, self.values.rows(rows)?);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        for row in 0..rows.num_rows() {
            key.clear();
            value.clear();
            keys.write(row, &mut key);
            values.write(row, &mut value);
            self.send(Some(&key), Some(&value))?;
        }
        Ok(())
    }

    fn send_appended(&self, batch: &ChangeBatch) -> Result<(), Failure> {
        let (values, mut value) = (self.values.rows(batch.rows())?, Vec::new());
        for row in 0..batch.len() {
            let weight = batch.weight(row);
            if weight < 0 {
                return Err(Error::bug(format!("sink '{}' appends, and was given a deletion", self.definition.name)).into());
            }
            value.clear();
            values.write(row, &mut value);
            for _ in 0..weight {
                self.send(None, Some(&value))?;
            }
        }
        Ok(())
    }

    /// Queues one record; waits for room where there is none.
    fn send(&self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), Failure> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.settings.topic);
        record.key = key;
        record.payload = value;
        let mut stalled = Stalled::default();
        while let Err((error, refused)) = self.producer.send(record) {
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => self.wait_a_little(&mut stalled)?,
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    let bytes = value.map_or(0, <[u8]>::len);
                    let error = Error::limit(format!("sink '{}': a record of {bytes} bytes is too large", self.definition.name));
                    return Err(error.with_hint("'properties.message.max.bytes', and the topic's max.message.bytes").into());
                }
                _ => return Err(self.failure(&error)),
            }
            record = refused;
        }
        Ok(())
    }

    fn committed_by_us(&self, mark: Mark) -> Committed {
        Committed { mark, nonce: self.nonce }
    }

    fn committed_now(mut self, mark: Mark) -> Self {
        self.committed = Some(self.committed_by_us(mark));
        self
    }

    /// The target's mark is not the one that the delivery goes on from.
    fn moved(&self, before: Option<Mark>) -> Error {
        let name = &self.definition.name;
        match (self.mark(), before) {
            (Some(found), Some(before)) if found.incarnation > before.incarnation => {
                fenced(&self.definition, "a later incarnation delivered")
            }
            (found, _) => Error::external(format!("sink '{name}': the topic's mark is {found:?}, not {before:?}")),
        }
    }

    fn trouble(&self, error: &KafkaError) -> Error {
        self.producer.poll(Duration::ZERO);
        let complaint = self.producer.client().context().take();
        unreachable_brokers(&self.settings.brokers, error, complaint).context(format!("sink '{}'", self.definition.name))
    }

    fn failure(&self, error: &KafkaError) -> Failure {
        let code = error.rdkafka_error_code();
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        if [code, fatal].into_iter().flatten().any(fences) {
            Failure::Fenced(error.to_string())
        } else {
            Failure::Other(self.trouble(error))
        }
    }

    fn fatal(&self, code: RDKafkaErrorCode, reason: &str) -> Failure {
        let error = || Error::external(format!("kafka at {}: {code}: {reason}", self.settings.brokers));
        if fences(code) { Failure::Fenced(reason.to_owned()) } else { Failure::Other(error()) }
    }
}

/// True if another producer has our transactional id.
fn fences(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch)
}

/// Why a transaction failed.
enum Failure {
    /// Another producer has our transactional id.
    Fenced(String),
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Other(error)
    }
}

/// The transactional id and the private group of a sink.
fn id(definition: &SinkDefinition) -> String {
    format!("headwater-{}", definition.uuid)
}

fn fenced(definition: &SinkDefinition, reason: &str) -> Error {
    Error::fenced(format!("another process writes sink '{}'", definition.name)).with_detail(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_as_it_was_written() {
        let mark = Mark { sink: Uuid::new_v4(), incarnation: 3, epoch: Epoch(77) };
        let committed = Committed { mark, nonce: Uuid::new_v4() };
        assert_eq!(Committed::parse(77, &committed.text()), Some(committed));
        assert_eq!(Committed::parse(-1, &committed.text()), None);
        assert_eq!(Committed::parse(77, "3,x,y"), None);
        assert_eq!(Committed::parse(77, ""), None);
    }
}
