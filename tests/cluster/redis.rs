//! A Redis server of one test, without data on disk, so that it is empty after each start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::served::{free_port, signal};

/// A Redis server, killed on drop.
pub struct Redis {
    pub address: SocketAddr,
    folder: PathBuf,
    child: Option<Child>,
}

impl Redis {
    pub async fn start(folder: &Path) -> Self {
        let address = (Ipv4Addr::LOCALHOST, free_port()).into();
        let mut redis = Self { address, folder: folder.to_owned(), child: None };
        redis.run().await;
        redis
    }

    /// Starts the server, empty, on the same address as before.
    pub async fn run(&mut self) {
        let child = Command::new("redis-server")
            .args(["--port", &self.address.port().to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--dir"])
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("redis-server does not start ({error}): tools/setup-test installs it"));
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_mins(1);
        while self.send("PING").await.is_none_or(|answer| answer != "+PONG\r\n") {
            assert!(Instant::now() < deadline, "redis-server does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills the server; its data is lost.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("Redis runs");
        child.kill().expect("the process can be killed");
        child.wait().expect("the process has ended");
    }

    /// Stops the server with SIGSTOP: the kernel accepts connections, and no command is answered.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        signal(self.child.as_ref().expect("Redis runs").id(), name);
    }

    /// Deletes all data.
    pub async fn flush(&self) {
        assert_eq!(self.send("FLUSHALL").await.as_deref(), Some("+OK\r\n"));
    }

    /// Sends a command; returns the answer.
    async fn send(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await.ok()?;
        let mut answer = [0; 64];
        let length = stream.read(&mut answer).await.ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
    }
}
