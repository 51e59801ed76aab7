//! `kill -9` in the middle of a load, again and again, on one SQLite file. What was acknowledged is
//! there afterwards, and an event that was sent twice under one idempotency key is there once. Once under
//! a load of events, with a key made now and then, and once under one of keys alone.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Notify;

use crate::served::{Account, Answer, Connection, Server};
use crate::turn::alone;

const CRASHES: usize = 20;
const CONNECTIONS: usize = 32;
/// The whole is given up after so long.
const TIME_LIMIT: Duration = Duration::from_mins(3);

/// A request that may or may not have got through when the server died.
#[derive(Debug)]
struct Sent {
    /// What makes it different from all others; also its idempotency key, where it has one.
    label: String,
    has_key: bool,
}

/// What the clients know.
#[derive(Debug, Default)]
struct Known {
    /// Label and id of every event that was answered with success.
    events: HashMap<String, String>,
    /// Labels of acknowledged events that had an idempotency key.
    repeatable: Vec<String>,
    /// Names and ids of keys that were answered with 201.
    keys: HashMap<String, String>,
    /// The strings of those that were answered since the last crash.
    new_keys: Vec<String>,
    /// Labels of events and names of keys whose answer never came.
    unanswered: Vec<Sent>,
    unanswered_keys: HashSet<String>,
}

struct Load {
    account: Account,
    /// One request in so many makes a key; the others send an event.
    keys_every: usize,
    key: String,
    known: Mutex<Known>,
    answered: AtomicUsize,
    enough: Notify,
}

