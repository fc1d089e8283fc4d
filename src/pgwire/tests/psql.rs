//! psql itself against a server: its backslash commands, errors, several statements, Ctrl-C.
#![allow(clippy::disallowed_methods, reason = "a test may wait and run tasks of its own")]

use headwater::{Database, Options};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A server on a free port, in a runtime of its own; it ends with the test.
struct Server {
    port: u16,
    runtime: tokio::runtime::Runtime,
}

fn start() -> Server {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let port = runtime.block_on(async {
        let database = Database::open(Options::in_memory()).await.expect("a database in memory");
        let listener = headwater_pgwire::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        tokio::task::spawn(async move { headwater_pgwire::serve(database, listener).await });
        port
    });
    Server { port, runtime }
}

impl Server {
    fn command(&self, user: &str) -> Command {
        let mut command = Command::new("psql");
        command.args(["-X", "-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", user, "-v", "VERBOSITY=verbose"]);
        command.env_remove("PGDATABASE").env("PGCLIENTENCODING", "UTF8");
        command
    }

    /// What psql says to `inputs`, each a `-c`, with its complaints behind it.
    fn psql(&self, inputs: &[&str]) -> String {
        let mut command = self.command("root");
        command.arg("dev");
        for input in inputs {
            command.args(["-c", input]);
        }
        shown(&command.output().expect("psql is installed"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Connections that are still served must not hold the test up.
        let runtime = std::mem::replace(&mut self.runtime, tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
        runtime.shutdown_background();
    }
}

fn shown(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn filled() -> Server {
    let server = start();
    let said = server.psql(&[
        "CREATE TABLE campaign (email_id BIGINT PRIMARY KEY, name VARCHAR NOT NULL, amount NUMERIC(10,2))",
        "CREATE VIEW names AS SELECT email_id, name FROM campaign",
        "CREATE MATERIALIZED VIEW totals AS SELECT name, count(*) AS n FROM campaign GROUP BY name",
        "COMMENT ON TABLE campaign IS 'what is sent'",
        "INSERT INTO campaign VALUES (1, 'spring', 1.5), (2, 'spring', NULL), (3, 'autumn', -0.25)",
    ]);
    assert_eq!(said, "CREATE TABLE\nCREATE VIEW\nCREATE MATERIALIZED VIEW\nCOMMENT\nINSERT 0 3\n");
    server
}

/// `output` without the spaces at the ends of its lines.
fn trimmed(output: &str) -> String {
    output.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn relations_are_listed_and_described() {
    let server = filled();
    let said = trimmed(&server.psql(&["\\d"]));
    let expected = "\
               List of relations
 Schema |   Name   |       Type        | Owner
--------+----------+-------------------+-------
 public | campaign | table             | root
 public | names    | view              | root
 public | totals   | materialized view | root
(3 rows)
";
    assert_eq!(said.trim_start(), expected.trim_start(), "{said}");
    let said = trimmed(&server.psql(&["\\d campaign"]));
    let expected = "\
                    Table \"public.campaign\"
  Column  |       Type        | Collation | Nullable | Default
----------+-------------------+-----------+----------+---------
 email_id | bigint            |           | not null |
 name     | character varying |           | not null |
 amount   | numeric(10,2)     |           |          |
Indexes:
    \"campaign_pkey\" PRIMARY KEY, btree (email_id)
";
    assert_eq!(said.trim_start(), expected.trim_start(), "{said}");
    let said = server.psql(&["\\d+ totals"]);
    assert!(said.contains("Materialized view \"public.totals\""), "{said}");
    assert!(said.contains("SELECT name, count(*) AS n FROM campaign GROUP BY name"), "{said}");
    let said = server.psql(&["\\dt+"]);
    assert!(said.contains("what is sent"), "{said}");
    let said = server.psql(&["CREATE TABLE filled_in (a INT DEFAULT 7, b INT)", "\\d filled_in"]);
    assert!(
        trimmed(&said).contains("\n a      | integer |           |          | 7\n b      | integer |           |          |\n"),
        "{said}"
    );
}

#[test]
fn every_usual_command_is_answered() {
    let server = filled();
    for (command, part) in [
        ("\\dt", "campaign"),
        ("\\dm", "totals"),
        ("\\dv", "names"),
        ("\\l", "dev"),
        ("\\l+", "dev"),
        ("\\dn", "public"),
        ("\\dn+", "public"),
        ("\\df", "List of functions"),
        ("\\du", "root"),
        ("\\d+", "totals"),
        ("\\d+ campaign", "campaign_pkey"),
        ("\\d names", "View \"public.names\""),
        ("\\di", "campaign_pkey"),
        ("\\ds", "Did not find any relations."),
        ("\\dT", "List of data types"),
        ("\\dx", "List of installed extensions"),
        ("\\dp", "Access privileges"),
        ("\\sv names", "SELECT email_id, name FROM campaign"),
        ("\\d nosuch", "Did not find any relation named \"nosuch\"."),
        ("\\dS pg_class", "relkind"),
        ("\\d headwater.views", "state_bytes"),
        ("\\conninfo", "You are connected to database \"dev\""),
        ("\\encoding", "UTF8"),
    ] {
        let said = server.psql(&[command]);
        assert!(said.contains(part) && !said.contains("ERROR"), "{command}: {said}");
    }
}

#[test]
fn errors_carry_their_code_and_place() {
    let server = start();
    let said = server.psql(&["SELECT * FROM nosuch"]);
    assert!(said.contains("ERROR:  42P01: relation \"nosuch\" does not exist"), "{said}");
    assert!(said.contains("LINE 1: SELECT * FROM nosuch\n                      ^"), "{said}");
    let said = server.psql(&["SELEC 1"]);
    assert!(said.contains("ERROR:  42601:"), "{said}");
    // What follows an error in one text does not run, what follows in the next does.
    let said =
        server.psql(&["CREATE TABLE a (x INT); SELECT 1/0; CREATE TABLE b (x INT)", "SELECT count(*) FROM a", "SELECT count(*) FROM b"]);
    assert!(said.contains("22012"), "{said}");
    assert!(said.contains("relation \"b\" does not exist"), "{said}");
}

#[test]
fn blocks_show_their_state() {
    let server = start();
    let said = server.psql(&["BEGIN; SELECT 1/0", "COMMIT"]);
    assert!(said.contains("22012") && said.contains("ROLLBACK"), "{said}");
    let said = server.psql(&["BEGIN", "SELECT 1 AS one", "COMMIT"]);
    assert_eq!(trimmed(&said), "BEGIN\n one\n-----\n   1\n(1 row)\n\nCOMMIT", "{said}");
}

#[test]
fn an_unknown_database_is_refused_and_the_users_own_means_dev() {
    let server = start();
    let output = server.command("root").args(["nosuch", "-c", "SELECT 1"]).output().expect("psql is installed");
    assert!(!output.status.success());
    assert!(shown(&output).contains("database \"nosuch\" does not exist"), "{}", shown(&output));
    let output = server.command("ada").args(["-Atc", "SELECT current_database(), current_user"]).output().expect("psql is installed");
    assert_eq!(shown(&output).trim(), "dev|ada");
}

#[test]
fn interrupting_psql_cancels_the_query() {
    let server = start();
    let began = Instant::now();
    let mut child = server
        .command("root")
        .args(["dev", "-c", "SELECT count(*) FROM generate_series(1, 1000000000000)", "-c", "SELECT 'still here' AS answer"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql is installed");
    std::thread::sleep(Duration::from_millis(700));
    assert!(child.try_wait().expect("a child").is_none(), "the query must still run");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    let output = child.wait_with_output().expect("psql ends");
    let said = shown(&output);
    assert!(said.contains("57014") && said.contains("canceling statement due to user request"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn copy_out_follows_a_view() {
    let server = filled();
    let child = server
        .command("root")
        .args(["dev", "-c", "COPY (SUBSCRIBE totals) TO STDOUT"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql is installed");
    std::thread::sleep(Duration::from_millis(700));
    server.psql(&["INSERT INTO campaign VALUES (4, 'autumn', 1)"]);
    std::thread::sleep(Duration::from_millis(700));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    let said = shown(&child.wait_with_output().expect("psql ends"));
    assert!(said.contains("spring\t2") && said.contains("autumn\t1") && said.contains("autumn\t2"), "{said}");
    let said = server.psql(&["COPY (SELECT email_id, amount FROM campaign ORDER BY 1) TO STDOUT"]);
    assert_eq!(said, "1\t1.50\n2\t\\N\n3\t-0.25\n4\t1.00\n");
    let said = server.psql(&["\\copy (SELECT email_id, amount FROM campaign ORDER BY 1 LIMIT 2) TO STDOUT CSV HEADER"]);
    assert_eq!(said, "email_id,amount\n1,1.50\n2,\n");
    let said = server.psql(&["COPY (SELECT email_id, amount FROM campaign ORDER BY 1 LIMIT 2) TO STDOUT (DELIMITER '|', NULL 'none')"]);
    assert_eq!(said, "1|1.50\n2|none\n");
    let said = server.psql(&["COPY (SELECT 1) TO STDOUT (FORMAT binary)"]);
    assert!(said.contains("0A000") && said.contains("binary"), "{said}");
}

impl Server {
    /// What psql says to `script`, given on its standard input.
    fn script(&self, script: &str) -> String {
        let mut command = self.command("root");
        command.args(["-v", "ON_ERROR_STOP=0", "-v", "VERBOSITY=default", "dev"]);
        let mut psql = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("psql is installed");
        std::io::Write::write_all(&mut psql.stdin.take().expect("a pipe"), script.as_bytes()).expect("psql reads");
        shown(&psql.wait_with_output().expect("psql ends"))
    }
}

#[test]
fn rows_are_copied_in() {
    let server = filled();
    let said = server.script(
        "COPY campaign FROM STDIN;\n10\twin\\tter\t1.25\n11\t\\N\\N\t\\N\n\\.\n\
         COPY campaign (name, email_id) FROM STDIN WITH (FORMAT csv, HEADER);\nname,id\n\"a, \"\"b\"\"\",20\n\"\",21\n\\.\n\
         SELECT email_id, '<' || name || '>' AS name, amount FROM campaign WHERE email_id >= 10 ORDER BY 1;\n",
    );
    for part in ["COPY 2\nCOPY 2", "10 | <win    ter>", "11 | <NN>", "20 | <a, \"b\">", "21 | <>", "(4 rows)"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(server.psql(&["SELECT n FROM totals WHERE name = ''"]).contains("1"), "views see the rows");
}

#[test]
fn a_copy_with_a_bad_row_writes_nothing() {
    let server = filled();
    for (rows, error) in [
        ("30\tx\t1\n31\ty\n", "missing data for column \"amount\""),
        ("30\tx\t1\n31\ty\t1\tz\n", "extra data after last expected column"),
        ("30\tx\t1\nthirty\ty\t1\n", "COPY campaign, line 2, column email_id"),
        ("30\tx\t1\n31\t\\N\t1\n", "violates not-null constraint"),
        ("30\tx\t1\n1\ty\t1\n", "duplicate key value"),
    ] {
        let said = server.script(&format!("COPY campaign FROM STDIN;\n{rows}\\.\nSELECT count(*) FROM campaign WHERE email_id >= 30;\n"));
        assert!(said.contains(error), "{error}: {said}");
        assert!(said.contains("     0\n(1 row)"), "nothing is written, and the session goes on: {said}");
    }
    let said = server.script("BEGIN;\nCOPY campaign FROM STDIN;\n40\tx\t1\n\\.\nROLLBACK;\nSELECT count(*) FROM campaign;\n");
    assert!(said.contains("COPY 1") && said.contains("     3\n(1 row)"), "{said}");
    let said = server.psql(&["COPY campaign FROM STDIN BINARY"]);
    assert!(said.contains("0A000") && said.contains("binary"), "{said}");
}

#[test]
fn a_large_copy_comes_whole() {
    let server = start();
    server.psql(&["CREATE TABLE big (id BIGINT, word VARCHAR) APPEND ONLY"]);
    let rows: String = (0..100_000).map(|n| format!("{n}\tword {n}\n")).collect();
    let said = server.script(&format!("COPY big FROM STDIN;\n{rows}\\.\nSELECT count(*), max(id), count(DISTINCT word) FROM big;\n"));
    assert!(said.contains("COPY 100000"), "{said}");
    assert!(said.contains("100000 | 99999 | 100000"), "{said}");
    let epochs = server.psql(&["SELECT rows FROM headwater.epochs WHERE rows > 0"]);
    assert!(epochs.contains(" 100000\n(1 row)"), "one epoch: {epochs}");
}

#[test]
fn a_session_is_seen_by_the_others() {
    let server = start();
    let said = server.psql(&["SELECT pid = pg_backend_pid() AS mine, usename, application_name, client_addr, state FROM pg_stat_activity"]);
    assert!(said.contains(" t    | root    | psql             | 127.0.0.1   | active"), "{said}");
}

#[test]
fn records_that_are_left_out_are_said() {
    let server = start();
    let made = "CREATE SOURCE g (id BIGINT) WITH (connector = 'datagen', datagen.rows.per.second = '0', rows.total = '100', \
         malformed.fraction = '0.2', seed = '3')";
    let said = server.psql(&[made, "SELECT count(*) < 100 AS fewer FROM g"]);
    assert!(said.contains(" t\n"), "{said}");
    assert!(said.contains("WARNING:  01000:") && said.contains("records of source \"g\" were left out"), "{said}");
}
