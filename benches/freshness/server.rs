//! `headwater serve` on a directory of its own, and clients of it.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use headwater::{Error, Result};
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

/// How long the server may take to come up and run its script.
const START: Duration = Duration::from_secs(30);

/// The process. It is killed with its owner.
pub struct Server {
    process: Child,
    port: u16,
    data: tempfile::TempDir,
}

impl Server {
    /// Starts the program `headwater` that lies beside this one, runs `script`, and waits until its views can be asked.
    ///
    /// # Errors
    /// `External`: it does not come up.
    pub async fn start(script: &str) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let file = data.path().join("script.sql");
        std::fs::write(&file, script)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let program = std::env::current_exe()?.with_file_name("headwater");
        let log = std::fs::File::create(data.path().join("log"))?;
        let mut command = Command::new(&program);
        command.arg("serve").arg("--data").arg(data.path().join("db")).arg("--listen").arg(format!("127.0.0.1:{port}")).arg(&file);
        let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let process = process.map_err(|e| Error::not_found(format!("{}: {e}; build the bin headwater too", program.display())))?;
        let server = Self { process, port, data };
        match tokio::time::timeout(START, server.ready()).await {
            Ok(()) => Ok(server),
            Err(_) => {
                let log = std::fs::read_to_string(server.data.path().join("log")).unwrap_or_default();
                Err(Error::external(format!("the server does not come up:\n{log}")))
            }
        }
    }

    async fn ready(&self) {
        loop {
            if let Ok(client) = self.connect().await
                && client.simple_query("SELECT * FROM newest").await.is_ok()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A client; its connection lives as long as this program.
    ///
    /// # Errors
    /// `External`.
    pub async fn connect(&self) -> Result<tokio_postgres::Client> {
        let config = format!("host=127.0.0.1 port={} user=root dbname=dev", self.port);
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.map_err(|e| Error::external(e.to_string()))?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        driver.detach_all();
        Ok(client)
    }

    /// Ends it.
    ///
    /// # Errors
    /// `External`.
    pub fn stop(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}
