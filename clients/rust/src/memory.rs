//! The cache of outcomes, and whether it may be trusted. Without I/O and without a clock, so that tests can try every
//! order of events.
//!
//! Three rules prevent that a revoked key is accepted:
//!
//! - The cache is trusted only for [`TRUST_DURATION`] after a heartbeat of the revocation stream.
//! - A change in the stream evicts the key before anything else happens.
//! - An answer that was in flight during a change may be older than the change. The key's generation has then changed,
//!   and the answer is not cached.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use crate::moment::Moment;
use crate::outcome::Outcome;

/// Time for which a heartbeat allows the use of the cache.
pub(crate) const TRUST_DURATION: Duration = Duration::from_secs(3);
/// Slots of generations, which keys share by their hash, so that the table does not grow. A change of another key in
/// the slot costs one cacheable answer.
const GENERATION_SLOTS: usize = 1024;

/// The SHA-256 of a key string.
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

    fn slot(&self) -> usize {
        usize::from(u16::from_be_bytes([self.0[0], self.0[1]])) % GENERATION_SLOTS
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// The generations at the start of a request; its answer is cached only if they have not changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    hash: KeyHash,
    cache: u64,
    key: u64,
}

/// Counters that change when an answer in flight may have become stale.
#[derive(Debug)]
struct Generations {
    /// Incremented when the stream breaks, and when the cache is cleared.
    cache: u64,
    /// Incremented when a key of the slot changes.
    keys: Box<[u64]>,
}

#[derive(Debug)]
enum Trust {
    /// The stream was complete at this moment.
    Since(Moment),
    /// The stream is not connected, or had no heartbeat yet.
    None,
    /// The client is closed.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Memory {
    outcomes: Cache<KeyHash, Arc<Outcome>>,
    generations: Mutex<Generations>,
    trust: RwLock<Trust>,
}

impl Memory {
    pub(crate) fn new(entries: usize) -> Self {
        Self {
            outcomes: Cache::new(entries),
            generations: Mutex::new(Generations { cache: 0, keys: vec![0; GENERATION_SLOTS].into() }),
            trust: RwLock::new(Trust::None),
        }
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `judge` with the cached outcome of a key, if the cache is trusted. [`close`](Self::close) waits for the
    /// call.
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

    /// Begins a request to the server. `None` if its answer cannot be cached.
    pub(crate) fn begin(&self, hash: KeyHash, now: Moment) -> Option<Ticket> {
        let generations = self.generations();
        let trust = self.trust.read().unwrap_or_else(PoisonError::into_inner);
        trust.holds(now).then(|| Ticket { hash, cache: generations.cache, key: generations.keys[hash.slot()] })
    }

    /// Applies the server's answer to the cache. `is_cacheable` is the server's permission to cache a valid outcome.
    pub(crate) fn finish(&self, ticket: Ticket, outcome: &Outcome, is_cacheable: bool) {
        let Ticket { hash, cache, key } = ticket;
        let generations = self.generations();
        if outcome.code.ends_the_key() || (outcome.is_valid() && !is_cacheable) {
            self.outcomes.remove(&hash);
        } else if outcome.is_valid() && (generations.cache, generations.keys[hash.slot()]) == (cache, key) {
            // Under the lock of the generations, so that a later change finds the entry and evicts it.
            self.outcomes.insert(hash, Arc::new(outcome.clone()));
        }
    }

    /// Evicts a changed key.
    pub(crate) fn invalidate(&self, hash: &KeyHash) {
        let mut generations = self.generations();
        generations.keys[hash.slot()] += 1;
        self.outcomes.remove(hash);
    }

    /// Clears the cache, because any key may have changed.
    pub(crate) fn clear(&self) {
        let mut generations = self.generations();
        generations.cache += 1;
        self.outcomes.clear();
    }

    /// Trusts the cache from `at` on: all changes before it have been applied.
    pub(crate) fn trust_from(&self, at: Moment) {
        let mut trust = self.trust.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*trust, Trust::Closed) {
            *trust = Trust::Since(at);
        }
    }

    /// Stops trusting the cache until the next heartbeat, because the stream is broken.
    pub(crate) fn distrust(&self) {
        self.generations().cache += 1;
        let mut trust = self.trust.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*trust, Trust::Closed) {
            *trust = Trust::None;
        }
    }

    /// Stops trusting the cache for good.
    pub(crate) fn close(&self) {
        *self.trust.write().unwrap_or_else(PoisonError::into_inner) = Trust::Closed;
        self.clear();
    }
}

