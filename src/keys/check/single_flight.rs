//! Look-ups of keys that are not in the cache: concurrent requests for the same key share one, and look-ups of several
//! keys are batched.
//!
//! The row that a look-up reads may be out of date when it lands. [`Flights`] drops such a row: an invalidation gives
//! the flight a new number and starts it again, and a row that lands with the old number is dropped.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing_mutex::stdsync::{Mutex, MutexGuard};

use super::Checks;
use crate::domain::{Key, KeyHash, Unavailable};
use crate::keys::cache::ClockQueue;
use crate::model::KeyId;
use crate::runtime::Tenant;
use crate::runtime::batch::{self, Batches, Queue, QueueLimits};
use crate::store::{Batch, StoreError};

/// The capacity of the queue, in look-ups: beyond 8192, or 2048 of one tenant, further requests get 503. A statement
/// reads up to 128 keys.
const LIMITS: QueueLimits = QueueLimits { capacity: 8192, tenant_capacity: 2048, batch: 128, batch_weight: usize::MAX };
/// The timeout of a statement; its requests get 503.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Concurrent statements.
const MAX_STATEMENTS: usize = 4;

pub(super) type Answer = Result<Option<Arc<Key>>, Unavailable>;

/// A running look-up: the hash, and the number that its answer must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::keys) struct Flight {
    pub(in crate::keys) hash: KeyHash,
    pub(in crate::keys) number: u64,
    /// The tenant of the first request, which the look-up is charged to in the queue.
    pub(in crate::keys) tenant: Tenant,
}

/// The running look-ups, with the requests that wait for each. No I/O, so that a test can try every order of events.
#[derive(Debug)]
pub(in crate::keys) struct Flights<W> {
    waiting: HashMap<KeyHash, Waiting<W>>,
    next: u64,
}

#[derive(Debug)]
struct Waiting<W> {
    number: u64,
    tenant: Tenant,
    /// Requests that this flight answers.
    now: Vec<W>,
    /// Requests that the next flight answers, because it begins after them.
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

    /// Adds a waiter. Returns the look-up to start, or `None` if one is running. A running look-up may have read before
    /// this request began: a request that needs the current state does not `share` it, and waits for the next one.
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

    /// Invalidates a running look-up, which may have read the state before a change. Returns the look-up to start
    /// instead.
    pub(in crate::keys) fn invalidate(&mut self, hash: KeyHash) -> Option<Flight> {
        let mut waiting = self.waiting.remove(&hash)?;
        waiting.now.append(&mut waiting.later);
        Some(self.take_off(hash, waiting.tenant, waiting.now))
    }

    /// Ends a look-up. Returns its waiters, and the next look-up to start for the others; `None` if it is out of date.
    pub(in crate::keys) fn land(&mut self, flight: Flight) -> Option<(Vec<W>, Option<Flight>)> {
        let waiting = self.waiting.remove(&flight.hash)?;
        if waiting.number != flight.number {
            self.waiting.insert(flight.hash, waiting);
            return None;
        }
        let next = (!waiting.later.is_empty()).then(|| self.take_off(flight.hash, waiting.tenant, waiting.later));
        Some((waiting.now, next))
    }

    /// Drops a look-up that was not started, and its waiters.
    pub(in crate::keys) fn cancel(&mut self, flight: Flight) {
        self.waiting.remove(&flight.hash);
    }
}

/// The running look-ups, and the right to change the cache. Under one lock, so that an invalidation happens either
/// before a landing or after it.
#[derive(Debug, Default)]
struct Running {
    flights: Flights<oneshot::Sender<Answer>>,
    clock_queue: ClockQueue,
}

/// Merges concurrent look-ups of the same key.
///
/// The lock order of this program: while the lock here is held, the lock of the usage ledgers (`Usage::ledgers`) may be
/// taken, because an evicted record moves its counts to a ledger, and the lock of the queue, which is held for a few
/// instructions. No other lock is taken while one is held. All locks are from tracing-mutex: a debug build panics at an
/// order that could deadlock.
#[derive(Debug)]
pub(in crate::keys) struct SingleFlight {
    running: Mutex<Running>,
    queue: Queue<Flight>,
}

