//! Repeated `kill -9` under load, on one SQLite file. Acknowledged writes are there afterwards, and an event that was
//! sent twice with one idempotency key is there once. One test creates mostly events and some keys, the other only
//! keys.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Notify;

use crate::served::{Account, Answer, Connection, Server};
use crate::turn::exclusive;

const CRASHES: usize = 20;
const CONNECTIONS: usize = 32;
/// The maximum duration of a test.
const TIME_LIMIT: Duration = Duration::from_mins(3);

/// A request without a response: the killed server may or may not have stored it.
#[derive(Debug)]
struct Sent {
    /// A unique label, also used as the idempotency key if the event has one.
    label: String,
    is_idempotent: bool,
}

/// The results that clients received.
#[derive(Debug, Default)]
struct Known {
    /// Label and ID of each acknowledged event.
    events: HashMap<String, String>,
    /// Labels of acknowledged events with an idempotency key.
    repeatable: Vec<String>,
    /// Names and IDs of acknowledged keys.
    keys: HashMap<String, String>,
    /// The strings of keys that were acknowledged since the last crash.
    new_keys: Vec<String>,
    /// Events without a response.
    unanswered: Vec<Sent>,
    /// Names of keys without a response.
    unanswered_keys: HashSet<String>,
}

struct Load {
    account: Account,
    /// Every n-th request creates a key; the others send an event.
    keys_every: usize,
    key: String,
    known: Mutex<Known>,
    answered: AtomicUsize,
    enough: Notify,
}

