//! Limits that all nodes count together: rate limits in Redis, quotas by parts of what is left in the key's row.
//!
//! Both have to be waited for, which nothing may do that holds a record of the cache. So a check that meets such
//! a limit lets go of the record, asks here, and judges again: the key may have ended meanwhile.

use super::meters::{QuotaState, month_of};
use super::quota_leases::{Parts, Taken};
use crate::cluster::limits::{Decision, SharedLimits};
use crate::cluster::redis::Away;
use crate::domain::{Cost, Key};
use crate::keys::Core;
use crate::keys::check::single_flight::Unanswered;
use crate::model::{KeyId, Quota, RateLimit};

/// What becomes of keys with a rate limit while Redis is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WithoutRedis {
    /// Each node counts by itself.
    #[default]
    Open,
    /// They are refused.
    Closed,
}

/// Where the nodes count together.
#[derive(Debug)]
pub(in crate::keys) struct Together {
    limits: SharedLimits,
    without: WithoutRedis,
    pub(in crate::keys) parts: Parts,
}

impl Together {
    pub(in crate::keys) fn new(limits: SharedLimits, without: WithoutRedis) -> Self {
        Self { limits, without, parts: Parts::default() }
    }

    /// The limits for others than keys.
    pub(in crate::keys) fn limits(&self) -> &SharedLimits {
        &self.limits
    }
}

/// Limits of a key that others have to be asked about first.
#[derive(Debug, Clone, Copy)]
pub(in crate::keys) struct NeedsSharedLimits {
    pub(in crate::keys) key: KeyId,
    pub(in crate::keys) rate: Option<RateLimit>,
    pub(in crate::keys) quota: Option<Quota>,
    pub(in crate::keys) cost: Cost,
}

/// Who counts a key's limits.
#[derive(Debug, Clone, Copy)]
pub(in crate::keys) enum Counted {
    /// Its meter.
    Here,
    /// All nodes.
    Together {
        /// What Redis has said; `None` where the key has no such limit, or its meter is to count.
        rate: Option<Decision>,
        /// What was taken of the quota, if there is one.
        quota: Option<Taken>,
    },
}

impl Core {
    /// How a key's quota stands, if it has one. `key` was read just now.
    pub(in crate::keys) fn quota_of(&self, key: &Key) -> Option<QuotaState> {
        let now = self.clock.both();
        let mut state = self.limiter.quota_of(key, now)?;
        if let Some(together) = self.together.get() {
            let month = month_of(now.wall).0;
            let taken = if key.spent.quota_month == Some(month) { key.spent.quota_used } else { 0 };
            state.remaining = state.quota.limit.saturating_sub(taken) + together.parts.left(key.id, month);
        }
        Some(state)
    }

    /// Asks whoever counts for all nodes.
    pub(in crate::keys) async fn count_together(
        &self,
        together: &Together,
        unspent: NeedsSharedLimits,
    ) -> Result<Counted, Unanswered> {
        let NeedsSharedLimits { key, rate, quota, cost } = unspent;
        let now = self.clock.both();
        let quota = match quota {
            None => None,
            // Before the rate limit, because what is taken of it can be given back.
            Some(quota) => {
                let taken = self.take_of_quota(&together.parts, key, quota, month_of(now.wall).0, cost, now).await;
                Some(taken.map_err(|error| {
                    tracing::error!(%error, "a quota could not be asked for");
                    Unanswered
                })?)
            }
        };
        let rate = match rate {
            None => None,
            Some(rate) => {
                let enough = quota.is_none_or(|taken| taken.enough);
                let limits = &together.limits;
                let said =
                    if enough { limits.spend(key, rate, cost.0).await } else { limits.look(key, rate, cost.0).await };
                match (said, together.without) {
                    (Ok(decision), _) => Some(decision),
                    (Err(Away), WithoutRedis::Open) => None,
                    (Err(Away), WithoutRedis::Closed) => {
                        Some(Decision { remaining: 0, reset: 1, retry_after: Some(1) })
                    }
                }
            }
        };
        Ok(Counted::Together { rate, quota })
    }
}
