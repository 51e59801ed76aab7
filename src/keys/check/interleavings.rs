//! Tests random orders of events: the real look-ups, cache and invalidations, with a map as the database, and a
//! scheduler that selects the next step.
//!
//! A check continues only when the scheduler polls it. A look-up reads in one step and lands in another. A change
//! commits in one step, invalidates in another and is answered in a third. The outcome of each check is compared with
//! the states of the key while the check ran.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::*;
use crate::domain::{KeyState, PlainKey, key};
use crate::keys::cache::ClockQueue;
use crate::model::Mode;
use crate::runtime::Tenant;
use crate::runtime::entropy::Entropy;

const KEYS: usize = 6;

/// The next step of a change.
enum Step {
    Commit(Box<Key>),
    Invalidate(usize),
    Answer(usize),
}

/// A version of a key. Checks may see it after its commit, and no earlier version after its answer.
struct Version {
    committed: usize,
    answered: Option<usize>,
    code: Code,
}

type Checking = Pin<Box<dyn Future<Output = Result<(Code, Option<String>), Unavailable>>>>;

struct World {
    checks: Arc<Checks>,
    entropy: Entropy,
    look_ups: Batches<Flight>,
    /// Look-ups from the queue that have not read yet.
    taken: VecDeque<Flight>,
    strings: Vec<String>,
    database: Vec<Option<Key>>,
    history: Vec<Vec<Version>>,
    /// At most one change of a key at a time, because the database locks its row.
    changes: HashMap<usize, Step>,
    checking: Vec<(usize, usize, Checking)>,
    /// Look-ups that have read and have not landed.
    flying: Vec<(Flight, Option<Arc<Key>>)>,
    random: ChaCha20Rng,
    now: usize,
    checked: usize,
}

impl World {
    async fn new(seed: u64, cache_bytes: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Never used: the map `database` replaces it.
        let url = format!("sqlite:{}", folder.path().join("none.db").display());
        let db = Db::open(&url).await.expect("a database");
        let clock = Clock::fixed(Timestamp(1_000));
        let cache = Arc::new(Cache::new(cache_bytes));
        let limits = Arc::new(Limits::new(db.clone(), clock.clone(), None));
        let usage = Arc::new(Usage::new(db.clone(), clock.clone(), Arc::clone(&cache), Arc::clone(&limits)));
        let (checks, look_ups) = Checks::new(db, clock, cache, limits, usage, false);
        let entropy = Entropy::seeded(seed);
        let strings = (0..KEYS).map(|_| PlainKey::hookstream(Mode::Live, &entropy).reveal()).collect();
        Self {
            checks: Arc::new(checks),
            entropy,
            look_ups,
            taken: VecDeque::new(),
            strings,
            database: vec![None; KEYS],
            history: (0..KEYS)
                .map(|_| vec![Version { committed: 0, answered: Some(0), code: Code::NotFound }])
                .collect(),
            changes: HashMap::new(),
            checking: Vec::new(),
            flying: Vec::new(),
            random: ChaCha20Rng::seed_from_u64(seed),
            now: 1,
            checked: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.next_u64()).unwrap() % bound
    }

    fn code(key: &Key) -> Code {
        match key.state(Timestamp(1_000)) {
            KeyState::Revoked => Code::Revoked,
            KeyState::Disabled => Code::Disabled,
            KeyState::Expired => Code::Expired,
            KeyState::Active => Code::Valid,
        }
    }

    /// Begins a check, or continues one.
    fn check(&mut self) {
        if self.checking.len() < 12 && self.below(2) == 0 {
            let which = self.below(KEYS);
            let (checks, string) = (Arc::clone(&self.checks), self.strings[which].clone());
            let checking: Checking = Box::pin(async move {
                let ask = Ask::default();
                let read = |verdict: Verdict<'_>| (verdict.code, verdict.record.map(|record| record.name.to_string()));
                checks.verify(&string, &ask, Purpose::Use, read).await
            });
            self.checking.push((which, self.now, checking));
        }
        if self.checking.is_empty() {
            return;
        }
        let at = self.below(self.checking.len());
        let (which, began, checking) = &mut self.checking[at];
        // Without Tokio's cooperative budget: here the scheduler decides.
        if let Some(outcome) = tokio::task::unconstrained(checking.as_mut()).now_or_never() {
            let (which, began) = (*which, *began);
            drop(self.checking.swap_remove(at));
            self.judge(which, began, outcome.expect("the database answers"));
        }
    }

