//! A server on a SQLite file beside the cluster, whose disk can be full while keys with a quota are checked.
//!
//! No file of it may grow (`RLIMIT_FSIZE`), which fails where a full disk does, and can be lifted while it runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::nodes::PATIENCE;
use crate::served::{Account, Connection, Server, program};
use crate::watch::Liveness;

/// Keys with limits that are written down.
const KEYS: usize = 300;
/// What each of them may be used in a month.
const QUOTA: usize = 2_000;
/// Connections on which they are checked.
const CHECKING: usize = 8;
/// What a file may still grow by, bytes, when the disk is said to be full.
const ROOM: u64 = 64 * 1024;

pub struct Beside {
    pub liveness: Arc<Liveness>,
    server: Server,
    folder: PathBuf,
    account: Account,
    service: String,
    keys: Arc<Vec<String>>,
    accepted: Arc<Vec<AtomicUsize>>,
    wrong: Arc<Mutex<BTreeMap<String, usize>>>,
    is_over: Arc<AtomicBool>,
    traffic: JoinSet<()>,
    refused_events: Arc<AtomicUsize>,
}

impl Beside {
    pub async fn start(folder: &Path) -> Self {
        let folder = folder.join("beside");
        fs::create_dir(&folder).expect("a folder");
        let log = fs::File::create(folder.join("log")).expect("a log file");
        let mut command = Command::new("prlimit");
        command
            .current_dir(&folder)
            .arg("--fsize=unlimited:unlimited")
            // The write fails instead of the process.
            .args(["sh", "-c", r#"trap '' XFSZ; exec "$0" "$@""#])
            .arg(program())
            .args(["--listen", "127.0.0.1:0"])
            .env("LATCHKEY_LOG", "warn")
            .stderr(log);
        let server = Server::wait(command, &folder.join("log"));
        let mut connection = server.connect().await.expect("it listens");
        let account = Account::register(&mut connection).await;
        let cookie = format!("Cookie: session={}", account.session);
        let mut keys = Vec::new();
        for number in 0..=KEYS {
            let limits = match number {
                0 => String::new(),
                number if number % 4 == 0 => {
                    format!(r#", "rate_limit": {{"limit": {QUOTA}, "window_seconds": 86400}}"#)
                }
                _ => format!(r#", "quota": {{"limit": {QUOTA}}}"#),
            };
            let body = format!(r#"{{"name": "key {number}"{limits}}}"#);
            let made = connection.call("POST", "/v1/auth/api-keys", &[&cookie], &body).await.expect("an answer");
            keys.push(made.json(201)["key"].as_str().expect("a key").to_owned());
        }
        let liveness = Liveness::stopped("the server beside", server.address);
        liveness.is_running(true);
        Self {
            liveness,
            server,
            folder,
            account,
            service: keys.remove(0),
            accepted: Arc::new(keys.iter().map(|_| AtomicUsize::new(0)).collect()),
            keys: Arc::new(keys),
            wrong: Arc::default(),
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

    /// From now on there is no room, and traffic that makes the server want to write.
    pub fn fill(&mut self) {
        let files = fs::read_dir(&self.folder).expect("its folder").flatten();
        let largest = files.filter_map(|file| Some(file.metadata().ok()?.len())).max().unwrap_or_default();
        self.limit_files(&(largest + ROOM).to_string());
        self.is_over = Arc::new(AtomicBool::new(false));
        for number in 0..CHECKING {
            let (address, service) = (self.server.address, self.service.clone());
            let (keys, accepted) = (Arc::clone(&self.keys), Arc::clone(&self.accepted));
            let (wrong, is_over) = (Arc::clone(&self.wrong), Arc::clone(&self.is_over));
            self.traffic.spawn(async move {
                let header = format!("X-API-Key: {service}");
                let Ok(mut connection) = Connection::open(address).await else { return };
                let mut next = number * 37;
                while !is_over.load(Ordering::SeqCst) {
                    next = (next + 1) % keys.len();
                    let body = format!(r#"{{"key": "{}"}}"#, keys[next]);
                    let headers = [header.as_str()];
                    let asked = connection.call("POST", "/v1/keys/verify", &headers, &body);
                    // Whether it hangs is the watch's to say.
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
                            *wrong
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

    /// There is room again: everything that was refused is taken.
    pub async fn make_room(&mut self) {
        self.limit_files("unlimited");
        self.is_over.store(true, Ordering::SeqCst);
        while self.traffic.join_next().await.is_some() {}
        let path = format!("/api/v1/ingest/{}/disk", self.account.tenant);
        let key = format!("X-API-Key: {}", self.service);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sent = async { self.server.connect().await?.call("POST", &path, &[&key], "{}").await };
            let sent = tokio::time::timeout(Duration::from_secs(5), sent).await;
            if matches!(&sent, Ok(Ok(answer)) if answer.status == 202) {
                return;
            }
            if Instant::now() >= deadline {
                self.say("takes no events although there is room");
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn say(&self, what: &str) {
        *self.wrong.lock().unwrap_or_else(PoisonError::into_inner).entry(what.to_owned()).or_default() += 1;
    }

    /// How many events found no room.
    pub fn refused_events(&self) -> usize {
        self.refused_events.load(Ordering::SeqCst)
    }

    /// What it has done wrong. It is stopped.
    pub fn finish(self) -> Vec<String> {
        let over = |accepted: &AtomicUsize| accepted.load(Ordering::SeqCst) > QUOTA;
        let exceeded = self.accepted.iter().filter(|accepted| over(accepted)).count();
        let mut wrong: Vec<String> = self
            .wrong
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(what, count)| format!("the server beside: {what}: {count}"))
            .collect();
        if exceeded > 0 {
            wrong.push(format!("the server beside let {exceeded} keys through more often than their limits say"));
        }
        self.liveness.is_running(false);
        self.server.stop();
        wrong
    }
}