impl Trust {
    fn holds(&self, now: Moment) -> bool {
        matches!(self, Self::Since(at) if at.is_within(TRUST_DURATION, now))
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

    fn is_cached(memory: &Memory, now: Moment) -> bool {
        memory.with(&hash(), now, |outcome| Some(outcome.is_valid())).unwrap_or(false)
    }

    /// Creates a cache that is trusted from `now` on.
    fn trusted(now: Moment) -> Memory {
        let memory = Memory::new(100);
        memory.trust_from(now);
        memory
    }

    fn cache(memory: &Memory, now: Moment) {
        memory.finish(memory.begin(hash(), now).expect("a ticket"), &valid(), true);
    }

    #[test]
    fn a_cached_outcome_is_trusted_for_three_seconds() {
        let start = Moment::now();
        let memory = trusted(start);
        cache(&memory, start);
        assert!(is_cached(&memory, start.after(TRUST_DURATION / 100 * 99)));
        assert!(!is_cached(&memory, start.after(TRUST_DURATION)));
        assert!(memory.begin(hash(), start.after(TRUST_DURATION)).is_none(), "no new outcome is cached without trust");
        memory.trust_from(start.after(TRUST_DURATION));
        assert!(is_cached(&memory, start.after(TRUST_DURATION)), "the heartbeat was late, and restores trust");
    }

    #[test]
    fn the_cache_is_not_trusted_before_the_first_heartbeat_or_after_a_break() {
        let now = Moment::now();
        let memory = Memory::new(100);
        assert!(memory.begin(hash(), now).is_none());
        memory.trust_from(now);
        cache(&memory, now);
        memory.distrust();
        assert!(!is_cached(&memory, now));
        memory.trust_from(now);
        assert!(is_cached(&memory, now), "all missed changes arrived before this heartbeat");
    }

    #[test]
    fn an_answer_in_flight_during_a_change_is_not_cached() {
        let now = Moment::now();
        let memory = trusted(now);
        let ticket = memory.begin(hash(), now).expect("a ticket");
        memory.invalidate(&hash());
        memory.finish(ticket, &valid(), true);
        assert!(!is_cached(&memory, now));
        cache(&memory, now);
        assert!(is_cached(&memory, now), "an outcome that was requested after the change is cached");
    }

    #[test]
    fn an_answer_in_flight_during_a_break_is_not_cached() {
        let now = Moment::now();
        let events: [fn(&Memory); 2] = [Memory::distrust, Memory::clear];
        for event in events {
            let memory = trusted(now);
            let ticket = memory.begin(hash(), now).expect("a ticket");
            event(&memory);
            memory.trust_from(now);
            memory.finish(ticket, &valid(), true);
            assert!(!is_cached(&memory, now));
        }
    }

    #[test]
    fn a_change_of_another_key_has_no_effect() {
        let now = Moment::now();
        let memory = trusted(now);
        let other = KeyHash::of("hs_live_2");
        assert_ne!(hash().slot(), other.slot());
        let ticket = memory.begin(hash(), now).expect("a ticket");
        memory.invalidate(&other);
        memory.finish(ticket, &valid(), true);
        memory.invalidate(&other);
        assert!(is_cached(&memory, now));
    }

    #[test]
    fn a_change_a_reset_and_a_refusal_evict_the_key() {
        let now = Moment::now();
        let refused = |code| crate::Outcome { code, ..valid() };
        let answer = |outcome, is_cacheable| -> Event<'_> {
            Box::new(move |memory| {
                memory.finish(memory.begin(hash(), now).expect("a ticket"), &outcome, is_cacheable);
            })
        };
        let events: [(bool, Event<'_>); 6] = [
            (false, Box::new(|memory| memory.invalidate(&hash()))),
            (false, Box::new(Memory::clear)),
            (false, answer(refused(Code::Revoked), false)),
            (false, answer(valid(), false)),
            (true, answer(refused(Code::InsufficientScopes), false)),
            (true, answer(refused(Code::WrongEnvironment), false)),
        ];
        for (place, (stays, event)) in events.iter().enumerate() {
            let memory = trusted(now);
            cache(&memory, now);
            event(&memory);
            assert_eq!(is_cached(&memory, now), *stays, "{place}");
        }
    }

    #[test]
    fn the_number_of_cached_keys_is_bounded() {
        let now = Moment::now();
        let memory = trusted(now);
        for number in 0..10_000 {
            let ticket = memory.begin(KeyHash::of(&number.to_string()), now).expect("a ticket");
            memory.finish(ticket, &valid(), true);
        }
        assert!(memory.outcomes.len() <= 100);
    }

    #[test]
    fn a_closed_cache_is_never_trusted() {
        let now = Moment::now();
        let memory = trusted(now);
        cache(&memory, now);
        memory.close();
        memory.trust_from(now);
        memory.distrust();
        memory.trust_from(now);
        assert!(!is_cached(&memory, now) && memory.begin(hash(), now).is_none());
    }

    #[test]
    fn hashes_are_parsed_from_hex_and_not_printed() {
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyHash::parse(text), Some(KeyHash::of("abc")));
        assert_eq!(KeyHash::parse(&text[2..]), None);
        assert_eq!(KeyHash::parse("z"), None);
        assert_eq!(format!("{:?}", KeyHash::of("abc")), "KeyHash(…)");
    }
}