    fn judge(&mut self, which: usize, began: usize, (code, name): (Code, Option<String>)) {
        self.checked += 1;
        let history = &self.history[which];
        // The last version that was answered before the check began, and all later ones.
        let is_old = |version: &Version| version.answered.is_some_and(|answered| answered < began);
        let latest = history.iter().rposition(is_old).unwrap_or(0);
        let possible = &history[latest..];
        assert!(
            possible.iter().any(|version| version.code == code),
            "step {}: {code:?} for key {which}, checked since {began}: {:?}",
            self.now,
            possible.iter().map(|version| (version.committed, version.answered, version.code)).collect::<Vec<_>>()
        );
        // The name of the key is the number of its version.
        if let Some(name) = name {
            let version: usize = name.parse().expect("a version");
            assert!(version >= latest && version < history.len(), "version {version} of key {which}");
        }
    }

    /// Begins a change, or continues one.
    fn change(&mut self) {
        let which = self.below(KEYS);
        let step = match self.changes.remove(&which) {
            Some(step) => step,
            None => match self.next_version(which) {
                Some(key) => Step::Commit(Box::new(key)),
                None => return,
            },
        };
        let next = match step {
            Step::Commit(key) => {
                self.history[which].push(Version { committed: self.now, answered: None, code: Self::code(&key) });
                self.database[which] = Some(*key);
                Some(Step::Invalidate(which))
            }
            Step::Invalidate(which) => {
                let key = self.database[which].as_ref().expect("it was committed");
                self.checks.invalidate(key.hash);
                Some(Step::Answer(which))
            }
            Step::Answer(which) => {
                self.history[which].last_mut().expect("a version").answered = Some(self.now);
                None
            }
        };
        next.map(|next| self.changes.insert(which, next));
    }

    /// Creates, edits, pauses, resumes or revokes a key. A revoked key is replaced by a new one.
    fn next_version(&mut self, which: usize) -> Option<Key> {
        let version = self.history[which].len();
        let Some(current) = self.database[which].clone() else {
            let hash = PresentedKey::parse(&self.strings[which]).expect("a key").hash;
            let id = KeyId(i64::try_from(self.now).unwrap());
            return Some(Key { id, hash, name: version.to_string(), ..key() });
        };
        if current.revoked_at.is_some() {
            // Not while a check of the old key runs.
            if self.checking.iter().any(|(asked, ..)| *asked == which) {
                return None;
            }
            self.strings[which] = PlainKey::hookstream(Mode::Live, &self.entropy).reveal();
            self.database[which] = None;
            self.history[which] = vec![Version { committed: 0, answered: Some(0), code: Code::NotFound }];
            return None;
        }
        let mut next = Key { name: version.to_string(), ..current };
        match self.below(8) {
            0..4 => {}
            4..7 => next.disabled_at = if next.disabled_at.is_some() { None } else { Some(Timestamp(1)) },
            _ => next.revoked_at = Some(Timestamp(1)),
        }
        Some(next)
    }

    fn next_flight(&mut self) -> Option<Flight> {
        if self.taken.is_empty() {
            self.taken.extend(self.look_ups.next().now_or_never().flatten().into_iter().flatten());
        }
        self.taken.pop_front()
    }

    /// Lets a look-up read, or lands a look-up that has read.
    fn look_up(&mut self) {
        if self.below(2) == 0 {
            if let Some(flight) = self.next_flight() {
                let found = self.database.iter().flatten().find(|key| key.hash == flight.hash);
                let found = found.cloned().map(Arc::new);
                self.flying.push((flight, found));
            }
        } else if !self.flying.is_empty() {
            // In any order: an earlier look-up may land later.
            let at = self.below(self.flying.len());
            let (flight, found) = self.flying.swap_remove(at);
            self.checks.land(flight, Ok(found));
        }
    }

    fn step(&mut self) {
        self.now += 1;
        match self.below(4) {
            0 | 1 => self.check(),
            2 => self.look_up(),
            _ => self.change(),
        }
    }
}

