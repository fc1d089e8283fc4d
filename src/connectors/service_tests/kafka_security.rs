//! Kafka over TLS with a user and a password: read and written with the right ones, refused in words that say why with wrong ones.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use headwater_types::{Clock, Error, ErrorKind, SystemClock};

use super::kafka_topic::{Topic, WAIT};
use super::services::{service, skip};
use crate::{Connector, Encoding, Format, Options, SourceDefinition, SourceEvent, all};

/// Where the secure listener is, and the certificate that vouches for it.
fn listener(test: &str) -> Option<(String, String)> {
    match (std::env::var("HEADWATER_KAFKA_SASL"), std::env::var("HEADWATER_KAFKA_CERT")) {
        (Ok(address), Ok(certificate)) => Some((address, certificate)),
        _ => {
            skip(test, "HEADWATER_KAFKA_SASL is not set; script/services up kafka; . <(script/services env)");
            None
        }
    }
}

fn secure(address: &str, certificate: &str, password: &str) -> Options {
    let pairs = [
        ("bootstrap.server", address),
        ("security.protocol", "sasl_ssl"),
        ("ssl.ca.location", certificate),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "headwater"),
        ("sasl.password", password),
    ];
    pairs.iter().map(|(name, value)| (format!("properties.{name}"), (*value).to_owned())).collect()
}

fn definition(topic: &Topic, security: Options) -> SourceDefinition {
    let mut options = topic.options(&[]);
    options.extend(security);
    SourceDefinition {
        name: "src".into(),
        schema: Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)])),
        options,
        format: Format::Plain,
        encoding: Encoding::Json,
        encoding_options: Options::new(),
        includes: Vec::new(),
    }
}

fn kafka() -> Arc<dyn Connector> {
    all().get("kafka").expect("registered").clone()
}

fn refused(definition: &SourceDefinition) -> Error {
    kafka().check_source(definition).expect("the options are right");
    kafka().start(definition).expect_err("refused")
}

#[tokio::test]
async fn a_topic_is_read_over_tls_with_a_password() {
    let test = "a_topic_is_read_over_tls_with_a_password";
    let Some(plain) = service("HEADWATER_KAFKA", test).await else { return };
    let Some((address, certificate)) = listener(test) else { return };
    let topic = Topic::create(&plain.address, 1).await;
    topic.write(&topic.producer(None), [(0, "{\"n\":1}"), (0, "{\"n\":2}")]);
    let definition = definition(&topic, secure(&address, &certificate, "secret"));
    kafka().check_source(&definition).expect("the options are right");
    let start = kafka().start(&definition).expect("the broker answers");
    let clock = Arc::new(SystemClock::default());
    let mut readers = kafka().open_source(&definition, &start, 1, clock.clone()).expect("the broker answers");
    let (mut rows, mut events) = (0, Vec::new());
    while rows < 2 {
        assert!(clock.elapsed() < WAIT, "{rows} rows");
        readers[0].poll(Duration::from_millis(50), &mut events).expect("the reader goes on");
        for event in events.drain(..) {
            if let SourceEvent::Rows(batch) = event {
                rows += batch.rows.num_rows();
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_certificate_are_named() {
    let test = "a_wrong_password_and_an_unknown_certificate_are_named";
    let Some(plain) = service("HEADWATER_KAFKA", test).await else { return };
    let Some((address, certificate)) = listener(test) else { return };
    let topic = Topic::create(&plain.address, 1).await;
    let wrong = refused(&definition(&topic, secure(&address, &certificate, "wrong")));
    assert_eq!(wrong.kind(), ErrorKind::External);
    assert!(wrong.to_string().contains("Authentication failed"), "{wrong}");
    let mut unknown = secure(&address, &certificate, "secret");
    unknown.remove("properties.ssl.ca.location");
    let unknown = refused(&definition(&topic, unknown));
    assert!(unknown.to_string().to_lowercase().contains("certificate"), "{unknown}");
    let mut open = secure(&address, &certificate, "secret");
    open.insert("properties.security.protocol".into(), "plaintext".into());
    let open = refused(&definition(&topic, open));
    assert!(open.to_string().contains("kafka at"), "{open}");
}
