//! The options of Kafka sources and sinks, checked and turned into librdkafka's configuration.

use headwater_types::{Error, Result};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;

use crate::{OptionSpec, Options};

const TOPIC: OptionSpec = OptionSpec { name: "topic", about: "the topic to read or to write", required: true };
const PROPERTIES: OptionSpec = OptionSpec {
    name: "properties.*",
    about: "passed to librdkafka without the prefix: 'properties.bootstrap.server' (needed), 'properties.security.protocol', …",
    required: false,
};

pub(super) const SOURCE_OPTIONS: &[OptionSpec] = &[
    TOPIC,
    PROPERTIES,
    OptionSpec { name: "scan.startup.mode", about: "'earliest' (default), 'latest', 'timestamp' or 'offsets'", required: false },
    OptionSpec { name: "scan.startup.timestamp.millis", about: "with mode 'timestamp': milliseconds since 1970 UTC", required: false },
    OptionSpec { name: "scan.startup.offsets", about: "with mode 'offsets': 'partition:offset,…'", required: false },
];

pub(super) const SINK_OPTIONS: &[OptionSpec] = &[TOPIC, PROPERTIES];

/// Properties on which exactly-once rests, and why they are not the user's.
const OURS: &[(&str, &str)] = &[
    ("auto.offset.reset", "an offset that is out of range is an error here, never a reset"),
    ("enable.auto.commit", "positions are kept in this database"),
    ("enable.auto.offset.store", "positions are kept in this database"),
    ("enable.partition.eof", "the ends of partitions decide when one is idle"),
    ("transactional.id", "it is the sink's own name"),
    ("enable.idempotence", "sinks are transactional"),
];

/// Where a source that was never read begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Startup {
    /// At the oldest record.
    Earliest,
    /// Behind the newest record of now.
    Latest,
    /// At the first record of this time or later, in milliseconds since 1970 UTC.
    Timestamp(i64),
    /// At these offsets; partitions that are not listed at their oldest record.
    Offsets(Vec<(i32, i64)>),
}

/// What a source and a sink have in common: where the topic is, and how to talk to its brokers.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) topic: String,
    pub(super) brokers: String,
    properties: Vec<(String, String)>,
}

impl Settings {
    /// Reads `options`, whose names are known to be right; `what` names the source or sink in messages.
    pub(super) fn new(what: &str, options: &Options) -> Result<Self> {
        let topic = options.get("topic").cloned().unwrap_or_default();
        if topic.is_empty() || topic.contains('\0') {
            return Err(Error::invalid(format!("{what} needs the option 'topic'")));
        }
        let mut brokers = None;
        let mut properties = Vec::new();
        for (name, value) in options {
            let Some(name) = name.strip_prefix("properties.") else { continue };
            if let Some((_, why)) = OURS.iter().find(|(ours, _)| *ours == name) {
                return Err(Error::invalid(format!("{what} cannot set 'properties.{name}'")).with_detail(*why));
            }
            match name {
                "bootstrap.server" | "bootstrap.servers" | "metadata.broker.list" => brokers = Some(value.clone()),
                _ => properties.push((name.to_owned(), value.clone())),
            }
        }
        let brokers = brokers.filter(|b| !b.is_empty()).ok_or_else(|| {
            Error::invalid(format!("{what} needs the option 'properties.bootstrap.server'")).with_hint("'host:port,…' of the brokers")
        })?;
        let settings = Self { topic, brokers, properties };
        settings.check(what)?;
        Ok(settings)
    }

    /// Has librdkafka look at names and values of the properties, without connecting.
    fn check(&self, what: &str) -> Result<()> {
        match self.client("headwater", &[]).create_native_config() {
            Ok(_) => Ok(()),
            Err(KafkaError::ClientConfig(_, reason, name, _)) => {
                Err(Error::invalid(format!("{what} cannot set 'properties.{name}'")).with_detail(reason))
            }
            Err(error) => Err(Error::invalid(format!("{what}: {error}"))),
        }
    }

