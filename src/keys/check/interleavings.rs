//! Every order of events, tried: look-ups, cache and invalidations as they are, with a database that is a map, and a
//! scheduler that decides which step comes next.
//!
//! A check goes on only when the scheduler polls it, a look-up reads at one step and lands at another, a change commits
//! at one step, invalidates at another and is answered at a third. The outcome of each check is compared with the states
//! of the key while it ran.

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

/// A change on its way.
enum Step {
    Commit(Box<Key>),
    Invalidate(usize),
    Answer(usize),
}

/// A state of a key: checks may see it from the commit on, and nothing before it from the answer on.
struct Was {
    committed: usize,
    answered: Option<usize>,
    code: Code,
}

type Checking = Pin<Box<dyn Future<Output = Result<(Code, Option<String>), Unavailable>>>>;

struct World {
    checks: Arc<Checks>,
    entropy: Entropy,
    look_ups: Batches<Flight>,
    /// Look-ups that were taken from the queue and have not read yet.
    taken: VecDeque<Flight>,
    strings: Vec<String>,
    database: Vec<Option<Key>>,
    history: Vec<Vec<Was>>,
    /// At most one change a key at a time: the database's own lock sees to that.
    changes: HashMap<usize, Step>,
    checking: Vec<(usize, usize, Checking)>,
    /// Look-ups that have read, and have not landed.
    flying: Vec<(Flight, Option<Arc<Key>>)>,
    random: ChaCha20Rng,
    now: usize,
    checked: usize,
}

impl World {
    async fn new(seed: u64, cache_bytes: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Never asked: this test is the database.
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
            history: (0..KEYS).map(|_| vec![Was { committed: 0, answered: Some(0), code: Code::NotFound }]).collect(),
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

    /// Begins a check, or goes on with one.
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
        // Without Tokio's budget, which is for tasks that take turns: here the scheduler decides.
        if let Some(outcome) = tokio::task::unconstrained(checking.as_mut()).now_or_never() {
            let (which, began) = (*which, *began);
            drop(self.checking.swap_remove(at));
            self.judge(which, began, outcome.expect("the database answers"));
        }
    }

    fn judge(&mut self, which: usize, began: usize, (code, name): (Code, Option<String>)) {
        self.checked += 1;
        let history = &self.history[which];
        // Not followed by anything that was answered before the check began.
        let latest = history.iter().rposition(|was| was.answered.is_some_and(|answered| answered < began)).unwrap_or(0);
        let possible = &history[latest..];
        assert!(
            possible.iter().any(|was| was.code == code),
            "step {}: {code:?} for key {which}, asked at {began}: {:?}",
            self.now,
            possible.iter().map(|was| (was.committed, was.answered, was.code)).collect::<Vec<_>>()
        );
        // Edits count their versions in the name: the newest answered one at least.
        if let Some(name) = name {
            let version: usize = name.parse().expect("a version");
            assert!(version >= latest && version < history.len(), "version {version} of key {which}");
        }
    }

    /// Begins a change, or goes on with one.
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
                self.history[which].push(Was { committed: self.now, answered: None, code: Self::code(&key) });
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

