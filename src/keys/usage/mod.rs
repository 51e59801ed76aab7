//! The use of keys: counted with each request, visible in answers immediately, written to the database in batches.
//!
//! A reader adds up the database, the pending counts and the records of the cache. No reader sees a count twice or
//! misses it while it moves: counts move between records and pending counts under the lock of the ledgers, and from
//! there to the database under `flushing`.

pub(super) mod addresses;
mod counters;
pub(super) mod flush;
#[cfg(test)]
mod interleavings;
mod log;
mod pending;

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, RwLock, RwLockReadGuard};
use tracing_mutex::stdsync::{Mutex, MutexGuard};

use super::cache::{Cache, Slot};
use super::limits::Limits;
use super::limits::spending::QuotaState;
use crate::domain::{Code, Key};
use crate::model::{KeyId, OrganisationId, Timestamp};
use crate::runtime::clock::Clock;
use crate::store::{Db, HourlyUse, StoreError, UsedFrom};
use addresses::{Addresses, MAX_ADDRESSES};
use flush::FLUSH_EVERY;
use log::Logged;
use pending::Ledger;

/// An hour in milliseconds.
pub(super) const HOUR: i64 = 3_600_000;
/// The retention of hourly outcomes in hours: a year and a month.
const RETENTION_HOURS: i64 = 24 * 396;
/// The delay before the first use of a key is flushed, so that one flush has the first uses of several keys.
const FIRST_USE_DELAY: Duration = Duration::from_millis(50);

/// Counts the use of keys.
#[derive(Debug)]
pub struct Usage {
    db: Db,
    clock: Clock,
    cache: Arc<Cache>,
    limits: Arc<Limits>,
    ledgers: Mutex<Ledgers>,
    /// Records with a count, so that a flush need not search the whole cache.
    counted: [Mutex<Vec<Slot>>; 16],
    addresses: Addresses,
    /// Held for reading from before a key is read until its pending uses are added, and for writing while a flush moves
    /// them to the database. So no use is seen twice or missed.
    flushing: RwLock<()>,
    /// Notified when a flush is due before its regular time.
    urgent: Notify,
}

/// Counts that no record holds. Under one lock, because most moves between records and ledgers touch both ledgers.
#[derive(Debug, Default)]
pub(super) struct Ledgers {
    /// Counts that are not persisted.
    pending: Ledger,
    /// Counts that are in the log, but not in the rows of their keys yet.
    logged: Logged,
}

/// The use of one key.
#[derive(Debug, Clone)]
pub struct KeyUsage {
    /// Outcomes by the hour, oldest first.
    pub hours: Vec<HourlyUse>,
    /// The addresses that it was last used from, newest first.
    pub addresses: Vec<UsedFrom>,
    /// The state of its quota, if it has one.
    pub quota: Option<QuotaState>,
}

impl Usage {
    pub(super) fn new(db: Db, clock: Clock, cache: Arc<Cache>, limits: Arc<Limits>) -> Self {
        Self {
            db,
            clock,
            cache,
            limits,
            ledgers: Mutex::default(),
            counted: Default::default(),
            addresses: Addresses::default(),
            flushing: RwLock::default(),
            urgent: Notify::default(),
        }
    }

    /// Locks the ledgers. `SingleFlight` documents the lock order.
    pub(super) fn ledgers(&self) -> MutexGuard<'_, Ledgers> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks flushes while keys are read.
    pub(super) async fn reading(&self) -> RwLockReadGuard<'_, ()> {
        self.flushing.read().await
    }

    /// Adds the uses that the database does not have yet. `_reading` was taken before the read.
    pub(super) fn complete(&self, keys: &mut [Key], _reading: &RwLockReadGuard<'_, ()>) {
        // Held to the end, so that no count moves from or to a record meanwhile.
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
            self.cache.peek(&key.hash, |record| {
                let count = record.unsaved_uses().1;
                if count > 0 {
                    add(count, record.last_used_at());
                }
            });
        }
    }

    /// Returns the use of a key in the last `hours`. The caller checks the access.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn of(&self, key: &Key, hours: i64) -> Result<KeyUsage, StoreError> {
        let reading = self.reading().await;
        let since = self.clock.now().0 / HOUR - hours + 1;
        let mut counted = self.db.key_hours(key.id, since).await?;
        let mut addresses = self.db.key_addresses(key.id).await?;
        self.complete_usage(key, &mut counted, &mut addresses, &reading);
        counted.retain(|hour| hour.hour >= since);
        counted.sort_by_key(|hour| (hour.hour, hour.code));
        addresses.sort_by_key(|from| std::cmp::Reverse(from.last_used_at));
        addresses.truncate(MAX_ADDRESSES);
        Ok(KeyUsage { hours: counted, addresses, quota: self.limits.quota_of(key) })
    }

    /// Adds the uses of one key that the database does not have yet. `_reading` was taken before the read.
    fn complete_usage(
        &self,
        key: &Key,
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
        self.cache.peek(&key.hash, |record| {
            let (hour, count) = record.unsaved_uses();
            if count > 0 {
                add(hour, Code::Valid, count);
            }
        });
        drop(ledgers);
        self.addresses.complete(key.id, addresses);
        self.cache.peek(&key.hash, |record| {
            if let Some(known) = addresses.iter_mut().find(|known| record.was_last_used_from(known.address)) {
                known.last_used_at = known.last_used_at.max(record.last_used_at());
            }
        });
    }

    /// Counts requests that clients accepted because of a cached check. Unknown ids, and keys of other organisations,
    /// are ignored. Returns the number of counted entries.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn report(
        &self,
        organisation: OrganisationId,
        uses: &[(KeyId, u32, Timestamp)],
    ) -> Result<usize, StoreError> {
        let ids: Vec<KeyId> = uses.iter().map(|(id, ..)| *id).collect();
        let own: HashSet<KeyId> = self.db.keys_of(organisation, &ids).await?.into_iter().collect();
        let mut counted = 0;
        for (id, count, at) in uses.iter().filter(|(id, ..)| own.contains(id)) {
            self.count_reported(*id, *count, *at);
            counted += 1;
        }
        Ok(counted)
    }

    /// Resolves when a flush is due before its regular time, because a key was used for the first time.
    pub async fn flush_is_urgent(&self) {
        self.urgent.notified().await;
        // Under high load, wait for a whole interval: additional flushes would cost more than the counting.
        let is_busy = self.ledgers().logged.is_logging();
        tokio::time::sleep(if is_busy { FLUSH_EVERY } else { FIRST_USE_DELAY }).await;
    }

    /// Deletes hourly outcomes that are older than their retention.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_old_outcomes(&self) -> Result<(), StoreError> {
        self.db.delete_hours_before(self.clock.now().0 / HOUR - RETENTION_HOURS).await
    }
}
