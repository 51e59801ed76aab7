//! A separate server on a SQLite file with a disk that can be full while keys with a quota are checked.
//!
//! A limit of its file sizes (`RLIMIT_FSIZE`) makes writes fail as on a full disk, and can be lifted while it runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::nodes::RECOVERY_TIMEOUT;
use crate::served::{Account, Connection, Server, program};
use crate::watch::Liveness;

/// Keys with a quota or a long rate limit, which the server saves to disk.
const KEYS: usize = 300;
/// The monthly quota or daily rate limit of each key.
const LIMIT: usize = 2_000;
/// Connections that send checks.
const CHECK_CONNECTIONS: usize = 8;
/// Bytes by which a file may still grow on the full disk.
const SPARE_BYTES: u64 = 64 * 1024;

/// The SQLite server and its traffic.
pub struct SqliteServer {
    pub liveness: Arc<Liveness>,
    server: Server,
    folder: PathBuf,
    account: Account,
    service: String,
    keys: Arc<Vec<String>>,
    accepted: Arc<Vec<AtomicUsize>>,
    unexpected: Arc<Mutex<BTreeMap<String, usize>>>,
    is_over: Arc<AtomicBool>,
    traffic: JoinSet<()>,
    refused_events: Arc<AtomicUsize>,
}

