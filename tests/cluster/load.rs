//! Clients of all nodes at once: owners that create, disable and revoke keys, and services that check keys, mostly keys
//! that are being revoked or were revoked recently.

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
use crate::history::{Event, History, Moment, Operation, Revocation, State};
use crate::keys::{Key, Keys};
use crate::nodes::RECOVERY_TIMEOUT;
use crate::outcome::Outcome;
use crate::served::{Account, Connection, request};

/// The number of keys that are live at the same time.
const LIVE_KEYS: usize = 40;
/// The number of recently changed keys that are checked often.
const RECENT_KEYS: usize = 40;

/// The number of clients of each kind.
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

/// The state that all clients share.
pub struct Shared {
    pub history: History,
    addresses: Vec<SocketAddr>,
    cookie: String,
    service: String,
    keys: Mutex<Keys>,
    made: AtomicUsize,
    is_over: AtomicBool,
}

/// Running clients, until [`Load::finish`].
pub struct Load {
    pub shared: Arc<Shared>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts the clients, spread over the nodes; the seed decides their requests.
    pub async fn start(addresses: Vec<SocketAddr>, account: &Account, clients: Clients, seed: u64) -> Self {
        let cookie = format!("Cookie: session={}", account.session);
        let mut connection = Connection::open(addresses[0]).await.expect("the server listens");
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
            tasks.spawn(Arc::clone(&shared).run_owner(shared.node_of(number), random(seed, number)));
        }
        for number in 0..clients.services {
            tasks.spawn(Arc::clone(&shared).run_service(shared.node_of(number), random(seed, 1000 + number)));
        }
        let load = Self { shared, clients: tasks };
        // Tests inject faults only into a cluster under full load.
        load.run_until(|history| history.revocations().len() >= 10).await;
        load
    }

    /// Lets the clients run for some time.
    pub async fn run_for(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// Lets the clients run until the history meets a condition.
    pub async fn run_until(&self, is_met: impl Fn(&History) -> bool) {
        let deadline = Instant::now() + RECOVERY_TIMEOUT;
        while !is_met(&self.shared.history) {
            assert!(
                Instant::now() < deadline,
                "the load does not reach the condition: {:?}",
                self.shared.history.counts()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn now(&self) -> Moment {
        self.shared.history.now()
    }

    /// Lets the clients run, and sends checks of recently changed keys to one node without waiting for answers. Some of
    /// them are therefore sent after a revocation was answered, even if the node hangs. Each task returns whether its
    /// check was answered.
    pub async fn check_recent_keys(&self, node: usize, time: Duration, random: &mut ChaCha8Rng) -> JoinSet<bool> {
        let mut waiting = JoinSet::new();
        let end = Instant::now() + time;
        while Instant::now() < end {
            if let Some(key) = self.shared.recent_key(random) {
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

    /// Stops the clients, checks every key on every node, and judges the history. The caller must check the verdict.
    pub async fn stop(mut self) -> Outcome {
        self.shared.is_over.store(true, Ordering::SeqCst);
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client panicked");
        }
        self.shared.check_all_keys().await;
        let events = self.shared.history.events();
        let revocations = self.shared.history.revocations();
        let verdict = judge(&events);
        Outcome { events, revocations, verdict, shared: self.shared }
    }

    /// Stops the load like [`Load::stop`]; panics if a promise was broken or an answer was unexpected.
    pub async fn finish(self) -> Outcome {
        let outcome = self.stop().await;
        let shown: Vec<String> = outcome.verdict.violations.iter().map(ToString::to_string).take(20).collect();
        let history = &outcome.shared.history;
        assert!(shown.is_empty(), "broken promises:\n{}\n{:#?}", shown.join("\n"), history.counts());
        assert_eq!(history.unexpected(), Vec::<String>::new(), "unexpected answers");
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

    /// The node of a client. Each client uses one node, so that a hanging node delays only its own clients.
    fn node_of(&self, number: usize) -> usize {
        number % self.addresses.len()
    }

    /// An owner: repeatedly creates a key, and changes or revokes another one.
    async fn run_owner(self: Arc<Self>, node: usize, mut random: ChaCha8Rng) {
        let mut client = self.client();
        while !self.is_over() {
            self.create(&mut client, node).await;
            let taken = {
                let mut keys = self.keys();
                let count = keys.live.len();
                // Other owners hold a few of the live keys, so half of the number suffices.
                (count >= LIVE_KEYS / 2).then(|| keys.live.swap_remove(random.random_range(0..count)))
            };
            let Some(key) = taken else { continue };
            self.add_recent(&key);
            if random.random_bool(0.2) {
                self.change(&mut client, node, &key, State::Disabled).await;
                self.change(&mut client, node, &key, State::Live).await;
            }
            if self.keys().live.len() >= LIVE_KEYS || random.random_bool(0.5) {
                self.change(&mut client, node, &key, State::Revoked).await;
            } else {
                self.keys().live.push(key);
            }
        }
    }

    /// Makes the services check this key often.
    fn add_recent(&self, key: &Arc<Key>) {
        let mut keys = self.keys();
        keys.recent.push_back(Arc::clone(key));
        if keys.recent.len() > RECENT_KEYS {
            keys.recent.pop_front();
        }
    }

    /// A key that was revoked or changed recently, if there is one.
    pub fn recent_key(&self, random: &mut ChaCha8Rng) -> Option<Arc<Key>> {
        let keys = self.keys();
        let count = keys.recent.len();
        // The latest keys are chosen more often.
        let back = random.random_range(0..=count).min(random.random_range(0..=count));
        keys.recent.get(count.checked_sub(back)?).or_else(|| keys.recent.back()).cloned()
    }

    /// A service: repeatedly checks keys of all owners on its node.
    async fn run_service(self: Arc<Self>, node: usize, mut random: ChaCha8Rng) {
        let mut client = self.client();
        while !self.is_over() {
            let recent = if random.random_bool(0.6) { self.recent_key(&mut random) } else { None };
            let key = recent.or_else(|| self.keys().live.choose(&mut random).cloned());
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
                    operation: Operation::Set { to: State::Live, done: true },
                });
                let mut keys = self.keys();
                keys.all.push(Arc::clone(&key));
                keys.live.push(key);
            }
            other => self.record_failure("create", other).await,
        }
    }

    /// Requests a change until it succeeds, on the next node after each failure.
    async fn change(&self, client: &mut Client, mut node: usize, key: &Key, to: State) {
        let request = match to {
            State::Live => self.edit(key, r#"{"enabled":true}"#),
            State::Disabled => self.edit(key, r#"{"enabled":false}"#),
            // Both routes: the answer of the first has more details, and most clients use the second.
            State::Revoked if !key.number.is_multiple_of(5) => {
                request("POST", &format!("/v1/keys/{}/revoke", key.id), &[&self.cookie], "")
            }
            State::Revoked => request("DELETE", &format!("/v1/auth/api-keys/{}", key.id), &[&self.cookie], ""),
        };
        let what = format!("set {to:?}");
        let deadline = Instant::now() + RECOVERY_TIMEOUT;
        loop {
            let start = self.history.now();
            let answer = client.call(node, &request).await;
            let end = self.history.now();
            let done = matches!(&answer, Ok(answer) if answer.status == 200);
            self.history.add(Event { key: key.number, node, start, end, operation: Operation::Set { to, done } });
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
                other => self.record_failure(&what, other).await,
            }
            if Instant::now() > deadline {
                self.history.add_unexpected(format!("{what} of {} was never answered", key.id));
                return;
            }
            node = self.node_of(node + 1);
        }
    }

    fn edit(&self, key: &Key, body: &str) -> Vec<u8> {
        request("PATCH", &format!("/v1/keys/{}", key.id), &[&self.cookie], body)
    }

    /// Sends a check and records it; returns whether it was answered.
    pub async fn check(&self, client: &mut Client, node: usize, key: &Key) -> bool {
        let body = format!(r#"{{"key":"{}"}}"#, key.plain);
        let request = request("POST", "/v1/keys/verify", &[&self.service], &body);
        let start = self.history.now();
        let answer = client.call(node, &request).await;
        let end = self.history.now();
        let answer = match answer {
            Ok(answer) if answer.status == 200 => answer.json(200),
            other => {
                self.record_failure("check", other).await;
                return false;
            }
        };
        let code = answer["code"].as_str().expect("a code");
        self.history.count("check", code);
        let seen = match code {
            "VALID" => Some(State::Live),
            "DISABLED" => Some(State::Disabled),
            "REVOKED" => Some(State::Revoked),
            "NOT_FOUND" => None,
            code => {
                self.history.add_unexpected(format!("a check returned {code}"));
                return false;
            }
        };
        self.history.add(Event { key: key.number, node, start, end, operation: Operation::Check(seen) });
        true
    }

    /// Every created key.
    pub fn all_keys(&self) -> Vec<Arc<Key>> {
        self.keys().all.clone()
    }

    /// Checks a key without recording it; returns `None` when the node does not answer.
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

    /// Records a request without success. Only a 503 with `Retry-After`, or no answer, is an expected failure.
    async fn record_failure(&self, what: &str, answer: Result<crate::served::Answer, crate::client::Lost>) {
        match answer {
            Ok(answer) => {
                self.history.count(what, &answer.status.to_string());
                if matches!(answer.status, 429 | 503) {
                    self.history.add_refusal(format!("{what}: {}", answer.status));
                }
                let is_expected = answer.status == 503 && answer.header("retry-after").is_some();
                if !is_expected {
                    self.history.add_unexpected(format!("{what}: {}{}", answer.head, answer.text()));
                }
            }
            Err(lost) => self.history.count(what, &format!("{lost:?}")),
        }
        // Wait a moment before the client's next request.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    /// Checks every created key on every node, until each check is answered.
    async fn check_all_keys(self: &Arc<Self>) {
        let mut nodes = JoinSet::new();
        for node in 0..self.addresses.len() {
            let shared = Arc::clone(self);
            nodes.spawn(async move {
                let mut client = shared.client();
                let keys = shared.keys().all.clone();
                let mut deadline = Instant::now() + RECOVERY_TIMEOUT;
                for key in keys {
                    while !shared.check(&mut client, node, &key).await {
                        assert!(Instant::now() < deadline, "node {node} does not recover");
                    }
                    deadline = Instant::now() + RECOVERY_TIMEOUT;
                }
            });
        }
        while let Some(node) = nodes.join_next().await {
            node.expect("every node answers in the end");
        }
    }
}

/// The random generator of a client, from the seed of the test and the client's number.
pub fn random(seed: u64, number: usize) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(u64::try_from(number).unwrap_or_default()))
}
