//! Monthly quotas that several nodes share. Each node leases a part of the remaining quota from the key's row, spends
//! the lease locally, and gives back the rest. All nodes together never admit more than the quota.

use std::collections::HashMap;
use std::sync::PoisonError;

use tracing_mutex::stdsync::{Mutex, MutexGuard};

use super::Limits;
use crate::domain::Cost;
use crate::model::{KeyId, Quota};
use crate::runtime::clock::Now;
use crate::store::{Db, StoreError};

/// A lease that is unused for this long is given back, nanoseconds.
const IDLE_TIMEOUT: u64 = 3_000_000_000;

/// A request's charge to a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::keys) struct QuotaCharge {
    /// Whether the quota was sufficient; otherwise nothing was charged.
    pub(super) enough: bool,
    /// The remaining quota, as far as this node knows.
    pub(super) remaining: u64,
    month: i32,
}

/// A part of a key's quota that this node may spend.
#[derive(Debug, Clone, Copy)]
struct Lease {
    month: i32,
    left: u64,
    /// The sum of the leases of all nodes, as of this node's last statement.
    taken: u64,
    used_at: u64,
}

impl Lease {
    fn remaining(&self, quota: Quota) -> u64 {
        quota.limit.saturating_sub(self.taken) + self.left
    }
}

/// The leases of this node.
#[derive(Debug, Default)]
pub(super) struct QuotaLeases(Mutex<HashMap<KeyId, Lease>>);

impl QuotaLeases {
    fn lock(&self) -> MutexGuard<'_, HashMap<KeyId, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Charges a cost to a key's quota, if this node's lease or the key's row has enough left.
    pub(super) async fn charge(
        &self,
        db: &Db,
        key: KeyId,
        quota: Quota,
        month: i32,
        Cost(cost): Cost,
        now: Now,
    ) -> Result<QuotaCharge, StoreError> {
        let cost = u64::from(cost);
        loop {
            if let Some(remaining) = self.spend(key, quota, month, cost, now.monotonic) {
                return Ok(QuotaCharge { enough: true, remaining, month });
            }
            let granted = db.take_quota(key, month, quota, cost.max(1)).await?;
            let lease = Lease { month, left: granted.granted, taken: granted.taken, used_at: now.monotonic };
            let remaining = self.add(key, quota, lease);
            if granted.granted == 0 {
                return Ok(QuotaCharge { enough: cost == 0, remaining, month });
            }
        }
    }

    /// Charges a cost to this node's lease. Returns the remaining quota; `None` if the lease is too small.
    fn spend(&self, key: KeyId, quota: Quota, month: i32, cost: u64, now: u64) -> Option<u64> {
        let mut leases = self.lock();
        let lease = leases.get_mut(&key).filter(|lease| lease.month == month)?;
        lease.used_at = now;
        lease.left = lease.left.checked_sub(cost)?;
        Some(lease.remaining(quota))
    }

    /// Adds a new lease. Returns the remaining quota.
    fn add(&self, key: KeyId, quota: Quota, new: Lease) -> u64 {
        let mut leases = self.lock();
        let lease = leases.entry(key).or_insert(Lease { left: 0, ..new });
        let left = if lease.month == new.month { lease.left } else { 0 };
        *lease = Lease { left: left + new.left, ..new };
        lease.remaining(quota)
    }

    /// Refunds a charge.
    pub(super) fn refund(&self, key: KeyId, QuotaCharge { enough, month, .. }: QuotaCharge, Cost(cost): Cost) {
        if let Some(lease) = self.lock().get_mut(&key).filter(|lease| enough && lease.month == month) {
            lease.left += u64::from(cost);
        }
    }

    /// Returns the rest of this node's lease for a key and a month.
    pub(super) fn left(&self, key: KeyId, month: i32) -> u64 {
        self.lock().get(&key).filter(|lease| lease.month == month).map_or(0, |lease| lease.left)
    }
}

impl Limits {
    /// Drops all leases without giving them back, because the database has lost them.
    pub(in crate::keys) fn forget_quota_leases(&self) {
        if let Some(shared) = self.shared.get() {
            shared.leases.lock().clear();
        }
    }

    /// Gives back leases that are unused for a while, or `all` of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn give_back_quotas(&self, all: bool) -> Result<(), StoreError> {
        let Some(shared) = self.shared.get() else { return Ok(()) };
        let now = self.clock.monotonic();
        let idle: Vec<(KeyId, Lease)> = {
            let mut leases = shared.leases.lock();
            leases.extract_if(|_, lease| all || now.saturating_sub(lease.used_at) > IDLE_TIMEOUT).collect()
        };
        let given: Vec<(KeyId, i32, u64)> = idle
            .iter()
            .filter(|(_, lease)| lease.left > 0)
            .map(|(key, lease)| (*key, lease.month, lease.left))
            .collect();
        if given.is_empty() {
            return Ok(());
        }
        let outcome = self.db.give_back_quotas(&given).await;
        if outcome.is_err() {
            // The outcome is unknown. Treat the leases as spent: a request may be refused wrongly, never admitted
            // twice.
            tracing::warn!(
                keys = given.len(),
                "cannot give back quota leases; the rest of them may be lost for this month"
            );
        }
        outcome
    }
}