impl SqliteServer {
    pub async fn start(folder: &Path) -> Self {
        let folder = folder.join("sqlite-server");
        fs::create_dir(&folder).expect("a folder");
        let log = fs::File::create(folder.join("log")).expect("a log file");
        let mut command = Command::new("prlimit");
        command
            .current_dir(&folder)
            .arg("--fsize=unlimited:unlimited")
            // With SIGXFSZ ignored, the write fails instead of ending the process.
            .args(["sh", "-c", r#"trap '' XFSZ; exec "$0" "$@""#])
            .arg(program())
            .args(["--listen", "127.0.0.1:0"])
            .env("LATCHKEY_LOG", "warn")
            .stderr(log);
        let server = Server::wait(command, &folder.join("log"));
        let mut connection = server.connect().await.expect("the server listens");
        let account = Account::register(&mut connection).await;
        let cookie = format!("Cookie: session={}", account.session);
        let mut keys = Vec::new();
        for number in 0..=KEYS {
            let limits = match number {
                0 => String::new(),
                number if number % 4 == 0 => {
                    format!(r#", "rate_limit": {{"limit": {LIMIT}, "window_seconds": 86400}}"#)
                }
                _ => format!(r#", "quota": {{"limit": {LIMIT}}}"#),
            };
            let body = format!(r#"{{"name": "key {number}"{limits}}}"#);
            let made = connection.call("POST", "/v1/auth/api-keys", &[&cookie], &body).await.expect("an answer");
            keys.push(made.json(201)["key"].as_str().expect("a key").to_owned());
        }
        let liveness = Liveness::stopped("the SQLite server", server.address);
        liveness.set_running(true);
        Self {
            liveness,
            server,
            folder,
            account,
            service: keys.remove(0),
            accepted: Arc::new(keys.iter().map(|_| AtomicUsize::new(0)).collect()),
            keys: Arc::new(keys),
            unexpected: Arc::default(),
            is_over: Arc::new(AtomicBool::new(false)),
            traffic: JoinSet::new(),
            refused_events: Arc::default(),
        }
    }

    fn limit_files(&self, bytes: &str) {
        let pid = self.server.id().to_string();
        let limited = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status();
        assert!(limited.is_ok_and(|status| status.success()), "prlimit: {bytes}");
    }

    /// Makes the disk full, and starts checks and events, so that the server has data to write.
    pub fn fill_disk(&mut self) {
        let files = fs::read_dir(&self.folder).expect("the folder").flatten();
        let largest = files.filter_map(|file| Some(file.metadata().ok()?.len())).max().unwrap_or_default();
        self.limit_files(&(largest + SPARE_BYTES).to_string());
        self.is_over = Arc::new(AtomicBool::new(false));
        for number in 0..CHECK_CONNECTIONS {
            let (address, service) = (self.server.address, self.service.clone());
            let (keys, accepted) = (Arc::clone(&self.keys), Arc::clone(&self.accepted));
            let (unexpected, is_over) = (Arc::clone(&self.unexpected), Arc::clone(&self.is_over));
            self.traffic.spawn(async move {
                let header = format!("X-API-Key: {service}");
                let Ok(mut connection) = Connection::open(address).await else { return };
                let mut next = number * 37;
                while !is_over.load(Ordering::SeqCst) {
                    next = (next + 1) % keys.len();
                    let body = format!(r#"{{"key": "{}"}}"#, keys[next]);
                    let headers = [header.as_str()];
                    let asked = connection.call("POST", "/v1/keys/verify", &headers, &body);
                    // The hang detector (`watch.rs`) reports a hang.
                    let Ok(Ok(answer)) = tokio::time::timeout(Duration::from_secs(20), asked).await else { return };
                    let code = if answer.status == 200 {
                        answer.json(200)["code"].as_str().expect("a code").to_owned()
                    } else {
                        answer.status.to_string()
                    };
                    match code.as_str() {
                        "VALID" => {
                            accepted[next].fetch_add(1, Ordering::SeqCst);
                        }
                        "QUOTA_EXCEEDED" | "RATE_LIMITED" => {}
                        other => {
                            *unexpected
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .entry(other.to_owned())
                                .or_default() += 1;
                        }
                    }
                }
            });
        }
        let (address, key, tenant) = (self.server.address, self.service.clone(), self.account.tenant.clone());
        let (is_over, refused) = (Arc::clone(&self.is_over), Arc::clone(&self.refused_events));
        self.traffic.spawn(async move {
            let path = format!("/api/v1/ingest/{tenant}/disk");
            let (key, body) = (format!("X-API-Key: {key}"), format!(r#"{{"filler": "{}"}}"#, "x".repeat(20_000)));
            let Ok(mut connection) = Connection::open(address).await else { return };
            while !is_over.load(Ordering::SeqCst) {
                let headers = [key.as_str()];
                let sent = connection.call("POST", &path, &headers, &body);
                let Ok(Ok(answer)) = tokio::time::timeout(Duration::from_secs(20), sent).await else { return };
                refused.fetch_add(usize::from(answer.status == 503), Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }

    /// Frees the disk, ends the traffic, and waits until events are accepted again.
    pub async fn free_disk(&mut self) {
        self.limit_files("unlimited");
        self.is_over.store(true, Ordering::SeqCst);
        while self.traffic.join_next().await.is_some() {}
        let path = format!("/api/v1/ingest/{}/disk", self.account.tenant);
        let key = format!("X-API-Key: {}", self.service);
        let deadline = Instant::now() + RECOVERY_TIMEOUT;
        loop {
            let sent = async { self.server.connect().await?.call("POST", &path, &[&key], "{}").await };
            let sent = tokio::time::timeout(Duration::from_secs(5), sent).await;
            if matches!(&sent, Ok(Ok(answer)) if answer.status == 202) {
                return;
            }
            if Instant::now() >= deadline {
                self.report("accepts no events although the disk has space");
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn report(&self, what: &str) {
        *self.unexpected.lock().unwrap_or_else(PoisonError::into_inner).entry(what.to_owned()).or_default() += 1;
    }

    /// The number of events that were refused because the disk was full.
    pub fn refused_events(&self) -> usize {
        self.refused_events.load(Ordering::SeqCst)
    }

    /// Stops the server; returns its unexpected answers and exceeded limits.
    pub fn finish(self) -> Vec<String> {
        let is_exceeded = |accepted: &AtomicUsize| accepted.load(Ordering::SeqCst) > LIMIT;
        let exceeded = self.accepted.iter().filter(|accepted| is_exceeded(accepted)).count();
        let mut unexpected: Vec<String> = self
            .unexpected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(what, count)| format!("the SQLite server: {what}: {count}"))
            .collect();
        if exceeded > 0 {
            unexpected.push(format!("the SQLite server accepted {exceeded} keys more often than their limits allow"));
        }
        self.liveness.set_running(false);
        self.server.stop();
        unexpected
    }
}
