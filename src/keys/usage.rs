//! Counting the use of keys: merged into every answer at once, written down in batches.
//!
//! A good request is counted in the key's record, which the check has in its hands anyway: one atomic
//! operation, no lock. Whatever does not fit there (refusals, addresses, the uses of a record that was
//! thrown out) goes to the ledger. What a reader sees is database + ledger + record, and each move from
//! one to the next is made where no reader can see it half done: from records to the ledger under the
//! ledger's lock, from there to the database under `flushing`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, RwLock, RwLockReadGuard};

use super::record::Record;
use super::{Cache, Code, Key, KeyHash, Keys};
use crate::model::{KeyId, Timestamp};
use crate::store::{HourlyUse, StoreError, UsageRows, UsedFrom};

/// How often counts are written down; what a killed process loses at the most.
pub const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Addresses of one key that are remembered.
pub const ADDRESSES: i64 = 10;
/// Addresses that wait to be written down, all keys together; more are left out.
const WAITING_ADDRESSES: usize = 20_000;
/// Milliseconds.
pub(super) const HOUR: i64 = 3_600_000;

/// A record's count: the hour in the upper half, what was counted in it in the lower.
///
/// The top bit says that the record is retired: what comes later goes to the ledger.
pub(super) const RETIRED: u64 = 1 << 63;
const COUNT: u64 = u32::MAX as u64;

fn hour_of(pending: u64) -> i64 {
    i64::try_from((pending & !RETIRED) >> 32).unwrap_or_default()
}

fn pack(hour: i64, count: u64) -> u64 {
    (u64::try_from(hour).unwrap_or_default() & 0x7fff_ffff) << 32 | count
}

#[derive(Debug, Default)]
struct Ledger {
    /// By key, hour and outcome.
    counts: HashMap<(KeyId, i64, Code), i64>,
    /// How many of them were good, by key, and when the last one was: what listings show.
    good: HashMap<KeyId, (i64, Timestamp)>,
    addresses: HashMap<(KeyId, IpAddr), Timestamp>,
}

impl Ledger {
    fn add(&mut self, id: KeyId, hour: i64, code: Code, count: i64, at: Timestamp) {
        *self.counts.entry((id, hour, code)).or_default() += count;
        if code == Code::Valid {
            let (requests, last) = self.good.entry(id).or_default();
            *requests += count;
            *last = at.max(*last);
        }
    }

    /// The count of a record moves here.
    fn take(&mut self, record: &Record) {
        // A retired record stays one.
        let pending = record.pending.fetch_and(RETIRED, Ordering::AcqRel);
        let count = i64::try_from(pending & COUNT).unwrap_or_default();
        if count > 0 {
            let last = Timestamp(record.last_used.load(Ordering::Relaxed));
            self.add(record.id, hour_of(pending), Code::Valid, count, last);
        }
    }
}

/// Uses that are not in the database yet.
#[derive(Debug, Default)]
pub struct Usage {
    ledger: Mutex<Ledger>,
    /// Records with a count, so that a flush need not look through all.
    counted: [Mutex<Vec<KeyHash>>; 16],
    /// Held for reading from before a key is read until the pending uses are added to it, and for
    /// writing while they move to the database: no use is seen twice, and none is missed.
    flushing: RwLock<()>,
    /// Somebody should not wait for the next flush.
    urgent: Notify,
}