/// A flood of strings that look like keys, from one network, leaves capacity for the look-ups of others.
#[tokio::test]
async fn look_ups_of_a_flood_leave_room_to_others() {
    let world = World::new(3, 1 << 20).await;
    let look_up = |network: [u8; 4]| {
        let hash = PlainKey::hookstream(Mode::Live, &world.entropy).hash();
        let mut answer = Box::pin(world.checks.look_up(hash, Tenant::network(Some(network.into()))));
        answer.as_mut().now_or_never()
    };
    let flood = (0..10_000).map(|_| look_up([192, 0, 2, 1])).filter(Option::is_none).count();
    assert_eq!(flood, 2_048, "further ones are refused immediately");
    assert!(matches!(look_up([192, 0, 2, 1]), Some(Err(Unavailable::KeyLookup))));
    assert!(look_up([192, 0, 2, 2]).is_none(), "the look-up is queued");
}

/// A million checks, with random events between their steps.
#[tokio::test]
async fn no_order_of_events_accepts_an_ended_key_or_refuses_a_valid_one() {
    let mut checked = 0;
    for seed in 0..50 {
        // A third of the runs have a cache for only two or three keys.
        let mut world = World::new(seed, if seed % 3 == 0 { 700 } else { 1 << 20 }).await;
        while world.checked < 20_000 {
            world.step();
        }
        checked += world.checked;
    }
    assert!(checked >= 1_000_000);
}

/// The classic race of such caches, step by step: read, revoke, land.
#[tokio::test]
async fn a_running_look_up_cannot_restore_a_revoked_key() {
    let mut world = World::new(1, 1 << 20).await;
    let live = Key { hash: PresentedKey::parse(&world.strings[0]).unwrap().hash, name: "1".to_owned(), ..key() };
    let revoked = Key { revoked_at: Some(Timestamp(1)), ..live.clone() };
    let (checks, string) = (Arc::clone(&world.checks), world.strings[0].clone());
    let ask = Ask::default();
    let code = || checks.verify(&string, &ask, Purpose::Use, |verdict| verdict.code);
    let mut before = Box::pin(code());
    assert!(before.as_mut().now_or_never().is_none());
    let flight = world.next_flight().expect("a look-up");
    // The revocation commits and invalidates; then the older row lands.
    checks.invalidate(live.hash);
    checks.land(flight, Ok(Some(Arc::new(live))));
    assert!(checks.cache().is_empty(), "the revoked key is not in the cache");
    let mut after = Box::pin(code());
    assert!(after.as_mut().now_or_never().is_none(), "it waits for the current row");
    let flight = world.next_flight().expect("another look-up");
    checks.land(flight, Ok(Some(Arc::new(revoked))));
    assert_eq!(after.await, Ok(Code::Revoked));
    assert_eq!(before.await, Ok(Code::Revoked));
}

/// The two locks that are held together: an invalidation that waits for the ledgers blocks no check of a cached key,
/// and continues when the lock is free.
#[tokio::test]
async fn an_invalidation_that_waits_for_the_ledgers_blocks_no_check() {
    let world = World::new(3, 1 << 20).await;
    let checks = &world.checks;
    let keys: Vec<Key> = [0, 1]
        .map(|n: usize| {
            let hash = PresentedKey::parse(&world.strings[n]).unwrap().hash;
            Key { hash, id: KeyId(i64::try_from(n).unwrap()), ..key() }
        })
        .into();
    for key in &keys {
        checks.cache.insert(&mut ClockQueue::default(), checks.record(key), |record| checks.usage.retire(record));
    }
    let (ended, is_ended) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let reader = checks.usage.ledgers();
        scope.spawn(|| checks.invalidate(keys[0].hash));
        std::thread::sleep(Duration::from_millis(200));
        let strings = &world.strings;
        scope.spawn(move || {
            let check = |string: &str| {
                let code = |verdict: Verdict<'_>| verdict.code;
                checks.verify(string, &Ask::default(), Purpose::Use, code).now_or_never().and_then(Result::ok)
            };
            ended.send(strings[..2].iter().map(|string| check(string)).collect::<Vec<_>>())
        });
        let codes = is_ended.recv_timeout(Duration::from_secs(20));
        drop(reader);
        assert_eq!(codes.expect("no check waits"), [Some(Code::Valid); 2]);
    });
    assert_eq!(checks.cache.len(), 1, "the invalidation continued");
}
