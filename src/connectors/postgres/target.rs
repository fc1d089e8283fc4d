//! Looks at the table that a sink writes to: is it there, do its columns take the view's, is its key unique.

use headwater_types::{Error, Result};
use tokio_postgres::Client;

use super::connector::Settings;
use super::session::failed;
use super::types::pg_type;
use crate::SinkDefinition;

const FIND: &str = "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                    WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'f')";
/// A domain counts as what it is made of.
const COLUMNS: &str = "SELECT a.attname::text, b.typname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), \
                              a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', a.attgenerated <> '' OR a.attidentity = 'a' \
                       FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
                       JOIN pg_catalog.pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END \
                       WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";
/// A unique index on exactly these columns, whatever their order, that ON CONFLICT can use.
const UNIQUE: &str = "SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate \
                      AND i.indpred IS NULL AND i.indexprs IS NULL AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text COLLATE \"C\") \
                      FROM pg_catalog.unnest(i.indkey) WITH ORDINALITY k(number, at) JOIN pg_catalog.pg_attribute a \
                      ON a.attrelid = i.indrelid AND a.attnum = k.number WHERE k.at <= i.indnkeyatts) = $2::text[] LIMIT 1";

/// A column of the target.
struct Column {
    name: String,
    /// Its name in `pg_type`.
    type_name: String,
    /// Its type as PostgreSQL writes it, for people.
    type_text: String,
    /// NOT NULL without a default: an INSERT that leaves it out fails.
    needed: bool,
    /// The server computes it.
    computed: bool,
}

/// Checks the target, and returns the type names of the view's columns there, in the view's order.
///
/// # Errors
/// `Invalid`, naming the table or the column.
pub(super) async fn check_target(client: &Client, definition: &SinkDefinition, settings: &Settings) -> Result<Vec<String>> {
    let table = format!("\"{}\".\"{}\"", settings.schema, settings.table);
    let found = client.query_opt(FIND, &[&settings.schema, &settings.table]).await.map_err(|e| failed(&e))?;
    let Some(found) = found else { return Err(Error::invalid(format!("there is no table {table} in the target database"))) };
    let table_oid: u32 = found.get(0);
    let rows = client.query(COLUMNS, &[&table_oid]).await.map_err(|e| failed(&e))?;
    let columns: Vec<Column> = rows
        .iter()
        .map(|r| Column { name: r.get(0), type_name: r.get(1), type_text: r.get(2), needed: r.get(3), computed: r.get(4) })
        .collect();
    let mut types = Vec::new();
    for field in definition.schema.fields() {
        let column = columns.iter().find(|c| c.name == *field.name());
        let column = column.ok_or_else(|| Error::invalid(format!("table {table} has no column \"{}\"", field.name())))?;
        let wanted = pg_type(field)?;
        if column.computed {
            return Err(Error::invalid(format!(
                "column \"{}\" of table {table} is computed by PostgreSQL and cannot be written",
                column.name
            )));
        }
        if !wanted.fits.contains(&column.type_name.as_str()) {
            let sent = wanted.cast.unwrap_or(wanted.sent);
            return Err(Error::invalid(format!(
                "column \"{}\" of table {table} is {}, which does not take the view's {sent}",
                column.name, column.type_text
            ))
            .with_hint(format!("it would take: {}", wanted.fits.join(", "))));
        }
        types.push(column.type_name.clone());
    }
    let written = |name: &str| definition.schema.fields().iter().any(|f| f.name() == name);
    if let Some(needed) = columns.iter().find(|c| c.needed && !written(&c.name)) {
        let error =
            Error::invalid(format!("column \"{}\" of table {table} is NOT NULL without a default, and the view has none", needed.name));
        return Err(error);
    }
    if definition.upsert {
        check_key(client, definition, table_oid, &table).await?;
    }
    Ok(types)
}

async fn check_key(client: &Client, definition: &SinkDefinition, table_oid: u32, table: &str) -> Result<()> {
    let mut names: Vec<&str> = definition.key.iter().map(|&k| definition.schema.field(k).name().as_str()).collect();
    names.sort_unstable();
    if client.query_opt(UNIQUE, &[&table_oid, &names]).await.map_err(|e| failed(&e))?.is_none() {
        let names = names.join(", ");
        return Err(Error::invalid(format!("table {table} has no unique index on ({names}), the sink's primary_key"))
            .with_hint(format!("CREATE UNIQUE INDEX ON {table} ({names})")));
    }
    Ok(())
}
