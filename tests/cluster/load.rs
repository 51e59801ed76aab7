//! Clients on all nodes at once: owners that make, disable and revoke keys, and services that have the keys
//! checked, above all those that are about to end or have just ended.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;

use crate::checker::judge;
use crate::client::Client;
use crate::history::{Event, History, Moment, Revocation, State, What};
use crate::keys::{Key, Keys};
use crate::nodes::PATIENCE;
use crate::outcome::Outcome;
use crate::served::{Account, Connection, request};

/// Keys that are live at the same time.
const LIVE: usize = 40;
/// Ended keys that are still asked for.
const REMEMBERED: usize = 40;

/// How many.
#[derive(Debug, Clone, Copy)]
pub struct Clients {
    pub owners: usize,
    pub services: usize,
}

impl Default for Clients {
    fn default() -> Self {
        Self { owners: 6, services: 9 }
    }
}

/// What all clients share.
pub struct Shared {
    pub history: History,
    addresses: Vec<SocketAddr>,
    cookie: String,
    service: String,
    keys: Mutex<Keys>,
    made: AtomicUsize,
    is_over: AtomicBool,
}

/// Clients at work, until [`Load::finish`].
pub struct Load {
    pub shared: Arc<Shared>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts so many of each, spread over the nodes; the seed decides what they do.
    pub async fn start(addresses: Vec<SocketAddr>, account: &Account, clients: Clients, seed: u64) -> Self {
        let cookie = format!("Cookie: session={}", account.session);
        let mut connection = Connection::open(addresses[0]).await.expect("it listens");
        let made = connection.call("POST", "/v1/auth/api-keys", &[&cookie], r#"{"name":"service"}"#).await;
        let made = made.expect("an answer").json(201);
        let shared = Arc::new(Shared {
            history: History::begin(),
            addresses,
            cookie,
            service: format!("X-API-Key: {}", made["key"].as_str().expect("a key")),
            keys: Mutex::default(),
            made: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for number in 0..clients.owners {
            tasks.spawn(Arc::clone(&shared).own(shared.home(number), random(seed, number)));
        }
        for number in 0..clients.services {
            tasks.spawn(Arc::clone(&shared).serve(shared.home(number), random(seed, 1000 + number)));
        }
        let load = Self { shared, clients: tasks };
        // Faults are for clusters in full swing.
        load.until(|history| history.revocations().len() >= 10).await;
        load
    }

    /// Lets it go on.
    pub async fn go_on(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// Lets it go on until the history has come so far.
    pub async fn until(&self, far_enough: impl Fn(&History) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !far_enough(&self.shared.history) {
            assert!(Instant::now() < deadline, "no end of it: {:?}", self.shared.history.counts());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn now(&self) -> Moment {
        self.shared.history.now()
    }

    /// Lets it go on while somebody asks one node again and again about keys that have just ended, without
    /// waiting for answers: so that there are requests that were sent after a revocation was answered, whatever
    /// the node is waiting for. Whether each of them was answered is known later.
    pub async fn press(&self, node: usize, time: Duration, random: &mut ChaCha8Rng) -> JoinSet<bool> {
        let mut waiting = JoinSet::new();
        let end = Instant::now() + time;
        while Instant::now() < end {
            if let Some(key) = self.shared.ended(random) {
                let shared = Arc::clone(&self.shared);
                waiting.spawn(async move {
                    let mut client = shared.client();
                    shared.check(&mut client, node, &key).await
                });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        waiting
    }

    /// Stops the clients, asks every node for every key once more, and judges. It is for the tests to say what
    /// they think of the judgement.
    pub async fn stop(mut self) -> Outcome {
        self.shared.is_over.store(true, Ordering::SeqCst);
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client saw nothing but what it should");
        }
        self.shared.sweep().await;
        let events = self.shared.history.events();
        let revocations = self.shared.history.revocations();
        let judgement = judge(&events);
        Outcome { events, revocations, judgement, shared: self.shared }
    }

    /// The same, and nothing may have been wrong.
    pub async fn finish(self) -> Outcome {
        let outcome = self.stop().await;
        let shown: Vec<String> = outcome.judgement.violations.iter().map(ToString::to_string).take(20).collect();
        let history = &outcome.shared.history;
        assert!(shown.is_empty(), "broken promises:\n{}\n{:#?}", shown.join("\n"), history.counts());
        assert_eq!(history.wrongs(), Vec::<String>::new(), "answers that nothing excuses");
        println!("{:#?}", history.counts());
        outcome
    }
}

impl Shared {
    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    pub fn client(&self) -> Client {
        Client::new(&self.addresses)
    }

    /// The node that a client asks: each has its own, so that one that does not answer keeps only its own
    /// clients waiting.
    fn home(&self, number: usize) -> usize {
        number % self.addresses.len()
    }

    /// An owner: a new key, and the end of another one, again and again.
    async fn own(self: Arc<Self>, node: usize, mut random: ChaCha8Rng) {
        let mut client = self.client();
        while !self.is_over() {
            self.create(&mut client, node).await;
            let taken = {
                let mut keys = self.keys();
                let count = keys.live.len();
                // A few of them are in the hands of other owners.
                (count >= LIVE / 2).then(|| keys.live.swap_remove(random.random_range(0..count)))
            };
            let Some(key) = taken else { continue };
            self.watch(&key);
            if random.random_bool(0.2) {
                self.change(&mut client, node, &key, State::Disabled).await;
                self.change(&mut client, node, &key, State::Live).await;
            }
            if self.keys().live.len() >= LIVE || random.random_bool(0.5) {
                self.change(&mut client, node, &key, State::Revoked).await;
            } else {
                self.keys().live.push(key);
            }
        }
    }

    /// From now on this key is asked for often.
    fn watch(&self, key: &Arc<Key>) {
        let mut keys = self.keys();
        keys.ended.push_back(Arc::clone(key));
        if keys.ended.len() > REMEMBERED {
            keys.ended.pop_front();
        }
    }

    /// A key that was revoked or changed lately, if there is one.
    pub fn ended(&self, random: &mut ChaCha8Rng) -> Option<Arc<Key>> {
        let keys = self.keys();
        let count = keys.ended.len();
        // The latest more often than the others.
        let back = random.random_range(0..=count).min(random.random_range(0..=count));
        keys.ended.get(count.checked_sub(back)?).or_else(|| keys.ended.back()).cloned()
    }

    /// A service: checks on its node, of keys of all owners.
    async fn serve(self: Arc<Self>, node: usize, mut random: ChaCha8Rng) {
        let mut client = self.client();
        while !self.is_over() {
            let ended = if random.random_bool(0.6) { self.ended(&mut random) } else { None };
            let key = ended.or_else(|| self.keys().live.choose(&mut random).cloned());
            if let Some(key) = key {
                self.check(&mut client, node, &key).await;
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(1..4))).await;
        }
    }

    async fn create(&self, client: &mut Client, node: usize) {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let body = format!(r#"{{"name":"key {number}"}}"#);
        let request = request("POST", "/v1/auth/api-keys", &[&self.cookie], &body);
        let start = self.history.now();
        let answer = client.call(node, &request).await;
        let end = self.history.now();
        match answer {
            Ok(answer) if answer.status == 201 => {
                let made = answer.json(201);
                let text = |field: &str| made[field].as_str().expect("text").to_owned();
                let key = Arc::new(Key { number, id: text("id"), plain: text("key") });
                self.history.count("create", "201");
                self.history.add(Event {
                    key: number,
                    node,
                    start,
                    end,
                    what: What::Set { to: State::Live, done: true },
                });
                let mut keys = self.keys();
                keys.all.push(Arc::clone(&key));
                keys.live.push(key);
            }
            other => self.unanswered("create", other).await,
        }
    }

    /// Asks for a change until it is answered with success; one node, and the next one when it is not.
    async fn change(&self, client: &mut Client, mut node: usize, key: &Key, to: State) {
        let request = match to {
            State::Live => self.edit(key, r#"{"enabled":true}"#),
            State::Disabled => self.edit(key, r#"{"enabled":false}"#),
            // By both doors: the first says more, the second is what most clients use.
            State::Revoked if !key.number.is_multiple_of(5) => {
                request("POST", &format!("/v1/keys/{}/revoke", key.id), &[&self.cookie], "")
            }
            State::Revoked => request("DELETE", &format!("/v1/auth/api-keys/{}", key.id), &[&self.cookie], ""),
        };
        let what = format!("set {to:?}");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let start = self.history.now();
            let answer = client.call(node, &request).await;
            let end = self.history.now();
            let done = matches!(&answer, Ok(answer) if answer.status == 200);
            self.history.add(Event { key: key.number, node, start, end, what: What::Set { to, done } });
            match answer {
                Ok(answer) if done => {
                    self.history.count(&what, "200");
                    if let (State::Revoked, body) = (to, answer.json(200))
                        && body["revoked"] == true
                    {
                        self.history.add_revocation(Revocation::read(start, end, &body));
                    }
                    return;
                }
                other => self.unanswered(&what, other).await,
            }
            if Instant::now() > deadline {
                self.history.wrong(format!("{what} of {} was never answered", key.id));
                return;
            }
            node = self.home(node + 1);
        }
    }

    fn edit(&self, key: &Key, body: &str) -> Vec<u8> {
        request("PATCH", &format!("/v1/keys/{}", key.id), &[&self.cookie], body)
    }

    /// One check, written down. Whether it was answered.
    pub async fn check(&self, client: &mut Client, node: usize, key: &Key) -> bool {
        let body = format!(r#"{{"key":"{}"}}"#, key.plain);
        let request = request("POST", "/v1/keys/verify", &[&self.service], &body);
        let start = self.history.now();
        let answer = client.call(node, &request).await;
        let end = self.history.now();
        let answer = match answer {
            Ok(answer) if answer.status == 200 => answer.json(200),
            other => {
                self.unanswered("check", other).await;
                return false;
            }
        };
        let code = answer["code"].as_str().expect("a code");
        self.history.count("check", code);
        let saw = match code {
            "VALID" => Some(State::Live),
            "DISABLED" => Some(State::Disabled),
            "REVOKED" => Some(State::Revoked),
            "NOT_FOUND" => None,
            code => {
                self.history.wrong(format!("a check came to {code}"));
                return false;
            }
        };
        self.history.add(Event { key: key.number, node, start, end, what: What::Saw(saw) });
        true
    }

    /// Every key that was made.
    pub fn all_keys(&self) -> Vec<Arc<Key>> {
        self.keys().all.clone()
    }

    /// What a node says of a key, beside the history; `None` when it does not answer.
    pub async fn state_by(&self, client: &mut Client, node: usize, key: &Key) -> Option<Option<State>> {
        let body = format!(r#"{{"key":"{}"}}"#, key.plain);
        let request = request("POST", "/v1/keys/verify", &[&self.service], &body);
        let answer = client.call(node, &request).await.ok().filter(|answer| answer.status == 200)?;
        match answer.json(200)["code"].as_str()? {
            "VALID" => Some(Some(State::Live)),
            "DISABLED" => Some(Some(State::Disabled)),
            "REVOKED" => Some(Some(State::Revoked)),
            _ => Some(None),
        }
    }

    /// Something other than success, or nothing at all: it obliges nobody, but not every answer may be given.
    async fn unanswered(&self, what: &str, answer: Result<crate::served::Answer, crate::client::Lost>) {
        match answer {
            Ok(answer) => {
                self.history.count(what, &answer.status.to_string());
                if matches!(answer.status, 429 | 503) {
                    self.history.refused(format!("{what}: {}", answer.status));
                }
                let excused = answer.status == 503 && answer.header("retry-after").is_some();
                if !excused {
                    self.history.wrong(format!("{what}: {}{}", answer.head, answer.text()));
                }
            }
            Err(lost) => self.history.count(what, &format!("{lost:?}")),
        }
        // Whoever gets no answer does not ask for another one at once.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    /// Asks every node for every key that was ever made, until each has answered.
    async fn sweep(self: &Arc<Self>) {
        let mut nodes = JoinSet::new();
        for node in 0..self.addresses.len() {
            let shared = Arc::clone(self);
            nodes.spawn(async move {
                let mut client = shared.client();
                let keys = shared.keys().all.clone();
                let mut deadline = Instant::now() + PATIENCE;
                for key in keys {
                    while !shared.check(&mut client, node, &key).await {
                        assert!(Instant::now() < deadline, "node {node} does not recover");
                    }
                    deadline = Instant::now() + PATIENCE;
                }
            });
        }
        while let Some(node) = nodes.join_next().await {
            node.expect("every node answers in the end");
        }
    }
}

/// What a client does is drawn by the seed of the whole and its number.
pub fn random(seed: u64, number: usize) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(u64::try_from(number).unwrap_or_default()))
}
