//! A disk without room: whatever cannot be written is a 503, nothing that was answered is lost, and all goes on by
//! itself when there is room again.
//!
//! Here no file may grow beyond some megabytes (`RLIMIT_FSIZE`), which fails where a full disk does, within SQLite's
//! writes, and can be lifted while the server runs.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::served::{Account, Answer, Connection, Server, program};
use crate::turn::alone;

const MOST_BYTES: &str = "3000000";

fn start(folder: &Path) -> Server {
    let log = std::fs::File::create(folder.join("log")).expect("a log file");
    let mut command = Command::new("prlimit");
    command
        .current_dir(folder)
        .arg(format!("--fsize={MOST_BYTES}:unlimited"))
        // The write fails instead of the process.
        .args(["sh", "-c", r#"trap '' XFSZ; exec "$0" "$@""#])
        .arg(program())
        .args(["--listen", "127.0.0.1:0", "--disk-reserve", "0"])
        // The log is a file as well, and should stay below the bound.
        .env("LATCHKEY_LOG", "warn")
        .stderr(log);
    Server::wait(command, &folder.join("log"))
}

/// Sets how long files of a running server may be.
fn limit_files(server: &Server, bytes: &str) {
    let limit = format!("--fsize={bytes}:unlimited");
    let set = Command::new("prlimit").args(["--pid", &server.id().to_string(), &limit]).status();
    assert!(set.expect("prlimit runs").success());
}

struct Client {
    connection: Connection,
    account: Account,
    key: String,
    /// Events that were answered by 202.
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

    /// How many events the server has.
    async fn all_events(&mut self) -> u64 {
        let bearer = self.account.bearer();
        let page = self.connection.call("GET", "/api/v1/events", &[&bearer], "").await.expect("an answer");
        page.json(200)["total"].as_u64().expect("a total")
    }
}

fn is_refused(answer: &Answer) {
    assert_eq!(answer.json(503)["code"], "unavailable");
    assert!(answer.header("retry-after").is_some(), "{}", answer.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing_and_is_over_when_there_is_room() {
    let _turn = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = start(folder.path());
    let mut connection = server.connect().await.expect("it listens");
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
    is_refused(&refused);
    // Large and small, in a group of its own or in a transaction.
    for _ in 0..3 {
        let (event, key) = (client.send_event().await, client.make_key().await);
        let revoked = client.call("DELETE", &revoke, "").await;
        // A page or two may still find a place, and a checkpoint makes room in the log (each half second) for more.
        for answer in [event, key, revoked].iter().filter(|answer| answer.status >= 400) {
            is_refused(answer);
        }
    }
    let header = format!("X-API-Key: {}", client.key);
    let known = client.connection.call("GET", "/v1/whoami", &[&header], "").await.expect("an answer");
    assert_eq!(known.json(200)["key_prefix"], text("key_prefix"), "keys are good on a full disk");

    limit_files(&server, "unlimited");
    assert_eq!(client.send_event().await.status, 202);
    client.make_key().await.json(201);
    assert_eq!(client.call("DELETE", &revoke, "").await.status, 200);
    assert_eq!(client.call("POST", "/v1/auth/logout", "").await.status, 204);
    assert_eq!(client.all_events().await, client.events as u64, "what was answered, and nothing else");

    server.kill();
    let server = Server::start(folder.path(), &[], &[]);
    client.connection = server.connect().await.expect("it listens");
    assert_eq!(client.all_events().await, client.events as u64, "and after a crash");
}

/// The hang detector: nothing that `/healthz` needs takes 3 s, or the server hangs.
const HANG: Duration = Duration::from_secs(3);
/// As long as the disk stays full: several flushes.
const FULL_FOR: Duration = Duration::from_secs(8);
const KEYS: usize = 600;

/// Asks `/healthz` on a connection of its own each time until it is told to stop; how often.
async fn watch_health(address: std::net::SocketAddr, stop: Arc<AtomicBool>) -> usize {
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        let health = async {
            let mut connection = Connection::open(address).await.expect("it listens");
            connection.call("GET", "/healthz", &[], "").await.expect("an answer").status
        };
        let status = tokio::time::timeout(HANG, health).await.expect("/healthz is not answered: the server hangs");
        assert_eq!(status, 200);
        asked += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    asked
}

/// Verifies one key after the other, again and again; how often each was `VALID`.
async fn verify_all(
    address: std::net::SocketAddr,
    caller: String,
    keys: Vec<String>,
    stop: Arc<AtomicBool>,
) -> Vec<u64> {
    let mut valid = vec![0; keys.len()];
    let mut connection = Connection::open(address).await.expect("it listens");
    let caller = format!("X-API-Key: {caller}");
    // A round is gone through to its end, so that each key is used on a slow machine as well.
    while !stop.load(Ordering::Relaxed) {
        for (key, valid) in keys.iter().zip(&mut valid) {
            let body = format!(r#"{{"key":"{key}"}}"#);
            let headers = [caller.as_str()];
            let call = connection.call("POST", "/v1/keys/verify", &headers, &body);
            let answer = tokio::time::timeout(HANG * 3, call).await.expect("a check hangs").expect("an answer");
            assert_eq!(answer.json(200)["code"], "VALID");
            *valid += 1;
        }
    }
    valid
}

/// Each flush fails, with everything in it that a flush can have: quotas, windows long enough to be saved, and keys
/// without any limit. No request waits for a flush that waits for a request, and every count is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_of_all_kinds_of_keys_go_on_while_every_flush_fails() {
    let _turn = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let server = start(folder.path());
    limit_files(&server, "unlimited");
    let mut connection = server.connect().await.expect("it listens");
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
    // Where the log of the database and the database have grown beyond already: nothing more can be written.
    limit_files(&server, "150000");
    let checks: Vec<_> = (0..8)
        .map(|_| tokio::spawn(verify_all(server.address, caller.clone(), keys.clone(), Arc::clone(&stop))))
        .collect();
    tokio::time::sleep(FULL_FOR).await;
    stop.store(true, Ordering::Relaxed);
    let mut valid = vec![0; KEYS];
    for check in checks {
        let counted = check.await.expect("no check fails or hangs");
        valid.iter_mut().zip(counted).for_each(|(all, some)| *all += some);
    }
    assert!(health.await.expect("it never hangs") > 0);
    assert!(valid.iter().all(|count| *count > 0), "each key was used");

    let log = || std::fs::read_to_string(folder.path().join("log")).expect("a log");
    assert!(log().contains("could not flush usage counts"), "flushes fail");
    let shown = async |client: &mut Client, number: usize| {
        let shown = client.call("GET", &format!("/v1/keys/{}", ids[number]), "").await.json(200);
        (shown["request_count"].as_u64().expect("a count"), shown["quota_remaining"].as_u64())
    };
    let right = |number: usize| (valid[number], number.is_multiple_of(3).then(|| 1_000_000 - valid[number]));
    for number in 0..6 {
        assert_eq!(shown(&mut client, number).await, right(number), "from memory: {number}");
    }
    limit_files(&server, "unlimited");
    // The final flush, at the latest.
    server.stop();
    assert!(!log().contains("panicked"), "{}", log());
    let server = Server::start(folder.path(), &[], &[]);
    client.connection = server.connect().await.expect("it listens");
    for number in 0..KEYS {
        assert_eq!(shown(&mut client, number).await, right(number), "from the disk: {number}");
    }
}

/// Starts a server whose database is on a file system of its own, of so many MiB. It needs the right to mount a tmpfs:
/// root, or user namespaces that anybody may make.
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

/// One tenant's events do not take the room that the end of a key needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_stop_while_revocations_still_find_room() {
    let _turn = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let server = start_on_small_disk(folder.path(), 64, "16MiB");
    let mut connection = server.connect().await.expect("it listens");
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
    is_refused(&refused);
    let detail = refused.json(503)["detail"].as_str().expect("a text").to_owned();
    assert!(detail.contains("disk is almost full"), "{detail}");
    for revoke in &revoke {
        // Whatever comes in between.
        is_refused(&client.send_event().await);
        assert_eq!(client.call("DELETE", revoke, "").await.status, 200);
    }
    assert_eq!(client.all_events().await, client.events as u64, "what was answered, and nothing else");
    let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
    assert_eq!(log.matches("the disk is almost full").count(), 1, "{log}");
    server.stop();
}
