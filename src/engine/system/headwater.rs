//! Schema `headwater`: how sources, views, sinks, operators, checkpoints, epochs, settings, sessions and jobs stand.

use super::relation::{Cell, Facts, Relation, row};
use headwater_types::{Epoch, Micros, ObjectId};

/// How the database stands at one moment, as the engine reports it.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// What the epoch loop says: epochs, sources, views, sinks.
    pub runtime: headwater_runtime::Status,
    /// Checkpoints that this process has taken, oldest first; as many as the engine remembers.
    pub checkpoints: Vec<CheckpointStatus>,
    /// Who is connected.
    pub sessions: Vec<SessionStatus>,
}

/// A checkpoint in the object store.
#[derive(Debug, Clone)]
pub struct CheckpointStatus {
    /// Its number in the chain of manifests.
    pub number: u64,
    /// The epoch that it holds.
    pub epoch: Epoch,
    /// When it was taken.
    pub taken_at_us: Micros,
    /// Bytes uploaded for it.
    pub bytes: u64,
    /// How long taking and uploading it lasted.
    pub duration_us: Micros,
}

/// A session.
#[derive(Debug, Clone)]
pub struct SessionStatus {
    /// The number that `pg_backend_pid()` says.
    pub pid: i32,
    /// Who.
    pub user: String,
    /// `application_name`.
    pub application: String,
    /// Address and port of the client; none inside the process.
    pub client: Option<String>,
    /// `active`, `idle`, `idle in transaction` or `idle in transaction (aborted)`.
    pub state: &'static str,
    /// The statement that runs, or ran last.
    pub statement: String,
    /// When it connected.
    pub connected_at_us: Micros,
    /// When that statement began.
    pub statement_at_us: Option<Micros>,
}

/// What the settings do, by name. The others are there because drivers set them; they do nothing here.
const SETTINGS: &[(&str, &str)] = &[
    ("application_name", "Name of the client's program, shown in headwater.sessions."),
    ("background_ddl", "CREATE MATERIALIZED VIEW returns at once; its progress is in headwater.jobs."),
    ("client_encoding", "Encoding of text on the wire: always UTF8."),
    ("client_min_messages", "Least severity of the messages sent to the client."),
    ("DateStyle", "Form of dates and times: always ISO, MDY."),
    ("IntervalStyle", "Form of intervals: always postgres."),
    ("integer_datetimes", "Times are counted in whole microseconds: always on."),
    ("search_path", "Schemas in which unqualified names are looked up."),
    ("server_encoding", "Encoding of stored text: always UTF8."),
    ("server_version", "The version of PostgreSQL whose dialect is spoken, and ours."),
    ("server_version_num", "The same as a number."),
    ("standard_conforming_strings", "Backslashes in plain literals are taken as they are: always on."),
    ("statement_timeout", "Milliseconds (or with a unit, as 30s) after which a statement is cancelled; 0 means never."),
    ("TimeZone", "Zone in which times with time zone are shown: always UTC."),
];

/// What the setting `name` does.
#[must_use]
pub fn describe_setting(name: &str) -> &'static str {
    SETTINGS.iter().find(|s| s.0 == name).map_or("Kept for clients that set it; nothing depends on it.", |s| s.1)
}

fn name_of(facts: &Facts, id: ObjectId) -> Cell {
    Cell::from(facts.catalog.get(id).map(|o| o.name.clone()))
}

pub const SOURCES: Relation = Relation {
    schema: "headwater",
    name: "sources",
    columns: "name text, partition text, state text, position text, lag int8, max_event_time timestamp, watermark timestamp, idle bool, \
        rows int8, errors int8, retries int8, message text, read_by texts",
    rows: |facts| {
        let mut rows = Vec::new();
        for source in &facts.status.runtime.sources {
            let readers: Vec<String> = source.subscribers.iter().filter_map(|id| facts.catalog.get(*id)).map(|o| o.name.clone()).collect();
            let message = facts.status.runtime.paused.clone().or_else(|| source.message.clone());
            let mut push = |partition: Option<&headwater_runtime::PartitionStatus>| {
                rows.push(row![
                    name_of(facts, source.id),
                    partition.map(|p| p.partition.as_str()),
                    if partition.is_some_and(|p| p.closed) { "finished" } else { source.state },
                    partition.and_then(|p| p.position.as_deref()),
                    partition.and_then(|p| p.lag),
                    partition.and_then(|p| p.max_event_time),
                    source.watermark,
                    partition.is_some_and(|p| p.idle),
                    source.rows,
                    source.errors,
                    source.retries,
                    message.as_deref(),
                    readers.clone(),
                ]);
            };
            if source.partitions.is_empty() {
                push(None);
            }
            source.partitions.iter().for_each(|p| push(Some(p)));
        }
        rows
    },
};