impl Load {
    /// A body of some size, so that events share pages and cross them.
    fn body(label: &str) -> String {
        let filler = "x".repeat(label.bytes().map(usize::from).sum::<usize>() * 7 % 3000);
        format!(r#"{{"label":"{label}","filler":"{filler}"}}"#)
    }

    async fn ingest(&self, connection: &mut Connection, sent: &Sent) -> std::io::Result<Answer> {
        let path = format!("/api/v1/ingest/{}/load", self.account.tenant);
        let key = format!("X-Api-Key: {}", self.key);
        let idempotency_key = format!("X-Idempotency-Key: {}", sent.label);
        let headers = if sent.has_key { &[key.as_str(), idempotency_key.as_str()][..] } else { &[key.as_str()] };
        connection.call("POST", &path, headers, &Self::body(&sent.label)).await
    }

    /// Writes down that an event was answered.
    fn answered(&self, sent: Sent, answer: &Answer) {
        let event = answer.json(answer.status);
        let mut known = self.known.lock().expect("no panic");
        let id = text(&event, "id");
        let before = known.events.insert(sent.label.clone(), id.clone());
        if sent.has_key && before.is_none() {
            known.repeatable.push(sent.label);
        }
        assert!(before.is_none_or(|before| before == id), "one label, two events: {event}");
    }

    /// One client: event after event, and a key now and then or always, until the server is no more.
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
                let sent = Sent { label, has_key: step % 2 == 0 };
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

    /// Runs all clients until so many requests were answered, and kills the server under them.
    async fn until_killed(self: &Arc<Self>, server: &mut Server, round: usize, requests: usize) {
        self.answered.store(0, Ordering::SeqCst);
        let mut clients = Vec::new();
        for number in 0..CONNECTIONS {
            let connection = server.connect().await.expect("it listens");
            clients.push(tokio::spawn(Arc::clone(self).client(connection, round, number)));
        }
        while self.answered.load(Ordering::SeqCst) < requests {
            self.enough.notified().await;
        }
        server.kill();
        for client in clients {
            client.await.expect("a client saw nothing but what it should");
        }
    }

    /// What is in the database now, as the API shows it, beside what the clients know.
    async fn compare(&self, connection: &mut Connection) {
        // Who got no answer sends again, with the same idempotency key; and so does somebody who got one.
        let (unanswered, repeated) = {
            let mut known = self.known.lock().expect("no panic");
            let repeated: Vec<String> = known.repeatable.iter().rev().take(CONNECTIONS).cloned().collect();
            (std::mem::take(&mut known.unanswered), repeated)
        };
        let (again, lost): (Vec<Sent>, Vec<Sent>) = unanswered.into_iter().partition(|sent| sent.has_key);
        for sent in again {
            let answer = self.ingest(connection, &sent).await.expect("an answer");
            assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
            self.answered(sent, &answer);
        }
        for label in repeated {
            let sent = Sent { label, has_key: true };
            let answer = self.ingest(connection, &sent).await.expect("an answer");
            assert_eq!(answer.status, 200, "sent twice, taken twice");
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
        // What nobody was told of: only what was sent without an idempotency key, and that once.
        for id in ids.difference(&acknowledged) {
            let path = format!("/api/v1/events/{id}");
            let event =
                connection.call("GET", &path, &[&self.account.bearer()], "").await.expect("an answer").json(200);
            let label = text(&event["body"], "label");
            assert!(lost.iter().any(|sent| sent.label == label), "a second event of {label}");
            let mut known = self.known.lock().expect("no panic");
            assert!(known.events.insert(label, id.clone()).is_none(), "one request, two events");
        }

        let found = self.all(connection, "/api/v1/apikeys?CpOrd=createdAt").await;
        let mut ids: HashMap<String, String> = found.iter().map(|key| (text(key, "id"), text(key, "name"))).collect();
        let strings = {
            let mut known = self.known.lock().expect("no panic");
            for (name, id) in &known.keys {
                assert_eq!(ids.remove(id).as_ref(), Some(name), "an acknowledged key is lost");
            }
            let unknown: Vec<&String> = ids.values().filter(|name| !known.unanswered_keys.contains(*name)).collect();
            assert_eq!(unknown, ["the load's own"], "keys that nobody made");
            std::mem::take(&mut known.new_keys)
        };
        // And they are good: of those that were answered last, whose commits were the last.
        for string in strings.iter().rev().take(CONNECTIONS) {
            let header = format!("X-Api-Key: {string}");
            connection.call("GET", "/v1/whoami", &[&header], "").await.expect("an answer").json(200);
        }
    }

    /// All pages of a listing.
    async fn all(&self, connection: &mut Connection, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        for page in 1.. {
            let path = format!("{path}&TpOrd=Asc&Qt=100&Pg={page}");
            let answer =
                connection.call("GET", &path, &[&self.account.bearer()], "").await.expect("an answer").json(200);
            items.extend(answer["items"].as_array().expect("items").iter().cloned());
            let total = answer["total"].as_u64().and_then(|total| usize::try_from(total).ok()).expect("a total");
            if page * 100 >= total {
                assert_eq!(items.len(), total, "the total is that of the pages");
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
    let mut connection = server.connect().await.expect("it listens");
    let account = Account::register(&mut connection).await;
    let body = r#"{"name":"the load's own"}"#;
    let made = connection.call("POST", "/api/v1/apikeys", &[&account.bearer()], body).await.expect("an answer");
    let key = text(&made.json(201), "key");
    let known = Mutex::default();
    Load { account, keys_every, key, known, answered: AtomicUsize::new(0), enough: Notify::new() }
}

/// Crashes a server under a load as often as it says, and looks after each what became of it.
async fn survives(keys_every: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let began = Instant::now();
    let story = async {
        // Dropped, its server is killed a first time, at rest.
        let load = Arc::new(start_load(folder.path(), keys_every).await);
        for round in 0..=CRASHES {
            let mut server = Server::start(folder.path(), &[], &[("LATCHKEY_LOG", "warn")]);
            let mut connection = server.connect().await.expect("it listens");
            load.compare(&mut connection).await;
            if round < CRASHES {
                // At another moment each time: sometimes before the first page is full, sometimes late.
                load.until_killed(&mut server, round, 20 + round * 97 % 400).await;
            }
        }
        let known = load.known.lock().expect("no panic");
        let answered = known.events.len() + known.keys.len();
        assert!(answered > 100 * CRASHES, "the load was no load: {answered} answers");
        println!(
            "{CRASHES} crashes: {} events, {} of them sent under an idempotency key, and {} keys, in {:.1} s",
            known.events.len(),
            known.repeatable.len(),
            known.keys.len(),
            began.elapsed().as_secs_f64()
        );
    };
    tokio::time::timeout(TIME_LIMIT, story).await.expect("the crashes take too long");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_twenty_crashes() {
    let _turn = alone();
    survives(16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_were_issued_survive_twenty_crashes() {
    let _turn = alone();
    survives(1).await;
}
