//! Every form of statement, as parsed and bound.

use headwater_catalog::{ObjectKind, WhenIdle};

use super::World;
use crate::bound::{CopyOut, CursorQuery};
use crate::{Bound, parse};

fn world() -> World {
    let mut world = World::new();
    world.bind(super::RELATIONS).expect("relations");
    world
}

#[test]
fn a_text_is_split_into_statements_with_their_places() {
    let statements = parse("  SELECT 1;; -- nothing\n\n/* é */ FLUSH ;").expect("two statements");
    let found: Vec<(usize, &str)> = statements.iter().map(|s| (s.offset(), s.text())).collect();
    assert_eq!(found, [(2, "SELECT 1"), (33, "FLUSH")]);
    assert!(parse(" -- only a comment").expect("nothing").is_empty());
}

#[test]
fn a_source_has_columns_options_format_and_event_time() {
    let sql = "CREATE SOURCE IF NOT EXISTS s (
        id BIGINT NOT NULL, \"At\" TIMESTAMPTZ, tags VARCHAR[], u UUID,
        WATERMARK FOR \"At\" AS \"At\" - INTERVAL '5' MINUTE
      ) INCLUDE partition INCLUDE timestamp AS ts
      WITH (connector = 'kafka', topic = 'a.b', properties.bootstrap.server = 'localhost:9092', Rate = 5, flag = true,
            watermark.idle_timeout = '30s', watermark.max_ahead = '2 hours', watermark.when_idle = 'advance')
      FORMAT PLAIN ENCODE JSON (timestamp.format = 'micros')";
    let Bound::CreateSource(object) = World::new().bind(sql).expect("bound") else { panic!("no source") };
    let ObjectKind::Source(source) = &object.kind else { panic!("no source") };
    assert_eq!(object.sql, sql);
    let columns: Vec<(&str, String, bool)> =
        object.columns.iter().map(|c| (c.name.as_str(), crate::type_names::sql_name(&c.field()), c.nullable)).collect();
    let expected = [
        ("id", "bigint", false),
        ("At", "timestamp with time zone", true),
        ("tags", "character varying[]", true),
        ("u", "uuid", true),
        ("partition", "integer", true),
        ("ts", "timestamp with time zone", true),
    ];
    assert_eq!(columns, expected.map(|(n, t, o)| (n, t.to_owned(), o)));
    assert_eq!(source.connector, "kafka");
    let options: Vec<(&str, &str)> = source.options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(options, [("flag", "true"), ("properties.bootstrap.server", "localhost:9092"), ("rate", "5"), ("topic", "a.b")]);
    let encode = source.encode.as_ref().expect("a format");
    assert_eq!((encode.format.as_str(), encode.encoding.as_str()), ("plain", "json"));
    assert_eq!(encode.options.get("timestamp.format").map(String::as_str), Some("micros"));
    assert_eq!(source.includes, [("partition".to_owned(), 4), ("timestamp".to_owned(), 5)]);
    let watermark = source.watermark.as_ref().expect("a watermark");
    assert_eq!((watermark.column, watermark.delay_us, watermark.idle_timeout_us), (1, 300_000_000, Some(30_000_000)));
    assert_eq!((watermark.max_ahead_us, watermark.when_idle), (7_200_000_000, WhenIdle::Advance));
}

#[test]
fn a_table_has_a_key_and_defaults() {
    let Bound::CreateTable(object) =
        World::new().bind("CREATE TABLE t (a INT, b VARCHAR(3) DEFAULT 'x' || 'y', c NUMERIC(10,2), PRIMARY KEY (c, a))").expect("bound")
    else {
        panic!("no table")
    };
    let ObjectKind::Table(table) = &object.kind else { panic!("no table") };
    assert_eq!(table.primary_key, [2, 0]);
    assert!(!table.append_only && !object.columns[0].nullable && object.columns[1].nullable);
    assert_eq!(object.columns[1].default.as_deref(), Some("'x' || 'y'"));
}

#[test]
fn what_exists_already_is_a_notice_with_if_not_exists() {
    let mut world = world();
    for sql in [
        "CREATE TABLE IF NOT EXISTS t (a INT)",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS t AS SELECT 1 AS a",
        "DROP TABLE IF EXISTS nothing",
    ] {
        assert!(matches!(world.bind(sql), Ok(Bound::Nothing(..))), "{sql}");
    }
}

