//! Limits that all nodes share: rate limits in Redis, quotas by leases from the key's row.
//!
//! Both wait for I/O, which code that holds a record of the cache must not do. So a check of a key with such a limit
//! releases the record, charges the limit here, and judges again, because the key may have been revoked meanwhile.

use super::Limits;
use super::quota_leases::{QuotaCharge, QuotaLeases};
use super::spending::{QuotaState, month_of};
use crate::cluster::limits::{Decision, SharedLimits};
use crate::cluster::redis::RedisUnavailable;
use crate::domain::{Cost, Key, Unavailable};
use crate::model::{KeyId, Quota, RateLimit};

/// The policy for keys with a rate limit while Redis does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WithoutRedis {
    /// Each node counts by itself.
    #[default]
    Open,
    /// Requests with these keys are refused.
    Closed,
}

/// The counters that all nodes share.
#[derive(Debug)]
pub(in crate::keys) struct SharedCounters {
    limits: SharedLimits,
    without_redis: WithoutRedis,
    pub(super) leases: QuotaLeases,
}

impl SharedCounters {
    pub(in crate::keys) fn new(limits: SharedLimits, without_redis: WithoutRedis) -> Self {
        Self { limits, without_redis, leases: QuotaLeases::default() }
    }

    pub(super) fn limits(&self) -> &SharedLimits {
        &self.limits
    }
}

/// The limits of a key, which the check has to charge to the shared counters first.
#[derive(Debug, Clone, Copy)]
pub(in crate::keys) struct NeedsSharedLimits {
    pub(in crate::keys) key: KeyId,
    pub(in crate::keys) rate: Option<RateLimit>,
    pub(in crate::keys) quota: Option<Quota>,
    pub(in crate::keys) cost: Cost,
}

/// The counter that a request was charged to.
#[derive(Debug, Clone, Copy)]
pub(in crate::keys) enum Counted {
    /// None yet: the key's meter counts the request.
    Local,
    /// The shared counters.
    Shared {
        /// The reply of Redis; `None` if the key has no rate limit, or the key's meter counts instead.
        rate: Option<Decision>,
        /// The charge to the quota, if there is one.
        quota: Option<QuotaCharge>,
    },
}

impl Limits {
    /// Returns the state of a key's quota, if it has one. `key` has just been read.
    pub(in crate::keys) fn quota_of(&self, key: &Key) -> Option<QuotaState> {
        let now = self.clock.both();
        let mut state = self.meters.quota_of(key, now)?;
        if let Some(shared) = self.shared.get() {
            let month = month_of(now.wall).0;
            let taken = if key.spent.quota_month == Some(month) { key.spent.quota_used } else { 0 };
            state.remaining = state.quota.limit.saturating_sub(taken) + shared.leases.left(key.id, month);
        }
        Some(state)
    }

    /// Charges a request to the shared counters.
    pub(in crate::keys) async fn charge_shared(&self, needs: NeedsSharedLimits) -> Result<Counted, Unavailable> {
        let Some(shared) = self.shared.get() else { return Ok(Counted::Local) };
        let NeedsSharedLimits { key, rate, quota, cost } = needs;
        let now = self.clock.both();
        let quota = match quota {
            None => None,
            // Charged before the rate limit, because a charge to the quota can be refunded.
            Some(quota) => {
                let charge = shared.leases.charge(&self.db, key, quota, month_of(now.wall).0, cost, now).await;
                Some(charge.map_err(|error| {
                    tracing::error!(%error, "cannot charge a shared quota; the request gets 503");
                    Unavailable::Quota
                })?)
            }
        };
        let rate = match rate {
            None => None,
            Some(rate) => {
                let enough = quota.is_none_or(|charge| charge.enough);
                let limits = &shared.limits;
                let reply =
                    if enough { limits.spend(key, rate, cost.0).await } else { limits.peek(key, rate, cost.0).await };
                match (reply, shared.without_redis) {
                    (Ok(decision), _) => Some(decision),
                    (Err(RedisUnavailable), WithoutRedis::Open) => None,
                    (Err(RedisUnavailable), WithoutRedis::Closed) => {
                        Some(Decision { remaining: 0, reset: 1, retry_after: Some(1) })
                    }
                }
            }
        };
        Ok(Counted::Shared { rate, quota })
    }

    /// Refunds the quota of a request that was refused for another reason.
    pub(in crate::keys) fn refund(&self, key: KeyId, counted: Option<Counted>, cost: Cost) {
        if let Some(Counted::Shared { quota: Some(charge), .. }) = counted
            && let Some(shared) = self.shared.get()
        {
            shared.leases.refund(key, charge, cost);
        }
    }
}
