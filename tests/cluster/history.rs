//! What clients asked for, when, and what they were told: on one clock, that of this process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Since the history began; monotonic.
pub type Moment = Duration;

/// What a key can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Live,
    Disabled,
    /// Nothing undoes it.
    Revoked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Asked to make the key so. What was not answered with success may have happened, or not, or happen later.
    Set { to: State, done: bool },
    /// A check's answer; none is a key that is not known. A check without an answer says nothing and is only
    /// counted.
    Saw(Option<State>),
}

/// A request that was sent at `start`, and answered or given up at `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub key: usize,
    pub node: usize,
    pub start: Moment,
    pub end: Moment,
    pub what: What,
}

/// What an answer to `POST /v1/keys/{id}/revoke` says about itself.
#[derive(Debug, Clone)]
pub struct Revocation {
    pub start: Moment,
    pub end: Moment,
    /// Nodes that had to know.
    pub nodes: u64,
    pub acknowledged: u64,
    /// Names of those whose lease ran out instead.
    pub waited_out: Vec<String>,
}

impl Revocation {
    /// Reads it from the answer.
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
    wrong: Mutex<Vec<String>>,
    /// Answers by which somebody was told to come again.
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
            wrong: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// Somebody was told to come again.
    pub fn refused(&self, what: String) {
        lock(&self.refused).push((self.now(), what));
    }

    /// Who was told so in a stretch of time.
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

    /// One more request of this kind with this outcome.
    pub fn count(&self, what: &str, outcome: &str) {
        *lock(&self.counts).entry(format!("{what} {outcome}")).or_default() += 1;
    }

    /// An answer that nothing excuses.
    pub fn wrong(&self, what: String) {
        lock(&self.wrong).push(what);
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

    pub fn wrongs(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }

    /// How often something was counted whose words begin like this.
    pub fn counted(&self, begin: &str) -> usize {
        lock(&self.counts).iter().filter(|(what, _)| what.starts_with(begin)).map(|(_, count)| count).sum()
    }
}