#[test]
fn a_sink_takes_the_key_of_its_view() {
    let mut world = world();
    world.bind("CREATE MATERIALIZED VIEW hourly AS SELECT window_start, k, count(*) AS n FROM TUMBLE(events, at, INTERVAL '1 hour') GROUP BY window_start, k").expect("a view");
    let mut sink = |sql: &str| match world.bind(sql) {
        Ok(Bound::CreateSink(object, view)) => match object.kind {
            ObjectKind::Sink(sink) => (sink, view),
            _ => panic!("no sink"),
        },
        other => panic!("{other:?}"),
    };
    let (upsert, _) =
        sink("CREATE SINK a FROM hourly WITH (connector = 'postgres', type = 'upsert', primary_key = 'k, window_start', table = 'x')");
    assert_eq!((upsert.upsert, upsert.key.as_slice()), (true, &[1, 0][..]));
    assert_eq!(upsert.options.keys().collect::<Vec<_>>(), ["table"]);
    let (implied, _) = sink("CREATE SINK b FROM hourly WITH (connector = 'kafka', topic = 't') FORMAT UPSERT ENCODE JSON");
    assert_eq!((implied.upsert, implied.key.as_slice()), (true, &[0, 1][..]));
    let (append, _) = sink("CREATE SINK c FROM events WITH (connector = 'file')");
    assert!(!append.upsert && append.key.is_empty());
    let (_, view) = sink("CREATE SINK d AS SELECT id, a FROM t WHERE a > 3 WITH (connector = 'print')");
    let (view, planned) = *view.expect("a view of its own");
    assert_eq!((view.name.as_str(), planned.plan.root().properties.key.as_deref()), ("d$query", Some(&[0][..])));
}

#[test]
fn views_are_put_in_place_where_they_are_read() {
    let mut world = world();
    world.bind("CREATE VIEW big (id, twice) AS SELECT id, a * 2 FROM t WHERE a > 1").expect("a view");
    let Ok(Bound::CreateMaterializedView(object, _)) = world.bind("CREATE MATERIALIZED VIEW v AS SELECT sum(twice) AS s FROM big") else {
        panic!("no view")
    };
    let names: Vec<&str> = object.depends_on.iter().map(|id| world.catalog.get(*id).expect("exists").name.as_str()).collect();
    assert_eq!(names, ["big", "t"]);
    let error = world.error("CREATE OR REPLACE VIEW big AS SELECT id, a AS twice FROM t");
    assert_eq!(error.sqlstate(), "2BP01");
    assert_eq!(world.error("DROP VIEW big").sqlstate(), "2BP01");
    let Ok(Bound::Drop(_, dropped)) = world.bind("DROP VIEW big CASCADE") else { panic!("no drop") };
    assert_eq!(dropped.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["v", "big"]);
}

#[test]
fn a_view_is_planned_again_as_it_was() {
    let mut world = world();
    let sql = "CREATE MATERIALIZED VIEW v AS SELECT window_start, k, max(v) AS m FROM TUMBLE(events, at, INTERVAL '1 hour') GROUP BY window_start, k EMIT ON WINDOW CLOSE;";
    let Ok(Bound::CreateMaterializedView(object, planned)) = world.bind(sql) else { panic!("no view") };
    let again = world.planner.replan(&object, &world.catalog).expect("planned");
    assert_eq!(again.plan.fingerprint(), planned.plan.fingerprint());
    let ObjectKind::MaterializedView(derived) = &object.kind else { panic!("no view") };
    assert_eq!(derived.fingerprint, planned.plan.fingerprint());
    assert!(!derived.fingerprint.is_empty() && derived.append_only && derived.emit_on_close);
    let late: Vec<&str> = derived.late.as_ref().expect("it refuses").iter().map(|c| c.name.as_str()).collect();
    assert_eq!(late, ["watermark", "weight", "k", "v", "window_start"]);
    assert!(
        world.catalog.resolve("v$late").is_some()
            && world.catalog.resolve("v$errors").is_some()
            && world.catalog.resolve("t$late").is_none()
    );
}

#[test]
fn changes_of_a_table_are_queries() {
    let mut world = world();
    let columns =
        |plan: &datafusion::logical_expr::LogicalPlan| plan.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    let Ok(Bound::Insert(insert)) = world.bind("INSERT INTO t (s, id) VALUES ('x', 1), (NULL, 2) ON CONFLICT (id) DO UPDATE SET a = t.a + excluded.a WHERE t.b IS NULL RETURNING id, a + 1") else {
        panic!("no insert")
    };
    assert_eq!(columns(&insert.input), ["id", "a", "b", "s"]);
    assert_eq!(insert.returning.as_ref().expect("returns").schema.fields().len(), 2);
    assert!(matches!(insert.on_conflict, crate::OnConflict::Update { row, filter: Some(_) } if row.len() == 4));
    for sql in [
        "INSERT INTO t VALUES (1, NULL, NULL, NULL)",
        "INSERT INTO t (id, a) SELECT 1, NULL",
        "UPDATE t SET a = NULL",
        "INSERT INTO u VALUES (1, -2, 'NaN'), ('3', 4, 0.5), (5, NULL, 1e1)",
        "INSERT INTO events VALUES (1, 2, '2025-01-01'), (3, 4, TIMESTAMP '2025-01-02')",
    ] {
        world.bind(sql).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }
    let Ok(Bound::Update(update)) = world.bind("UPDATE t AS x SET a = x.a + 1, s = DEFAULT WHERE id IN (SELECT t_id FROM u) RETURNING *")
    else {
        panic!("no update")
    };
    assert_eq!(columns(&update.rows), ["id", "a", "b", "s", "new$id", "new$a", "new$b", "new$s"]);
    let Ok(Bound::Delete(delete)) = world.bind("DELETE FROM t WHERE a > 5") else { panic!("no delete") };
    assert_eq!(columns(&delete.rows), ["id", "a", "b", "s"]);
}

