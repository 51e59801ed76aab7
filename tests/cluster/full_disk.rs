//! A full disk: a request that cannot be stored gets 503, no answered write is lost, and the server recovers by itself
//! when the disk has space.
//!
//! A limit of file sizes (`RLIMIT_FSIZE`) makes SQLite's writes fail as on a full disk, and can be lifted while the
//! server runs.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::served::{Account, Answer, Connection, Server, program};
use crate::turn::exclusive;

const MAX_FILE_BYTES: &str = "3000000";

fn start(folder: &Path) -> Server {
    let log = std::fs::File::create(folder.join("log")).expect("a log file");
    let mut command = Command::new("prlimit");
    command
        .current_dir(folder)
        .arg(format!("--fsize={MAX_FILE_BYTES}:unlimited"))
        // With SIGXFSZ ignored, the write fails instead of ending the process.
        .args(["sh", "-c", r#"trap '' XFSZ; exec "$0" "$@""#])
        .arg(program())
        .args(["--listen", "127.0.0.1:0", "--disk-reserve", "0"])
        // The log is a file too and must stay below the limit.
        .env("LATCHKEY_LOG", "warn")
        .stderr(log);
    Server::wait(command, &folder.join("log"))
}

/// Sets the maximum file size of a running server.
fn limit_files(server: &Server, bytes: &str) {
    let limit = format!("--fsize={bytes}:unlimited");
    let set = Command::new("prlimit").args(["--pid", &server.id().to_string(), &limit]).status();
    assert!(set.expect("prlimit runs").success());
}

struct Client {
    connection: Connection,
    account: Account,
    key: String,
    /// The number of events that were answered with 202.
    events: usize,
}

impl Client {
    async fn call(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let cookie = format!("Cookie: session={}", self.account.session);
        self.connection.call(method, path, &[&cookie], body).await.expect("an answer")
    }

    async fn send_event(&mut self) -> Answer {
        let path = format!("/api/v1/ingest/{}/disk", self.account.tenant);
        let (key, body) = (format!("X-API-Key: {}", self.key), format!(r#"{{"filler":"{}"}}"#, "x".repeat(20_000)));
        let answer = self.connection.call("POST", &path, &[&key], &body).await.expect("an answer");
        self.events += usize::from(answer.status == 202);
        answer
    }

    async fn make_key(&mut self) -> Answer {
        self.call("POST", "/v1/auth/api-keys", r#"{"name":"a key"}"#).await
    }

    /// The number of events that the server has stored.
    async fn all_events(&mut self) -> u64 {
        let bearer = self.account.bearer();
        let page = self.connection.call("GET", "/api/v1/events", &[&bearer], "").await.expect("an answer");
        page.json(200)["total"].as_u64().expect("a total")
    }
}

fn assert_refused(answer: &Answer) {
    assert_eq!(answer.json(503)["code"], "unavailable");
    assert!(answer.header("retry-after").is_some(), "{}", answer.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_no_answered_write_and_the_server_recovers() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = start(folder.path());
    let mut connection = server.connect().await.expect("the server listens");
    let account = Account::register(&mut connection).await;
    let mut client = Client { connection, account, key: String::new(), events: 0 };
    let made = client.make_key().await.json(201);
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    client.key = text("key");
    let revoke = format!("/v1/auth/api-keys/{}", client.make_key().await.json(201)["id"].as_str().expect("an id"));

    let refused = loop {
        let answer = client.send_event().await;
        if answer.status != 202 {
            break answer;
        }
        assert!(client.events < 10_000, "the disk is never full");
    };
    assert!(client.events > 10);
    assert_refused(&refused);
    // Large and small writes, in a batch or in a transaction.
    for _ in 0..3 {
        let (event, key) = (client.send_event().await, client.make_key().await);
        let revoked = client.call("DELETE", &revoke, "").await;
        // A small write may still fit, and a checkpoint frees space in the WAL every half second.
        for answer in [event, key, revoked].iter().filter(|answer| answer.status >= 400) {
            assert_refused(answer);
        }
    }
    let header = format!("X-API-Key: {}", client.key);
    let known = client.connection.call("GET", "/v1/whoami", &[&header], "").await.expect("an answer");
    assert_eq!(known.json(200)["key_prefix"], text("key_prefix"), "keys are valid on a full disk");

    limit_files(&server, "unlimited");
    assert_eq!(client.send_event().await.status, 202);
    client.make_key().await.json(201);
    assert_eq!(client.call("DELETE", &revoke, "").await.status, 200);
    assert_eq!(client.call("POST", "/v1/auth/logout", "").await.status, 204);
    assert_eq!(client.all_events().await, client.events as u64, "exactly the answered events are stored");

    server.kill();
    let server = Server::start(folder.path(), &[], &[]);
    client.connection = server.connect().await.expect("the server listens");
    assert_eq!(client.all_events().await, client.events as u64, "exactly the answered events are stored after a crash");
}

/// The server hangs when `/healthz` takes longer than this.
const HANG_TIMEOUT: Duration = Duration::from_secs(3);
/// The disk is full for this time, which includes several flushes.
const FULL_DISK_DURATION: Duration = Duration::from_secs(8);
const KEYS: usize = 600;

/// Requests `/healthz` until `stop` is set, on a new connection each time; returns the number of requests.
async fn watch_health(address: std::net::SocketAddr, stop: Arc<AtomicBool>) -> usize {
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        let health = async {
            let mut connection = Connection::open(address).await.expect("the server listens");
            connection.call("GET", "/healthz", &[], "").await.expect("an answer").status
        };
        let status =
            tokio::time::timeout(HANG_TIMEOUT, health).await.expect("/healthz is not answered: the server hangs");
        assert_eq!(status, 200);
        asked += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    asked
}

/// Verifies all keys in turn until `stop` is set; returns for each key how often it was `VALID`.
async fn verify_all(
    address: std::net::SocketAddr,
    caller: String,
    keys: Vec<String>,
    stop: Arc<AtomicBool>,
) -> Vec<u64> {
    let mut valid = vec![0; keys.len()];
    let mut connection = Connection::open(address).await.expect("the server listens");
    let caller = format!("X-API-Key: {caller}");
    // Each round is completed, so that each key is used on a slow machine too.
    while !stop.load(Ordering::Relaxed) {
        for (key, valid) in keys.iter().zip(&mut valid) {
            let body = format!(r#"{{"key":"{key}"}}"#);
            let headers = [caller.as_str()];
            let call = connection.call("POST", "/v1/keys/verify", &headers, &body);
            let answer = tokio::time::timeout(HANG_TIMEOUT * 3, call).await.expect("a check hangs").expect("an answer");
            assert_eq!(answer.json(200)["code"], "VALID");
            *valid += 1;
        }
    }
    valid
}

/// Each flush fails with all kinds of data in it: quotas, windows long enough to be saved, and counts of keys without a
/// limit. Requests and flushes do not deadlock, and every count is right afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_of_all_kinds_of_keys_succeed_while_every_flush_fails() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path());
    limit_files(&server, "unlimited");
    let mut connection = server.connect().await.expect("the server listens");
    let account = Account::register(&mut connection).await;
    let mut client = Client { connection, account, key: String::new(), events: 0 };
    let text = |made: &serde_json::Value, name: &str| made[name].as_str().expect("a text").to_owned();
    let caller = text(&client.make_key().await.json(201), "key");
    let (mut ids, mut keys) = (Vec::new(), Vec::new());
    for number in 0..KEYS {
        let limit = match number % 3 {
            0 => r#","quota":{"limit":1000000}"#,
            1 => r#","rate_limit":{"limit":1000000,"window_seconds":3600}"#,
            _ => "",
        };
        let made = client.call("POST", "/v1/auth/api-keys", &format!(r#"{{"name":"a key"{limit}}}"#)).await.json(201);
        ids.push(text(&made, "id"));
        keys.push(text(&made, "key"));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let health = tokio::spawn(watch_health(server.address, Arc::clone(&stop)));
    // The database and its WAL are larger than this already, so no write succeeds.
    limit_files(&server, "150000");
    let checks: Vec<_> = (0..8)
        .map(|_| tokio::spawn(verify_all(server.address, caller.clone(), keys.clone(), Arc::clone(&stop))))
        .collect();
    tokio::time::sleep(FULL_DISK_DURATION).await;
    stop.store(true, Ordering::Relaxed);
    let mut valid = vec![0; KEYS];
    for check in checks {
        let counted = check.await.expect("no check fails or hangs");
        valid.iter_mut().zip(counted).for_each(|(all, some)| *all += some);
    }
    assert!(health.await.expect("/healthz is always answered") > 0);
    assert!(valid.iter().all(|count| *count > 0), "each key was used");

    let log = || std::fs::read_to_string(folder.path().join("log")).expect("a log");
    assert!(log().contains("cannot flush usage counts"), "the log has no failed flush");
    let shown = async |client: &mut Client, number: usize| {
        let shown = client.call("GET", &format!("/v1/keys/{}", ids[number]), "").await.json(200);
        (shown["request_count"].as_u64().expect("a count"), shown["quota_remaining"].as_u64())
    };
    let expected = |number: usize| (valid[number], number.is_multiple_of(3).then(|| 1_000_000 - valid[number]));
    for number in 0..6 {
        assert_eq!(shown(&mut client, number).await, expected(number), "key {number}, counts in memory");
    }
    limit_files(&server, "unlimited");
    // Everything is saved by the final flush at the latest.
    server.stop();
    assert!(!log().contains("panicked"), "{}", log());
    let server = Server::start(folder.path(), &[], &[]);
    client.connection = server.connect().await.expect("the server listens");
    for number in 0..KEYS {
        assert_eq!(shown(&mut client, number).await, expected(number), "key {number}, counts on disk");
    }
}

/// Starts a server with its database on a tmpfs of this size. Mounting the tmpfs needs root or unprivileged user
/// namespaces.
fn start_on_small_disk(folder: &Path, mebibytes: usize, reserve: &str) -> Server {
    let log = std::fs::File::create(folder.join("log")).expect("a log file");
    std::fs::create_dir(folder.join("disk")).expect("a folder");
    let mount = format!(r#"mount -t tmpfs -o size={mebibytes}m tmpfs disk && cd disk && exec "$0" "$@""#);
    let mut command = Command::new("unshare");
    command
        .current_dir(folder)
        .args(["--map-root-user", "--mount", "sh", "-c", &mount])
        .arg(program())
        .args(["--listen", "127.0.0.1:0", "--disk-reserve", reserve])
        .stderr(log);
    Server::wait(command, &folder.join("log"))
}

/// Events of a tenant do not use up the disk space that revocations need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_refused_while_revocations_still_have_disk_space() {
    let _turn = exclusive();
    let folder = tempfile::tempdir().expect("a folder");
    let server = start_on_small_disk(folder.path(), 64, "16MiB");
    let mut connection = server.connect().await.expect("the server listens");
    let account = Account::register(&mut connection).await;
    let mut client = Client { connection, account, key: String::new(), events: 0 };
    client.key = client.make_key().await.json(201)["key"].as_str().expect("a text").to_owned();
    let mut revoke = Vec::new();
    for _ in 0..50 {
        let made = client.make_key().await.json(201);
        revoke.push(format!("/v1/auth/api-keys/{}", made["id"].as_str().expect("an id")));
    }
    let refused = loop {
        let answer = client.send_event().await;
        if answer.status != 202 {
            break answer;
        }
        assert!(client.events < 10_000, "the disk is never full");
    };
    assert_refused(&refused);
    let detail = refused.json(503)["detail"].as_str().expect("a text").to_owned();
    assert!(detail.contains("disk is almost full"), "{detail}");
    for revoke in &revoke {
        assert_refused(&client.send_event().await);
        assert_eq!(client.call("DELETE", revoke, "").await.status, 200);
    }
    assert_eq!(client.all_events().await, client.events as u64, "exactly the answered events are stored");
    let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
    assert_eq!(log.matches("the disk is almost full").count(), 1, "{log}");
    server.stop();
}