    /// A client's configuration: defaults of ours, then the user's properties, then what must hold.
    fn client(&self, group: &str, fixed: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("client.id", "headwater")
            .set("group.id", group)
            .set("isolation.level", "read_committed")
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.max.ms", "2000")
            .set_log_level(RDKafkaLogLevel::Warning);
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.brokers);
        for (name, value) in fixed {
            config.set(*name, *value);
        }
        config
    }

    /// A client that only asks questions: of `group`, if they are about its offsets.
    pub(super) fn asker(&self, group: &str) -> ClientConfig {
        self.client(group, &[("group.id", group), ("isolation.level", "read_committed"), ("enable.auto.commit", "false")])
    }

    /// A client that reads records. It answers within milliseconds of a record's arrival, and reads ahead by at most 64 MiB.
    pub(super) fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client(
            group,
            &[
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("enable.partition.eof", "true"),
                ("auto.offset.reset", "error"),
                // A reader may be kept waiting as long as the database has no room.
                ("max.poll.interval.ms", "86400000"),
            ],
        );
        let defaults = [
            // A fetch waits at the broker for the first byte, so small waits gain nothing; a second of pause when the queue is full costs much.
            ("fetch.wait.max.ms", "100"),
            ("fetch.min.bytes", "1"),
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.error.backoff.ms", "100"),
            ("queued.min.messages", "200000"),
            ("queued.max.messages.kbytes", "65536"),
        ];
        for (name, value) in defaults {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        // The reader's queue is drained past the wrapper that would route log lines; the asker beside it reports the same troubles.
        config.set_log_level(RDKafkaLogLevel::Emerg);
        config
    }

    /// A producer whose transactions carry `id`.
    pub(super) fn producer(&self, id: &str) -> ClientConfig {
        let mut config = self.client(id, &[("transactional.id", id)]);
        config.remove("group.id").remove("isolation.level");
        let defaults = [
            // As Java clients hash keys, so that a record of a key lands where other writers put it.
            ("partitioner", "murmur2_random"),
            ("linger.ms", "1"),
            // A whole rewrite is one transaction.
            ("transaction.timeout.ms", "300000"),
            ("queue.buffering.max.kbytes", "65536"),
        ];
        for (name, value) in defaults {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        config
    }

    /// The group that a source names to its brokers. Nothing is committed under it.
    pub(super) fn group(&self, source: &str) -> String {
        let given = self.properties.iter().find(|(name, _)| name == "group.id");
        given.map_or_else(|| format!("headwater-{source}"), |(_, group)| group.clone())
    }
}

/// The start mode among `options`.
pub(super) fn startup(what: &str, options: &Options) -> Result<Startup> {
    let mode = options.get("scan.startup.mode").map_or("earliest", String::as_str);
    for (name, of) in [("scan.startup.timestamp.millis", "timestamp"), ("scan.startup.offsets", "offsets")] {
        match (options.contains_key(name), mode == of) {
            (true, false) => return Err(Error::invalid(format!("{what}: '{name}' goes with scan.startup.mode = '{of}'"))),
            (false, true) => return Err(Error::invalid(format!("{what}: scan.startup.mode = '{of}' needs '{name}'"))),
            _ => {}
        }
    }
    let value = |name: &str| options.get(name).map(String::as_str).unwrap_or_default();
    match mode {
        "earliest" => Ok(Startup::Earliest),
        "latest" => Ok(Startup::Latest),
        "timestamp" => {
            let millis = value("scan.startup.timestamp.millis");
            let millis = millis.parse().ok().filter(|m: &i64| *m >= 0);
            millis
                .map(Startup::Timestamp)
                .ok_or_else(|| Error::invalid(format!("{what}: 'scan.startup.timestamp.millis' is not a whole number")))
        }
        "offsets" => offsets(value("scan.startup.offsets"))
            .map(Startup::Offsets)
            .ok_or_else(|| Error::invalid(format!("{what}: 'scan.startup.offsets' is not of the form 'partition:offset,…'"))),
        other => Err(Error::invalid(format!("{what}: there is no scan.startup.mode '{other}'"))
            .with_hint("there are: earliest, latest, timestamp, offsets")),
    }
}

fn offsets(text: &str) -> Option<Vec<(i32, i64)>> {
    let pair = |part: &str| {
        let (partition, offset) = part.split_once(':')?;
        let (partition, offset): (i32, i64) = (partition.trim().parse().ok()?, offset.trim().parse().ok()?);
        (partition >= 0 && offset >= 0).then_some((partition, offset))
    };
    text.split(',').map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn start_modes_need_their_own_option_and_no_other() {
        let mode = |pairs: &[(&str, &str)]| startup("source 's'", &options(pairs));
        assert_eq!(mode(&[]).expect("the default"), Startup::Earliest);
        let given = mode(&[("scan.startup.mode", "offsets"), ("scan.startup.offsets", "0:5, 2:7")]);
        assert_eq!(given.expect("two partitions"), Startup::Offsets(vec![(0, 5), (2, 7)]));
        assert!(mode(&[("scan.startup.mode", "offsets"), ("scan.startup.offsets", "0:-5")]).is_err());
        assert!(mode(&[("scan.startup.mode", "latest"), ("scan.startup.offsets", "0:5")]).is_err());
        assert!(mode(&[("scan.startup.mode", "timestamp")]).is_err());
        assert!(mode(&[("scan.startup.mode", "group")]).is_err());
    }

    #[test]
    fn properties_are_checked_before_anything_is_asked() {
        let settings = |pairs: &[(&str, &str)]| Settings::new("source 's'", &options(pairs));
        let good = settings(&[("topic", "t"), ("properties.bootstrap.server", "h:1"), ("properties.fetch.min.bytes", "7")]);
        let good = good.expect("a property that librdkafka knows");
        assert_eq!(good.brokers, "h:1");
        assert_eq!(good.consumer("g").get("fetch.min.bytes"), Some("7"));
        for wrong in ["properties.fetch.min.bites", "properties.auto.offset.reset"] {
            let error = settings(&[("topic", "t"), ("properties.bootstrap.server", "h:1"), (wrong, "1")]).expect_err("refused");
            assert!(error.message().contains(wrong), "{error}");
        }
        assert!(settings(&[("topic", "t")]).is_err());
    }
}
