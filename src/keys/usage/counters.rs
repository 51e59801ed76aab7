//! Counts requests.
//!
//! An accepted request is counted in the key's record, which the check has already found: one atomic operation, no
//! lock. Refusals and the uses of an evicted record are added to the pending counts.

use std::net::IpAddr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use tracing_mutex::stdsync::Mutex;

use super::pending::Ledger;
use super::{HOUR, Usage};
use crate::domain::Code;
use crate::keys::cache::record::{RETIRED, Record, Uses, count_of, fold, hour_of, pack};
use crate::keys::cache::{Slot, slot};
use crate::model::{KeyId, Timestamp};

impl Usage {
    /// Counts an accepted request.
    pub(in crate::keys) fn count(&self, record: &Record, address: Option<IpAddr>, now: Timestamp) {
        let hour = now.0 / HOUR;
        let used_before = record.last_used.load(Ordering::Relaxed);
        // Written only when it changes, because many requests of a busy key share a millisecond.
        if used_before < now.0 {
            record.last_used.fetch_max(now.0, Ordering::AcqRel);
        }
        let mut pending = record.pending.load(Ordering::Relaxed);
        let is_first = loop {
            let count = count_of(pending);
            let fits = pending & RETIRED == 0 && (pending == 0 || hour_of(pending) == hour) && count < u32::MAX;
            if !fits {
                break self.count_as_pending(record, hour, now);
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
            // Recorded when it changes, and once an hour. In between, the address has the last use of the key.
            let is_new = used_before / HOUR != hour || record.last_address.load(Ordering::Relaxed) != folded;
            if is_new && self.addresses.note(record.place.organisation, record.id, address, now) {
                record.last_address.store(folded, Ordering::Relaxed);
            }
        }
    }

    /// Counts a request if the record has a count of an earlier hour, is retired, or is full. Returns whether the
    /// record had no count before and has one now.
    #[cold]
    fn count_as_pending(&self, record: &Record, hour: i64, now: Timestamp) -> bool {
        let mut ledgers = self.ledgers();
        let mut pending = record.pending.load(Ordering::Acquire);
        loop {
            if pending & RETIRED != 0 {
                ledgers.pending.add(record.id, hour, Code::Valid, 1, now);
                return false;
            }
            let stays = hour_of(pending) == hour && count_of(pending) < u32::MAX;
            let next = if stays { pending + 1 } else { pack(hour, 1) };
            // The logged uses belong to the old hour.
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

    /// Counts a refused request.
    pub(in crate::keys) fn count_refusal(&self, id: KeyId, code: Code, now: Timestamp) {
        self.ledgers().pending.add(id, now.0 / HOUR, code, 1, now);
    }

    /// Counts requests that clients accepted because of a cached check.
    pub(in crate::keys) fn count_reported(&self, id: KeyId, count: u32, at: Timestamp) {
        self.ledgers().pending.add(id, at.0 / HOUR, Code::Valid, i64::from(count), at);
    }

    /// Moves the count of a record to the ledgers, before the record is removed. Its later uses are counted there as
    /// well.
    pub(in crate::keys) fn retire(&self, record: &Record) {
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

    /// Takes out the list of records that have a count.
    pub(super) fn take_counted(&self) -> Vec<Slot> {
        let take =
            |shard: &Mutex<Vec<Slot>>| std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
        self.counted.iter().flat_map(take).collect()
    }

    /// Takes out the count of a record. A record that was removed is retired, and its count is pending.
    pub(super) fn take_uses(&self, slot: Slot) -> Option<Uses> {
        self.cache.at(slot, Record::take_pending).flatten()
    }

    /// Takes out the pending counts.
    pub(super) fn take_pending(&self) -> Ledger {
        std::mem::take(&mut self.ledgers().pending)
    }
}
