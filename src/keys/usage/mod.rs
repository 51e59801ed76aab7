//! Counting the use of keys: merged into every answer at once, written down in batches.
//!
//! A good request is counted in the key's record, which the check has in its hands anyway: one atomic
//! operation, no lock. Whatever does not fit there (refusals, the uses of a record that was
//! thrown out) goes to a ledger. What a reader sees is database + ledgers + record, and each move from
//! one to the next is made where no reader can see it half done: between records and ledgers under their
//! locks, from there to the database under `flushing`. How that is done is [`flush`](super::usage::flush)'s.

pub(super) mod addresses;
pub(super) mod flush;
mod log;
pub(super) mod pending;

use std::net::IpAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, RwLock, RwLockReadGuard};
use tracing_mutex::stdsync::{Mutex, MutexGuard};

use super::check::cache::{Cache, Slot, slot};
use super::check::record::{RETIRED, Record, count_of, hour_of, pack};
use crate::domain::{Code, Key};
use crate::model::{KeyId, Timestamp};
use crate::store::{HourlyUse, UsedFrom};
use addresses::Addresses;
use flush::FLUSH_EVERY;
use log::Logged;
use pending::{Ledger, Uses};

/// Milliseconds.
pub(super) const HOUR: i64 = 3_600_000;
/// Who uses a key for the first time is written down at once, together with others of this moment.
const GATHER: Duration = Duration::from_millis(50);

/// Uses that are not in the rows of their keys yet.
#[derive(Debug, Default)]
pub struct Usage {
    ledgers: Mutex<Ledgers>,
    /// Records with a count, so that a flush need not look through all.
    counted: [Mutex<Vec<Slot>>; 16],
    pub(super) addresses: Addresses,
    /// Held for reading from before a key is read until the pending uses are added to it, and for
    /// writing while they move to the database: no use is seen twice, and none is missed.
    pub(super) flushing: RwLock<()>,
    /// Somebody should not wait for the next flush.
    urgent: Notify,
}

/// Counts that are in no record. Under one lock, because most moves between records and ledgers touch both.
#[derive(Debug, Default)]
pub(super) struct Ledgers {
    /// Counts that are not persisted.
    pub(super) pending: Ledger,
    /// Counts that are in the log, and not in the rows of their keys yet.
    pub(super) logged: Logged,
}

impl Usage {
    /// Locks the ledgers. `Lookups` says in which order this and other locks are taken.
    pub(super) fn ledgers(&self) -> MutexGuard<'_, Ledgers> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that a key was good for.
    pub(super) fn count(&self, record: &Record, address: Option<IpAddr>, now: Timestamp) {
        let hour = now.0 / HOUR;
        let used_before = record.last_used.load(Ordering::Relaxed);
        // Written only when it changes: many requests of a busy key share a millisecond.
        if used_before < now.0 {
            record.last_used.fetch_max(now.0, Ordering::AcqRel);
        }
        let mut pending = record.pending.load(Ordering::Relaxed);
        let is_first = loop {
            let count = count_of(pending);
            let fits = pending & RETIRED == 0 && (pending == 0 || hour_of(pending) == hour) && count < u32::MAX;
            if !fits {
                break self.count_in_ledger(record, hour, now);
            }
            let next = pack(hour, count + 1);
            match record.pending.compare_exchange_weak(pending, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break count == 0,
                Err(changed) => pending = changed,
            }
        };
        if is_first {
            let shard = usize::from(record.hash.as_bytes()[0]) % self.counted.len();
            self.counted[shard].lock().unwrap_or_else(PoisonError::into_inner).push(slot(&record.hash));
        }
        if used_before == 0 {
            self.urgent.notify_one();
        }
        if let Some(address) = address {
            let folded = fold(address);
            // Whenever it is another one, and once an hour. In between, its time is that of the key.
            let is_news = used_before / HOUR != hour || record.last_address.load(Ordering::Relaxed) != folded;
            if is_news && self.addresses.note(record.place.organisation, record.id, address, now) {
                record.last_address.store(folded, Ordering::Relaxed);
            }
        }
    }

    /// The rare case: the hour turned, or the record is retired. Whether the record has a count that it
    /// had not.
    #[cold]
    fn count_in_ledger(&self, record: &Record, hour: i64, now: Timestamp) -> bool {
        let mut ledgers = self.ledgers();
        let mut pending = record.pending.load(Ordering::Acquire);
        loop {
            if pending & RETIRED != 0 {
                ledgers.pending.add(record.id, hour, Code::Valid, 1, now);
                return false;
            }
            let stays = hour_of(pending) == hour && count_of(pending) < u32::MAX;
            let next = if stays { pending + 1 } else { pack(hour, 1) };
            // What stands in the log is of the old hour, as long as that is the record's.
            if !stays && let Some(uses) = record.take_logged() {
                ledgers.logged.add(uses);
            }
            match record.pending.compare_exchange(pending, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if stays => return count_of(pending) == 0,
                Ok(_) => {
                    if let Some(uses) = record.uses(hour_of(pending), count_of(pending)) {
                        ledgers.pending.add_uses(uses);
                    }
                    return count_of(pending) == 0;
                }
                Err(changed) => pending = changed,
            }
        }
    }

