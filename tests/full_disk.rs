//! A disk without room: whatever cannot be written is a 503, nothing that was answered is lost, and all goes on by
//! itself when there is room again.
//!
//! Here no file may grow beyond some megabytes (`RLIMIT_FSIZE`), which fails where a full disk does, within SQLite's
//! writes, and can be lifted while the server runs.

mod served;

use std::path::Path;
use std::process::Command;

use served::{Account, Answer, Connection, Server, program};

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
        .args(["--listen", "127.0.0.1:0"])
        .stderr(log);
    Server::wait(command, &folder.join("log"))
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

    let lifted = Command::new("prlimit").args(["--pid", &server.id().to_string(), "--fsize=unlimited"]).status();
    assert!(lifted.expect("prlimit runs").success());
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