impl SingleFlight {
    pub(in crate::keys) fn new() -> (Self, Batches<Flight>) {
        let (queue, batches) = batch::queue(LIMITS);
        (Self { running: Mutex::default(), queue }, batches)
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Checks {
    /// Reads a key by the hash of its string: its current row, or the row at some time since the call.
    pub(super) async fn look_up(&self, hash: KeyHash, tenant: Tenant) -> Answer {
        if self.trusts_cache() && self.cache.is_unknown(&hash, self.clock.now()) {
            return Ok(None);
        }
        let (answer, answered) = oneshot::channel();
        {
            let mut running = self.single_flight.running();
            // Without a lease, this node may miss invalidations, so the row of a running look-up may be out of date.
            if let Some(flight) = running.flights.join(hash, tenant, answer, self.trusts_cache()) {
                self.start(&mut running.flights, flight)?;
            }
        }
        answered.await.unwrap_or(Err(Unavailable::KeyLookup))
    }

    fn start(&self, flights: &mut Flights<oneshot::Sender<Answer>>, flight: Flight) -> Result<(), Unavailable> {
        self.single_flight.queue.push(flight.tenant, 1, flight).map_err(|_| {
            // Its waiters get 503, because their senders are dropped.
            flights.cancel(flight);
            Unavailable::KeyLookup
        })
    }

    /// Drops the cached row of a key, and every row that was read before now. Called for every change of a key, after
    /// its commit and before its answer.
    pub(in crate::keys) fn invalidate(&self, hash: KeyHash) {
        let mut running = self.single_flight.running();
        self.cache.remove(&hash, |record| self.usage.retire(record));
        if let Some(flight) = running.flights.invalidate(hash) {
            // If the queue is full, its waiters get 503.
            let _ = self.start(&mut running.flights, flight);
        }
    }

    /// Invalidates several keys.
    pub(in crate::keys) fn invalidate_all(&self, keys: &[(KeyId, KeyHash)]) {
        for (_, hash) in keys {
            self.invalidate(*hash);
        }
    }

    /// Drops all rows that were read before now, because any key may have changed.
    pub(in crate::keys) fn forget(&self) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // Under one lock, so that no row lands between the two.
        let mut guard = self.single_flight.running();
        let Running { flights, clock_queue } = &mut *guard;
        let hashes: Vec<KeyHash> = flights.waiting.keys().copied().collect();
        for hash in hashes {
            if let Some(flight) = flights.invalidate(hash) {
                let _ = self.start(flights, flight);
            }
        }
        self.cache.clear(clock_queue, |record| self.usage.retire(record));
    }

    /// Caches the row that a look-up has read, unless it is out of date, and sends it to the waiters.
    pub(super) fn land(&self, flight: Flight, found: Answer) {
        // Before the lock, because creating a record takes other locks.
        let record = found.as_ref().ok().and_then(Option::as_ref).map(|key| self.record(key));
        let mut guard = self.single_flight.running();
        let Running { flights, clock_queue } = &mut *guard;
        let Some((waiters, next)) = flights.land(flight) else {
            return;
        };
        if let Some(next) = next {
            let _ = self.start(flights, next);
        }
        match (&found, record) {
            // Under the lock, so that an invalidation either precedes this, or finds the row in the cache.
            _ if !self.trusts_cache() => {}
            (Ok(Some(_)), Some(record)) => self.cache.insert(clock_queue, record, |record| self.usage.retire(record)),
            (Ok(None), _) => self.cache.insert_unknown(&flight.hash, self.clock.now()),
            _ => {}
        }
        drop(guard);
        for waiter in waiters {
            // The send fails if the request was dropped.
            let _ = waiter.send(found.clone());
        }
    }
}

/// Answers look-ups until the checks are dropped.
pub(in crate::keys) async fn read(checks: Weak<Checks>, look_ups: Batches<Flight>) {
    look_ups.work(MAX_STATEMENTS, move |flights| read_batch(checks.clone(), flights)).await;
}

async fn read_batch(checks: Weak<Checks>, flights: Vec<Flight>) {
    let Some(checks) = checks.upgrade() else { return };
    let hashes: Vec<KeyHash> = flights.iter().map(|flight| flight.hash).collect();
    let mut batch = Batch::new(hashes.len());
    while let Some(rows) = batch.next_rows() {
        let hashes = &hashes[rows.clone()];
        // Without a timeout, connections that hang would use up all concurrent statements.
        let reading = tokio::time::timeout(STATEMENT_TIMEOUT, checks.db.keys_by_hash(hashes));
        let found = reading.await.unwrap_or_else(|_| Err(StoreError::slow()));
        batch.settle(rows, found.map(|keys| deliver(hashes, keys)));
    }
    let found = batch.outcomes();
    let failed = found.iter().filter(|found| found.is_err()).count();
    if let Some(error) = found.iter().find_map(|found| found.as_ref().err()) {
        tracing::error!(%error, keys = failed, "cannot look up keys; requests with them get 503");
    }
    for (flight, found) in flights.into_iter().zip(found) {
        checks.land(flight, found.map_err(|_| Unavailable::KeyLookup));
    }
}

/// Returns the key of each hash. A batch has a hash twice if its key was invalidated meanwhile.
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
    fn concurrent_requests_for_a_key_share_one_look_up() {
        let mut flights = Flights::default();
        let flight = flights.join(hash(), Tenant::default(), 1, true).expect("the first request starts it");
        assert_eq!(flights.join(hash(), Tenant::default(), 2, true), None);
        assert_eq!(flights.land(flight), Some((vec![1, 2], None)));
        assert_eq!(flights.land(flight), None);
        assert!(flights.join(hash(), Tenant::default(), 3, true).is_some());
    }

