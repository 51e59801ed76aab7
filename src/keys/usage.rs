//! Counting the use of keys: merged into every answer at once, written down in batches.
//!
//! A good request is counted in the key's record, which the check has in its hands anyway: two atomic
//! operations. Whatever does not fit there (refusals, the uses of a record that was
//! thrown out) goes to the ledger. What a reader sees is rows + ledger + record: each move from
//! one to the next is made where no reader can see it half done, between record and ledger under the lock of the ledger,
//! from there to the rows under `flushing`. What is to be written down is in the [`journal`](super::journal), after it was
//! counted; how that is done is [`flush`](super::flush)'s.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, RwLock, RwLockReadGuard};

use super::addresses::Addresses;
use super::cache::{Slot, slot};
use super::flush::{FLUSH_EVERY, Log};
use super::journal::{Counted, Journal};
use super::ledger::Ledger;
use super::record::Record;
use super::{Cache, Code, Key};
use crate::model::{KeyId, Timestamp};
use crate::store::{HourlyUse, UsedFrom};

/// Who uses a key for the first time is written down at once, together with others of this moment.
const GATHER: Duration = Duration::from_millis(50);

/// `Record::pending`: what is in no row. The hour is in the upper half, what was counted in it in the lower.
///
/// The top bit says that the record is retired: what comes later goes to the ledger.
pub(super) const RETIRED: u64 = 1 << 63;
const COUNT: u64 = u32::MAX as u64;

/// `Record::fresh`: the lower bits are what was counted and not noted in the journal, which has the record's slot then.
/// The four above are the lowest of the hour that it was counted in; those at the top are of the number of flushes before
/// the last use that was noted, so that the first one after a flush is known from those that follow.
const MORE: u32 = (1 << 20) - 1;
const HOURS: u32 = 0xf;
/// Nothing is counted here: each use is noted by itself.
pub(super) const APART: u32 = u32::MAX;

fn hour_of(pending: u64) -> i64 {
    i64::try_from((pending & !RETIRED) >> 32).unwrap_or_default()
}

fn count_of(pending: u64) -> u32 {
    u32::try_from(pending & COUNT).unwrap_or_default()
}

fn pack(hour: i64, count: u32) -> u64 {
    (u64::try_from(hour).unwrap_or_default() & 0x7fff_ffff) << 32 | u64::from(count)
}

/// The lowest bits of an hour.
fn low(hour: i64) -> u32 {
    u32::try_from(hour & i64::from(HOURS)).unwrap_or_default()
}

/// What a use has to leave in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Note {
    /// Itself.
    Use,
    /// That the record has more.
    Again,
    /// Nothing: that has been said.
    None,
}

impl Record {
    fn last_used(&self) -> Timestamp {
        Timestamp(self.last_used.load(Ordering::Relaxed))
    }

    fn counted(&self, hour: i64, count: u32) -> Option<Counted> {
        let at = self.last_used().min(Timestamp((hour + 1) * Timestamp::HOUR - 1));
        (count > 0).then_some(Counted { id: self.id, code: Code::Valid, count: count.into(), at })
    }

    /// Counts a use in an hour, if this is the place for it.
    fn add(&self, hour: i64) -> bool {
        let fits = |pending: u64| {
            let stays = pending == 0 || hour_of(pending) == hour;
            let fits = pending & RETIRED == 0 && stays && count_of(pending) < u32::MAX;
            fits.then(|| pack(hour, count_of(pending) + 1))
        };
        self.pending.fetch_update(Ordering::AcqRel, Ordering::Relaxed, fits).is_ok()
    }

    /// Says how a use in an hour gets into the journal, after so many flushes.
    fn note(&self, flushes: u32, hour: i64) -> Note {
        let mark = (flushes << 4 | low(hour)) << MORE.count_ones();
        let mut fresh = self.fresh.load(Ordering::Relaxed);
        loop {
            let more = fresh & MORE;
            let is_same_hour = (fresh ^ mark) >> MORE.count_ones() & HOURS == 0;
            let (next, note) = match more {
                _ if fresh == APART => return Note::Use,
                0 if fresh == mark => (fresh + 1, Note::Again),
                0 => (mark, Note::Use),
                // As long as these are here, the journal knows that there are some.
                _ if is_same_hour && more < MORE - 1 => (fresh + 1, Note::None),
                _ => return Note::Use,
            };
            match self.fresh.compare_exchange_weak(fresh, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return note,
                Err(changed) => fresh = changed,
            }
        }
    }

