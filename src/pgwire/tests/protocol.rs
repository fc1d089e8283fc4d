//! Messages written by hand, for what no driver of ours sends: Flush instead of Sync, Describe of a cursor.
#![allow(clippy::disallowed_methods, reason = "a test may wait and run tasks of its own")]

use headwater::{Database, Options};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection that sends what it is told.
struct Raw(TcpStream);

impl Raw {
    async fn start(parameters: &[(&str, &str)]) -> (Database, Self) {
        let database = Database::open(Options::in_memory()).await.expect("a database in memory");
        let listener = headwater_pgwire::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let served = database.clone();
        tokio::task::spawn(async move { headwater_pgwire::serve(served, listener).await });
        let mut raw = Self(TcpStream::connect(("127.0.0.1", port)).await.expect("a connection"));
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        for text in [("user", "root"), ("database", "dev")].iter().chain(parameters).flat_map(|(name, value)| [name, value]) {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        raw.0.write_all(&[&length(&body)[..], &body].concat()).await.expect("sent");
        (database, raw)
    }

    async fn send(&mut self, messages: &[(u8, Vec<u8>)]) {
        for (kind, body) in messages {
            self.0.write_all(&[&[*kind][..], &length(body), body].concat()).await.expect("sent");
        }
    }

    /// The kinds of the messages that come, up to `last`.
    async fn until(&mut self, last: u8) -> String {
        let read = async {
            let mut kinds = String::new();
            while !kinds.ends_with(char::from(last)) {
                kinds.push(char::from(self.0.read_u8().await.expect("a message")));
                let length = self.0.read_u32().await.expect("its length");
                let mut body = vec![0; length as usize - 4];
                self.0.read_exact(&mut body).await.expect("its body");
            }
            kinds
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("an answer")
    }
}

fn length(body: &[u8]) -> [u8; 4] {
    u32::try_from(body.len() + 4).expect("short").to_be_bytes()
}

fn parse(sql: &str) -> (u8, Vec<u8>) {
    (b'P', [b"\0", sql.as_bytes(), b"\0\0\0"].concat())
}

fn message(kind: u8, body: &[u8]) -> (u8, Vec<u8>) {
    (kind, body.to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_comes_without_being_asked_for() {
    let (_database, mut raw) = Raw::start(&[]).await;
    raw.until(b'Z').await;
    // The Flush behind an error is passed over like everything up to the Sync: the error must have gone out before.
    raw.send(&[parse("SELECT nosuch"), message(b'D', b"S\0"), message(b'H', b"")]).await;
    assert_eq!(raw.until(b'E').await, "E");
    raw.send(&[message(b'S', b"")]).await;
    assert_eq!(raw.until(b'Z').await, "Z");
    raw.send(&[parse("SELECT 1/0"), message(b'D', b"S\0"), message(b'H', b"")]).await;
    assert_eq!(raw.until(b'T').await, "1tT");
    raw.send(&[message(b'B', b"\0\0\0\0\0\0\0\0"), message(b'E', b"\0\0\0\0\0"), message(b'H', b"")]).await;
    assert_eq!(raw.until(b'E').await, "2E");
    raw.send(&[message(b'S', b"")]).await;
    assert_eq!(raw.until(b'Z').await, "Z");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_sql_is_described_as_a_portal() {
    let (_database, mut raw) = Raw::start(&[]).await;
    raw.until(b'Z').await;
    raw.send(&[message(b'Q', b"BEGIN; DECLARE c CURSOR FOR SELECT 1 AS a, 'x' AS b\0")]).await;
    assert_eq!(raw.until(b'Z').await, "CCZ");
    raw.send(&[message(b'D', b"Pc\0"), message(b'S', b"")]).await;
    assert_eq!(raw.until(b'Z').await, "TZ");
    // FETCH tells its columns before its rows in the extended protocol, too.
    let bind = message(b'B', b"\0\0\0\0\0\0\0\0");
    raw.send(&[parse("FETCH FORWARD 5 FROM c"), bind, message(b'D', b"P\0"), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")]).await;
    assert_eq!(raw.until(b'Z').await, "12TDCZ");
    raw.send(&[message(b'D', b"Pnosuch\0"), message(b'S', b"")]).await;
    assert_eq!(raw.until(b'Z').await, "EZ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encodings_come_in_many_spellings() {
    for spelling in ["'utf-8'", "UTF8", "utf8", "Unicode"] {
        let (_database, mut raw) = Raw::start(&[("client_encoding", spelling)]).await;
        assert!(raw.until(b'Z').await.starts_with('R'), "{spelling}");
    }
    let (_database, mut raw) = Raw::start(&[("client_encoding", "LATIN1")]).await;
    assert_eq!(raw.until(b'E').await, "E");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_pools_send_to_reset_a_session_is_understood() {
    let (_database, mut raw) = Raw::start(&[]).await;
    raw.until(b'Z').await;
    raw.send(&[message(b'Q', b"SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;\0")]).await;
    assert_eq!(raw.until(b'Z').await, "TDCCCCZ");
    raw.send(&[message(b'Q', b"UNLISTEN news\0")]).await;
    assert_eq!(raw.until(b'Z').await, "CZ");
}
