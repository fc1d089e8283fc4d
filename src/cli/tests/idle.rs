//! A served database with nothing to do takes no processor time and little memory.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use headwater_types::{Clock, SystemClock};

const SCRIPT: &str = "
    CREATE TABLE visits (id INT PRIMARY KEY, page INT, at TIMESTAMP);
    CREATE TABLE pages (page INT PRIMARY KEY, name VARCHAR);
    CREATE TABLE events (k INT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '5 seconds') APPEND ONLY;
    CREATE MATERIALIZED VIEW by_page AS SELECT page, count(*) AS visits FROM visits GROUP BY page;
    CREATE MATERIALIZED VIEW named AS SELECT visits.id, pages.name FROM visits JOIN pages ON visits.page = pages.page;
    CREATE MATERIALIZED VIEW minutes AS SELECT window_start, count(*) AS n FROM TUMBLE(events, at, INTERVAL '1 minute') GROUP BY window_start;
    INSERT INTO visits SELECT n, n % 100, now()::timestamp FROM generate_series(1, 10000) AS g(n);
    INSERT INTO pages SELECT n, 'page ' || n FROM generate_series(1, 100) AS g(n);
    INSERT INTO events SELECT n % 10, now()::timestamp FROM generate_series(1, 1000) AS g(n);
";

/// The kernel counts processor time in hundredths of a second.
const TICKS_PER_SECOND: u64 = 100;
/// Below one hundredth of a core.
const WATCHED_SECONDS: u64 = 10;
const TICKS_MAX: u64 = WATCHED_SECONDS * TICKS_PER_SECOND / 100;
/// Memory of the process's own: pages of the program file are shared, and large only in test builds.
const OWN_MIB_MAX: u64 = 100;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; the test has said so then.
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

impl Server {
    fn start(folder: &Path) -> Self {
        std::fs::write(folder.join("script.sql"), SCRIPT).expect("a file");
        let log = File::create(folder.join("log")).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        command.arg("serve").arg("--data").arg(folder.join("db")).args(["--listen", "127.0.0.1:0"]).arg(folder.join("script.sql"));
        Self(command.stdin(Stdio::null()).stdout(log.try_clone().expect("a handle")).stderr(log).spawn().expect("the server starts"))
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).expect("the server runs")
    }

    /// Processor time so far, in ticks.
    fn ticks(&self) -> u64 {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit(") ").next().expect("its name ends").split(' ').collect();
        fields[11].parse::<u64>().expect("user time") + fields[12].parse::<u64>().expect("system time")
    }

    fn own_mib(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("the kernel tells");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
    }
}

fn wait(seconds: u64) {
    let clock = SystemClock::default();
    while clock.elapsed() < Duration::from_secs(seconds) {
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

#[test]
fn an_idle_server_takes_no_time_and_little_memory() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("idle");
    // What an earlier run left.
    let _nothing_there = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    let server = Server::start(&folder);
    let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    let clock = SystemClock::default();
    while log().matches("INSERT 0").count() < 3 {
        assert!(clock.elapsed() < Duration::from_secs(120), "the script does not end:\n{}", log());
        wait(1);
    }
    // What the script left to do behind its answers: a last sync.
    wait(3);
    let before = server.ticks();
    wait(WATCHED_SECONDS);
    let (spent, own) = (server.ticks() - before, server.own_mib());
    assert!(spent <= TICKS_MAX, "{spent} hundredths of a second of processor time in {WATCHED_SECONDS} s of doing nothing");
    assert!(own < OWN_MIB_MAX, "{own} MiB of memory");
}
