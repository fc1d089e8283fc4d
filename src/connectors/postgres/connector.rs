//! The connector `postgres`: its options, and how its sinks are opened.

use std::path::PathBuf;

use headwater_types::{Error, Result};
use tokio_postgres::Config;

use super::sink::PostgresSink;
use super::types::pg_type;
use crate::{Connector, Encoding, Format, OptionSpec, Sink, SinkDefinition, check_options};

const SINK_OPTIONS: &[OptionSpec] = &[
    OptionSpec { name: "url", about: "'postgres://user:password@host:port/database?sslmode=…'", required: true },
    OptionSpec { name: "table", about: "the table to write; it must exist", required: true },
    OptionSpec { name: "schema", about: "the schema of the table, 'public' by default; the table of marks is made there", required: false },
    OptionSpec {
        name: "ssl.root.cert",
        about: "a PEM file with the certificates that the server's must go back to; by default those that browsers trust",
        required: false,
    },
];

/// Where a sink writes.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) root_cert: Option<PathBuf>,
}

/// Tables of PostgreSQL.
pub(crate) struct Postgres;

impl Connector for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn sink_options(&self) -> &'static [OptionSpec] {
        SINK_OPTIONS
    }

    fn check_sink(&self, definition: &SinkDefinition) -> Result<()> {
        settings(definition).map(|_| ())
    }

    fn open_sink(&self, definition: &SinkDefinition) -> Result<Box<dyn Sink>> {
        Ok(Box::new(PostgresSink::new(definition.clone(), settings(definition)?)))
    }
}

fn settings(definition: &SinkDefinition) -> Result<Settings> {
    let what = format!("sink '{}'", definition.name);
    check_options(&what, SINK_OPTIONS, &definition.options)?;
    if definition.format == Format::Upsert || matches!(definition.encoding, Encoding::Csv | Encoding::Parquet) {
        return Err(Error::invalid(format!("{what}: FORMAT … ENCODE … does not go with connector 'postgres'"))
            .with_hint("say type = 'upsert' or 'append-only'"));
    }
    if definition.upsert && definition.key.is_empty() {
        return Err(Error::invalid(format!("{what}: an upsert sink needs the option 'primary_key'")));
    }
    for field in definition.schema.fields() {
        pg_type(field).map_err(|e| e.context(&what))?;
    }
    let option = |name: &str| definition.options.get(name).cloned().unwrap_or_default();
    let config = option("url").parse::<Config>().map_err(|e| {
        let reason = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
        Error::invalid(format!("{what}: the url is not one of PostgreSQL: {reason}"))
    })?;
    if config.get_hosts().is_empty() {
        return Err(Error::invalid(format!("{what}: the url names no host")));
    }
    let schema = definition.options.get("schema").cloned().unwrap_or_else(|| "public".into());
    let root_cert = definition.options.get("ssl.root.cert").map(PathBuf::from);
    Ok(Settings { config, schema, table: option("table"), root_cert })
}
