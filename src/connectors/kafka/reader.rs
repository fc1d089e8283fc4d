//! A reader of a topic: its share of the partitions, from given offsets on, decoded where it runs.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;

use headwater_types::{BATCH_ROWS_MAX, Error, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::asker::Asker;
use super::queue::{Queue, Record};
use super::settings::Settings;
use super::start::{partition_name, position};
use super::watch::{Report, Share, Watch};
use crate::format::{Decoder, IncludeValue};
use crate::{Partition, Positions, Reject, Source, SourceBatch, SourceDefinition, SourceEvent};

/// Records taken over in one `poll`: a few batches, so that a busy partition does not keep the others' rows waiting.
const POLL_RECORDS_MAX: usize = 4 * BATCH_ROWS_MAX;
/// Most `INCLUDE` columns of a source.
pub(super) const INCLUDES_MAX: usize = 8;
/// Bytes of a rejected record that are kept.
const REJECT_BYTES_MAX: usize = 64 * 1024;

/// What `INCLUDE` can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Included {
    Key,
    Partition,
    Offset,
    Timestamp,
    Headers,
}

/// What the includes of `definition` name, in their order.
///
/// # Errors
/// `Invalid` for something that a record of a topic does not have.
pub(super) fn includes(definition: &SourceDefinition) -> Result<Vec<Included>> {
    if definition.includes.len() > INCLUDES_MAX {
        return Err(Error::unsupported(format!("more than {INCLUDES_MAX} INCLUDE columns")));
    }
    let of = |what: &str| match what {
        "key" => Ok(Included::Key),
        "partition" => Ok(Included::Partition),
        "offset" => Ok(Included::Offset),
        "timestamp" => Ok(Included::Timestamp),
        "headers" => Ok(Included::Headers),
        other => Err(Error::invalid(format!("connector 'kafka' has nothing called '{other}' to INCLUDE"))
            .with_hint("it has: key, partition, offset, timestamp, headers")),
    };
    definition.includes.iter().map(|include| of(&include.what)).collect()
}

/// One partition that is being read.
struct Slot {
    number: i32,
    name: Partition,
    decoder: Decoder,
    rejects: Vec<Reject>,
    /// The next offset; everything before it was decoded or skipped.
    next: i64,
    /// `next` as last told in a batch.
    told: i64,
    /// The partition's end as the broker last told it.
    ended: bool,
    /// It is read to here and then given up.
    upto: Option<i64>,
    is_stopped: bool,
}

/// A flush that waits for these ends.
struct Flush {
    token: u64,
    ends: BTreeMap<i32, i64>,
}

/// Reads a share of a topic's partitions.
pub(super) struct Reader {
    // The watch ends before the queue is closed.
    watch: Watch,
    queue: Queue,
    consumer: Arc<BaseConsumer>,
    topic: CString,
    definition: SourceDefinition,
    includes: Vec<Included>,
    slots: Vec<Slot>,
    /// Index of a partition's slot.
    slot_of: BTreeMap<i32, usize>,
    /// Every partition stops somewhere; new ones are not read.
    is_limited: bool,
    flushes: Vec<Flush>,
    state: Option<String>,
    /// Events known before the first poll.
    early: Vec<SourceEvent>,
}

impl Reader {
    /// Opens reader `share` over those of `partitions` that are its own; one without a position starts at its oldest record.
    pub(super) fn open(
        definition: &SourceDefinition,
        settings: &Settings,
        positions: &Positions,
        partitions: &[i32],
        share: Share,
    ) -> Result<Self> {
        let group = settings.group(&definition.name);
        let asker = Asker::new(&settings.asker(&group))?;
        let consumer: BaseConsumer = settings.consumer(&group).create().map_err(|e| Error::invalid(format!("kafka: {e}")))?;
        let consumer = Arc::new(consumer);
        let queue = Queue::of(&consumer)?;
        let (mut starts, mut early) = (Vec::new(), Vec::new());
        for &number in partitions.iter().filter(|&&p| share.has(p)) {
            let offset = match positions.get(&partition_name(number)) {
                Some(position) => offset_of(&position.0)?,
                None => {
                    let low = asker.ends(&settings.topic, number)?.0;
                    early.push(SourceEvent::Found(partition_name(number), position(low)));
                    low
                }
            };
            starts.push((number, offset));
        }
        let known = starts.iter().map(|(p, _)| *p).collect();
        let watch = Watch::start(asker, settings.topic.clone(), share, known, queue.waker()?)?;
        let mut reader = Self {
            watch,
            queue,
            consumer,
            topic: CString::new(settings.topic.clone()).map_err(|_| Error::bug("a topic's name was checked"))?,
            definition: definition.clone(),
            includes: includes(definition)?,
            slots: Vec::new(),
            slot_of: BTreeMap::new(),
            is_limited: false,
            flushes: Vec::new(),
            state: None,
            early,
        };
        reader.assign(&starts)?;
        Ok(reader)
    }

