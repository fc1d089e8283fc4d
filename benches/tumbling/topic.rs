//! A Kafka topic of bids, as JSON records of about 150 bytes.

use std::time::Duration;

use arrow::array::RecordBatch;
use headwater::{Error, Result};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::input;

const PARTITIONS: i32 = 4;
const WAIT: Duration = Duration::from_secs(60);

/// A topic of this run's own.
pub struct Topic {
    brokers: String,
    name: String,
}

impl Topic {
    /// Makes a topic and writes the bids to it, batch by batch to one partition after the other. The last record of each partition is an hour
    /// later, so that every window before it closes.
    pub async fn fill(batches: &[RecordBatch]) -> Result<Self> {
        let brokers = std::env::var("HEADWATER_KAFKA").ok().filter(|b| !b.is_empty()).ok_or_else(|| {
            Error::invalid("input kafka needs the address of a broker in HEADWATER_KAFKA")
                .with_hint("script/services up kafka && . <(script/services env)")
        })?;
        let topic = Self { brokers, name: format!("tumbling-{}", std::process::id()) };
        let new = NewTopic::new(&topic.name, PARTITIONS, TopicReplication::Fixed(1));
        let made =
            topic.admin()?.create_topics([&new], &AdminOptions::new().operation_timeout(Some(WAIT))).await.map_err(|e| failed(&e))?;
        for result in made {
            result.map_err(|(name, code)| Error::external(format!("kafka: topic {name}: {code}")))?;
        }
        let producer: BaseProducer = topic.config().set("linger.ms", "50").set("batch.size", "1000000").create().map_err(|e| failed(&e))?;
        let mut record = Vec::new();
        for (batch, partition) in batches.iter().zip((0..PARTITIONS).cycle()) {
            for row in 0..batch.num_rows() {
                record.clear();
                input::write_json(batch, row, input::PADDING, &mut record)?;
                topic.send(&producer, partition, &record)?;
            }
        }
        let last = input::last_bid(batches)?;
        for partition in 0..PARTITIONS {
            record.clear();
            input::write_json(&last, 0, input::PADDING, &mut record)?;
            topic.send(&producer, partition, &record)?;
        }
        producer.flush(WAIT).map_err(|e| failed(&e))?;
        Ok(topic)
    }

    fn send(&self, producer: &BaseProducer, partition: i32, payload: &[u8]) -> Result<()> {
        let mut record = BaseRecord::<(), [u8]>::to(&self.name).partition(partition).payload(payload);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(failed(&error));
            }
            producer.poll(Duration::from_millis(10));
            record = back;
        }
        Ok(())
    }

    /// The options of the source that reads it.
    pub fn source(&self) -> String {
        let Self { brokers, name } = self;
        format!("WITH (connector = 'kafka', topic = '{name}', properties.bootstrap.server = '{brokers}') FORMAT PLAIN ENCODE JSON")
    }

    /// Deletes the topic.
    pub async fn delete(self) -> Result<()> {
        self.admin()?.delete_topics(&[&self.name], &AdminOptions::new()).await.map_err(|e| failed(&e))?;
        Ok(())
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        self.config().create().map_err(|e| failed(&e))
    }
}

fn failed(error: &KafkaError) -> Error {
    Error::external(format!("kafka: {error}"))
}