    #[test]
    fn a_hash_that_is_in_a_batch_twice_is_found_twice() {
        let mut key = key();
        key.hash = hash();
        let delivered = deliver(&[hash(), hash()], vec![key]);
        assert_eq!(delivered.iter().filter(|found| found.is_some()).count(), 2, "{delivered:?}");
    }

    #[test]
    fn a_strict_look_up_ignores_rows_read_before_it_began() {
        let mut flights = Flights::default();
        let before = flights.join(hash(), Tenant::default(), 1, false).expect("the look-up starts");
        assert_eq!(flights.join(hash(), Tenant::default(), 2, false), None);
        assert_eq!(flights.join(hash(), Tenant::default(), 3, false), None);
        let (waiters, next) = flights.land(before).expect("a request waits");
        let next = next.expect("a look-up starts for the others");
        assert_eq!(waiters, [1]);
        assert_eq!(flights.land(next), Some((vec![2, 3], None)));
        // The look-up after an invalidation answers strict requests as well.
        let before = flights.join(hash(), Tenant::default(), 1, true).expect("the look-up starts");
        assert_eq!(flights.join(hash(), Tenant::default(), 2, false), None);
        let again = flights.invalidate(hash()).expect("the look-up starts again");
        assert_eq!(flights.land(before), None);
        assert_eq!(flights.land(again), Some((vec![1, 2], None)));
    }

    #[test]
    fn a_row_read_before_an_invalidation_is_dropped() {
        let mut flights = Flights::default();
        let before = flights.join(hash(), Tenant::default(), 1, true).expect("the look-up starts");
        let again = flights.invalidate(hash()).expect("the look-up starts again");
        assert_eq!(flights.join(hash(), Tenant::default(), 2, true), None, "the second one waits for the new flight");
        assert_eq!(flights.land(before), None);
        assert_eq!(flights.land(again), Some((vec![1, 2], None)));
        assert_eq!(flights.invalidate(hash()), None);
    }
}
