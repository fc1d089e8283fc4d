//! What statements are expected to parse, bind and plan to.

mod plans;
mod refused;
mod statements;
mod values;

use headwater_catalog::Catalog;
use headwater_types::{Error, Result};

use crate::{Bound, Extensions, Planner, Settings, parse};

/// Relations that most tests read.
const RELATIONS: &str = "
CREATE SOURCE opened (email BIGINT, reader BIGINT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '24 hours') WITH (connector = 'x');
CREATE TABLE t (id INT PRIMARY KEY, a INT, b BIGINT, s VARCHAR);
CREATE TABLE u (id INT PRIMARY KEY, t_id INT, n NUMERIC(10, 2));
CREATE TABLE events (k INT, v INT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '5 seconds') APPEND ONLY;
CREATE TABLE plain (k INT, at TIMESTAMP);
";

/// A planner, and a catalog that statements are bound against and create in.
struct World {
    planner: Planner,
    catalog: Catalog,
    settings: Settings,
    uuids: u128,
}

impl World {
    fn new() -> Self {
        let planner = Planner::new(Extensions::default()).expect("functions live together");
        Self { planner, catalog: Catalog::new(), settings: Settings::new("root", "dev"), uuids: 0 }
    }

    /// Binds each statement of `sql` and creates what it defines; the last one's outcome.
    fn bind(&mut self, sql: &str) -> Result<Bound> {
        let mut last = Bound::Flush;
        for statement in parse(sql)? {
            last = self.planner.bind(&statement, &self.catalog, &self.settings)?;
            self.uuids += 1;
            let uuid = uuid::Uuid::from_u128(self.uuids);
            match &last {
                Bound::CreateView(object) if object.id.0 != 0 => drop(self.catalog.replace(object.clone())?),
                Bound::CreateSource(object) | Bound::CreateTable(object) | Bound::CreateView(object) => {
                    drop(self.catalog.create(object.clone(), uuid)?)
                }
                Bound::CreateMaterializedView(object, _) | Bound::CreateSink(object, None) => {
                    drop(self.catalog.create(object.clone(), uuid)?)
                }
                Bound::Drop(_, objects) => {
                    for object in objects {
                        self.catalog.drop(object.id)?;
                    }
                }
                _ => {}
            }
        }
        Ok(last)
    }

    fn error(&mut self, sql: &str) -> Error {
        match self.bind(sql) {
            Ok(bound) => panic!("{sql}\nwas bound: {bound:?}"),
            Err(error) => error,
        }
    }

    /// The text that EXPLAIN, SHOW or DESCRIBE gives: a line a row, values between bars.
    fn rows(&mut self, sql: &str) -> String {
        use datafusion::arrow::array::{Array, AsArray};
        let Bound::Rows(_, batch) = self.bind(sql).unwrap_or_else(|e| panic!("{sql}\n{e:?}")) else { panic!("{sql} gives no rows") };
        let value = |row: usize, column: usize| {
            let values = batch.column(column).as_string::<i32>();
            if values.is_null(row) { "NULL".to_owned() } else { values.value(row).to_owned() }
        };
        let line = |row: usize| (0..batch.num_columns()).map(|column| value(row, column)).collect::<Vec<_>>().join(" | ");
        (0..batch.num_rows()).map(line).collect::<Vec<_>>().join("\n")
    }
}