impl Usage {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that a key was good for.
    pub(super) fn count(&self, record: &Record, address: Option<IpAddr>, now: Timestamp) {
        let hour = now.0 / HOUR;
        let mut pending = record.pending.load(Ordering::Relaxed);
        let before = loop {
            let count = pending & COUNT;
            let fits = pending & RETIRED == 0 && (count == 0 || hour_of(pending) == hour && count < COUNT);
            if !fits {
                self.count_in_ledger(record, hour, now);
                break pending;
            }
            let next = pack(hour, count + 1);
            match record.pending.compare_exchange_weak(pending, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break pending,
                Err(changed) => pending = changed,
            }
        };
        let first_ever = record.last_used.fetch_max(now.0, Ordering::Relaxed) == 0;
        let is_first = before & (COUNT | RETIRED) == 0;
        if is_first {
            let shard = usize::from(record.hash.as_bytes()[0]) % self.counted.len();
            self.counted[shard].lock().unwrap_or_else(PoisonError::into_inner).push(record.hash);
        }
        if first_ever {
            self.urgent.notify_one();
        }
        if let Some(address) = address {
            let folded = fold(address);
            // Once between two flushes, so that the time is right, and whenever it is another one.
            if is_first || record.last_address.load(Ordering::Relaxed) != folded {
                record.last_address.store(folded, Ordering::Relaxed);
                self.note_address(record.id, address, now);
            }
        }
    }

    /// The rare case: the record's own count is not the place.
    #[cold]
    fn count_in_ledger(&self, record: &Record, hour: i64, now: Timestamp) {
        let mut ledger = self.ledger();
        if record.pending.load(Ordering::Acquire) & RETIRED == 0 {
            // The hour turned: what was counted in the old one moves as well.
            ledger.take(record);
        }
        ledger.add(record.id, hour, Code::Valid, 1, now);
    }

    /// Counts a request that a key was not good for.
    pub(super) fn count_refusal(&self, id: KeyId, code: Code, now: Timestamp) {
        self.ledger().add(id, now.0 / HOUR, code, 1, now);
    }

    /// Counts requests that were answered elsewhere on the word of an earlier check.
    pub(super) fn count_reported(&self, id: KeyId, count: u32, at: Timestamp) {
        self.ledger().add(id, at.0 / HOUR, Code::Valid, i64::from(count), at);
    }

    fn note_address(&self, id: KeyId, address: IpAddr, now: Timestamp) {
        let mut ledger = self.ledger();
        if ledger.addresses.len() < WAITING_ADDRESSES || ledger.addresses.contains_key(&(id, address)) {
            ledger.addresses.insert((id, address), now);
        }
    }

    /// A record is about to be thrown out: its count moves to the ledger, and so does every later one.
    pub(super) fn retire(&self, record: &Record) {
        let mut ledger = self.ledger();
        let pending = record.pending.fetch_or(RETIRED, Ordering::AcqRel);
        if pending & RETIRED == 0 {
            ledger.take(record);
        }
    }

