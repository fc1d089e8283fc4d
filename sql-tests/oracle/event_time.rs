//! The fuzz of event time: windows with and without EMIT ON WINDOW CLOSE over a disordered stream, against a slow reference that keeps every row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::slt::ScriptDatabase;
use headwater::Session;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Tally;
use super::run::with_small_chunks;
use super::values::pick;
use crate::scripts::views::{difference, lines};

/// 2025-01-01 00:00:00 in seconds since 1970.
const DAY: i64 = 1_735_689_600;

/// Runs `seed`.
///
/// # Errors
/// The first difference, with the statements that led to it.
pub fn run_seed(seed: u64) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let mut rng = SmallRng::seed_from_u64(seed);
        let database = with_small_chunks(&mut rng).await.map_err(|e| e.to_string())?;
        let session = Some(database.session().await.map_err(|e| e.to_string())?);
        let delay = *pick(&mut rng, &[0, 5, 60, 600]);
        let stream = Stream { delay, rows: Vec::new(), watermark: None, refused: 0, front: DAY + 6 * 3600 };
        let mut run = Run { rng, database, session, stream, views: Vec::new(), statements: Vec::new(), tally: Tally::default() };
        let result = run.steps().await;
        result.map_err(|message| format!("{message}\nafter:\n{};\n", run.statements.join(";\n")))?;
        run.database.close().await.map_err(|e| e.to_string())?;
        Ok(run.tally)
    })
}

/// A row of the stream; times in seconds since 1970.
#[derive(Clone)]
struct Event {
    key: &'static str,
    n: i64,
    at: i64,
}

/// The table `e` as the reference sees it.
struct Stream {
    delay: i64,
    rows: Vec<Event>,
    watermark: Option<i64>,
    /// Rows without a usable event time.
    refused: usize,
    /// Where the newest rows are.
    front: i64,
}

/// Windows of `size` seconds, a new one every `slide` seconds.
#[derive(Clone, Copy)]
struct Windows {
    slide: i64,
    size: i64,
    offset: i64,
}

impl Windows {
    fn random(rng: &mut SmallRng) -> Self {
        let size = *pick(rng, &[7, 10, 60, 600, 3600]);
        let slide = if rng.random_bool(0.6) { size } else { (size / *pick(rng, &[2, 3, 5])).max(1) };
        Self { slide, size, offset: *pick(rng, &[0, 0, 3]) }
    }

    /// Starts of the windows that hold `at`, found by trying each.
    fn starts(self, at: i64) -> Vec<i64> {
        let first = (at - self.size - self.offset).div_euclid(self.slide) * self.slide + self.offset;
        (0..).map(|n| first + n * self.slide).take_while(|start| *start <= at).filter(|start| start + self.size > at).collect()
    }

    fn sql(self) -> String {
        let Self { slide, size, offset } = self;
        if slide == size {
            return format!("TUMBLE(e, at, INTERVAL '{size} seconds', INTERVAL '{offset} seconds')");
        }
        format!("HOP(e, at, INTERVAL '{slide} seconds', INTERVAL '{size} seconds', INTERVAL '{offset} seconds')")
    }
}

struct View {
    name: String,
    windows: Windows,
    keyed: bool,
    on_close: bool,
    /// Rows that counted, with the start of the window in which they did.
    accepted: Vec<(i64, Event)>,
    late: usize,
}

impl View {
    fn create(&self) -> String {
        let key = if self.keyed { ", k" } else { "" };
        let emit = if self.on_close { " EMIT ON WINDOW CLOSE" } else { "" };
        format!(
            "CREATE MATERIALIZED VIEW {} AS SELECT window_start, window_end{key}, count(*) AS c, sum(n) AS s, min(n) AS lo, max(n) AS hi, \
             count(DISTINCT n) AS d FROM {} GROUP BY window_start, window_end{key}{emit}",
            self.name,
            self.windows.sql()
        )
    }

    /// Takes a row that comes while the watermark stands at `watermark`.
    fn take(&mut self, event: &Event, watermark: Option<i64>) {
        for start in self.windows.starts(event.at) {
            if watermark.is_some_and(|w| start + self.windows.size <= w) {
                self.late += 1;
            } else {
                self.accepted.push((start, event.clone()));
            }
        }
    }

    /// The rows the view must have.
    fn expected(&self, watermark: Option<i64>) -> Vec<String> {
        let mut groups: BTreeMap<(i64, &str), Vec<i64>> = BTreeMap::new();
        for (start, event) in &self.accepted {
            groups.entry((*start, if self.keyed { event.key } else { "" })).or_default().push(event.n);
        }
        let end = |start: i64| start + self.windows.size;
        let shown = groups.into_iter().filter(|((start, _), _)| !self.on_close || watermark.is_some_and(|w| end(*start) <= w));
        let mut lines: Vec<String> = shown
            .map(|((start, key), values)| {
                let key = if self.keyed { format!(" | {key}") } else { String::new() };
                let distinct: BTreeSet<&i64> = values.iter().collect();
                let (low, high) = (distinct.first().expect("a group has rows"), distinct.last().expect("a group has rows"));
                let (count, sum): (usize, i64) = (values.len(), values.iter().sum());
                format!("{} | {}{key} | {count} | {sum} | {low} | {high} | {}", time(start), time(end(start)), distinct.len())
            })
            .collect();
        lines.sort_unstable();
        lines
    }
}

