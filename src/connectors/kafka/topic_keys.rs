//! The keys that a topic holds: what compaction would leave of it, read to its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_types::{Error, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::asker::Asker;
use super::queue::Queue;
use super::settings::Settings;

/// How long the topic may give nothing before this is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The keys whose last committed record is not a tombstone. Records without a key are left alone.
pub(super) fn live_keys(settings: &Settings, asker: &Asker, group: &str) -> Result<Vec<Box<[u8]>>> {
    let partitions = asker.partitions(&settings.topic)?;
    let mut list = TopicPartitionList::new();
    for &partition in &partitions {
        list.add_partition_offset(&settings.topic, partition, Offset::Beginning).map_err(|e| Error::bug(e.to_string()))?;
    }
    let consumer: BaseConsumer = settings.consumer(group).create().map_err(|e| Error::invalid(format!("kafka: {e}")))?;
    let consumer = Arc::new(consumer);
    let mut queue = Queue::of(&consumer)?;
    consumer.assign(&list).map_err(|e| Error::external(format!("kafka: {e}")))?;
    let mut live: HashMap<Box<[u8]>, bool> = HashMap::new();
    let mut open = partitions.len();
    while open > 0 {
        let count = queue.drain(SILENCE_MAX, usize::MAX, |record| {
            match record.event() {
                None => note(&mut live, record.key(), record.payload().is_some()),
                Some((RDKafkaErrorCode::PartitionEOF, _)) => open = open.saturating_sub(1),
                Some((_, reason)) => return Err(Error::external(format!("topic '{}': {reason}", settings.topic))),
            }
            Ok(())
        })?;
        if count == 0 {
            return Err(Error::external(format!("topic '{}' could not be read to its end", settings.topic)));
        }
    }
    Ok(live.into_iter().filter_map(|(key, alive)| alive.then_some(key)).collect())
}

fn note(live: &mut HashMap<Box<[u8]>, bool>, key: Option<&[u8]>, alive: bool) {
    let Some(key) = key else { return };
    match live.get_mut(key) {
        Some(last) => *last = alive,
        None => {
            live.insert(key.into(), alive);
        }
    }
}
