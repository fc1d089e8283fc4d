//! The topics and the table of one run: made, filled and read without the database.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::events::{Counts, Event, Key};

const WAIT: Duration = Duration::from_secs(30);
const PARTITIONS: i32 = 4;
/// How long the broker may take to write what it was given.
const FLUSH: Duration = Duration::from_secs(120);

/// Where everything is.
#[derive(Clone)]
pub struct Outside {
    pub brokers: String,
    pub postgres: String,
    /// Part of every name of this run.
    pub run: String,
    /// None until something is produced.
    pub producer: Arc<Mutex<Option<BaseProducer>>>,
}

impl Outside {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    pub fn topic_in(&self) -> String {
        format!("{}-email-opened", self.run)
    }

    pub fn topic_out(&self) -> String {
        format!("{}-opens", self.run)
    }

    pub async fn create(&self) {
        let admin: AdminClient<DefaultClientContext> = self.config().create().expect("an admin client");
        let (from, to) = (self.topic_in(), self.topic_out());
        let source = NewTopic::new(&from, PARTITIONS, TopicReplication::Fixed(1));
        let target = NewTopic::new(&to, PARTITIONS, TopicReplication::Fixed(1)).set("cleanup.policy", "compact");
        for made in admin.create_topics([&source, &target], &AdminOptions::new()).await.expect("the broker answers") {
            made.expect("a new topic");
        }
        let columns = "window_start timestamp, email_id bigint, opens bigint, readers bigint, total bigint, least bigint, greatest bigint";
        let table = format!("CREATE SCHEMA {0}; CREATE TABLE {0}.opens ({columns}, PRIMARY KEY (window_start, email_id))", self.run);
        self.client().await.batch_execute(&table).await.expect("a new table");
    }

    async fn client(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.postgres, tokio_postgres::NoTls).await.expect("PostgreSQL answers");
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(connection);
        driver.detach_all();
        client
    }

    fn connected(&self) -> BaseProducer {
        self.config().set("enable.idempotence", "true").set("linger.ms", "2").create().expect("a producer")
    }

    /// Writes the events over `seconds`, evenly, and lets others take the producer between two slices of them.
    pub fn produce(&self, events: &[Event], seconds: u64) {
        *self.producer() = Some(self.connected());
        let (topic, slices) = (self.topic_in(), seconds * 50);
        let slice = events.len().div_ceil(usize::try_from(slices).expect("few")).max(1);
        for (begin, slice) in (0..).step_by(slice).zip(events.chunks(slice)) {
            let turn = self.producer();
            let producer = turn.as_ref().expect("connected above");
            for (number, event) in (begin..).zip(slice) {
                let partition = number % PARTITIONS;
                let text = event.text();
                while let Err((error, _)) = producer.send(BaseRecord::<str, str>::to(&topic).partition(partition).payload(&text)) {
                    assert_eq!(error.rdkafka_error_code(), Some(rdkafka::error::RDKafkaErrorCode::QueueFull), "{error}");
                    producer.poll(Duration::from_millis(5));
                }
            }
            producer.poll(Duration::ZERO);
            drop(turn);
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Self::flush(self.producer().as_ref());
    }

    fn flush(producer: Option<&BaseProducer>) {
        producer.map_or(Ok(()), |p| p.flush(FLUSH)).expect("every event is written");
    }

    fn producer(&self) -> MutexGuard<'_, Option<BaseProducer>> {
        self.producer.lock().expect("nobody panics with the producer in hand")
    }

    /// Does `work` to the broker while nothing is on its way there. The producer is a new one afterwards: what was written is counted, so it must
    /// not depend on a client that lived through a broker's death.
    pub fn without_producer(&self, work: impl FnOnce()) {
        let mut producer = self.producer();
        Self::flush(producer.as_ref());
        work();
        if producer.is_some() {
            *producer = Some(self.connected());
        }
    }

    /// The rows of the table.
    pub async fn table(&self) -> BTreeMap<Key, Counts> {
        let micros = "(extract(epoch from window_start) * 1000000)::bigint";
        let sql = format!("SELECT {micros}, email_id, opens, readers, total, least, greatest FROM {}.opens", self.run);
        let rows = self.client().await.query(&sql, &[]).await.expect("the table is there");
        rows.iter().map(|r| ((r.get(0), r.get(1)), (r.get(2), r.get(3), r.get(4), r.get(5), r.get(6)))).collect()
    }

    /// What compaction would leave of the topic, and how many committed records it holds.
    pub fn compacted(&self) -> (BTreeMap<String, serde_json::Value>, usize) {
        let mut config = self.config();
        config.set("group.id", "test").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.set("isolation.level", "read_committed").create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(&self.topic_out(), partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("assigned");
        let (mut live, mut open, mut records) = (BTreeMap::new(), PARTITIONS, 0);
        while open > 0 {
            match consumer.poll(WAIT).expect("the topic can be read to its end") {
                Ok(message) => {
                    records += 1;
                    let key = String::from_utf8(message.key().expect("a key").to_vec()).expect("text");
                    match message.payload() {
                        Some(value) => live.insert(key, serde_json::from_slice(value).expect("JSON")),
                        None => live.remove(&key),
                    };
                }
                Err(KafkaError::PartitionEOF(_)) => open -= 1,
                Err(error) => panic!("{error}"),
            }
        }
        (live, records)
    }
}

/// Runs `script/services VERB NAME`.
pub fn services(verb: &str, name: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../script/services");
    let status = Command::new(script).args([verb, name]).status().expect("script/services starts");
    assert!(status.success(), "script/services {verb} {name}");
}
