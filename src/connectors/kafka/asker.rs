//! Questions to the brokers: which partitions a topic has, where they begin and end, what a group committed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use headwater_types::{Error, ErrorKind, Result};
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

/// How long a broker may take to answer.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Keeps what a client last complained about, so that an error can say more than "timed out".
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: Mutex<Option<String>>,
}

impl Complaints {
    /// The last complaint, which is then forgotten.
    pub(super) fn take(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, text: &str) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(steady(text.trim()));
    }
}

/// A complaint without what differs from try to try: which of a name's addresses was tried, how long that took, how often it came.
fn steady(complaint: &str) -> String {
    let without_times = complaint.split_once(" (after ").map_or(complaint, |(what, _)| what);
    match without_times.split_once("Connect to ").and_then(|(before, after)| Some((before, after.split_once(" failed: ")?.1))) {
        Some((before, reason)) => format!("{before}{reason}"),
        None => without_times.to_owned(),
    }
}

impl ClientContext for Complaints {
    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        if (level as i32) <= RDKafkaLogLevel::Warning as i32 {
            // Librdkafka begins with its thread's name: `[thrd:host:port/bootstrap]: `.
            self.note(message.split_once("]: ").map_or(message, |(_, text)| text));
        }
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        if !reason.contains("brokers are down") {
            self.note(reason);
        }
    }
}

impl ConsumerContext for Complaints {}

/// A client that only asks. Every question blocks, for [`ANSWER_WAIT`] at most.
pub(super) struct Asker {
    client: BaseConsumer<Complaints>,
    brokers: String,
}

impl Asker {
    pub(super) fn new(config: &ClientConfig) -> Result<Self> {
        let brokers = config.get("bootstrap.servers").unwrap_or_default().to_owned();
        let client = config.create_with_context(Complaints::default()).map_err(|e| Error::invalid(format!("kafka: {e}")))?;
        Ok(Self { client, brokers })
    }

    /// The numbers of the topic's partitions, ascending.
    ///
    /// # Errors
    /// `NotFound` if there is no such topic; `External` if no broker answers.
    pub(super) fn partitions(&self, topic: &str) -> Result<Vec<i32>> {
        let metadata = self.client.fetch_metadata(Some(topic), ANSWER_WAIT).map_err(|e| self.trouble(&e))?;
        let found = metadata.topics().iter().find(|t| t.name() == topic);
        let error = found.and_then(|t| t.error()).map(RDKafkaErrorCode::from);
        match (found, error) {
            (Some(found), None) if !found.partitions().is_empty() => {
                let mut numbers: Vec<i32> = found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
                numbers.sort_unstable();
                Ok(numbers)
            }
            (_, Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) | None) => {
                Err(Error::not_found(format!("there is no topic '{topic}' on {}", self.brokers)))
            }
            (_, Some(code)) => Err(Error::external(format!("topic '{topic}' on {}: {code}", self.brokers))),
        }
    }

    /// As `partitions`, but a topic that is not there is asked for again for two seconds: one that was just made, or a broker that just
    /// started, may not be known everywhere.
    pub(super) fn partitions_patiently(&self, topic: &str) -> Result<Vec<i32>> {
        for _ in 0..4 {
            match self.partitions(topic) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    // Nothing can come here but complaints.
                    let _complaint = self.client.poll(Duration::from_millis(500));
                }
                outcome => return outcome,
            }
        }
        self.partitions(topic)
    }

    /// The offsets of the oldest record and of the next to be committed, of one partition.
    pub(super) fn ends(&self, topic: &str, partition: i32) -> Result<(i64, i64)> {
        self.client.fetch_watermarks(topic, partition, ANSWER_WAIT).map_err(|e| self.trouble(&e))
    }

    /// The offset of the first record of `millis` or later, by partition; none where all are older.
    pub(super) fn offsets_at(&self, topic: &str, partitions: &[i32], millis: i64) -> Result<BTreeMap<i32, Option<i64>>> {
        let mut asked = TopicPartitionList::new();
        for &partition in partitions {
            asked.add_partition_offset(topic, partition, Offset::Offset(millis)).map_err(|e| self.trouble(&e))?;
        }
        let answer = self.client.offsets_for_times(asked, ANSWER_WAIT).map_err(|e| self.trouble(&e))?;
        let mut offsets = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(|e| self.trouble(&e))?;
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            offsets.insert(element.partition(), offset);
        }
        Ok(offsets)
    }

    /// What this client's group committed for a partition: offset and text. Waits for a transaction that is about to commit it.
    pub(super) fn committed(&self, topic: &str, partition: i32) -> Result<Option<(i64, String)>> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, partition);
        let answer = self.client.committed_offsets(asked, 6 * ANSWER_WAIT).map_err(|e| self.trouble(&e))?;
        let elements = answer.elements();
        let Some(element) = elements.first() else { return Ok(None) };
        element.error().map_err(|e| self.trouble(&e))?;
        Ok(match element.offset() {
            Offset::Offset(offset) => Some((offset, element.metadata().to_owned())),
            _ => None,
        })
    }

    /// The group's metadata, for offsets that a transaction commits.
    pub(super) fn group(&self) -> Result<rdkafka::consumer::ConsumerGroupMetadata> {
        self.client.group_metadata().ok_or_else(|| Error::bug("a client with a group has its metadata"))
    }

    /// `error` with the brokers' name and what the client complained about meanwhile.
    fn trouble(&self, error: &KafkaError) -> Error {
        // Complaints come as events; nothing else does, for this client reads nothing.
        while self.client.poll(Duration::ZERO).is_some() {}
        unreachable_brokers(&self.brokers, error, self.client.context().take())
    }
}

/// An `External` error that names the brokers and the reason.
pub(super) fn unreachable_brokers(brokers: &str, error: &KafkaError, complaint: Option<String>) -> Error {
    let reason = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
    let error = Error::external(format!("kafka at {brokers}: {reason}"));
    match complaint {
        Some(complaint) => error.with_detail(complaint),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::steady;

    #[test]
    fn a_complaint_is_the_same_at_every_try() {
        let one = "localhost:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)";
        let other = "localhost:1/bootstrap: Connect to ipv6#[::1]:1 failed: Connection refused (after 2ms in state CONNECT, 3 identical error(s) suppressed)";
        assert_eq!(
            (steady(one), steady(other)),
            ("localhost:1/bootstrap: Connection refused".into(), "localhost:1/bootstrap: Connection refused".into())
        );
        assert_eq!(steady("SASL authentication failed"), "SASL authentication failed");
    }
}
