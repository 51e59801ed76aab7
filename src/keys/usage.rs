//! Counting the use of keys: merged into every answer at once, written down in batches.
//!
//! A good request is counted in the key's record, which the check has in its hands anyway: one atomic
//! operation, no lock. Whatever does not fit there (refusals, addresses, the uses of a record that was
//! thrown out) goes to the ledger. What a reader sees is database + ledger + record, and each move from
//! one to the next is made where no reader can see it half done: from records to the ledger under the
//! ledger's lock, from there to the database under `flushing`.
//!
//! Few counts go straight to the rows of their keys. Many would make the database rewrite a page for
//! almost every one of them, each second: they are appended to a log instead, in [`SHARDS`] parts, and
//! one part after the other moves on to the rows, where the keys of one part lie side by side.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, RwLock, RwLockReadGuard};

use super::record::Record;
use super::{Cache, Code, Key, KeyHash, Keys};
use crate::model::{KeyId, Timestamp};
use crate::store::{HourlyUse, LoggedUse, StoreError, UsageRows, UsedFrom};

/// How often counts are written down; what a killed process loses at the most.
pub const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Addresses of one key that are remembered.
pub const ADDRESSES: i64 = 10;
/// Addresses that wait to be written down, all keys together; more are left out.
const WAITING_ADDRESSES: usize = 20_000;
/// Milliseconds.
pub(super) const HOUR: i64 = 3_600_000;
/// Parts of the log, by the upper bits of a key's id.
const SHARDS: usize = 64;
/// Parts that move on to the rows of their keys at each flush, so that each does about once a minute.
const FOLDED: usize = 1;
/// Up to so many counts are few.
const FEW: usize = 500;
/// Who uses a key for the first time is written down at once, together with others of this moment.
const GATHER: Duration = Duration::from_millis(50);