    /// Keeps flushes away while keys are read.
    pub(super) async fn reading(&self) -> RwLockReadGuard<'_, ()> {
        self.flushing.read().await
    }

    /// Adds the uses that the database does not know yet. `_reading` was taken before the read.
    pub(super) fn complete(&self, keys: &mut [Key], cache: &Cache, _reading: &RwLockReadGuard<'_, ()>) {
        // Held to the end: no record's count moves meanwhile.
        let ledger = self.ledger();
        for key in keys {
            let mut add = |requests: i64, last: Timestamp| {
                key.request_count += requests;
                key.last_used_at = key.last_used_at.max(Some(last));
            };
            if let Some((requests, last)) = ledger.good.get(&key.id) {
                add(*requests, *last);
            }
            cache.peek(&key.hash, |record| {
                let count = i64::try_from(record.pending.load(Ordering::Acquire) & COUNT).unwrap_or_default();
                if count > 0 {
                    add(count, Timestamp(record.last_used.load(Ordering::Relaxed)));
                }
            });
        }
    }

    /// Adds what the database does not know yet of one key. `_reading` was taken before the read.
    pub(super) fn complete_usage(
        &self,
        key: &Key,
        cache: &Cache,
        hours: &mut Vec<HourlyUse>,
        addresses: &mut Vec<UsedFrom>,
        _reading: &RwLockReadGuard<'_, ()>,
    ) {
        let ledger = self.ledger();
        let mut add = |hour: i64, code: Code, count: i64| match hours
            .iter_mut()
            .find(|known| (known.hour, known.code) == (hour, code))
        {
            Some(known) => known.count += count,
            None => hours.push(HourlyUse { hour, code, count }),
        };
        for ((_, hour, code), count) in ledger.counts.iter().filter(|((id, ..), _)| *id == key.id) {
            add(*hour, *code, *count);
        }
        cache.peek(&key.hash, |record| {
            let pending = record.pending.load(Ordering::Acquire);
            let count = i64::try_from(pending & COUNT).unwrap_or_default();
            if count > 0 {
                add(hour_of(pending), Code::Valid, count);
            }
        });
        for ((_, address), at) in ledger.addresses.iter().filter(|((id, _), _)| *id == key.id) {
            match addresses.iter_mut().find(|known| known.address == *address) {
                Some(known) => known.last_used_at = known.last_used_at.max(*at),
                None => addresses.push(UsedFrom { address: *address, last_used_at: *at }),
            }
        }
    }

    /// Resolves when a flush should not be put off.
    pub(super) async fn urgent(&self) {
        self.urgent.notified().await;
    }

    /// All that is not in the database, taken out.
    fn take(&self, cache: &Cache) -> Ledger {
        let mut ledger = self.ledger();
        for shard in &self.counted {
            let mut counted = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for hash in counted.drain(..) {
                // A record that is gone was retired, and its count is in the ledger.
                cache.peek(&hash, |record| ledger.take(record));
            }
        }
        std::mem::take(&mut *ledger)
    }

    /// How many good requests were not in the database; now they are taken to be.
    #[cfg(test)]
    pub(super) fn take_good(&self, cache: &Cache) -> i64 {
        self.take(cache).counts.values().sum()
    }

    /// Puts back what could not be written.
    fn put_back(&self, taken: Ledger) {
        let mut ledger = self.ledger();
        for ((id, hour, code), count) in taken.counts {
            let last = taken.good.get(&id).map_or(Timestamp(0), |(_, last)| *last);
            ledger.add(id, hour, code, count, last);
        }
        for (from, at) in taken.addresses {
            ledger.addresses.entry(from).or_insert(at);
        }
    }
}

/// 64 bits of an address, so that one comparison tells whether it is another one.
fn fold(address: IpAddr) -> u64 {
    let bits = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let [low, high] = [bits & u128::from(u64::MAX), bits >> 64].map(|half| u64::try_from(half).unwrap_or_default());
    low ^ high.rotate_left(29)
}

impl Keys {
    /// Writes the counts down, and what was spent of limits. On a failure they stay and are tried again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn flush_usage(&self) -> Result<(), StoreError> {
        let core = &self.core;
        let usage = &core.usage;
        let _flushing = usage.flushing.write().await;
        let taken = usage.take(&core.cache);
        let spent = core.limiter.take_unsaved(core.clock.both());
        if taken.counts.is_empty() && taken.addresses.is_empty() && spent.is_empty() {
            return Ok(());
        }
        let written = UsageRows {
            uses: taken.good.iter().map(|(id, (requests, last))| (*id, *requests, *last)).collect(),
            hours: taken
                .counts
                .iter()
                .map(|((id, hour, code), count)| (*id, HourlyUse { hour: *hour, code: *code, count: *count }))
                .collect(),
            addresses: taken
                .addresses
                .iter()
                .map(|((id, address), at)| (*id, UsedFrom { address: *address, last_used_at: *at }))
                .collect(),
            spent,
        };
        let done = core.db.write_usage(&written, ADDRESSES).await;
        if done.is_err() {
            usage.put_back(taken);
            core.limiter.keep_unsaved(&written.spent);
        }
        done
    }

    /// Resolves when the counts should be written down before their time: a key was used for the first
    /// time.
    pub async fn flush_is_urgent(&self) {
        self.core.usage.urgent().await;
    }
}
