//! Scripts over the Postgres wire, as the public runner's simple engine sends and reads them.

use std::time::Duration;

use crate::slt::ScriptRecord;
use headwater::{Database, Options};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// Runs `records` against a server of its own on a free port.
///
/// # Errors
/// What differed from the script's expectation, and where.
pub async fn run(records: Vec<ScriptRecord>) -> Result<(), String> {
    let database = Database::open(Options::in_memory()).await.map_err(|e| e.to_string())?;
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|e| e.to_string())?;
    let port = listener.local_addr().map_err(|e| e.to_string())?.port();
    let served = headwater_pgwire::serve(database.clone(), listener);
    let asked = async {
        let mut runner = Runner::new(|| Client::connect(port));
        for record in records {
            runner.run_async(record).await.map_err(|e| e.display(false).to_string())?;
        }
        runner.shutdown_async().await;
        Ok(())
    };
    let result = tokio::select! {
        ended = served => Err(format!("the server ended by itself: {ended:?}")),
        result = asked => result,
    };
    database.close().await.map_err(|e| e.to_string())?;
    result
}

/// A connection that speaks the simple protocol.
struct Client {
    client: tokio_postgres::Client,
    connection: JoinSet<Result<(), tokio_postgres::Error>>,
}

/// The error as the public runner shows it: the driver's words and the server's.
#[derive(Debug)]
struct ClientError(tokio_postgres::Error);

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        match self.0.as_db_error() {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ClientError {}

impl Client {
    async fn connect(port: u16) -> Result<Self, ClientError> {
        let config = format!("host=127.0.0.1 port={port} user=root dbname=dev");
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.map_err(ClientError)?;
        let mut task = JoinSet::new();
        task.spawn(connection);
        Ok(Self { client, connection: task })
    }
}

#[async_trait::async_trait]
impl AsyncDB for Client {
    type Error = ClientError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, ClientError> {
        let mut rows = Vec::new();
        let mut count = 0;
        for message in self.client.simple_query(sql).await.map_err(ClientError)? {
            match message {
                SimpleQueryMessage::Row(row) => rows.push((0..row.len()).map(|at| shown(row.get(at))).collect::<Vec<_>>()),
                SimpleQueryMessage::CommandComplete(rows) => {
                    count = rows;
                    break;
                }
                _ => {}
            }
        }
        match rows.first() {
            None => Ok(DBOutput::StatementComplete(count)),
            Some(row) => Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; row.len()], rows }),
        }
    }

    async fn shutdown(&mut self) {
        self.connection.abort_all();
    }

    fn engine_name(&self) -> &str {
        "postgres"
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &ClientError) -> Option<String> {
        error.0.code().map(|code| code.code().to_string())
    }
}

fn shown(value: Option<&str>) -> String {
    match value {
        None => "NULL".to_string(),
        Some("") => "(empty)".to_string(),
        Some(text) => text.to_string(),
    }
}
