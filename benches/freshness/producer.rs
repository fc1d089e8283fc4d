//! A producer of so many events a second, evenly, that notes when it gave each away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater::{Clock, Error, Result, SystemClock};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use crate::PARTITIONS;
use crate::ages::Sent;

/// Events due since the last look are sent together.
const TICK: Duration = Duration::from_millis(1);

/// How many events, how long.
#[derive(Clone, Copy)]
pub struct Rate {
    pub per_second: u64,
    pub seconds: u64,
}

impl Rate {
    /// All events, those of the warm-up included.
    pub fn events(self, warm_up: Duration) -> usize {
        self.first_counted(warm_up) + usize::try_from(self.per_second * self.seconds).unwrap_or(usize::MAX)
    }

    /// The number of the first event after the warm-up.
    pub fn first_counted(self, warm_up: Duration) -> usize {
        usize::try_from(self.per_second * warm_up.as_secs()).unwrap_or(usize::MAX)
    }
}

/// A connection to the broker.
pub struct Producer {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
    keys: u64,
    clock: Arc<SystemClock>,
    sent: Sent,
}

/// Makes the topic.
///
/// # Errors
/// `External`: the broker refuses.
pub async fn create_topic(brokers: &str, topic: &str, partitions: usize) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", brokers).create().map_err(kafka)?;
    let count = i32::try_from(partitions).map_err(|_| Error::invalid("too many partitions"))?;
    let topic = NewTopic::new(topic, count, TopicReplication::Fixed(1));
    for made in admin.create_topics([&topic], &AdminOptions::new()).await.map_err(kafka)? {
        made.map_err(|(name, code)| Error::external(format!("kafka: {name}: {code}")))?;
    }
    Ok(())
}

impl Producer {
    /// A producer with events of `keys` keys; `events` says how many there will be at most.
    ///
    /// # Errors
    /// `External`.
    pub fn new(brokers: &str, topic: &str, (keys, events): (u64, usize), clock: Arc<SystemClock>) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("linger.ms", "1").set("socket.nagle.disable", "true");
        let sent = Arc::new((0..events).map(|_| Default::default()).collect());
        Ok(Self { producer: config.create().map_err(kafka)?, topic: topic.to_owned(), keys, clock, sent })
    }

    /// When each event was given away; filled while [`Producer::run`] runs.
    pub fn sent(&self) -> Sent {
        self.sent.clone()
    }

    /// Sends everything and waits until the broker has it.
    ///
    /// # Errors
    /// `External`.
    pub fn run(&self, per_second: u64) -> Result<()> {
        let start = self.clock.elapsed();
        let mut next = 0;
        while next < self.sent.len() {
            let passed = self.clock.elapsed() - start;
            let due = u128::from(per_second) * passed.as_micros() / 1_000_000;
            let due = usize::try_from(due).unwrap_or(usize::MAX).min(self.sent.len());
            for number in next..due {
                self.send(number)?;
            }
            next = due;
            std::thread::park_timeout(TICK);
        }
        self.producer.flush(Duration::from_secs(30)).map_err(kafka)
    }

    fn send(&self, number: usize) -> Result<()> {
        let (part, key, at) = (number % PARTITIONS, number as u64 * 7919 % self.keys, self.clock.now() / 1000);
        let text = format!("{{\"part\":{part},\"number\":{number},\"key\":{key},\"n\":{},\"at\":{at}}}", number % 100);
        self.sent[number].store(u64::try_from(self.clock.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
        let record = BaseRecord::<str, str>::to(&self.topic).partition(i32::try_from(part).unwrap_or(0)).payload(&text);
        self.producer.send(record).map_err(|(error, _)| kafka(error))
    }
}

fn kafka(error: rdkafka::error::KafkaError) -> Error {
    Error::external(format!("kafka: {error}"))
}