    /// Begins to read partitions from their offsets on.
    fn assign(&mut self, starts: &[(i32, i64)]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        let topic = self.topic.to_str().map_err(|_| Error::bug("a topic's name is text"))?;
        for &(number, offset) in starts {
            list.add_partition_offset(topic, number, Offset::Offset(offset)).map_err(|e| Error::bug(e.to_string()))?;
        }
        self.consumer.incremental_assign(&list).map_err(|e| Error::external(format!("kafka: {e}")))?;
        for &(number, next) in starts {
            let decoder = Decoder::new(&self.definition)?;
            self.slot_of.insert(number, self.slots.len());
            let name = partition_name(number);
            self.slots.push(Slot {
                number,
                name,
                decoder,
                rejects: Vec::new(),
                next,
                told: next,
                ended: false,
                upto: None,
                is_stopped: false,
            });
        }
        self.watch.progress.moved(starts.iter().copied());
        Ok(())
    }

    /// Gives up the partitions that have come to where they stop; what is left of them in the queue is passed over.
    fn give_up_stopped(&mut self) -> Result<()> {
        let mut list = TopicPartitionList::new();
        let topic = self.topic.to_str().map_err(|_| Error::bug("a topic's name is text"))?;
        for slot in self.slots.iter_mut().filter(|s| !s.is_stopped && s.upto.is_some_and(|upto| s.next >= upto)) {
            slot.is_stopped = true;
            list.add_partition(topic, slot.number);
        }
        if list.count() == 0 {
            return Ok(());
        }
        self.consumer.incremental_unassign(&list).map_err(|e| Error::external(format!("kafka: {e}")))
    }

