//! What is remembered of keys, and whether it may be believed. Without any I/O and without a clock, so that
//! every order of events can be tried.
//!
//! Three things keep a revoked key from being let through:
//!
//! - Nothing is believed unless the feed has shown within [`TRUST`] that it is complete.
//! - A change that the feed tells takes the key out before anything else happens.
//! - An answer that was under way meanwhile may be older than the change. It finds the key's number changed,
//!   and is not remembered.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use crate::moment::Moment;
use crate::outcome::Outcome;

/// How long the feed's word holds.
pub(crate) const TRUST: Duration = Duration::from_secs(3);
/// Keys share their numbers with others: the price of a table that does not grow is that now and then an
/// answer is not remembered although it could be.
const NUMBERS: usize = 1024;

/// SHA-256 of a key's string.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyHash([u8; 32]);

impl KeyHash {
    pub(crate) fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    pub(crate) fn parse(hex: &str) -> Option<Self> {
        let mut hash = [0; 32];
        hex::decode_to_slice(hex, &mut hash).ok()?;
        Some(Self(hash))
    }

    fn place(&self) -> usize {
        usize::from(u16::from_be_bytes([self.0[0], self.0[1]])) % NUMBERS
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// What a question was asked with; its answer is remembered only if all of it still holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    hash: KeyHash,
    age: u64,
    number: u64,
}

/// Counts that tell whether something happened since a question was asked.
#[derive(Debug)]
struct Numbers {
    /// Goes up when the feed breaks, and when all is forgotten.
    age: u64,
    /// Go up when a key changes.
    of_keys: Box<[u64]>,
}

#[derive(Debug)]
enum Trust {
    /// The feed was complete at this moment.
    Since(Moment),
    /// There is no feed.
    None,
    /// There will be none any more.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Memory {
    outcomes: Cache<KeyHash, Arc<Outcome>>,
    numbers: Mutex<Numbers>,
    trust: RwLock<Trust>,
}

impl Memory {
    pub(crate) fn new(entries: usize) -> Self {
        Self {
            outcomes: Cache::new(entries),
            numbers: Mutex::new(Numbers { age: 0, of_keys: vec![0; NUMBERS].into() }),
            trust: RwLock::new(Trust::None),
        }
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `judge` makes of what is remembered of a key, where that may be believed. [`close`](Self::close)
    /// waits for it.
    pub(crate) fn with<R>(
        &self,
        hash: &KeyHash,
        now: Moment,
        judge: impl FnOnce(&Arc<Outcome>) -> Option<R>,
    ) -> Option<R> {
        let trust = self.trust.read().unwrap_or_else(PoisonError::into_inner);
        if !trust.holds(now) {
            return None;
        }
        judge(&self.outcomes.get(hash)?)
    }

    /// Before the server is asked. `None` when its answer cannot be remembered.
    pub(crate) fn ask(&self, hash: KeyHash, now: Moment) -> Option<Ticket> {
        let numbers = self.numbers();
        let trust = self.trust.read().unwrap_or_else(PoisonError::into_inner);
        trust.holds(now).then(|| Ticket { hash, age: numbers.age, number: numbers.of_keys[hash.place()] })
    }

    /// The server has answered. It says whether a good outcome may be remembered.
    pub(crate) fn answered(&self, ticket: Ticket, outcome: &Outcome, may_remember: bool) {
        let Ticket { hash, age, number } = ticket;
        let numbers = self.numbers();
        if outcome.code.ends_the_key() || (outcome.is_valid() && !may_remember) {
            self.outcomes.remove(&hash);
        } else if outcome.is_valid() && (numbers.age, numbers.of_keys[hash.place()]) == (age, number) {
            // Under the numbers' lock: a change comes before this, or finds it in the cache.
            self.outcomes.insert(hash, Arc::new(outcome.clone()));
        }
    }

    /// A key is not any more what it was.
    pub(crate) fn changed(&self, hash: &KeyHash) {
        let mut numbers = self.numbers();
        numbers.of_keys[hash.place()] += 1;
        self.outcomes.remove(hash);
    }

    /// Any key may have changed.
    pub(crate) fn forget(&self) {
        let mut numbers = self.numbers();
        numbers.age += 1;
        self.outcomes.clear();
    }

    /// At this moment, nothing had changed that was not told.
    pub(crate) fn complete(&self, at: Moment) {
        let mut trust = self.trust.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*trust, Trust::Closed) {
            *trust = Trust::Since(at);
        }
    }

    /// The feed is broken.
    pub(crate) fn broken(&self) {
        self.numbers().age += 1;
        let mut trust = self.trust.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*trust, Trust::Closed) {
            *trust = Trust::None;
        }
    }

    /// Nothing is believed from now on.
    pub(crate) fn close(&self) {
        *self.trust.write().unwrap_or_else(PoisonError::into_inner) = Trust::Closed;
        self.forget();
    }
}