#[test]
fn the_session_has_cursors_blocks_and_copies() {
    let mut world = world();
    let mut bound = |sql: &str| world.bind(sql).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    assert!(matches!(bound("BEGIN ISOLATION LEVEL READ COMMITTED, READ ONLY"), Bound::Begin));
    assert!(matches!(bound("START TRANSACTION"), Bound::Begin));
    assert!(matches!(bound("COMMIT WORK"), Bound::Commit));
    assert!(matches!(bound("ABORT"), Bound::Rollback));
    assert!(matches!(bound("ROLLBACK TO SAVEPOINT a"), Bound::Savepoint("ROLLBACK", _)));
    assert!(matches!(bound("DECLARE c CURSOR FOR SELECT 1"), Bound::Declare(_, CursorQuery::Query(_))));
    assert!(matches!(bound("DECLARE c SUBSCRIPTION CURSOR FOR t"), Bound::Declare(_, CursorQuery::Subscription(_))));
    assert!(
        matches!(bound("FETCH 100 FROM c WITH (timeout = '5s')"), Bound::Fetch(c) if c.rows_max == Some(100) && c.timeout_us == Some(5_000_000))
    );
    assert!(matches!(bound("FETCH ALL c"), Bound::Fetch(c) if c.rows_max.is_none()));
    assert!(matches!(bound("FETCH NEXT FROM c"), Bound::Fetch(c) if c.rows_max == Some(1)));
    assert!(matches!(bound("MOVE FORWARD 3 IN c"), Bound::Fetch(c) if c.skip && c.rows_max == Some(3)));
    assert!(matches!(bound("CLOSE ALL"), Bound::Close(None)));
    assert!(matches!(bound("DISCARD ALL"), Bound::Discard));
    assert!(matches!(bound("COPY (SUBSCRIBE t) TO STDOUT"), Bound::CopyOut(CopyOut::Subscribe(..))));
    assert!(
        matches!(bound("COPY t TO STDOUT WITH (FORMAT csv, HEADER)"), Bound::CopyOut(CopyOut::Query(_, f)) if f.header && f.delimiter == ',')
    );
    assert!(matches!(bound("COPY t (a, id) FROM STDIN CSV"), Bound::CopyFrom(c) if c.columns == [1, 0]));
    assert!(
        matches!(bound("PREPARE p (int) AS SELECT $1"), Bound::Prepare(_, types, s) if types == [Some(arrow::datatypes::DataType::Int32)] && s.text() == "SELECT $1")
    );
    assert!(matches!(bound("EXECUTE p (1 + 1, 'x')"), Bound::Execute(_, v) if v.len() == 2));
    assert!(matches!(bound("DEALLOCATE ALL"), Bound::Deallocate(None)));
    assert!(matches!(bound("SET LOCAL statement_timeout TO '5s'"), Bound::Set { local: true, .. }));
    assert!(matches!(bound("SET search_path = a, \"B\""), Bound::Set { value: Some(v), .. } if v == "a, B"));
    assert!(matches!(bound("SET TIME ZONE 'UTC'"), Bound::Set { name, .. } if name == "timezone"));
    assert!(matches!(bound("RESET ALL"), Bound::ResetAll));
    assert!(matches!(bound("ADVANCE CLOCK INTERVAL '1 hour 5 seconds'"), Bound::AdvanceClock(3_605_000_000)));
    assert!(matches!(bound("EXPLAIN WATERMARK opened"), Bound::ExplainWatermark(_)));
    assert!(matches!(bound("COMMENT ON TABLE t IS 'mine'"), Bound::Comment(o) if o.comment.as_deref() == Some("mine")));
    assert!(matches!(bound("COMMENT ON COLUMN t.a IS NULL"), Bound::Comment(_)));
}

#[test]
fn what_exists_is_shown() {
    let mut world = world();
    world.bind("CREATE VIEW w AS SELECT 1 AS one").expect("a view");
    assert_eq!(world.rows("SHOW TABLES"), "events\nplain\nt\nu");
    assert_eq!(world.rows("SHOW SOURCES"), "opened");
    assert_eq!(world.rows("SHOW VIEWS"), "w");
    assert_eq!(world.rows("SHOW MATERIALIZED VIEWS"), "");
    assert_eq!(world.rows("SHOW TimeZone"), "UTC");
    assert_eq!(world.rows("SHOW CREATE VIEW w"), "w | CREATE VIEW w AS SELECT 1 AS one");
    let described = "k | integer | YES |  | NULL\nv | integer | YES |  | NULL\nat | timestamp without time zone | YES | watermark | NULL";
    assert_eq!(world.rows("DESCRIBE events"), described);
    assert_eq!(world.rows("EXPLAIN events"), "table events  [append-only; watermark: at]");
}