    /// Counts a request that a key was not good for.
    pub(super) fn count_refusal(&self, id: KeyId, code: Code, now: Timestamp) {
        self.ledgers().pending.add(id, now.0 / HOUR, code, 1, now);
    }

    /// Counts requests that were answered elsewhere on the word of an earlier check.
    pub(super) fn count_reported(&self, id: KeyId, count: u32, at: Timestamp) {
        self.ledgers().pending.add(id, at.0 / HOUR, Code::Valid, i64::from(count), at);
    }

    /// A record is about to be thrown out: its count moves to the ledger, and so does every later one.
    pub(super) fn retire(&self, record: &Record) {
        let mut ledgers = self.ledgers();
        let pending = record.pending.fetch_or(RETIRED, Ordering::AcqRel);
        if pending & RETIRED == 0 {
            if let Some(uses) = record.take_pending() {
                ledgers.pending.add_uses(uses);
            }
            if let Some(uses) = record.take_logged() {
                ledgers.logged.add(uses);
            }
        }
    }

    /// Keeps flushes away while keys are read.
    pub(super) async fn reading(&self) -> RwLockReadGuard<'_, ()> {
        self.flushing.read().await
    }

    /// Adds the uses that the database does not know yet. `_reading` was taken before the read.
    pub(super) fn complete(&self, keys: &mut [Key], cache: &Cache, _reading: &RwLockReadGuard<'_, ()>) {
        // Held to the end: no record's count moves meanwhile.
        let ledgers = self.ledgers();
        for key in keys {
            let mut add = |requests: i64, last: Timestamp| {
                key.request_count = key.request_count.saturating_add(requests);
                key.last_used_at = key.last_used_at.max(Some(last));
            };
            for known in [&ledgers.pending, ledgers.logged.of(key.id)] {
                if let Some((requests, last)) = known.good.get(&key.id) {
                    add(*requests, *last);
                }
            }
            cache.peek(&key.hash, |record| {
                let count = in_record(record).1;
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
        let ledgers = self.ledgers();
        let mut add = |hour: i64, code: Code, count: i64| match hours
            .iter_mut()
            .find(|known| (known.hour, known.code) == (hour, code))
        {
            Some(known) => known.count = known.count.saturating_add(count),
            None => hours.push(HourlyUse { hour, code, count }),
        };
        for known in [&ledgers.pending, ledgers.logged.of(key.id)] {
            for ((_, hour, code), count) in known.counts.iter().filter(|((id, ..), _)| *id == key.id) {
                add(*hour, *code, *count);
            }
        }
        cache.peek(&key.hash, |record| {
            let (hour, count) = in_record(record);
            if count > 0 {
                add(hour, Code::Valid, count);
            }
        });
        drop(ledgers);
        self.addresses.complete(key.id, addresses);
        cache.peek(&key.hash, |record| {
            let (current, last) = (&record.last_address, Timestamp(record.last_used.load(Ordering::Relaxed)));
            let current = current.load(Ordering::Relaxed);
            if let Some(known) = addresses.iter_mut().find(|known| fold(known.address) == current) {
                known.last_used_at = known.last_used_at.max(last);
            }
        });
    }

    /// Resolves when a flush should not be put off.
    pub(super) async fn urgent(&self) {
        self.urgent.notified().await;
        // While there are many, the next flush is soon enough: another one for each moment costs more than
        // the counting.
        let is_busy = self.ledgers().logged.is_logging();
        tokio::time::sleep(if is_busy { FLUSH_EVERY } else { GATHER }).await;
    }

    /// The records that have a count, taken out.
    pub(super) fn take_counted(&self) -> Vec<Slot> {
        let take =
            |shard: &Mutex<Vec<Slot>>| std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
        self.counted.iter().flat_map(take).collect()
    }

    /// The count of a record, taken out; a record that is gone was retired, and its count is in the ledger.
    pub(super) fn take_uses(slot: Slot, cache: &Cache) -> Option<Uses> {
        cache.at(slot, Record::take_pending).flatten()
    }

    /// What the ledger has, taken out.
    pub(super) fn take_ledger(&self) -> Ledger {
        std::mem::take(&mut self.ledgers().pending)
    }

    /// How many good requests were not in the database; now they are taken to be.
    #[cfg(test)]
    pub(super) fn take_good(&self, cache: &Cache) -> i64 {
        let counted = self.take_counted().into_iter().filter_map(|slot| Self::take_uses(slot, cache));
        let counted: i64 = counted.map(|uses| i64::from(uses.count)).sum();
        counted + self.take_ledger().counts.values().sum::<i64>()
    }
}

/// The hour that a record counts in, and what it knows of it that the rows of its key do not.
fn in_record(record: &Record) -> (i64, i64) {
    let pending = record.pending.load(Ordering::Acquire);
    let logged = record.logged.load(Ordering::Acquire);
    (hour_of(pending), i64::from(count_of(pending)) + i64::from(logged))
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
