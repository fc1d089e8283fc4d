//! Topics of a test's own: made, filled and read without the connector.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use headwater_types::{Clock, SystemClock};

use crate::Options;

pub(super) const WAIT: Duration = Duration::from_secs(20);

/// A topic that nobody else uses.
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) brokers: String,
}

/// A record as a test sees it: partition, key, value (none for a tombstone).
pub(super) type Read = (i32, Option<String>, Option<String>);

impl Topic {
    pub(super) async fn create(brokers: &str, partitions: i32) -> Self {
        let topic = Self { name: format!("test-{}", Uuid::new_v4()), brokers: brokers.to_owned() };
        let new = NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(1));
        let made =
            topic.admin().create_topics([&new], &AdminOptions::new().operation_timeout(Some(WAIT))).await.expect("the broker answers");
        made.into_iter().for_each(|result| {
            result.expect("a new topic");
        });
        topic
    }

    pub(super) fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("an admin client")
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    pub(super) async fn add_partitions(&self, count: usize) {
        let more = NewPartitions::new(&self.name, count);
        self.admin().create_partitions([&more], &AdminOptions::new()).await.expect("more partitions");
    }

    /// Deletes the records before `offset` of a partition, as retention would.
    pub(super) async fn delete_before(&self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.name, partition, Offset::Offset(offset)).expect("an offset");
        self.admin().delete_records(&list, &AdminOptions::new()).await.expect("deleted");
    }

    /// Options of a source or sink of this topic.
    pub(super) fn options(&self, more: &[(&str, &str)]) -> Options {
        let base = [("topic", self.name.as_str()), ("properties.bootstrap.server", self.brokers.as_str())];
        base.iter().chain(more).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    pub(super) fn producer(&self, transactional_id: Option<&str>) -> BaseProducer {
        let mut config = self.config();
        config.set("linger.ms", "0").set("queue.buffering.max.messages", "1000000");
        if let Some(id) = transactional_id {
            config.set("transactional.id", id);
        }
        config.create().expect("a producer")
    }

    /// Writes records (partition, value) with the key `k`, the header `h` and the timestamp 1,767,225,600,000 plus their index.
    pub(super) fn write<'a>(&self, producer: &BaseProducer, records: impl IntoIterator<Item = (i32, &'a str)>) {
        for (index, (partition, value)) in records.into_iter().enumerate() {
            let headers = OwnedHeaders::new().insert(Header { key: "h", value: Some("x") });
            let millis = 1_767_225_600_000 + i64::try_from(index).expect("few records");
            let record =
                || BaseRecord::to(&self.name).partition(partition).key("k").payload(value).timestamp(millis).headers(headers.clone());
            while let Err((error, _)) = producer.send(record()) {
                assert_eq!(error.rdkafka_error_code(), Some(rdkafka::error::RDKafkaErrorCode::QueueFull), "{error}");
                producer.poll(Duration::from_millis(10));
            }
        }
        let begun = SystemClock::default();
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::from_millis(1));
            assert!(begun.elapsed() < WAIT, "the broker does not take the records");
        }
    }

    /// Every committed record, partition by partition in order.
    pub(super) fn read(&self) -> Vec<Read> {
        let consumer = self.reader();
        let metadata = consumer.fetch_metadata(Some(&self.name), WAIT).expect("the broker answers");
        let partitions: Vec<i32> = metadata.topics()[0].partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
        let mut list = TopicPartitionList::new();
        for partition in &partitions {
            list.add_partition_offset(&self.name, *partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("assigned");
        let (mut records, mut open) = (Vec::new(), partitions.len());
        let text = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
        while open > 0 {
            match consumer.poll(WAIT).expect("the topic can be read to its end") {
                Ok(message) => records.push((message.partition(), text(message.key()), text(message.payload()))),
                Err(KafkaError::PartitionEOF(_)) => open -= 1,
                Err(error) => panic!("{error}"),
            }
        }
        records.sort_by_key(|record| record.0);
        records
    }

    pub(super) fn reader(&self) -> BaseConsumer {
        let mut config = self.config();
        config.set("group.id", "test").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        config.set("isolation.level", "read_committed").create().expect("a consumer")
    }

    /// What compaction would leave: the last value of every key, without tombstones, sorted.
    pub(super) fn compacted(&self) -> Vec<(String, String)> {
        let mut live = std::collections::BTreeMap::new();
        for (_, key, value) in self.read() {
            live.insert(key.expect("an upsert topic has keys"), value);
        }
        live.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}
