//! Verify: is this string a key, and is it good for what is asked?
//!
//! The whole path: form, SHA-256, the cache, on a miss the checksum (junk costs no look-up) and the
//! database, judgement, limits, count. With the key in the cache nothing of it waits, locks what others
//! need, or allocates.

pub(super) mod cache;
#[cfg(test)]
mod interleavings;
pub(super) mod record;
pub(super) mod single_flight;

use std::sync::Arc;

use super::limits::meters::{LimitState, Limited};
use super::limits::shared::{Counted, NeedsSharedLimits, Together, WithoutRedis};
use super::{Core, Keys};
use crate::cluster::limits::SharedLimits;
use crate::domain::{Ask, Code, KeyHash, Place, PresentedKey};
use crate::model::{KeyId, Timestamp};
use crate::runtime::clock::Now;
use record::Record;
use single_flight::Unanswered;

/// What a check is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A request of the key: its limits are charged and the outcome is counted.
    Use,
    /// A request of the key that may still fail: as [`Use`](Self::Use), but a success is counted by
    /// [`Keys::count`] when there is one.
    Admit,
    /// A call about the key itself: nothing is charged or counted.
    Identify,
}

/// The outcome of a check. An outcome is data; an error means that the service itself failed.
#[derive(Debug, Clone, Copy)]
pub struct Verdict<'a> {
    /// What it is.
    pub code: Code,
    /// The key, unless there is none.
    pub record: Option<&'a Record>,
    /// How its limits stand, where they were asked.
    pub limits: LimitState,
    /// Which limit was met.
    pub limited: Option<Limited>,
}

impl Verdict<'_> {
    const NOT_FOUND: Verdict<'static> =
        Verdict { code: Code::NotFound, record: None, limits: LimitState { rate: None, quota: None }, limited: None };

    /// What is left of a good key when the check is over; `None` for any other outcome.
    pub fn pass(&self) -> Option<Pass> {
        self.record.filter(|_| self.code == Code::Valid).map(Pass::of)
    }

    /// Shows that the key is neither revoked nor expired: paused, or presented from outside its allowlist, it can still
    /// end itself.
    pub fn not_ended(&self, now: Timestamp) -> Option<Pass> {
        let has_ended = matches!(self.code, Code::NotFound | Code::Revoked | Code::Expired);
        self.record.filter(|record| !has_ended && record.expires_at().is_none_or(|at| at > now)).map(Pass::of)
    }
}

/// Shows that a key was good.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Which key.
    pub id: KeyId,
    /// Where it belongs.
    pub place: Arc<Place>,
    hash: KeyHash,
}

impl Pass {
    fn of(record: &Record) -> Self {
        Self { id: record.id, place: Arc::clone(&record.place), hash: record.hash }
    }
}

