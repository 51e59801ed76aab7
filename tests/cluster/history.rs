//! The requests of clients and their answers, with times of one clock, that of this process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The monotonic time since the history began.
pub type Moment = Duration;

/// The states of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Live,
    Disabled,
    /// Final: a revoked key stays revoked.
    Revoked,
}

/// A request about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A change to this state. A change without a success may have taken effect, or not, or may take effect later.
    Set { to: State, done: bool },
    /// A check that returned this state; `None` for an unknown key. A check without an answer proves nothing and is
    /// only counted.
    Check(Option<State>),
}

/// A request that was sent at `start`, and answered or abandoned at `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub key: usize,
    pub node: usize,
    pub start: Moment,
    pub end: Moment,
    pub operation: Operation,
}

/// The answer to `POST /v1/keys/{id}/revoke`.
#[derive(Debug, Clone)]
pub struct Revocation {
    pub start: Moment,
    pub end: Moment,
    /// The number of nodes that had to acknowledge.
    pub nodes: u64,
    pub acknowledged: u64,
    /// Names of nodes that did not acknowledge before their lease ended.
    pub waited_out: Vec<String>,
}

impl Revocation {
    /// Parses the answer.
    pub fn read(start: Moment, end: Moment, answer: &Value) -> Self {
        let number = |field: &str| answer[field].as_u64().unwrap_or_else(|| panic!("no {field}: {answer}"));
        let names = answer["waited_out"].as_array().expect("names");
        Self {
            start,
            end,
            nodes: number("nodes"),
            acknowledged: number("acknowledged"),
            waited_out: names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect(),
        }
    }

    pub fn took(&self) -> Duration {
        self.end.saturating_sub(self.start)
    }
}

#[derive(Debug)]
pub struct History {
    began: Instant,
    events: Mutex<Vec<Event>>,
    revocations: Mutex<Vec<Revocation>>,
    counts: Mutex<BTreeMap<String, usize>>,
    unexpected: Mutex<Vec<String>>,
    /// Answers that told a client to retry later (429, 503).
    refused: Mutex<Vec<(Moment, String)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl History {
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
            events: Mutex::default(),
            revocations: Mutex::default(),
            counts: Mutex::default(),
            unexpected: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Records an answer that told a client to retry later.
    pub fn add_refusal(&self, what: String) {
        lock(&self.refused).push((self.now(), what));
    }

    /// Returns the refusals in a period.
    pub fn refused_between(&self, from: Moment, to: Moment) -> Vec<String> {
        let refused = lock(&self.refused);
        let within = refused.iter().filter(|(at, _)| (from..=to).contains(at));
        within.map(|(at, what)| format!("{what} at {:.1} s", at.as_secs_f64())).collect()
    }

    pub fn now(&self) -> Moment {
        self.began.elapsed()
    }

    pub fn add(&self, event: Event) {
        lock(&self.events).push(event);
    }

    pub fn add_revocation(&self, revocation: Revocation) {
        lock(&self.revocations).push(revocation);
    }

    /// Counts a request of this kind with this outcome.
    pub fn count(&self, what: &str, outcome: &str) {
        *lock(&self.counts).entry(format!("{what} {outcome}")).or_default() += 1;
    }

    /// Records an answer that no fault excuses.
    pub fn add_unexpected(&self, what: String) {
        lock(&self.unexpected).push(what);
    }

    pub fn events(&self) -> Vec<Event> {
        lock(&self.events).clone()
    }

    pub fn revocations(&self) -> Vec<Revocation> {
        lock(&self.revocations).clone()
    }

    pub fn counts(&self) -> BTreeMap<String, usize> {
        lock(&self.counts).clone()
    }

    pub fn unexpected(&self) -> Vec<String> {
        lock(&self.unexpected).clone()
    }

    /// The sum of all counts with this prefix.
    pub fn counted(&self, prefix: &str) -> usize {
        lock(&self.counts).iter().filter(|(what, _)| what.starts_with(prefix)).map(|(_, count)| count).sum()
    }
}