    /// What was counted and is not in the journal, taken out to be noted there. Its hour is one of these, or less than
    /// sixteen before the last one.
    fn take_more(&self, hours: [i64; 2], leaves: impl Fn(u32) -> u32) -> Option<Counted> {
        let take = |fresh: u32| (fresh != APART).then(|| leaves(fresh));
        let fresh = self.fresh.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok()?;
        let mark = fresh >> MORE.count_ones() & HOURS;
        let before = || hours[1] - i64::from(low(hours[1]).wrapping_sub(mark) & HOURS);
        let hour = hours.into_iter().find(|hour| low(*hour) == mark).unwrap_or_else(before);
        self.counted(hour, fresh & MORE)
    }

    /// The same for a flush.
    pub(super) fn take_fresh(&self) -> Option<Counted> {
        self.take_more([self.last_used().hour(); 2], |fresh| fresh & !MORE)
    }

    /// So many of what was counted in an hour are in the row of the key now.
    pub(super) fn settle(&self, hour: i64, count: u64) {
        let less = |pending: u64| {
            let is_here = pending & RETIRED == 0 && hour_of(pending) == hour;
            is_here.then(|| pending - count.min(pending & COUNT))
        };
        let _ = self.pending.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }
}

/// Uses that are not in the rows of their keys yet.
#[derive(Debug, Default)]
pub struct Usage {
    /// What is in no record.
    ledger: Mutex<Ledger>,
    /// What is to be written down.
    pub(super) journal: Journal,
    pub(super) addresses: Addresses,
    /// Of a flush, and there is one at a time.
    pub(super) log: tokio::sync::Mutex<Log>,
    /// Whether the log has anything.
    pub(super) is_logging: AtomicBool,
    /// Held for reading from before a key is read until the pending uses are added to it, and for
    /// writing while they move to the rows: no use is seen twice, and none is missed.
    pub(super) flushing: RwLock<()>,
    /// Somebody should not wait for the next flush.
    urgent: Notify,
}

impl Usage {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that a key was good for.
    pub(super) fn count(&self, record: &Record, address: Option<IpAddr>, now: Timestamp) {
        let hour = now.hour();
        let used_before = record.last_used.load(Ordering::Relaxed);
        // Written only when it changes: many requests of a busy key share a millisecond.
        if used_before < now.0 {
            record.last_used.fetch_max(now.0, Ordering::AcqRel);
        }
        if !record.add(hour) {
            self.count_in_ledger(record, hour, now);
        }
        match record.note(self.journal.flushes(), hour) {
            Note::Use => self.journal.note(Counted { id: record.id, code: Code::Valid, count: 1, at: now }),
            Note::Again => self.journal.note_again(slot(&record.hash)),
            Note::None => {}
        }
        if used_before == 0 {
            self.urgent.notify_one();
        }
        if let Some(address) = address {
            let folded = fold(address);
            // Whenever it is another one, and once an hour. In between, its time is that of the key.
            let is_news =
                Timestamp(used_before).hour() != hour || record.last_address.load(Ordering::Relaxed) != folded;
            if is_news && self.addresses.note(record.id, address, now) {
                record.last_address.store(folded, Ordering::Relaxed);
            }
        }
    }