pub const VIEWS: Relation = Relation {
    schema: "headwater",
    name: "views",
    columns: "name text, state text, rows int8, state_bytes int8, late int8, errors int8, watermark timestamp, epoch int8, \
        freshness timestamptz, error text",
    rows: |facts| {
        let runtime = &facts.status.runtime;
        let view = |v: &headwater_runtime::ViewStatus| {
            let is_live = v.is_live;
            row![
                name_of(facts, v.id),
                match (is_live, &v.error) {
                    (true, _) => "live",
                    (false, None) => "catching up",
                    (false, Some(_)) => "failed",
                },
                v.rows,
                v.state_bytes,
                v.late,
                v.errors,
                v.watermark,
                is_live.then_some(runtime.epoch.0),
                is_live.then_some(runtime.now),
                v.error.as_deref(),
            ]
        };
        runtime.views.iter().map(view).collect()
    },
};

pub const SINKS: Relation = Relation {
    schema: "headwater",
    name: "sinks",
    columns: "name text, connector text, state text, delivered_epoch int8, backlog_bytes int8, retries int8, message text",
    rows: |facts| {
        let sink = |s: &headwater_runtime::SinkStatus| {
            let connector = facts.catalog.get(s.id).and_then(|o| match &o.kind {
                headwater_catalog::ObjectKind::Sink(sink) => Some(sink.connector.clone()),
                _ => None,
            });
            let state = match &s.message {
                _ if s.stopped => "stopped",
                Some(_) => "waiting",
                None => "running",
            };
            row![name_of(facts, s.id), connector, state, s.delivered.map(|e| e.0), s.backlog_bytes, s.retries, s.message.as_deref()]
        };
        facts.status.runtime.sinks.iter().map(sink).collect()
    },
};

pub const OPERATORS: Relation = Relation {
    schema: "headwater",
    name: "operators",
    columns: "view text, number int4, operator text, rows int8, bytes int8",
    rows: |facts| {
        let mut rows = Vec::new();
        for view in &facts.status.runtime.views {
            for (number, (operator, kept, bytes)) in view.operators.iter().enumerate() {
                rows.push(row![name_of(facts, view.id), number, operator.as_str(), *kept, *bytes]);
            }
        }
        rows
    },
};

pub const CHECKPOINTS: Relation = Relation {
    schema: "headwater",
    name: "checkpoints",
    columns: "number int8, epoch int8, taken_at timestamptz, bytes int8, duration_us int8",
    rows: |facts| facts.status.checkpoints.iter().map(|c| row![c.number, c.epoch.0, c.taken_at_us, c.bytes, c.duration_us]).collect(),
};

pub const EPOCHS: Relation = Relation {
    schema: "headwater",
    name: "epochs",
    columns: "epoch int8, time timestamptz, rows int8, duration_us int8",
    rows: |facts| {
        let epoch =
            |e: &headwater_runtime::EpochStatus| row![e.epoch.0, e.now, e.rows, u64::try_from(e.duration.as_micros()).unwrap_or(u64::MAX)];
        facts.status.runtime.epochs.iter().map(epoch).collect()
    },
};

pub const SETTINGS_RELATION: Relation = Relation {
    schema: "headwater",
    name: "settings",
    columns: "name text, value text, description text",
    rows: |facts| facts.settings.all().map(|(name, value)| row![name, value, describe_setting(name)]).collect(),
};

pub const SESSIONS: Relation = Relation {
    schema: "headwater",
    name: "sessions",
    columns: "pid int4, user text, application text, client text, state text, statement text, connected_at timestamptz, \
        statement_at timestamptz",
    rows: |facts| {
        let session = |s: &SessionStatus| {
            row![
                s.pid,
                s.user.as_str(),
                s.application.as_str(),
                s.client.as_deref(),
                s.state,
                s.statement.as_str(),
                s.connected_at_us,
                s.statement_at_us,
            ]
        };
        facts.status.sessions.iter().map(session).collect()
    },
};

pub const JOBS: Relation = Relation {
    schema: "headwater",
    name: "jobs",
    columns: "object text, kind text, state text, rows int8, rows_total int8, message text",
    rows: |facts| {
        let job =
            |j: &headwater_runtime::JobStatus| row![name_of(facts, j.object), j.kind, j.state, j.rows, j.rows_total, j.message.as_deref()];
        facts.status.runtime.jobs.iter().map(job).collect()
    },
};
