//! How old an event is when a client sees it: a broker, `headwater serve` in a process of its own, a steady producer, a client that asks again and
//! again over the Postgres wire.
//!
//! `freshness [--events-per-second N] [--seconds N] [--warm-up-seconds N] [--keys N]`, with `HEADWATER_KAFKA` set; `script/freshness` does all of
//! it. An event's age counts from the moment before it is given to the producer, hence before it arrives in Kafka, to the moment when the client
//! holds the first answer that contains it: linger, broker and the client's own pause between two questions are in it.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod ages;
mod producer;
mod server;

use std::sync::Arc;
use std::time::Duration;

use headwater::{Clock, Error, Result, SystemClock};

use crate::ages::Ages;
use crate::producer::{Producer, Rate};
use crate::server::Server;

/// Partitions of the topic. In each, events become visible in order.
const PARTITIONS: usize = 4;
/// The client's pause between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(1);

/// What is measured.
struct Plan {
    rate: Rate,
    /// Left out of the figures: connections are made, memory is touched for the first time.
    warm_up: Duration,
    keys: u64,
}

impl Plan {
    fn from_arguments() -> Self {
        let mut plan = Plan { rate: Rate { per_second: 10_000, seconds: 30 }, warm_up: Duration::from_secs(5), keys: 1_000 };
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { continue };
            let Ok(value) = value.parse() else { continue };
            match name.as_str() {
                "--events-per-second" => plan.rate.per_second = value,
                "--seconds" => plan.rate.seconds = value,
                "--warm-up-seconds" => plan.warm_up = Duration::from_secs(value),
                "--keys" => plan.keys = value,
                other => println!("{other} is not known"),
            }
        }
        plan
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let plan = Plan::from_arguments();
    let brokers = std::env::var("HEADWATER_KAFKA").map_err(|_| Error::invalid("HEADWATER_KAFKA is not set: script/services up kafka"))?;
    let clock = Arc::new(SystemClock::default());
    let topic = format!("freshness-{}", clock.now());
    producer::create_topic(&brokers, &topic, PARTITIONS).await?;
    let server = Server::start(&script(&brokers, &topic)).await?;
    let events = plan.rate.events(plan.warm_up);
    let producer = Producer::new(&brokers, &topic, (plan.keys, events), clock.clone())?;
    let ages = measure(&plan, &server, producer, &clock).await?;
    let Rate { per_second, seconds } = plan.rate;
    println!("{per_second} events/s into {PARTITIONS} partitions, {} keys, {seconds} s after {:?} of warm-up", plan.keys, plan.warm_up);
    ages.print();
    server.stop()
}

/// A windowed aggregate as the load, and the view that is asked: the latest event of each partition.
fn script(brokers: &str, topic: &str) -> String {
    format!(
        "CREATE SOURCE events (part INT, number BIGINT, key BIGINT, n BIGINT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '5 seconds')
         WITH (connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{brokers}') FORMAT PLAIN ENCODE JSON;
         CREATE MATERIALIZED VIEW totals AS SELECT window_start, key, count(*) AS events, sum(n) AS total, max(n) AS top
         FROM TUMBLE(events, at, INTERVAL '10 seconds') GROUP BY window_start, key;
         CREATE MATERIALIZED VIEW newest AS SELECT part, max(number) AS number FROM events GROUP BY part;"
    )
}

/// Produces on a thread of its own and asks until everything is visible.
async fn measure(plan: &Plan, server: &Server, producer: Producer, clock: &Arc<SystemClock>) -> Result<Ages> {
    let client = server.connect().await?;
    let ask = client.prepare("SELECT part, number FROM newest").await.map_err(|e| Error::external(e.to_string()))?;
    let sent = producer.sent();
    let per_second = plan.rate.per_second;
    let producing = std::thread::Builder::new().name("producer".into()).spawn(move || producer.run(per_second))?;
    let mut ages = Ages::new(PARTITIONS, sent.len(), plan.rate.first_counted(plan.warm_up));
    let mut producing = Some(producing);
    while !ages.complete() {
        if let Some(ended) = producing.take_if(|thread| thread.is_finished()) {
            ended.join().map_err(|_| Error::bug("the producer panicked"))??;
        }
        let asked = clock.elapsed();
        let rows = client.query(&ask, &[]).await.map_err(|e| Error::external(e.to_string()))?;
        let answered = clock.elapsed();
        ages.asked(answered - asked);
        for row in rows {
            let (partition, number): (i32, i64) = (row.get(0), row.get(1));
            ages.visible(usize::try_from(partition).unwrap_or(0), u64::try_from(number).unwrap_or(0), answered, &sent);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(ages)
}
