//! Monthly quotas that several nodes spend: each takes a part of what is left from the key's row, spends it here,
//! and gives back what it does not need. All together never let through more than the quota.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Core, Keys};
use crate::clock::Now;
use crate::model::{KeyId, Quota};
use crate::store::StoreError;

/// A part that was not touched for so long is given back, nanoseconds.
const IDLE: u64 = 3_000_000_000;

/// What this node may still spend of a key's quota.
#[derive(Debug, Clone, Copy)]
struct Part {
    month: i32,
    left: u64,
    /// What all nodes had taken when this one last asked.
    taken: u64,
    touched: u64,
}

/// The parts that this node has taken.
#[derive(Debug, Default)]
pub(super) struct Parts(Mutex<HashMap<KeyId, Part>>);

impl Parts {
    fn lock(&self) -> MutexGuard<'_, HashMap<KeyId, Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a cost off this node's part. What is left of the quota after that, as far as it is known here;
    /// `None` when the part is too small.
    fn spend(&self, key: KeyId, quota: Quota, month: i32, cost: u64, now: u64) -> Option<u64> {
        let mut parts = self.lock();
        let part = parts.get_mut(&key).filter(|part| part.month == month)?;
        part.touched = now;
        part.left = part.left.checked_sub(cost)?;
        Some(quota.limit.saturating_sub(part.taken) + part.left)
    }

    fn add(&self, key: KeyId, month: i32, granted: u64, taken: u64, now: u64) {
        let mut parts = self.lock();
        let part = parts.entry(key).or_insert(Part { month, left: 0, taken, touched: now });
        if part.month != month {
            (part.month, part.left) = (month, 0);
        }
        part.left += granted;
        (part.taken, part.touched) = (taken, now);
    }

    /// What is left of the quota as far as it is known here, if it was asked for lately.
    pub(super) fn remaining(&self, key: KeyId, quota: Quota, month: i32) -> Option<u64> {
        let parts = self.lock();
        let part = parts.get(&key).filter(|part| part.month == month)?;
        Some(quota.limit.saturating_sub(part.taken) + part.left)
    }
}

impl Core {
    /// Takes a cost off a key's quota, if all nodes together have left as much. Whether it did, and what is left.
    pub(super) async fn spend_quota(
        &self,
        key: KeyId,
        quota: Quota,
        month: i32,
        cost: u32,
        now: Now,
    ) -> Result<(bool, u64), StoreError> {
        let cost = u64::from(cost);
        loop {
            if let Some(remaining) = self.parts.spend(key, quota, month, cost, now.monotonic) {
                return Ok((true, remaining));
            }
            let part = self.db.take_quota(key, month, quota, cost.max(1)).await?;
            self.parts.add(key, month, part.granted, part.taken, now.monotonic);
            if part.granted == 0 {
                let remaining = self.parts.remaining(key, quota, month).unwrap_or_default();
                return Ok((cost == 0, remaining));
            }
        }
    }

    /// A request that was not let through for another reason spends nothing.
    pub(super) fn unspend_quota(&self, key: KeyId, month: i32, cost: u32) {
        if let Some(part) = self.parts.lock().get_mut(&key).filter(|part| part.month == month) {
            part.left += u64::from(cost);
        }
    }
}

impl Keys {
    /// Gives back what this node has taken of quotas and does not need: what was not touched for a while, or `all`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn give_back_quotas(&self, all: bool) -> Result<(), StoreError> {
        let now = self.core.clock.monotonic();
        let idle: Vec<(KeyId, Part)> = {
            let mut parts = self.core.parts.lock();
            parts.extract_if(|_, part| all || now.saturating_sub(part.touched) > IDLE).collect()
        };
        let given: Vec<(KeyId, i32, u64)> =
            idle.iter().filter(|(_, part)| part.left > 0).map(|(key, part)| (*key, part.month, part.left)).collect();
        if given.is_empty() {
            return Ok(());
        }
        let outcome = self.core.db.give_back_quotas(&given).await;
        if outcome.is_err() {
            for (key, part) in idle {
                self.core.parts.add(key, part.month, part.left, part.taken, now);
            }
        }
        outcome
    }
}
