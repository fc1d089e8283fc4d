//! Views that are created while events come: over a source, views, a table, and what stands beside them; each with a sink.

use headwater::Session;
use rand::Rng;
use rand::rngs::SmallRng;

use super::expected::{delivered, equal, rows};
use super::world::World;

/// The views' queries, with the same over what is kept.
const QUERIES: [(&str, &str); 6] = [
    ("SELECT k, count(*) AS c, max(n) AS hi FROM events GROUP BY k", "SELECT k, count(*) AS c, max(n) AS hi FROM everything GROUP BY k"),
    (
        "SELECT k, count(*) AS c, min(n) AS lo FROM everything GROUP BY k",
        "SELECT k, count(*) AS c, min(n) AS lo FROM everything GROUP BY k",
    ),
    ("SELECT k, c + 1 AS c FROM totals", "SELECT k, c + 1 AS c FROM totals"),
    ("SELECT id % 3 AS k, count(*) AS c FROM kept GROUP BY id % 3", "SELECT id % 3 AS k, count(*) AS c FROM kept GROUP BY id % 3"),
    (
        "SELECT e.k, count(*) AS c FROM events e JOIN everything v ON e.id = v.id GROUP BY e.k",
        "SELECT k, count(*) AS c FROM everything GROUP BY k",
    ),
    ("SELECT k, sum(weight) AS c FROM minutes$late GROUP BY k", "SELECT k, sum(weight) AS c FROM minutes$late GROUP BY k"),
];

/// The views that are there now.
#[derive(Default)]
pub struct LateViews {
    views: Vec<(String, &'static str)>,
    names: usize,
}

impl LateViews {
    /// A view of what came so far and will come, half the time in the background: a kill may come while it is catching up. Says what was done.
    ///
    /// # Errors
    /// Those of the statements.
    pub async fn create(&mut self, session: &mut Session, rng: &mut SmallRng) -> Result<String, String> {
        let (query, expected) = QUERIES[rng.random_range(0..QUERIES.len())];
        let name = format!("late_{}", self.names);
        self.names += 1;
        let background = if rng.random_bool(0.5) { "on" } else { "off" };
        let sink =
            format!("CREATE SINK {name}_out FROM {name} WITH (connector = 'world', type = 'upsert', primary_key = 'k', target = '{name}')");
        for sql in [format!("SET background_ddl = {background}"), format!("CREATE MATERIALIZED VIEW {name} AS {query}"), sink] {
            session.execute(&sql).await.map_err(|e| format!("{sql}: {e}"))?;
        }
        let done = format!("create {name}: {query}");
        self.views.push((name, expected));
        Ok(done)
    }

    /// Drops the youngest one with its sink. Says what was done.
    ///
    /// # Errors
    /// Those of the statements.
    pub async fn drop_youngest(&mut self, session: &mut Session) -> Result<String, String> {
        let Some((name, _)) = self.views.pop() else { return Ok("nothing to drop".to_owned()) };
        for sql in [format!("DROP SINK {name}_out"), format!("DROP MATERIALIZED VIEW {name}")] {
            session.execute(&sql).await.map_err(|e| format!("{sql}: {e}"))?;
        }
        Ok(format!("drop {name}"))
    }

    /// Each is its query, its sink's target too, and nothing is left to catch up.
    ///
    /// # Errors
    /// What differs.
    pub async fn check(&self, session: &mut Session, world: &World) -> Result<(), String> {
        for (name, expected) in &self.views {
            let expected = rows(session, expected).await?;
            equal(session, name, &format!("SELECT * FROM {name}"), &expected).await?;
            delivered(world, name, &expected).await?;
        }
        equal(session, "jobs", "SELECT object FROM headwater.jobs", &[]).await
    }
}
