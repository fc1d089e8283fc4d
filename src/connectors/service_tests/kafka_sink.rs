//! The Kafka sink: keys and tombstones, marks, fences, transactions that were left open, a killed broker.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_types::{ChangeBatch, Epoch, ErrorKind};
use rdkafka::producer::Producer;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::kafka_topic::{Topic, WAIT};
use super::services::{may_kill, service, services};
use crate::{Delivery, Encoding, Format, Mark, Options, Registry, Sink, SinkDefinition, all};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true), Field::new("v", DataType::Int64, true)]))
}

fn changes(rows: &[(&str, i64, i64)]) -> Vec<ChangeBatch> {
    let keys = StringArray::from_iter_values(rows.iter().map(|r| r.0));
    let values = Int64Array::from_iter_values(rows.iter().map(|r| r.1));
    let batch = RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(values)]).expect("two columns");
    vec![ChangeBatch::new(batch, rows.iter().map(|r| r.2).collect::<Vec<_>>()).expect("as many weights")]
}

fn definition(topic: &Topic, upsert: bool) -> SinkDefinition {
    SinkDefinition {
        name: "s".into(),
        uuid: Uuid::new_v4(),
        schema: schema(),
        key: if upsert { vec![0] } else { Vec::new() },
        upsert,
        options: topic.options(&[]),
        format: if upsert { Format::Upsert } else { Format::Plain },
        encoding: Encoding::Json,
        encoding_options: Options::new(),
    }
}

/// A sink of a process of its own.
fn open(definition: &SinkDefinition) -> Box<dyn Sink> {
    open_in(&all(), definition)
}

/// A sink of the process that `registry` stands for.
fn open_in(registry: &Registry, definition: &SinkDefinition) -> Box<dyn Sink> {
    let connector = registry.get("kafka").expect("registered");
    connector.check_sink(definition).expect("the options are right");
    connector.open_sink(definition).expect("the options are right")
}

fn delivery(sink: Uuid, before: Option<u64>, epoch: u64, changes: Vec<ChangeBatch>) -> Delivery {
    let mark = |epoch| Mark { sink, incarnation: 1, epoch: Epoch(epoch) };
    Delivery { before: before.map(mark), mark: mark(epoch), changes }
}

fn key(name: &str) -> String {
    format!("{{\"k\":\"{name}\"}}")
}