fn shard(id: KeyId) -> usize {
    usize::try_from(id.0.cast_unsigned() >> 58).unwrap_or_default()
}

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
    fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.addresses.is_empty()
    }

    fn add(&mut self, id: KeyId, hour: i64, code: Code, count: i64, at: Timestamp) {
        *self.counts.entry((id, hour, code)).or_default() += count;
        if code == Code::Valid {
            let (requests, last) = self.good.entry(id).or_default();
            *requests += count;
            *last = at.max(*last);
        }
    }

    /// Everything of another one moves here.
    fn merge(&mut self, other: Self) {
        for ((id, hour, code), count) in other.counts {
            let last = other.good.get(&id).map_or(Timestamp(0), |(_, last)| *last);
            self.add(id, hour, code, count, last);
        }
        for (from, at) in other.addresses {
            let known = self.addresses.entry(from).or_insert(at);
            *known = at.max(*known);
        }
    }

    /// By the parts of the log; without the addresses, which have no place in it.
    fn split(self) -> Vec<Self> {
        let mut parts: Vec<Self> = std::iter::repeat_with(Self::default).take(SHARDS).collect();
        for ((id, hour, code), count) in self.counts {
            let last = self.good.get(&id).map_or(Timestamp(0), |(_, last)| *last);
            parts[shard(id)].add(id, hour, code, count, last);
        }
        parts
    }

    /// As rows, in the order of the keys.
    fn rows(&self) -> UsageRows {
        let mut rows = UsageRows {
            uses: self.good.iter().map(|(id, (requests, last))| (*id, *requests, *last)).collect(),
            hours: self
                .counts
                .iter()
                .map(|((id, hour, code), count)| (*id, HourlyUse { hour: *hour, code: *code, count: *count }))
                .collect(),
            addresses: self.addresses(),
            spent: Vec::new(),
        };
        rows.uses.sort_unstable_by_key(|(id, ..)| *id);
        rows.hours.sort_unstable_by_key(|(id, hour)| (*id, hour.hour, hour.code));
        rows
    }

    fn addresses(&self) -> Vec<(KeyId, UsedFrom)> {
        let row = |((id, address), at): (&(KeyId, IpAddr), &Timestamp)| {
            (*id, UsedFrom { address: *address, last_used_at: *at })
        };
        self.addresses.iter().map(row).collect()
    }

    /// As it is kept in the log.
    fn logged(&self) -> Vec<LoggedUse> {
        let last = |id: &KeyId| self.good.get(id).map_or(0, |(_, last)| last.0);
        self.counts
            .iter()
            .map(|((id, hour, code), count)| LoggedUse(id.0, *hour, code.as_str().to_owned(), *count, last(id)))
            .collect()
    }

    fn recall(&mut self, logged: Vec<LoggedUse>) {
        for LoggedUse(id, hour, code, count, last) in logged {
            if let Some(code) = Code::parse(&code) {
                self.add(KeyId(id), hour, code, count, Timestamp(last));
            }
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

#[derive(Debug)]
struct Logged {
    parts: Vec<Ledger>,
    /// The next one to move on.
    next: usize,
}

impl Default for Logged {
    fn default() -> Self {
        Self { parts: std::iter::repeat_with(Ledger::default).take(SHARDS).collect(), next: 0 }
    }
}

/// Uses that are not in the rows of their keys yet.
#[derive(Debug, Default)]
pub struct Usage {
    /// What is written down nowhere.
    ledger: Mutex<Ledger>,
    /// What stands in the log, by its parts.
    logged: Mutex<Logged>,
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

    fn logged(&self) -> MutexGuard<'_, Logged> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
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
        let used_before = record.last_used.fetch_max(now.0, Ordering::Relaxed);
        let is_first = before & (COUNT | RETIRED) == 0;
        if is_first {
            let shard = usize::from(record.hash.as_bytes()[0]) % self.counted.len();
            self.counted[shard].lock().unwrap_or_else(PoisonError::into_inner).push(record.hash);
        }
        if used_before == 0 {
            self.urgent.notify_one();
        }
        if let Some(address) = address {
            let folded = fold(address);
            // Whenever it is another one, and once an hour. In between, its time is that of the key.
            if used_before / HOUR != hour || record.last_address.load(Ordering::Relaxed) != folded {
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
        let (ledger, logged) = (self.ledger(), self.logged());
        for key in keys {
            let mut add = |requests: i64, last: Timestamp| {
                key.request_count += requests;
                key.last_used_at = key.last_used_at.max(Some(last));
            };
            for known in [&*ledger, &logged.parts[shard(key.id)]] {
                if let Some((requests, last)) = known.good.get(&key.id) {
                    add(*requests, *last);
                }
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
        let (ledger, logged) = (self.ledger(), self.logged());
        let mut add = |hour: i64, code: Code, count: i64| match hours
            .iter_mut()
            .find(|known| (known.hour, known.code) == (hour, code))
        {
            Some(known) => known.count += count,
            None => hours.push(HourlyUse { hour, code, count }),
        };
        for known in [&*ledger, &logged.parts[shard(key.id)]] {
            for ((_, hour, code), count) in known.counts.iter().filter(|((id, ..), _)| *id == key.id) {
                add(*hour, *code, *count);
            }
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
        tokio::time::sleep(GATHER).await;
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
        let _flushing = core.usage.flushing.write().await;
        self.write_spent().await?;
        let fresh = core.usage.take(&core.cache);
        let is_logging = core.usage.logged().parts.iter().any(|part| !part.is_empty());
        let written = if fresh.counts.len() <= FEW && !is_logging {
            self.write_rows(&fresh).await
        } else {
            self.write_log(&fresh).await
        };
        if let Err(error) = written {
            core.usage.ledger().merge(fresh);
            return Err(error);
        }
        if is_logging || fresh.counts.len() > FEW {
            let mut logged = core.usage.logged();
            for (known, part) in logged.parts.iter_mut().zip(fresh.split()) {
                known.merge(part);
            }
        }
        self.fold().await
    }

    async fn write_rows(&self, fresh: &Ledger) -> Result<(), StoreError> {
        if fresh.is_empty() { Ok(()) } else { self.core.db.write_usage(&fresh.rows(), ADDRESSES).await }
    }

    async fn write_log(&self, fresh: &Ledger) -> Result<(), StoreError> {
        if fresh.is_empty() {
            return Ok(());
        }
        let mut parts: Vec<Vec<LoggedUse>> = vec![Vec::new(); SHARDS];
        for used in fresh.logged() {
            parts[shard(KeyId(used.0))].push(used);
        }
        let addresses = UsageRows { addresses: fresh.addresses(), ..UsageRows::default() };
        self.core.db.log_usage(&parts, &addresses, ADDRESSES).await
    }

    /// Parts of the log move on to the rows of their keys.
    async fn fold(&self) -> Result<(), StoreError> {
        let core = &self.core;
        for _ in 0..FOLDED {
            let (number, part) = {
                let mut logged = core.usage.logged();
                let number = logged.next;
                logged.next = (number + 1) % SHARDS;
                (number, std::mem::take(&mut logged.parts[number]))
            };
            if part.is_empty() {
                continue;
            }
            if let Err(error) = core.db.fold_usage(number, &part.rows()).await {
                core.usage.logged().parts[number].merge(part);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn write_spent(&self) -> Result<(), StoreError> {
        let core = &self.core;
        let spent = core.limiter.take_unsaved(core.clock.both());
        if spent.is_empty() {
            return Ok(());
        }
        let rows = UsageRows { spent, ..UsageRows::default() };
        let written = core.db.write_usage(&rows, ADDRESSES).await;
        if written.is_err() {
            core.limiter.keep_unsaved(&rows.spent);
        }
        written
    }

    /// Reads what an earlier server left in the log. To be done before anything is counted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recall_usage(&self) -> Result<(), StoreError> {
        for (number, logged) in self.core.db.logged_usage().await? {
            if let Some(part) = self.core.usage.logged().parts.get_mut(number) {
                part.recall(logged);
            }
        }
        Ok(())
    }

    /// Resolves when the counts should be written down before their time: a key was used for the first
    /// time.
    pub async fn flush_is_urgent(&self) {
        self.core.usage.urgent().await;
    }
}
