//! Look-ups: what the cache does not know is read from the database, once however many ask at once, and
//! together with what others ask for in the meantime.
//!
//! A look-up may bring something that is no longer true when it arrives. [`Flights`] sees to it that
//! such an answer reaches nobody: an invalidation gives the flight another number, and what lands with
//! an old one is thrown away and asked for again.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing_mutex::stdsync::{Mutex, MutexGuard};

use super::cache::ClockQueue;
use crate::domain::{Key, KeyHash};
use crate::keys::Core;
use crate::runtime::Tenant;
use crate::runtime::batch::{self, Batches, Limits, Queue};
use crate::store::{Batch, StoreError};

/// Look-ups that wait for a statement, in all and of one tenant, and those of one statement.
const LIMITS: Limits = Limits { capacity: 8192, tenant_capacity: 2048, batch: 128, batch_weight: usize::MAX };
/// A statement that takes longer is given up.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements at once.
const AT_ONCE: usize = 4;

/// The database did not say whether a string is a key, or too many ask at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key could not be looked up")]
pub struct Unanswered;

pub(in crate::keys) type Answer = Result<Option<Arc<Key>>, Unanswered>;

/// A look-up under way: which string, and the number under which its answer is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::keys) struct Flight {
    pub(in crate::keys) hash: KeyHash,
    pub(in crate::keys) number: u64,
    /// The first one that asked, in whose share it waits.
    pub(in crate::keys) tenant: Tenant,
}

/// The look-ups under way, and who waits for each. Without any I/O, so that every order of events can be
/// tried.
#[derive(Debug)]
pub(in crate::keys) struct Flights<W> {
    waiting: HashMap<KeyHash, Waiting<W>>,
    next: u64,
}

#[derive(Debug)]
struct Waiting<W> {
    number: u64,
    tenant: Tenant,
    /// Whoever takes what this flight brings.
    now: Vec<W>,
    /// Whoever wants what is read after it has landed.
    later: Vec<W>,
}

impl<W> Default for Flights<W> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), next: 0 }
    }
}

impl<W> Flights<W> {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Somebody wants to know. The flight to send off, unless one is under way. That one may have read before
    /// this was asked: who must know what is true now does not `share` it, and waits for the next.
    pub(in crate::keys) fn join(&mut self, hash: KeyHash, tenant: Tenant, waiter: W, share: bool) -> Option<Flight> {
        if let Some(waiting) = self.waiting.get_mut(&hash) {
            if share {
                waiting.now.push(waiter);
            } else {
                waiting.later.push(waiter);
            }
            return None;
        }
        Some(self.take_off(hash, tenant, vec![waiter]))
    }

    fn take_off(&mut self, hash: KeyHash, tenant: Tenant, now: Vec<W>) -> Flight {
        let number = self.number();
        self.waiting.insert(hash, Waiting { number, tenant, now, later: Vec::new() });
        Flight { hash, number, tenant }
    }

    /// What is known of a string has changed. The flight to send off again, if one was under way: it may
    /// have read what was true before.
    pub(in crate::keys) fn invalidate(&mut self, hash: KeyHash) -> Option<Flight> {
        let mut waiting = self.waiting.remove(&hash)?;
        waiting.now.append(&mut waiting.later);
        Some(self.take_off(hash, waiting.tenant, waiting.now))
    }

    /// A flight is back. Who waits for what it brings, and the next one to send off for the others; nobody if
    /// it is out of date.
    pub(in crate::keys) fn land(&mut self, flight: Flight) -> Option<(Vec<W>, Option<Flight>)> {
        let waiting = self.waiting.remove(&flight.hash)?;
        if waiting.number != flight.number {
            self.waiting.insert(flight.hash, waiting);
            return None;
        }
        let next = (!waiting.later.is_empty()).then(|| self.take_off(flight.hash, waiting.tenant, waiting.later));
        Some((waiting.now, next))
    }

    /// A flight that never left: nobody waits for it any more.
    pub(in crate::keys) fn cancel(&mut self, flight: Flight) {
        self.waiting.remove(&flight.hash);
    }
}

/// Look-ups under way, and the right to change the cache: an invalidation comes before a landing, or after it.
#[derive(Debug, Default)]
pub(in crate::keys) struct UnderWay {
    flights: Flights<oneshot::Sender<Answer>>,
    clock_queue: ClockQueue,
}

