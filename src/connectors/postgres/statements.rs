//! The SQL that a sink sends: one statement writes or deletes a whole batch, its columns as array parameters.

use headwater_types::Result;

use super::connector::Settings;
use super::types::pg_type;
use crate::SinkDefinition;

/// The statements of one sink.
#[derive(Debug, Clone)]
pub(super) struct Statements {
    /// Makes the table of marks.
    pub(super) create_marks: String,
    /// $1 sink. Waits for a transaction that is about to move the mark.
    pub(super) read_mark: String,
    /// $1 sink, $2 incarnation, $3 epoch, $4 incarnation before, $5 epoch before.
    pub(super) move_mark: String,
    /// $1 sink, $2 incarnation, $3 epoch; writes nothing if there is a mark.
    pub(super) first_mark: String,
    /// $1 sink, $2 incarnation, $3 epoch; whatever the mark was.
    pub(super) set_mark: String,
    /// Parameters: all columns of the view. Replaces rows of the same key in an upsert sink.
    pub(super) write: String,
    /// Parameters: the key columns, of which none is NULL.
    pub(super) delete: String,
    /// Parameters: the key columns, of which some may be NULL.
    pub(super) delete_nullable: String,
    /// Makes a table of keys that lives as long as the transaction.
    pub(super) create_keys: String,
    /// Parameters: the key columns.
    pub(super) add_keys: String,
    /// Deletes rows whose key is not in that table: the first those without a NULL in their key, the second the others.
    pub(super) delete_others: [String; 2],
}

const KEYS: &str = "pg_temp.headwater_keys";

impl Statements {
    /// `target_types` are the target's types of the view's columns, as `check_target` found them.
    pub(super) fn new(definition: &SinkDefinition, settings: &Settings, target_types: &[String]) -> Result<Self> {
        let schema = quoted(&settings.schema);
        let (table, marks) = (format!("{schema}.{}", quoted(&settings.table)), format!("{schema}.headwater_marks"));
        let all: Vec<usize> = (0..definition.schema.fields().len()).collect();
        let key = &definition.key;
        let names = |columns: &[usize]| list(columns, ", ", |c| quoted(definition.schema.field(c).name()));
        let sent = sent_columns(definition)?;
        let sent_key: Vec<Sent> = key.iter().map(|&k| sent[k]).collect();
        let equal = |other: &str, how: &str| {
            let numbered: Vec<usize> = (0..key.len()).collect();
            list(&numbered, " AND ", |at| {
                let (name, target) = (quoted(definition.schema.field(key[at]).name()), quoted(&target_types[key[at]]));
                format!("t.{name} {how} {other}.c{at}::pg_catalog.{target}")
            })
        };
        let null = list(key, " OR ", |k| format!("t.{} IS NULL", quoted(definition.schema.field(k).name())));
        let columns = sent_key.iter().enumerate().map(|(at, _)| format!("c{at}")).collect::<Vec<_>>().join(", ");
        let key_as = list(key, ", ", |k| quoted(definition.schema.field(k).name()));
        let delete = |how: &str| format!("DELETE FROM {table} t USING {} WHERE {}", unnest(&sent_key, "d"), equal("d", how));
        Ok(Self {
            create_marks: format!(
                "CREATE TABLE IF NOT EXISTS {marks} (sink uuid PRIMARY KEY, incarnation bigint NOT NULL, epoch bigint NOT NULL)"
            ),
            read_mark: format!("SELECT incarnation, epoch FROM {marks} WHERE sink = $1 FOR UPDATE"),
            move_mark: format!("UPDATE {marks} SET incarnation = $2, epoch = $3 WHERE sink = $1 AND incarnation = $4 AND epoch = $5"),
            first_mark: format!("INSERT INTO {marks} VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"),
            set_mark: format!("INSERT INTO {marks} VALUES ($1, $2, $3) ON CONFLICT (sink) DO UPDATE SET incarnation = $2, epoch = $3"),
            write: format!(
                "INSERT INTO {table} ({}) SELECT {} FROM {}{}",
                names(&all),
                selected(&sent),
                unnest(&sent, "d"),
                conflict(definition)
            ),
            delete: delete("="),
            delete_nullable: delete("IS NOT DISTINCT FROM"),
            create_keys: format!("CREATE TEMP TABLE headwater_keys({columns}) ON COMMIT DROP AS SELECT {key_as} FROM {table} WITH NO DATA"),
            add_keys: format!("INSERT INTO {KEYS} SELECT {} FROM {}", selected(&sent_key), unnest(&sent_key, "d")),
            delete_others: [
                format!("DELETE FROM {table} t WHERE NOT ({null}) AND NOT EXISTS (SELECT FROM {KEYS} k WHERE {})", equal("k", "=")),
                format!(
                    "DELETE FROM {table} t WHERE ({null}) AND NOT EXISTS (SELECT FROM {KEYS} k WHERE {})",
                    equal("k", "IS NOT DISTINCT FROM")
                ),
            ],
        })
    }
}

/// How a column is sent: element type of the parameter, and the cast of the elements where they are read.
type Sent = (&'static str, Option<&'static str>);

fn sent_columns(definition: &SinkDefinition) -> Result<Vec<Sent>> {
    definition.schema.fields().iter().map(|field| pg_type(field).map(|t| (t.sent, t.cast))).collect()
}

/// `unnest($1::int8[], $2::text[]) AS d(c0, c1)`.
fn unnest(sent: &[Sent], alias: &str) -> String {
    let parameters: Vec<String> = sent.iter().enumerate().map(|(at, (name, _))| format!("${}::{name}[]", at + 1)).collect();
    let columns: Vec<String> = (0..sent.len()).map(|at| format!("c{at}")).collect();
    format!("unnest({}) AS {alias}({})", parameters.join(", "), columns.join(", "))
}

fn selected(sent: &[Sent]) -> String {
    let column = |(at, (_, cast)): (usize, &Sent)| cast.map_or_else(|| format!("d.c{at}"), |cast| format!("d.c{at}::{cast}"));
    sent.iter().enumerate().map(column).collect::<Vec<_>>().join(", ")
}

fn conflict(definition: &SinkDefinition) -> String {
    if !definition.upsert {
        return String::new();
    }
    let name = |c: usize| quoted(definition.schema.field(c).name());
    let others: Vec<usize> = (0..definition.schema.fields().len()).filter(|c| !definition.key.contains(c)).collect();
    let action = if others.is_empty() {
        "NOTHING".to_owned()
    } else {
        format!("UPDATE SET {}", list(&others, ", ", |c| format!("{0} = EXCLUDED.{0}", name(c))))
    };
    format!(" ON CONFLICT ({}) DO {action}", list(&definition.key, ", ", name))
}

fn list(columns: &[usize], separator: &str, text: impl FnMut(usize) -> String) -> String {
    columns.iter().copied().map(text).collect::<Vec<_>>().join(separator)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