fn value(name: &str, v: i64) -> String {
    format!("{{\"k\":\"{name}\",\"v\":{v}}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn upserts_and_tombstones_follow_their_keys() {
    let Some(service) = service("HEADWATER_KAFKA", "upserts_and_tombstones_follow_their_keys").await else { return };
    let topic = Topic::create(&service.address, 3).await;
    let definition = definition(&topic, true);
    let mut sink = open(&definition);
    assert_eq!(sink.mark().await.expect("the topic is there"), None);
    sink.deliver(&delivery(definition.uuid, None, 1, changes(&[("a", 1, 1), ("b", 2, 1)]))).await.expect("first");
    sink.deliver(&delivery(definition.uuid, Some(1), 5, changes(&[("a", 1, -1), ("b", 2, -1), ("b", 3, 1)]))).await.expect("second");
    assert_eq!(topic.compacted(), [(key("b"), value("b", 3))]);
    let mut records: Vec<_> = topic.read().into_iter().map(|(_, k, v)| (k, v)).collect();
    records.sort();
    let expected = [("a", None), ("a", Some(1)), ("b", Some(2)), ("b", Some(3))];
    assert_eq!(records, expected.map(|(k, v)| (Some(key(k)), v.map(|v| value(k, v)))), "one tombstone, and none before a new value");
    drop(sink);
    let mark = open(&definition).mark().await.expect("a mark");
    assert_eq!(mark, Some(Mark { sink: definition.uuid, incarnation: 1, epoch: Epoch(5) }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_moved_stops_the_delivery() {
    let Some(service) = service("HEADWATER_KAFKA", "a_mark_that_moved_stops_the_delivery").await else { return };
    let topic = Topic::create(&service.address, 1).await;
    let definition = definition(&topic, false);
    let mut sink = open(&definition);
    sink.deliver(&delivery(definition.uuid, None, 2, changes(&[("a", 1, 2)]))).await.expect("first");
    let error = sink.deliver(&delivery(definition.uuid, None, 3, changes(&[("a", 1, 1)]))).await.expect_err("the mark is 2");
    assert_eq!(error.kind(), ErrorKind::External, "{error}");
    assert_eq!(topic.read().len(), 2, "weight 2 is two records, the second delivery none");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_the_first_to_deliver_wins() {
    let Some(service) = service("HEADWATER_KAFKA", "of_two_processes_the_first_to_deliver_wins").await else { return };
    let topic = Topic::create(&service.address, 1).await;
    let definition = definition(&topic, false);
    let (mut first, mut second) = (open(&definition), open(&definition));
    first.mark().await.expect("connected");
    second.mark().await.expect("takes the transactional id");
    // The second has only looked: the first takes the id back and goes on.
    first.deliver(&delivery(definition.uuid, None, 1, changes(&[("a", 1, 1)]))).await.expect("nobody else delivered");
    let error = second.deliver(&delivery(definition.uuid, None, 1, changes(&[("a", 1, 1)]))).await.expect_err("somebody else did");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert_eq!(topic.read().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_given_up_is_told_by_the_mark() {
    let Some(service) = service("HEADWATER_KAFKA", "a_delivery_given_up_is_told_by_the_mark").await else { return };
    let topic = Topic::create(&service.address, 1).await;
    let (definition, process) = (definition(&topic, false), all());
    let (mut sink, mut delivered, mut given_up) = (open_in(&process, &definition), 0, 0);
    for round in 0..60 {
        let next = delivery(definition.uuid, (delivered > 0).then_some(delivered), delivered + 1, changes(&[("a", 1, 1)]));
        let outcome = tokio::time::timeout(Duration::from_millis(round * 7 % 30), sink.deliver(&next)).await;
        match outcome {
            Ok(Ok(())) => delivered += 1,
            Ok(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::External, "{error}");
            }
            Err(_elapsed) => {
                given_up += 1;
                sink = open_in(&process, &definition);
                delivered = sink.mark().await.expect("the mark tells").map_or(0, |m| m.epoch.0);
            }
        }
    }
    drop(sink);
    let mark = open(&definition).mark().await.expect("the mark tells").map_or(0, |m| m.epoch.0);
    assert_eq!(topic.read().len() as u64, mark, "{given_up} given up");
    assert!(given_up > 0 && mark > 0, "{given_up} given up, {mark} delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_left_open_is_nothing() {
    let Some(service) = service("HEADWATER_KAFKA", "a_transaction_left_open_is_nothing").await else { return };
    let topic = Topic::create(&service.address, 1).await;
    let definition = definition(&topic, false);
    let dead = topic.producer(Some(&format!("headwater-{}", definition.uuid)));
    dead.init_transactions(WAIT).expect("a producer of the sink's name");
    dead.begin_transaction().expect("begun");
    topic.write(&dead, [(0, "half a delivery")]);
    let mut sink = open(&definition);
    assert_eq!(sink.mark().await.expect("takes over"), None);
    sink.deliver(&delivery(definition.uuid, None, 1, changes(&[("a", 1, 1)]))).await.expect("first");
    assert_eq!(topic.read(), [(0, None, Some(value("a", 1)))]);
    assert!(dead.commit_transaction(WAIT).is_err(), "it was fenced");
    assert_eq!(topic.read().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_buries_keys_that_the_view_has_not() {
    let Some(service) = service("HEADWATER_KAFKA", "a_rewrite_buries_keys_that_the_view_has_not").await else { return };
    let topic = Topic::create(&service.address, 2).await;
    let definition = definition(&topic, true);
    let mut sink = open(&definition);
    let before = changes(&[("a", 1, 1), ("b", 2, 1), ("c", 3, 1)]);
    sink.deliver(&delivery(definition.uuid, None, 7, before)).await.expect("first");
    topic.write(&topic.producer(None), [(0, "of another hand")]);
    let mark = Mark { sink: definition.uuid, incarnation: 2, epoch: Epoch(3) };
    sink.rewrite(changes(&[("b", 20, 1), ("d", 4, 1)]), mark).await.expect("rewritten");
    assert_eq!(topic.compacted(), [(key("b"), value("b", 20)), (key("d"), value("d", 4))]);
    assert_eq!(open(&definition).mark().await.expect("a mark"), Some(mark));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_named() {
    let Some(service) = service("HEADWATER_KAFKA", "a_missing_topic_is_named").await else { return };
    let missing = Topic { name: "no-such-topic".into(), brokers: service.address.clone() };
    let error = open(&definition(&missing, true)).mark().await.expect_err("there is none");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.message().contains("no-such-topic"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_loses_and_repeats_nothing() {
    let test = "a_killed_broker_loses_and_repeats_nothing";
    let Some(service) = service("HEADWATER_KAFKA", test).await else { return };
    if !may_kill(test) {
        return;
    }
    let topic = Topic::create(&service.address, 2).await;
    let definition = definition(&topic, false);
    let mut killer = JoinSet::new();
    killer.spawn_blocking(|| {
        for _ in 0..3 {
            std::thread::park_timeout(Duration::from_millis(2500));
            services("kill", "kafka");
            services("up", "kafka");
        }
    });
    let (mut sink, mut delivered, mut failures) = (open(&definition), 0, 0);
    while !killer.is_empty() {
        let outcome =
            sink.deliver(&delivery(definition.uuid, (delivered > 0).then_some(delivered), delivered + 1, changes(&[("a", 1, 1)]))).await;
        match outcome {
            Ok(()) => delivered += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::External, "{error}");
                failures += 1;
                sink = open(&definition);
                match sink.mark().await {
                    Ok(mark) => delivered = mark.map_or(0, |m| m.epoch.0),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::External, "{error}"),
                }
            }
        }
        while let Some(done) = killer.try_join_next() {
            done.expect("the killer ends well");
        }
    }
    println!("{delivered} deliveries, {failures} failures");
    assert_eq!(topic.read().len() as u64, delivered);
}
