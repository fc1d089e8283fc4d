//! The command itself, as a process: scripts to their end, signals, who may connect, what is printed where.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use headwater_types::{Clock, SystemClock};

/// What takes longer hangs.
const TIME_MAX: Duration = Duration::from_secs(60);

const BOUNDED: &str = "
    CREATE SOURCE orders (id BIGINT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '1 hour')
    WITH (connector = 'datagen', datagen.rows.per.second = '0', rows.total = '100', fields.id.kind = 'sequence',
          fields.at.kind = 'sequence', fields.at.start = '2025-01-01 00:00:00', fields.at.step = '1 second');
    CREATE MATERIALIZED VIEW minutes AS SELECT window_start, count(*) AS n
    FROM TUMBLE(orders, at, INTERVAL '1 minute') GROUP BY window_start EMIT ON WINDOW CLOSE;
";

/// The same events, for ever: the watermark stays an hour behind them.
fn endless() -> String {
    BOUNDED.replace("rows.total = '100', ", "").replace("per.second = '0'", "per.second = '100'")
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("commands").join(name);
    // What an earlier run left.
    let _nothing_there = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("script.sql");
    std::fs::write(&path, text).expect("a file");
    path
}

fn headwater() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn run(path: &Path) -> Output {
    headwater().arg("run").arg(path).output().expect("it runs")
}

/// A process whose standard error goes to a file, so that it can be read while it runs.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(folder: &Path, command: &mut Command) -> Self {
        let log = folder.join("log");
        let file = std::fs::File::create(&log).expect("a file");
        Self { child: command.stderr(file).spawn().expect("it starts"), log }
    }

    fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_for(&self, text: &str) {
        let clock = SystemClock::default();
        while !self.logged().contains(text) {
            assert!(clock.elapsed() < TIME_MAX, "'{text}' is not logged:\n{}", self.logged());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Sends `signal`; the exit code and standard output.
    fn stop(mut self, signal: &str) -> (Option<i32>, String) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.child.id())]).status().expect("a shell");
        assert!(sent.success());
        let clock = SystemClock::default();
        while self.child.try_wait().expect("it can be asked").is_none() {
            assert!(clock.elapsed() < TIME_MAX, "it does not end:\n{}", self.logged());
            std::thread::park_timeout(Duration::from_millis(50));
        }
        let mut out = String::new();
        self.child.stdout.take().expect("a pipe").read_to_string(&mut out).expect("text");
        (self.child.wait().expect("it ended").code(), out)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; the test has said so then.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

#[test]
fn run_closes_the_last_windows_at_the_end_of_bounded_sources() {
    let folder = folder("bounded");
    let output = run(&script(&folder, BOUNDED));
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{err}");
    // The summary: the line of figures, then each relation with its rows.
    assert!(err.contains("100 rows") && err.contains("watermark at the end"), "{err}");
    assert!(out.contains("minutes\n") && out.contains("(2 rows)"), "{out}");
    assert!(out.contains("2025-01-01 00:00:00 | 60") && out.contains("2025-01-01 00:01:00 | 40"), "{out}");
}

#[test]
fn ctrl_c_closes_no_window_and_is_no_error() {
    let folder = folder("interrupted");
    let running = Running::start(&folder, headwater().arg("run").arg(script(&folder, &endless())));
    running.wait_for("CREATE MATERIALIZED VIEW");
    let log = running.log.clone();
    let (code, out) = running.stop("INT");
    let err = std::fs::read_to_string(log).expect("the log");
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("Ctrl-C: stopping") && err.contains(" rows/s"), "{err}");
    assert!(out.contains("minutes\n") && out.contains("(0 rows)"), "{out}");
}

#[test]
fn sigterm_ends_run_and_serve_in_good_order() {
    let folder = folder("terminated");
    let path = script(&folder, &endless());
    let running = Running::start(&folder, headwater().arg("run").arg(&path));
    running.wait_for("CREATE MATERIALIZED VIEW");
    assert_eq!(running.stop("TERM").0, Some(0));
    for _ in 0..2 {
        let mut command = headwater();
        command.arg("serve").arg(&path).arg("--data").arg(folder.join("db")).args(["--listen", "127.0.0.1:0"]);
        let serving = Running::start(&folder, &mut command);
        serving.wait_for("minutes");
        serving.wait_for("listening on 127.0.0.1:");
        assert_eq!(serving.stop("TERM").0, Some(0));
    }
}

#[test]
fn rows_of_a_script_are_printed_as_tables() {
    let folder = folder("printed");
    let text = "CREATE TABLE t (name VARCHAR, n INT);
        INSERT INTO t VALUES ('a', 100), ('b', NULL) RETURNING n;
        SELECT name, n FROM t ORDER BY name; COPY (SELECT name, n FROM t ORDER BY name) TO STDOUT;";
    let output = run(&script(&folder, text));
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{err}");
    assert!(
        out.starts_with("  n\n-----\n 100\n\n(2 rows)\n\n name |  n\n------+-----\n a    | 100\n b    |\n(2 rows)\n\na\t100\nb\t\\N\n"),
        "{out}"
    );
}

#[test]
fn a_script_with_an_error_applies_nothing_and_fails() {
    let folder = folder("wrong");
    let output = run(&script(&folder, "CREATE TABLE t (a INT); SELECT 1; SELEC 2;"));
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(out.is_empty() && err.contains("SELEC 2") && err.contains("^"), "{out}{err}");
}

#[test]
fn only_insecure_listens_beyond_this_machine() {
    let folder = folder("insecure");
    let refused = headwater().args(["serve", "--listen", "0.0.0.0:0"]).output().expect("it runs");
    let (_, err) = texts(&refused);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err.contains("no authentication") && err.contains("--insecure"), "{err}");
    let open = Running::start(&folder, headwater().args(["serve", "--listen", "0.0.0.0:0", "--insecure"]));
    open.wait_for("listening on 0.0.0.0:");
    assert!(open.logged().contains("WARNING:  --insecure: there is no authentication"), "{}", open.logged());
    assert_eq!(open.stop("TERM").0, Some(0));
}

#[test]
fn a_broker_that_is_down_is_logged_once() {
    let folder = folder("down");
    let text = "CREATE SOURCE s (id BIGINT) WITH (connector = 'kafka', topic = 't', properties.bootstrap.server = '127.0.0.1:1')
        FORMAT PLAIN ENCODE JSON; CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM s;";
    let serving = Running::start(&folder, headwater().args(["serve", "--listen", "127.0.0.1:0"]).arg(script(&folder, text)));
    serving.wait_for("WARNING:  source \"s\": kafka at 127.0.0.1:1");
    std::thread::park_timeout(Duration::from_secs(1));
    assert_eq!(serving.logged().matches("source \"s\"").count(), 1, "{}", serving.logged());
    assert_eq!(serving.stop("TERM").0, Some(0));
}

#[test]
fn testing_an_empty_directory_is_an_error() {
    let output = headwater().arg("test").arg(folder("empty")).output().expect("it runs");
    let (out, err) = texts(&output);
    assert!(!output.status.success(), "{out}{err}");
    assert!(format!("{out}{err}").contains("there is no .slt file in"), "{out}{err}");
}