    /// The rare case: the hour turned, or the record is retired.
    #[cold]
    fn count_in_ledger(&self, record: &Record, hour: i64, now: Timestamp) {
        let mut ledger = self.ledger();
        let mut pending = record.pending.load(Ordering::Acquire);
        loop {
            if pending & RETIRED != 0 {
                return ledger.add(Counted { id: record.id, code: Code::Valid, count: 1, at: now });
            }
            let stays = hour_of(pending) == hour && count_of(pending) < u32::MAX;
            let next = if stays { pending + 1 } else { pack(hour, 1) };
            match record.pending.compare_exchange(pending, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if stays => return,
                Ok(_) => {
                    let before = hour_of(pending);
                    let more = record.take_more([before, before.max(hour)], |fresh| fresh & !MORE);
                    self.leave(&mut ledger, record.counted(before, count_of(pending)), more);
                    return;
                }
                Err(changed) => pending = changed,
            }
        }
    }

    /// Counts a request that a key was not good for.
    pub(super) fn count_refusal(&self, id: KeyId, code: Code, now: Timestamp) {
        self.count_apart(Counted { id, code, count: 1, at: now });
    }

    /// Counts requests that were answered elsewhere on the word of an earlier check.
    pub(super) fn count_reported(&self, id: KeyId, count: u32, at: Timestamp) {
        self.count_apart(Counted { id, code: Code::Valid, count: count.into(), at });
    }

    fn count_apart(&self, counted: Counted) {
        self.ledger().add(counted);
        self.journal.note(counted);
    }

    /// A record is about to be thrown out: its count moves to the ledger, and so does every later one.
    pub(super) fn retire(&self, record: &Record) {
        let mut ledger = self.ledger();
        let pending = record.pending.fetch_or(RETIRED, Ordering::AcqRel);
        if pending & RETIRED == 0 {
            let more = record.take_more([record.last_used().hour(); 2], |_| APART);
            self.leave(&mut ledger, record.counted(hour_of(pending), count_of(pending)), more);
        }
    }

    /// A record gives up what it counted, and `more` of which is not in the journal.
    fn leave(&self, ledger: &mut Ledger, counted: Option<Counted>, more: Option<Counted>) {
        if let Some(counted) = counted {
            ledger.add(counted);
        }
        if let Some(more) = more {
            self.journal.note(more);
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
            let in_ledger = ledger.of(key.id).filter(|counted| counted.code == Code::Valid);
            let in_record = cache.peek(&key.hash, in_record).flatten();
            for counted in in_ledger.chain(in_record) {
                key.request_count += i64::try_from(counted.count).unwrap_or(i64::MAX);
                key.last_used_at = key.last_used_at.max(Some(counted.at));
            }
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
        for counted in ledger.of(key.id).chain(cache.peek(&key.hash, in_record).flatten()) {
            let (hour, code, count) = (counted.hour(), counted.code, i64::try_from(counted.count).unwrap_or(i64::MAX));
            match hours.iter_mut().find(|known| (known.hour, known.code) == (hour, code)) {
                Some(known) => known.count += count,
                None => hours.push(HourlyUse { hour, code, count }),
            }
        }
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
        let is_busy = self.is_logging.load(Ordering::Relaxed);
        tokio::time::sleep(if is_busy { FLUSH_EVERY } else { GATHER }).await;
    }

    /// The records that have counted more than the journal says, asked for it.
    pub(super) fn take_fresh<'a>(again: &'a [Slot], cache: &'a Cache) -> impl Iterator<Item = Counted> + 'a {
        again.iter().filter_map(|slot| cache.at(*slot, Record::take_fresh).flatten())
    }

    /// These are in the rows now: they go from the ledger and, what is not there, from the records of their keys.
    pub(super) fn settle(&self, counted: &[Counted], slots: &HashMap<KeyId, Slot>, cache: &Cache) {
        cache.fetch(counted.iter().filter_map(|counted| slots.get(&counted.id).copied()));
        // No record's count moves to the ledger meanwhile.
        let mut ledger = self.ledger();
        for counted in counted {
            let left = ledger.take(counted);
            if left > 0
                && let Some(slot) = slots.get(&counted.id)
            {
                cache.at(*slot, |record| record.settle(counted.hour(), left));
            }
        }
    }
}

/// What a record has that the row of its key has not.
fn in_record(record: &Record) -> Option<Counted> {
    let pending = record.pending.load(Ordering::Acquire);
    record.counted(hour_of(pending), count_of(pending))
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