impl Load {
    /// A body of varying size, so that events share database pages or cross them.
    fn body(label: &str) -> String {
        let filler = "x".repeat(label.bytes().map(usize::from).sum::<usize>() * 7 % 3000);
        format!(r#"{{"label":"{label}","filler":"{filler}"}}"#)
    }

    async fn ingest(&self, connection: &mut Connection, sent: &Sent) -> std::io::Result<Answer> {
        let path = format!("/api/v1/ingest/{}/load", self.account.tenant);
        let key = format!("X-Api-Key: {}", self.key);
        let idempotency_key = format!("X-Idempotency-Key: {}", sent.label);
        let headers = if sent.is_idempotent { &[key.as_str(), idempotency_key.as_str()][..] } else { &[key.as_str()] };
        connection.call("POST", &path, headers, &Self::body(&sent.label)).await
    }

    /// Records an acknowledged event.
    fn answered(&self, sent: Sent, answer: &Answer) {
        let event = answer.json(answer.status);
        let mut known = self.known.lock().expect("no panic");
        let id = text(&event, "id");
        let before = known.events.insert(sent.label.clone(), id.clone());
        if sent.is_idempotent && before.is_none() {
            known.repeatable.push(sent.label);
        }
        assert!(before.is_none_or(|before| before == id), "two events have one label: {event}");
    }

    /// Sends events and creates keys until the server is killed.
    async fn client(self: Arc<Self>, mut connection: Connection, round: usize, number: usize) {
        for step in 0.. {
            let label = format!("{round}-{number}-{step}");
            if step % self.keys_every == number % self.keys_every {
                let body = format!(r#"{{"name":"{label}"}}"#);
                if let Ok(answer) = connection.call("POST", "/api/v1/apikeys", &[&self.account.bearer()], &body).await {
                    let made = answer.json(201);
                    let mut known = self.known.lock().expect("no panic");
                    known.keys.insert(label, text(&made, "id"));
                    known.new_keys.push(text(&made, "key"));
                } else {
                    self.known.lock().expect("no panic").unanswered_keys.insert(label);
                    return;
                }
            } else {
                let sent = Sent { label, is_idempotent: step % 2 == 0 };
                if let Ok(answer) = self.ingest(&mut connection, &sent).await {
                    assert_eq!(answer.status, 202, "{}", answer.text());
                    self.answered(sent, &answer);
                } else {
                    self.known.lock().expect("no panic").unanswered.push(sent);
                    return;
                }
            }
            self.answered.fetch_add(1, Ordering::SeqCst);
            self.enough.notify_one();
        }
    }

    /// Runs all clients until this number of requests was answered, then kills the server.
    async fn until_killed(self: &Arc<Self>, server: &mut Server, round: usize, requests: usize) {
        self.answered.store(0, Ordering::SeqCst);
        let mut clients = Vec::new();
        for number in 0..CONNECTIONS {
            let connection = server.connect().await.expect("the server listens");
            clients.push(tokio::spawn(Arc::clone(self).client(connection, round, number)));
        }
        while self.answered.load(Ordering::SeqCst) < requests {
            self.enough.notified().await;
        }
        server.kill();
        for client in clients {
            client.await.expect("a client got an unexpected response");
        }
    }

    /// Compares the stored events and keys, as the API shows them, with the results that clients received.
    async fn compare(&self, connection: &mut Connection) {
        // Unanswered events are sent again with the same idempotency key, and so are some acknowledged ones.
        let (unanswered, repeated) = {
            let mut known = self.known.lock().expect("no panic");
            let repeated: Vec<String> = known.repeatable.iter().rev().take(CONNECTIONS).cloned().collect();
            (std::mem::take(&mut known.unanswered), repeated)
        };
        let (again, lost): (Vec<Sent>, Vec<Sent>) = unanswered.into_iter().partition(|sent| sent.is_idempotent);
        for sent in again {
            let answer = self.ingest(connection, &sent).await.expect("an answer");
            assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
            self.answered(sent, &answer);
        }
        for label in repeated {
            let sent = Sent { label, is_idempotent: true };
            let answer = self.ingest(connection, &sent).await.expect("an answer");
            assert_eq!(answer.status, 200, "a repeated event was stored twice");
            self.answered(sent, &answer);
        }

        let found = self.all(connection, "/api/v1/events?CpOrd=id").await;
        let ids: HashSet<String> = found.iter().map(|event| text(event, "id")).collect();
        assert_eq!(ids.len(), found.len(), "no event is listed twice");
        let (acknowledged, missing): (HashSet<String>, Vec<String>) = {
            let known = self.known.lock().expect("no panic");
            let missing = known.events.values().filter(|id| !ids.contains(*id)).cloned().collect();
            (known.events.values().cloned().collect(), missing)
        };
        assert!(missing.is_empty(), "{} acknowledged events are lost: {missing:?}", missing.len());
        // An event that was never acknowledged must be an unanswered one without an idempotency key, and stored once.
        for id in ids.difference(&acknowledged) {
            let path = format!("/api/v1/events/{id}");
            let event =
                connection.call("GET", &path, &[&self.account.bearer()], "").await.expect("an answer").json(200);
            let label = text(&event["body"], "label");
            assert!(lost.iter().any(|sent| sent.label == label), "a second event of {label}");
            let mut known = self.known.lock().expect("no panic");
            assert!(known.events.insert(label, id.clone()).is_none(), "two events of one request");
        }

        let found = self.all(connection, "/api/v1/apikeys?CpOrd=createdAt").await;
        let mut ids: HashMap<String, String> = found.iter().map(|key| (text(key, "id"), text(key, "name"))).collect();
        let strings = {
            let mut known = self.known.lock().expect("no panic");
            for (name, id) in &known.keys {
                assert_eq!(ids.remove(id).as_ref(), Some(name), "an acknowledged key is lost");
            }
            let unknown: Vec<&String> = ids.values().filter(|name| !known.unanswered_keys.contains(*name)).collect();
            assert_eq!(unknown, ["the load's own"], "stored keys that no client created");
            std::mem::take(&mut known.new_keys)
        };
        // The latest acknowledged keys are valid; their commits were the last before the crash.
        for string in strings.iter().rev().take(CONNECTIONS) {
            let header = format!("X-Api-Key: {string}");
            connection.call("GET", "/v1/whoami", &[&header], "").await.expect("an answer").json(200);
        }
    }

    /// Reads all pages of a list.
    async fn all(&self, connection: &mut Connection, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        for page in 1.. {
            let path = format!("{path}&TpOrd=Asc&Qt=100&Pg={page}");
            let answer =
                connection.call("GET", &path, &[&self.account.bearer()], "").await.expect("an answer").json(200);
            items.extend(answer["items"].as_array().expect("items").iter().cloned());
            let total = answer["total"].as_u64().and_then(|total| usize::try_from(total).ok()).expect("a total");
            if page * 100 >= total {
                assert_eq!(items.len(), total, "the total equals the items on all pages");
                break;
            }
        }
        items
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field}: {value}")).to_owned()
}

async fn start_load(folder: &Path, keys_every: usize) -> Load {
    let server = Server::start(folder, &[], &[("LATCHKEY_LOG", "warn")]);
    let mut connection = server.connect().await.expect("the server listens");
    let account = Account::register(&mut connection).await;
    let body = r#"{"name":"the load's own"}"#;
    let made = connection.call("POST", "/api/v1/apikeys", &[&account.bearer()], body).await.expect("an answer");
    let key = text(&made.json(201), "key");
    let known = Mutex::default();
    Load { account, keys_every, key, known, answered: AtomicUsize::new(0), enough: Notify::new() }
}

/// Kills a server under load 20 times, and compares the stored data after each crash.
async fn survives_crashes(keys_every: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let began = Instant::now();
    let test = async {
        // `start_load` drops its server, which kills it a first time, without load.
        let load = Arc::new(start_load(folder.path(), keys_every).await);
        for round in 0..=CRASHES {
            let mut server = Server::start(folder.path(), &[], &[("LATCHKEY_LOG", "warn")]);
            let mut connection = server.connect().await.expect("the server listens");
            load.compare(&mut connection).await;
            if round < CRASHES {
                // Kill after a different number of requests each time: sometimes before the first page is full,
                // sometimes late.
                load.until_killed(&mut server, round, 20 + round * 97 % 400).await;
            }
        }
        let known = load.known.lock().expect("no panic");
        let answered = known.events.len() + known.keys.len();
        assert!(answered > 100 * CRASHES, "too few answers for a load: {answered}");
        println!(
            "{CRASHES} crashes: {} events, {} of them with an idempotency key, {} keys, in {:.1} s",
            known.events.len(),
            known.repeatable.len(),
            known.keys.len(),
            began.elapsed().as_secs_f64()
        );
    };
    tokio::time::timeout(TIME_LIMIT, test).await.expect("the crashes take too long");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_events_and_keys_survive_twenty_crashes() {
    let _turn = exclusive();
    survives_crashes(16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issued_keys_survive_twenty_crashes() {
    let _turn = exclusive();
    survives_crashes(1).await;
}