/// A time of 2025-01-01 as PostgreSQL prints it.
fn time(at: i64) -> String {
    let second = at - DAY;
    assert!((0..86_400).contains(&second), "the fuzz keeps to one day");
    format!("2025-01-01 {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

struct Run {
    rng: SmallRng,
    database: Arc<ScriptDatabase>,
    session: Option<Session>,
    stream: Stream,
    views: Vec<View>,
    statements: Vec<String>,
    tally: Tally,
}

impl Run {
    async fn steps(&mut self) -> Result<(), String> {
        let delay = self.stream.delay;
        let columns = "k VARCHAR, n INT, at TIMESTAMP";
        self.execute(&format!("CREATE TABLE e ({columns}, WATERMARK FOR at AS at - INTERVAL '{delay} seconds') APPEND ONLY")).await?;
        for _ in 0..self.rng.random_range(1..4) {
            self.create_view().await?;
        }
        for _ in 0..self.rng.random_range(5..25) {
            match self.rng.random_range(0..20) {
                0 => self.create_view().await?,
                1..3 => self.crash().await?,
                _ => self.insert().await?,
            }
            self.compare().await?;
        }
        Ok(())
    }

    async fn execute(&mut self, sql: &str) -> Result<(), String> {
        self.statements.push(sql.to_string());
        let session = self.session.as_mut().expect("a session is open between kills");
        session.execute(sql).await.map(drop).map_err(|e| e.to_string())
    }

    async fn create_view(&mut self) -> Result<(), String> {
        let rng = &mut self.rng;
        let (windows, keyed, on_close) = (Windows::random(rng), rng.random_bool(0.5), rng.random_bool(0.5));
        let mut view = View { name: format!("v{}", self.views.len()), windows, keyed, on_close, accepted: Vec::new(), late: 0 };
        // A new view reads the rows that are there before any watermark reaches it.
        self.stream.rows.iter().for_each(|event| view.take(event, None));
        self.tally.views += 1;
        self.execute(&view.create()).await?;
        self.views.push(view);
        Ok(())
    }

    async fn crash(&mut self) -> Result<(), String> {
        self.statements.push("CRASH".to_string());
        self.session = None;
        self.database.crash().await.map_err(|e| format!("it does not open again: {e}"))?;
        self.session = Some(self.database.session().await.map_err(|e| e.to_string())?);
        Ok(())
    }

    /// One INSERT is one epoch: its rows are judged by the watermark before it.
    async fn insert(&mut self) -> Result<(), String> {
        let before = self.stream.watermark;
        let mut rows = Vec::new();
        if self.rng.random_ratio(1, 8) {
            // It goes to $errors and moves nothing.
            let at = pick(&mut self.rng, &["NULL", "'2999-01-01 00:00:00'"]);
            rows.push(format!("('a', 1, {at})"));
            self.stream.refused += 1;
        }
        for _ in 0..self.rng.random_range(1..12) {
            let (key, n) = (*pick(&mut self.rng, &["a", "b", "c"]), self.rng.random_range(-5..50));
            self.stream.front = (self.stream.front + self.rng.random_range(0..40)).min(DAY + 20 * 3600);
            let disorder = *pick(&mut self.rng, &[0, 0, 3, 30, 900]);
            let at = self.stream.front - if disorder == 0 { 0 } else { self.rng.random_range(0..disorder) };
            rows.push(format!("('{key}', {n}, '{}')", time(at)));
            let event = Event { key, n, at };
            self.views.iter_mut().for_each(|view| view.take(&event, before));
            self.stream.watermark = self.stream.watermark.max(Some(at - self.stream.delay));
            self.stream.rows.push(event);
        }
        self.execute(&format!("INSERT INTO e VALUES {}", rows.join(", "))).await
    }

    async fn compare(&mut self) -> Result<(), String> {
        let watermark = self.stream.watermark;
        for at in 0..self.views.len() {
            let name = self.views[at].name.clone();
            let rows = self.read(&format!("SELECT * FROM {name}")).await?;
            let expected = self.views[at].expected(watermark);
            if rows != expected {
                return Err(difference(&name, &rows, &expected));
            }
            let late = self.read(&format!("SELECT coalesce(sum(weight), 0) FROM {name}$late")).await?;
            if late != [self.views[at].late.to_string()] {
                return Err(format!("{name}$late holds {late:?} rows, not {}", self.views[at].late));
            }
            self.tally.comparisons += 1;
        }
        let rows = self.read("SELECT (SELECT count(*) FROM e), (SELECT count(*) FROM e$errors)").await?;
        let expected = format!("{} | {}", self.stream.rows.len(), self.stream.refused);
        if rows != [expected.as_str()] {
            return Err(format!("e and its $errors hold {rows:?} rows, not {expected}"));
        }
        Ok(())
    }

    async fn read(&mut self, sql: &str) -> Result<Vec<String>, String> {
        let session = self.session.as_mut().expect("a session is open between kills");
        let rows = session.query(sql).await.map_err(|e| format!("{sql}: {e}"))?;
        lines(&rows).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_aligned_to_1970() {
        let tumble = Windows { slide: 10, size: 10, offset: 3 };
        assert_eq!(tumble.starts(23), [23]);
        assert_eq!(tumble.starts(22), [13]);
        let hop = Windows { slide: 5, size: 20, offset: 0 };
        assert_eq!(hop.starts(20), [5, 10, 15, 20]);
        assert_eq!(Windows { slide: 3, size: 7, offset: 0 }.starts(7), [3, 6]);
    }
}