    /// What the thread beside found out.
    fn take_reports(&mut self, events: &mut Vec<SourceEvent>) -> Result<()> {
        let reports: Vec<Report> = self.watch.reports().collect();
        for report in reports {
            match report {
                Report::Found(partitions) => {
                    if !self.is_limited {
                        self.assign(&partitions)?;
                    }
                    let found = partitions.iter().map(|&(p, low)| SourceEvent::Found(partition_name(p), position(low)));
                    events.extend(found);
                }
                Report::Ends(token, ends) => self.flushes.push(Flush { token, ends }),
                Report::State(state) if state != self.state => {
                    self.state.clone_from(&state);
                    events.push(SourceEvent::State(state));
                }
                Report::State(_) => {}
                Report::Failed(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells the rows that were decoded, then the ends that were reached.
    fn tell(&mut self, ends: &[usize], events: &mut Vec<SourceEvent>) -> Result<()> {
        for slot in &mut self.slots {
            slot.tell(&self.queue, &self.topic, events)?;
        }
        if self.is_limited {
            return Ok(());
        }
        events.extend(ends.iter().filter(|&&slot| self.slots[slot].ended).map(|&slot| SourceEvent::AtEnd(self.slots[slot].name.clone())));
        let (slots, slot_of) = (&self.slots, &self.slot_of);
        self.flushes.retain(|flush| {
            let reached = flush.ends.iter().all(|(p, end)| slot_of.get(p).is_some_and(|&slot| slots[slot].next >= *end));
            if reached {
                events.push(SourceEvent::Flushed(flush.token));
            }
            !reached
        });
        Ok(())
    }
}

impl Source for Reader {
    fn poll(&mut self, wait: Duration, events: &mut Vec<SourceEvent>) -> Result<()> {
        events.append(&mut self.early);
        self.take_reports(events)?;
        let wait = if events.is_empty() { wait } else { Duration::ZERO };
        let (slots, slot_of, includes) = (&mut self.slots, &self.slot_of, &self.includes);
        let (queue, topic) = (&mut self.queue, &self.topic);
        let (mut ends, mut full) = (Vec::new(), Vec::new());
        self.watch.progress.polled();
        let taken = queue.drain(wait, POLL_RECORDS_MAX, |record| {
            let Some(&index) = slot_of.get(&record.partition()) else {
                return Err(failure(record, &topic.to_string_lossy()));
            };
            let slot = &mut slots[index];
            if slot.stops_before(record) {
                return Ok(());
            }
            match record.event() {
                None => {
                    slot.read(record, includes)?;
                    if slot.decoder.rows() >= BATCH_ROWS_MAX || slot.rejects.len() >= BATCH_ROWS_MAX {
                        full.push(slot.batch(None)?);
                    }
                }
                Some((RDKafkaErrorCode::PartitionEOF, _)) => {
                    // Behind the last record there may be marks of transactions, which are nobody's rows.
                    slot.next = slot.next.max(record.offset());
                    slot.ended = true;
                    ends.push(index);
                }
                Some(_) => return Err(failure(record, &topic.to_string_lossy())),
            }
            Ok(())
        })?;
        if taken > 0 {
            self.watch.progress.moved(self.slots.iter().map(|slot| (slot.number, slot.next)));
        }
        events.extend(full.into_iter().map(SourceEvent::Rows));
        self.give_up_stopped()?;
        self.tell(&ends, events)?;
        // A wait may have been ended by the thread beside.
        if events.is_empty() { self.take_reports(events).and_then(|()| self.tell(&[], events)) } else { Ok(()) }
    }

    fn flush(&mut self, token: u64) -> Result<()> {
        self.watch.ask_ends(token)
    }

    fn stop_at(&mut self, upto: &Positions) -> Result<()> {
        self.is_limited = true;
        for slot in &mut self.slots {
            let limit = upto.get(&slot.name).map(|position| offset_of(&position.0)).transpose()?;
            slot.upto = Some(limit.unwrap_or(slot.next));
        }
        self.give_up_stopped()
    }
}

impl Slot {
    /// True if what is told at the offset of `record` lies where the partition stops, or behind: it has then come there, also over the marks of
    /// transactions, which are nobody's rows.
    fn stops_before(&mut self, record: &Record<'_>) -> bool {
        let Some(upto) = self.upto else { return false };
        let is_place = record.event().is_none_or(|(code, _)| code == RDKafkaErrorCode::PartitionEOF);
        if is_place && record.offset() >= upto {
            self.next = self.next.max(upto);
            return true;
        }
        self.is_stopped
    }

    /// Appends a record to the rows, or to the rejects.
    fn read(&mut self, record: &Record<'_>, includes: &[Included]) -> Result<()> {
        let offset = record.offset();
        if offset < self.next {
            return Err(Error::bug(format!("kafka gave offset {offset} of partition {} after {}", self.number, self.next)));
        }
        self.next = offset + 1;
        self.ended = false;
        let outcome = match record.payload() {
            None => Err("the record has no value".to_owned()),
            Some(payload) if includes.is_empty() => self.decoder.decode(payload, &[]),
            Some(payload) => decode_with(&mut self.decoder, payload, record, includes),
        };
        if let Err(reason) = outcome {
            let payload = record.payload().unwrap_or_default();
            let payload = payload[..payload.len().min(REJECT_BYTES_MAX)].to_vec();
            self.rejects.push(Reject { position: offset.to_string(), reason, payload });
        }
        Ok(())
    }

    /// What was decoded since the last batch; `end` is the partition's, if known.
    fn batch(&mut self, end: Option<i64>) -> Result<SourceBatch> {
        self.told = self.next;
        Ok(SourceBatch {
            partition: self.name.clone(),
            rows: self.decoder.finish()?,
            rejects: std::mem::take(&mut self.rejects),
            next: position(self.next),
            lag: end.and_then(|end| u64::try_from((end - self.next).max(0)).ok()),
        })
    }

    /// A batch, if the position moved.
    fn tell(&mut self, queue: &Queue, topic: &CString, events: &mut Vec<SourceEvent>) -> Result<()> {
        if self.next > self.told {
            let end = if self.ended { Some(self.next) } else { queue.known_end(topic, self.number) };
            events.push(SourceEvent::Rows(self.batch(end)?));
        }
        Ok(())
    }
}

/// Decodes a record together with what `INCLUDE` asked for.
fn decode_with(decoder: &mut Decoder, payload: &[u8], record: &Record<'_>, includes: &[Included]) -> Result<(), String> {
    let headers = if includes.contains(&Included::Headers) { headers_json(record) } else { String::new() };
    let mut values = [IncludeValue::Null; INCLUDES_MAX];
    for (value, include) in values.iter_mut().zip(includes) {
        *value = match include {
            Included::Key => record.key().map_or(IncludeValue::Null, IncludeValue::Bytes),
            Included::Partition => IncludeValue::Integer(record.partition().into()),
            Included::Offset => IncludeValue::Integer(record.offset()),
            Included::Timestamp => {
                record.timestamp_millis().map_or(IncludeValue::Null, |millis| IncludeValue::Micros(millis.saturating_mul(1000)))
            }
            Included::Headers => IncludeValue::Text(&headers),
        };
    }
    decoder.decode(payload, &values[..includes.len()])
}

/// Headers as `[{"key":…,"value":…},…]`, in order, for names may come twice; bytes that are no UTF-8 are replaced.
fn headers_json(record: &Record<'_>) -> String {
    let mut list = Vec::new();
    record.headers(|key, value| {
        let value = value.map(String::from_utf8_lossy);
        list.push(serde_json::json!({ "key": key, "value": value }));
    });
    serde_json::Value::Array(list).to_string()
}

/// The error that came in a record's place.
fn failure(record: &Record<'_>, topic: &str) -> Error {
    let (code, reason) = record.event().unwrap_or((RDKafkaErrorCode::Unknown, "a record of a partition that was not asked for".into()));
    let partition = record.partition();
    match code {
        RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
            Error::invalid(format!("offset {} of partition {partition} is not in topic '{topic}' (any more)", record.offset()))
                .with_detail(reason)
                .with_hint("the broker deleted records before they were read: lengthen the topic's retention, and create the source anew")
        }
        _ => Error::external(format!("topic '{topic}', partition {partition}: {reason}")),
    }
}

fn offset_of(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Error::corrupt(format!("'{text}' is no position in a topic")))
}
