//! Monthly quotas that several nodes spend: each takes a part of what is left from the key's row, spends it here,
//! and gives back what it does not need. All together never let through more than the quota.

use std::collections::HashMap;
use std::sync::PoisonError;

use tracing_mutex::stdsync::{Mutex, MutexGuard};

use crate::domain::Cost;
use crate::keys::{Core, Keys};
use crate::model::{KeyId, Quota};
use crate::runtime::clock::Now;
use crate::store::StoreError;

/// A part that was not touched for so long is given back, nanoseconds.
const IDLE: u64 = 3_000_000_000;

/// What was taken of a quota for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::keys) struct Taken {
    /// Whether there was enough; otherwise nothing was taken.
    pub(in crate::keys) enough: bool,
    /// What is left of the quota, as far as it is known here.
    pub(in crate::keys) remaining: u64,
    month: i32,
}

/// What this node may still spend of a key's quota.
#[derive(Debug, Clone, Copy)]
struct Part {
    month: i32,
    left: u64,
    /// What all nodes had taken when this one last asked.
    taken: u64,
    touched: u64,
}

impl Part {
    fn remaining(&self, quota: Quota) -> u64 {
        quota.limit.saturating_sub(self.taken) + self.left
    }
}

/// The parts that this node has taken.
#[derive(Debug, Default)]
pub(in crate::keys) struct Parts(Mutex<HashMap<KeyId, Part>>);

impl Parts {
    fn lock(&self) -> MutexGuard<'_, HashMap<KeyId, Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a cost off this node's part. What is left of the quota after that; `None` when the part is too small.
    fn spend(&self, key: KeyId, quota: Quota, month: i32, cost: u64, now: u64) -> Option<u64> {
        let mut parts = self.lock();
        let part = parts.get_mut(&key).filter(|part| part.month == month)?;
        part.touched = now;
        part.left = part.left.checked_sub(cost)?;
        Some(part.remaining(quota))
    }

    /// Adds what was granted. What is left of the quota then.
    fn add(&self, key: KeyId, quota: Quota, new: Part) -> u64 {
        let mut parts = self.lock();
        let part = parts.entry(key).or_insert(Part { left: 0, ..new });
        let left = if part.month == new.month { part.left } else { 0 };
        *part = Part { left: left + new.left, ..new };
        part.remaining(quota)
    }

    /// A request that was refused for another reason spends nothing.
    pub(in crate::keys) fn refund(&self, key: KeyId, Taken { enough, month, .. }: Taken, Cost(cost): Cost) {
        if let Some(part) = self.lock().get_mut(&key).filter(|part| enough && part.month == month) {
            part.left += u64::from(cost);
        }
    }

    /// Drops all parts without giving them back: the database does not know any more that they were taken.
    pub(in crate::keys) fn forget(&self) {
        self.lock().clear();
    }

    /// What this node may still spend of a key's quota of a month.
    pub(in crate::keys) fn left(&self, key: KeyId, month: i32) -> u64 {
        self.lock().get(&key).filter(|part| part.month == month).map_or(0, |part| part.left)
    }
}

impl Core {
    /// Takes a cost off a key's quota, if all nodes together have left as much.
    pub(in crate::keys) async fn take_of_quota(
        &self,
        parts: &Parts,
        key: KeyId,
        quota: Quota,
        month: i32,
        cost: Cost,
        now: Now,
    ) -> Result<Taken, StoreError> {
        let cost = u64::from(cost.0);
        loop {
            if let Some(remaining) = parts.spend(key, quota, month, cost, now.monotonic) {
                return Ok(Taken { enough: true, remaining, month });
            }
            let granted = self.db.take_quota(key, month, quota, cost.max(1)).await?;
            let part = Part { month, left: granted.granted, taken: granted.taken, touched: now.monotonic };
            let remaining = parts.add(key, quota, part);
            if granted.granted == 0 {
                return Ok(Taken { enough: cost == 0, remaining, month });
            }
        }
    }
}

impl Keys {
    /// Gives back what this node has taken of quotas and does not need: what was not touched for a while, or `all`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn give_back_quotas(&self, all: bool) -> Result<(), StoreError> {
        let Some(together) = self.core.together.get() else { return Ok(()) };
        let now = self.core.clock.monotonic();
        let idle: Vec<(KeyId, Part)> = {
            let mut parts = together.parts.lock();
            parts.extract_if(|_, part| all || now.saturating_sub(part.touched) > IDLE).collect()
        };
        let given: Vec<(KeyId, i32, u64)> =
            idle.iter().filter(|(_, part)| part.left > 0).map(|(key, part)| (*key, part.month, part.left)).collect();
        if given.is_empty() {
            return Ok(());
        }
        let outcome = self.core.db.give_back_quotas(&given).await;
        if outcome.is_err() {
            // Nobody knows whether it came to pass: what is lost is lost, and nothing is let through twice.
            tracing::warn!(keys = given.len(), "what is left of quotas may be lost for this month");
        }
        outcome
    }
}
