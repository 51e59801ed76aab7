//! Rate limits and quotas of keys: counted by this node alone, or shared by all nodes.

pub(super) mod meters;
pub(super) mod quota_leases;
pub(super) mod shared;
pub(super) mod spending;

use std::sync::{Arc, OnceLock};

use crate::cluster::limits::SharedLimits;
use crate::domain::Key;
use crate::runtime::clock::Clock;
use crate::store::{Db, StoreError, UsageRows};
use meters::{Meter, Meters};
use shared::{SharedCounters, WithoutRedis};

/// Rows of one transaction. Other writers get the database between two transactions.
const MAX_ROWS: usize = 1_000;

/// Charges requests to the rate limits and quotas of keys.
#[derive(Debug)]
pub struct Limits {
    db: Db,
    clock: Clock,
    pub(super) meters: Meters,
    /// The shared counters, if there are several nodes.
    shared: OnceLock<SharedCounters>,
}

impl Limits {
    pub(super) fn new(db: Db, clock: Clock, shared: Option<SharedCounters>) -> Self {
        Self { db, clock, meters: Meters::default(), shared: shared.map(OnceLock::from).unwrap_or_default() }
    }

    /// Switches to the shared counters. Later calls change nothing.
    pub fn share(&self, limits: SharedLimits, without_redis: WithoutRedis) {
        let _ = self.shared.set(SharedCounters::new(limits, without_redis));
    }

    /// Returns the shared limits, if there are several nodes.
    pub fn shared(&self) -> Option<&SharedLimits> {
        self.shared.get().map(SharedCounters::limits)
    }

    /// Returns whether the limits are shared by several nodes.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.get().is_some()
    }

    /// Returns the meter of a key that has a rate limit or a quota.
    pub(super) fn meter(&self, key: &Key) -> Option<Arc<Meter>> {
        self.meters.meter(key, self.clock.both())
    }

    /// Saves the spending since the last call. After a failure it stays unsaved.
    pub(super) async fn save_spending(&self) -> Result<(), StoreError> {
        let taken = self.meters.take_unsaved(self.clock.both());
        let mut meters = taken.meters;
        for rows in taken.rows.chunks(MAX_ROWS) {
            let rows = UsageRows { spent: rows.to_vec(), ..UsageRows::default() };
            if let Err(error) = self.db.write_usage(&rows, 0).await {
                self.meters.keep_unsaved(meters);
                return Err(error);
            }
            meters.drain(..rows.spent.len());
        }
        Ok(())
    }

    /// Drops meters without unsaved spending that no cached key uses.
    pub fn tidy(&self) {
        self.meters.tidy(self.clock.monotonic());
    }
}