impl Keys {
    /// Checks a presented string, and answers with what `answer` makes of the outcome: with what is in memory, or not
    /// at all. `None` says that somebody has to be asked first, as [`check`](Self::check) does; nothing was charged or counted.
    pub fn check_at_once<R>(
        &self,
        presented: &str,
        ask: &Ask<'_>,
        purpose: Purpose,
        answer: &mut impl FnMut(Verdict<'_>) -> R,
    ) -> Option<R> {
        match PresentedKey::parse(presented) {
            Some(presented) => self.core.remembered(&presented.hash, ask, purpose, None, answer)?.ok(),
            None => Some(answer(Verdict::NOT_FOUND)),
        }
    }

    /// Checks a presented string, and answers with what `answer` makes of the outcome.
    ///
    /// # Errors
    /// When the key is not in the cache and the database does not answer.
    pub async fn check<R>(
        &self,
        presented: &str,
        ask: &Ask<'_>,
        purpose: Purpose,
        mut answer: impl FnMut(Verdict<'_>) -> R,
    ) -> Result<R, Unanswered> {
        let Some(presented) = PresentedKey::parse(presented) else {
            return Ok(answer(Verdict::NOT_FOUND));
        };
        let hash = presented.hash;
        let core = &*self.core;
        // What those were asked who count for all nodes.
        let mut counted = None;
        loop {
            let told = if let Some(told) = core.remembered(&hash, ask, purpose, counted, &mut answer) {
                told
            } else {
                // Boxed, as whatever else waits: few have to, and the future of a request should be small.
                let found =
                    if presented.checksum_fits() { Box::pin(core.look_up(hash, ask.tenant)).await? } else { None };
                let Some(key) = found else {
                    return Ok(answer(Verdict::NOT_FOUND));
                };
                // A node that may not go by its memory has an older one there, perhaps.
                let landed = core.remembered(&hash, ask, purpose, counted, &mut answer);
                // Out again already: what was read is as good for a request that came before.
                landed
                    .unwrap_or_else(|| core.verdict(&core.record(&key).apart(), ask, purpose, counted).map(&mut answer))
            };
            match told {
                Ok(told) => return Ok(told),
                // And then judged again: the key may have ended meanwhile.
                Err(unspent) => {
                    counted = Some(match core.together.get() {
                        Some(together) => Box::pin(core.count_together(together, unspent)).await?,
                        None => Counted::Here,
                    });
                }
            }
        }
    }

    /// From now on, limits are counted by all nodes together. Once; later calls change nothing.
    pub fn share_limits(&self, limits: SharedLimits, without: WithoutRedis) {
        let _ = self.core.together.set(Together::new(limits, without));
    }

    /// Counts a request that a key was [admitted](Purpose::Admit) for.
    pub fn count(&self, pass: &Pass, address: Option<std::net::IpAddr>) {
        let core = &self.core;
        let now = core.clock.now();
        if core.cache.peek(&pass.hash, |record| core.usage.count(record, address, now)).is_none() {
            core.usage.count_reported(pass.id, 1, now);
        }
    }

    /// Counts requests that somebody let through on the word of an earlier check. Keys of other
    /// organisations, and ids of none, are passed over; how many keys were counted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn report(
        &self,
        organisation: crate::model::OrganisationId,
        uses: &[(KeyId, u32, Timestamp)],
    ) -> Result<usize, crate::store::StoreError> {
        let ids: Vec<KeyId> = uses.iter().map(|(id, ..)| *id).collect();
        let own: std::collections::HashSet<KeyId> =
            self.core.db.keys_of(organisation, &ids).await?.into_iter().collect();
        let known = uses.iter().filter(|(id, ..)| own.contains(id));
        let mut counted = 0;
        for (id, count, at) in known {
            self.core.usage.count_reported(*id, *count, *at);
            counted += 1;
        }
        Ok(counted)
    }
}

impl Core {
    /// What `answer` makes of the outcome for a key that is in the cache, where it may be gone by; or what others have
    /// to be asked about first.
    fn remembered<R>(
        &self,
        hash: &KeyHash,
        ask: &Ask<'_>,
        purpose: Purpose,
        counted: Option<Counted>,
        answer: &mut impl FnMut(Verdict<'_>) -> R,
    ) -> Option<Result<R, NeedsSharedLimits>> {
        if !self.remembers() {
            return None;
        }
        self.cache.with(hash, |record| self.verdict(record, ask, purpose, counted).map(answer))
    }

    /// The outcome for a key that is known, or what others have to be asked about first.
    fn verdict<'a>(
        &self,
        record: &'a Record,
        ask: &Ask<'_>,
        purpose: Purpose,
        counted: Option<Counted>,
    ) -> Result<Verdict<'a>, NeedsSharedLimits> {
        let now = self.clock.now();
        let code = record.judge(now, ask);
        if code == Code::NotFound {
            return Ok(Verdict::NOT_FOUND);
        }
        let mut verdict = Verdict { code, record: Some(record), limits: LimitState::default(), limited: None };
        if purpose == Purpose::Identify {
            return Ok(verdict);
        }
        if code == Code::Valid
            && let Some(more) = record.more()
            && let Some(meter) = &more.meter
        {
            let now = Now { wall: now, monotonic: self.clock.monotonic() };
            let (rate, quota) = (more.rate_limit, more.quota);
            if counted.is_none() && self.together.get().is_some() {
                return Err(NeedsSharedLimits { key: record.id, rate, quota, cost: ask.cost });
            }
            let counted = counted.unwrap_or(Counted::Here);
            (verdict.limits, verdict.limited) = self.limiter.spend(meter, rate, quota, ask.cost, counted, now);
            verdict.code = match verdict.limited {
                None => Code::Valid,
                Some(Limited::Rate(_)) => Code::RateLimited,
                Some(Limited::Quota(_)) => Code::QuotaExceeded,
            };
        }
        if verdict.code != Code::Valid
            && let Some(Counted::Together { quota: Some(taken), .. }) = counted
            && let Some(together) = self.together.get()
        {
            together.parts.refund(record.id, taken, ask.cost);
        }
        match (verdict.code, purpose) {
            (Code::Valid, Purpose::Use) => self.usage.count(record, ask.address, now),
            (Code::Valid, _) => {}
            (refusal, _) => self.usage.count_refusal(record.id, refusal, now),
        }
        Ok(verdict)
    }
}