impl Trust {
    fn holds(&self, now: Moment) -> bool {
        matches!(self, Self::Since(at) if at.is_within(TRUST, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Code;
    use crate::outcome::tests::valid;

    type Event<'a> = Box<dyn Fn(&Memory) + 'a>;

    fn hash() -> KeyHash {
        KeyHash::of("hs_live_1")
    }

    fn knows(memory: &Memory, now: Moment) -> bool {
        memory.with(&hash(), now, |outcome| Some(outcome.is_valid())).unwrap_or(false)
    }

    /// A memory that may be believed from `now` on.
    fn believed(now: Moment) -> Memory {
        let memory = Memory::new(100);
        memory.complete(now);
        memory
    }

    fn remember(memory: &Memory, now: Moment) {
        memory.answered(memory.ask(hash(), now).expect("it may be remembered"), &valid(), true);
    }

    #[test]
    fn what_is_remembered_is_believed_for_three_seconds() {
        let start = Moment::now();
        let memory = believed(start);
        remember(&memory, start);
        assert!(knows(&memory, start.after(TRUST / 100 * 99)));
        assert!(!knows(&memory, start.after(TRUST)));
        assert!(memory.ask(hash(), start.after(TRUST)).is_none(), "and nothing new is remembered");
        memory.complete(start.after(TRUST));
        assert!(knows(&memory, start.after(TRUST)), "the feed was late, and is complete");
    }

    #[test]
    fn nothing_is_believed_before_the_feed_or_while_it_is_broken() {
        let now = Moment::now();
        let memory = Memory::new(100);
        assert!(memory.ask(hash(), now).is_none());
        memory.complete(now);
        remember(&memory, now);
        memory.broken();
        assert!(!knows(&memory, now));
        memory.complete(now);
        assert!(knows(&memory, now), "what changed meanwhile was told before this");
    }

    #[test]
    fn an_answer_that_was_under_way_during_a_change_is_not_remembered() {
        let now = Moment::now();
        let memory = believed(now);
        let ticket = memory.ask(hash(), now).expect("it may be remembered");
        memory.changed(&hash());
        memory.answered(ticket, &valid(), true);
        assert!(!knows(&memory, now));
        remember(&memory, now);
        assert!(knows(&memory, now), "a later one is");
    }

    #[test]
    fn an_answer_that_was_under_way_while_the_feed_broke_is_not_remembered() {
        let now = Moment::now();
        let events: [fn(&Memory); 2] = [Memory::broken, Memory::forget];
        for event in events {
            let memory = believed(now);
            let ticket = memory.ask(hash(), now).expect("it may be remembered");
            event(&memory);
            memory.complete(now);
            memory.answered(ticket, &valid(), true);
            assert!(!knows(&memory, now));
        }
    }

    #[test]
    fn another_keys_change_harms_nobody() {
        let now = Moment::now();
        let memory = believed(now);
        let other = KeyHash::of("hs_live_2");
        assert_ne!(hash().place(), other.place());
        let ticket = memory.ask(hash(), now).expect("it may be remembered");
        memory.changed(&other);
        memory.answered(ticket, &valid(), true);
        memory.changed(&other);
        assert!(knows(&memory, now));
    }

    #[test]
    fn a_change_a_reset_and_a_refusal_take_the_key_out() {
        let now = Moment::now();
        let refused = |code| crate::Outcome { code, ..valid() };
        let answer = |outcome, may_remember| -> Event<'_> {
            Box::new(move |memory| {
                memory.answered(memory.ask(hash(), now).expect("a ticket"), &outcome, may_remember);
            })
        };
        let events: [(bool, Event<'_>); 6] = [
            (false, Box::new(|memory| memory.changed(&hash()))),
            (false, Box::new(Memory::forget)),
            (false, answer(refused(Code::Revoked), false)),
            (false, answer(valid(), false)),
            (true, answer(refused(Code::InsufficientScopes), false)),
            (true, answer(refused(Code::WrongEnvironment), false)),
        ];
        for (place, (stays, event)) in events.iter().enumerate() {
            let memory = believed(now);
            remember(&memory, now);
            event(&memory);
            assert_eq!(knows(&memory, now), *stays, "{place}");
        }
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let now = Moment::now();
        let memory = believed(now);
        for number in 0..10_000 {
            let ticket = memory.ask(KeyHash::of(&number.to_string()), now).expect("a ticket");
            memory.answered(ticket, &valid(), true);
        }
        assert!(memory.outcomes.len() <= 100);
    }

    #[test]
    fn nothing_is_believed_once_it_is_closed() {
        let now = Moment::now();
        let memory = believed(now);
        remember(&memory, now);
        memory.close();
        memory.complete(now);
        memory.broken();
        memory.complete(now);
        assert!(!knows(&memory, now) && memory.ask(hash(), now).is_none());
    }

    #[test]
    fn hashes_are_read_from_hex_and_not_printed() {
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyHash::parse(text), Some(KeyHash::of("abc")));
        assert_eq!(KeyHash::parse(&text[2..]), None);
        assert_eq!(KeyHash::parse("z"), None);
        assert_eq!(format!("{:?}", KeyHash::of("abc")), "KeyHash(…)");
    }
}