    /// Create, edit, pause, resume, revoke; a revoked key is replaced by a new one.
    fn next_version(&mut self, which: usize) -> Option<Key> {
        let version = self.history[which].len();
        let Some(current) = self.database[which].clone() else {
            let hash = PresentedKey::parse(&self.strings[which]).expect("a key").hash;
            let id = KeyId(i64::try_from(self.now).unwrap());
            return Some(Key { id, hash, name: version.to_string(), ..key() });
        };
        if current.revoked_at.is_some() {
            // Checks that still ask for the old one go on; new ones ask for the new one.
            if self.checking.iter().any(|(asked, ..)| *asked == which) {
                return None;
            }
            self.strings[which] = PlainKey::hookstream(Mode::Live, &self.entropy).reveal();
            self.database[which] = None;
            self.history[which] = vec![Was { committed: 0, answered: Some(0), code: Code::NotFound }];
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

    /// A look-up reads, or lands after it has read.
    fn look_up(&mut self) {
        if self.below(2) == 0 {
            if let Some(flight) = self.next_flight() {
                let found = self.database.iter().flatten().find(|key| key.hash == flight.hash);
                let found = found.cloned().map(Arc::new);
                self.flying.push((flight, found));
            }
        } else if !self.flying.is_empty() {
            // In any order: an earlier reading may land later.
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

/// Strings that look like keys, from one network, take no place from the look-ups of others.
#[tokio::test]
async fn look_ups_of_a_flood_leave_room_to_others() {
    let world = World::new(3, 1 << 20).await;
    let look_up = |network: [u8; 4]| {
        let hash = PlainKey::hookstream(Mode::Live, &world.entropy).hash();
        let mut answer = Box::pin(world.checks.look_up(hash, Tenant::network(Some(network.into()))));
        answer.as_mut().now_or_never()
    };
    let flood = (0..10_000).map(|_| look_up([192, 0, 2, 1])).filter(Option::is_none).count();
    assert_eq!(flood, 2_048, "further ones are refused at once");
    assert!(matches!(look_up([192, 0, 2, 1]), Some(Err(Unavailable::KeyLookup))));
    assert!(look_up([192, 0, 2, 2]).is_none(), "it waits for its answer");
}

/// A million checks. Anything may happen between their steps.
#[tokio::test]
async fn no_order_of_events_accepts_what_has_ended_or_refuses_what_is_good() {
    let mut checked = 0;
    for seed in 0..50 {
        // Some with room for no more than two or three keys.
        let mut world = World::new(seed, if seed % 3 == 0 { 700 } else { 1 << 20 }).await;
        while world.checked < 20_000 {
            world.step();
        }
        checked += world.checked;
    }
    assert!(checked >= 1_000_000);
}

/// The one order that such caches are known to fail in, step by step: read, revoke, land.
#[tokio::test]
async fn a_look_up_under_way_cannot_bring_a_dead_key_back() {
    let mut world = World::new(1, 1 << 20).await;
    let live = Key { hash: PresentedKey::parse(&world.strings[0]).unwrap().hash, name: "1".to_owned(), ..key() };
    let dead = Key { revoked_at: Some(Timestamp(1)), ..live.clone() };
    let (checks, string) = (Arc::clone(&world.checks), world.strings[0].clone());
    let ask = Ask::default();
    let code = || checks.verify(&string, &ask, Purpose::Use, |verdict| verdict.code);
    let mut before = Box::pin(code());
    assert!(before.as_mut().now_or_never().is_none());
    let flight = world.next_flight().expect("it is asked for");
    // The revocation commits and invalidates; then the older row lands.
    checks.invalidate(live.hash);
    checks.land(flight, Ok(Some(Arc::new(live))));
    assert!(checks.cache().is_empty(), "the dead key is not in the cache");
    let mut after = Box::pin(code());
    assert!(after.as_mut().now_or_never().is_none(), "it waits for what is true now");
    let flight = world.next_flight().expect("it is asked for again");
    checks.land(flight, Ok(Some(Arc::new(dead))));
    assert_eq!(after.await, Ok(Code::Revoked));
    assert_eq!(before.await, Ok(Code::Revoked));
}

/// Under the two locks that are held together: an invalidation that waits for the ledgers holds up no check of a key
/// that is in the cache, and goes on when they are free.
#[tokio::test]
async fn checks_go_on_while_an_invalidation_waits_for_the_ledgers() {
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
                let told = |verdict: Verdict<'_>| verdict.code;
                checks.verify(string, &Ask::default(), Purpose::Use, told).now_or_never().and_then(Result::ok)
            };
            ended.send(strings[..2].iter().map(|string| check(string)).collect::<Vec<_>>())
        });
        let codes = is_ended.recv_timeout(Duration::from_secs(20));
        drop(reader);
        assert_eq!(codes.expect("no check waits"), [Some(Code::Valid); 2]);
    });
    assert_eq!(checks.cache.len(), 1, "the invalidation went on");
}