/// Where look-ups are asked for.
///
/// The order of locks in this program: the one here may be held while that of the usage ledgers is taken
/// (`Usage::ledgers`), because a record that leaves the cache gives its counts to a ledger, or while that of its queue is,
/// which holds it for a few instructions. No other lock is taken while one is held. All are tracing-mutex's: in a debug build an order that could deadlock panics.
#[derive(Debug)]
pub(in crate::keys) struct Lookups {
    under_way: Mutex<UnderWay>,
    queue: Queue<Flight>,
}

impl Lookups {
    pub(in crate::keys) fn new() -> (Self, Batches<Flight>) {
        let (queue, asked) = batch::queue(LIMITS);
        (Self { under_way: Mutex::default(), queue }, asked)
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Everything about a key, by the hash of its string, as it is now or was since this was asked.
    pub(in crate::keys) async fn look_up(&self, hash: KeyHash, tenant: Tenant) -> Answer {
        if self.remembers() && self.cache.is_unknown(&hash, self.clock.now()) {
            return Ok(None);
        }
        let (answer, answered) = oneshot::channel();
        {
            let mut under_way = self.lookups.under_way();
            // Without a lease nobody says that what a flight has read is no longer true.
            if let Some(flight) = under_way.flights.join(hash, tenant, answer, self.remembers()) {
                self.send_off(&mut under_way.flights, flight)?;
            }
        }
        answered.await.unwrap_or(Err(Unanswered))
    }

    fn send_off(&self, flights: &mut Flights<oneshot::Sender<Answer>>, flight: Flight) -> Result<(), Unanswered> {
        self.lookups.queue.push(flight.tenant, 1, flight).map_err(|_| {
            // Who waits for it hears that nothing will come.
            flights.cancel(flight);
            Unanswered
        })
    }

    /// Nothing that was read of this key before now is true any more: the one function for every change,
    /// called after the commit and before the answer.
    pub(in crate::keys) fn invalidate(&self, hash: KeyHash) {
        let mut under_way = self.lookups.under_way();
        self.cache.remove(&hash, |record| self.usage.retire(record));
        if let Some(flight) = under_way.flights.invalidate(hash) {
            // Without a place in the queue its waiters are told that there is no answer.
            let _ = self.send_off(&mut under_way.flights, flight);
        }
    }

    /// Whether checks may go by what is in memory.
    pub(in crate::keys) fn remembers(&self) -> bool {
        match self.trusted_until.load(Ordering::Acquire) {
            u64::MAX => true,
            until => self.clock.boottime() < until,
        }
    }

    /// Forgets all, because nobody knows what changed.
    pub(in crate::keys) fn forget(&self) {
        // Under one lock: nothing lands between the two.
        let mut guard = self.lookups.under_way();
        let UnderWay { flights, clock_queue } = &mut *guard;
        let hashes: Vec<KeyHash> = flights.waiting.keys().copied().collect();
        for hash in hashes {
            if let Some(flight) = flights.invalidate(hash) {
                let _ = self.send_off(flights, flight);
            }
        }
        self.cache.clear(clock_queue, |record| self.usage.retire(record));
    }

    /// What was read is here.
    pub(in crate::keys) fn land(&self, flight: Flight, found: Answer) {
        // Before the lock: a record takes others.
        let record = found.as_ref().ok().and_then(Option::as_ref).map(|key| self.record(key));
        let mut guard = self.lookups.under_way();
        let UnderWay { flights, clock_queue } = &mut *guard;
        let Some((waiters, next)) = flights.land(flight) else {
            return;
        };
        if let Some(next) = next {
            let _ = self.send_off(flights, next);
        }
        match (&found, record) {
            // Under the lock: an invalidation comes before this, or finds it in the cache.
            _ if !self.remembers() => {}
            (Ok(Some(_)), Some(record)) => self.cache.insert(clock_queue, record, |record| self.usage.retire(record)),
            (Ok(None), _) => self.cache.insert_unknown(&flight.hash, self.clock.now()),
            _ => {}
        }
        drop(guard);
        for waiter in waiters {
            // Whoever does not wait any more asks again.
            let _ = waiter.send(found.clone());
        }
    }
}

/// Reads the keys that are asked for, until the core is dropped.
pub(in crate::keys) async fn read(core: Weak<Core>, asked: Batches<Flight>) {
    asked.work(AT_ONCE, move |flights| read_batch(core.clone(), flights)).await;
}

async fn read_batch(core: Weak<Core>, flights: Vec<Flight>) {
    let Some(core) = core.upgrade() else { return };
    let hashes: Vec<KeyHash> = flights.iter().map(|flight| flight.hash).collect();
    let mut batch = Batch::new(hashes.len());
    while let Some(rows) = batch.next_rows() {
        let hashes = &hashes[rows.clone()];
        // A connection that leads nowhere must not keep its place: soon there would be none left.
        let reading = tokio::time::timeout(STATEMENT_TIMEOUT, core.db.keys_by_hash(hashes));
        let found = reading.await.unwrap_or_else(|_| Err(StoreError::slow()));
        batch.settle(rows, found.map(|keys| deliver(hashes, keys)));
    }
    let found = batch.outcomes();
    let failed = found.iter().filter(|found| found.is_err()).count();
    if let Some(error) = found.iter().find_map(|found| found.as_ref().err()) {
        tracing::error!(%error, keys = failed, "keys could not be looked up");
    }
    for (flight, found) in flights.into_iter().zip(found) {
        core.land(flight, found.map_err(|_| Unanswered));
    }
}

/// The key of each hash. A hash can be asked for twice: a second time because of a change.
fn deliver(hashes: &[KeyHash], keys: Vec<Key>) -> Vec<Option<Arc<Key>>> {
    let found: HashMap<KeyHash, Arc<Key>> = keys.into_iter().map(|key| (key.hash, Arc::new(key))).collect();
    hashes.iter().map(|hash| found.get(hash).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{PlainKey, key};
    use crate::model::Mode;
    use crate::runtime::entropy::Entropy;

    fn hash() -> KeyHash {
        PlainKey::hookstream(Mode::Live, &Entropy::seeded(1)).hash()
    }

    #[test]
    fn many_that_ask_at_once_share_one_flight() {
        let mut flights = Flights::default();
        let flight = flights.join(hash(), Tenant::default(), 1, true).expect("the first one is sent off");
        assert_eq!(flights.join(hash(), Tenant::default(), 2, true), None);
        assert_eq!(flights.land(flight), Some((vec![1, 2], None)));
        assert_eq!(flights.land(flight), None);
        assert!(flights.join(hash(), Tenant::default(), 3, true).is_some());
    }

    #[test]
    fn a_hash_that_is_in_a_group_twice_is_found_twice() {
        let mut key = key();
        key.hash = hash();
        let delivered = deliver(&[hash(), hash()], vec![key]);
        assert_eq!(delivered.iter().filter(|found| found.is_some()).count(), 2, "{delivered:?}");
    }

    #[test]
    fn what_was_read_before_somebody_asked_is_not_for_who_must_know_what_is_true_now() {
        let mut flights = Flights::default();
        let before = flights.join(hash(), Tenant::default(), 1, false).expect("it is sent off");
        assert_eq!(flights.join(hash(), Tenant::default(), 2, false), None);
        assert_eq!(flights.join(hash(), Tenant::default(), 3, false), None);
        let (waiters, next) = flights.land(before).expect("somebody waits");
        let next = next.expect("it is sent off for the others");
        assert_eq!(waiters, [1]);
        assert_eq!(flights.land(next), Some((vec![2, 3], None)));
        // A change does for them as well.
        let before = flights.join(hash(), Tenant::default(), 1, true).expect("it is sent off");
        assert_eq!(flights.join(hash(), Tenant::default(), 2, false), None);
        let again = flights.invalidate(hash()).expect("it is sent off again");
        assert_eq!(flights.land(before), None);
        assert_eq!(flights.land(again), Some((vec![1, 2], None)));
    }

    #[test]
    fn what_was_read_before_an_invalidation_reaches_nobody() {
        let mut flights = Flights::default();
        let before = flights.join(hash(), Tenant::default(), 1, true).expect("it is sent off");
        let again = flights.invalidate(hash()).expect("it is sent off again");
        assert_eq!(flights.join(hash(), Tenant::default(), 2, true), None, "the second one waits for the new flight");
        assert_eq!(flights.land(before), None);
        assert_eq!(flights.land(again), Some((vec![1, 2], None)));
        assert_eq!(flights.invalidate(hash()), None);
    }
}
