//! Verify: whether a string is a key, and whether the key is good for a request.
//!
//! The whole path: form, SHA-256, the cache, on a miss the checksum (junk costs no look-up) and the database,
//! judgement, limits, count. With the key in the cache nothing of it waits, takes a contended lock, or allocates.

#[cfg(test)]
mod interleavings;
pub(super) mod single_flight;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use tracing_mutex::stdsync::Mutex;

use super::cache::Cache;
use super::cache::record::Record;
use super::limits::Limits;
use super::limits::shared::{Counted, NeedsSharedLimits};
use super::limits::spending::{LimitState, Limited};
use super::usage::Usage;
use crate::domain::{Ask, Code, Key, KeyHash, Place, PresentedKey, Unavailable};
use crate::model::{EnvironmentId, KeyId, Timestamp};
use crate::runtime::batch::Batches;
use crate::runtime::clock::{Clock, Now};
use crate::store::Db;
use single_flight::{Flight, SingleFlight};

/// The purpose of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A request of the key: its limits are charged and the outcome is counted.
    Use,
    /// A request of the key that may still fail: as [`Use`](Self::Use), but a success is counted by
    /// [`Checks::count`] when there is one.
    Admit,
    /// A call about the key itself: nothing is charged or counted.
    Identify,
}

/// The outcome of a check. An outcome is data; an error means that the service itself failed.
#[derive(Debug, Clone, Copy)]
pub struct Verdict<'a> {
    /// The outcome in a word.
    pub code: Code,
    /// The key, unless there is none.
    pub record: Option<&'a Record>,
    /// The state of its limits, where they were charged.
    pub limits: LimitState,
    /// The limit that refused the request.
    pub limited: Option<Limited>,
}

impl Verdict<'_> {
    const NOT_FOUND: Verdict<'static> =
        Verdict { code: Code::NotFound, record: None, limits: LimitState { rate: None, quota: None }, limited: None };

    /// Returns the proof that the key is good; `None` for any other outcome.
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

/// The proof that a key was good.
#[derive(Debug, Clone)]
pub struct Pass {
    /// The key.
    pub id: KeyId,
    /// The environment that it belongs to.
    pub place: Arc<Place>,
    hash: KeyHash,
}

impl Pass {
    fn of(record: &Record) -> Self {
        Self { id: record.id, place: Arc::clone(&record.place), hash: record.hash }
    }
}

/// Checks keys, by the cache where it may be trusted, and otherwise by the database.
#[derive(Debug)]
pub struct Checks {
    db: Db,
    clock: Clock,
    cache: Arc<Cache>,
    /// The lease: the cache may be trusted until this boot time (ns). `u64::MAX` when no lease is needed.
    trusted_until: AtomicU64,
    single_flight: SingleFlight,
    limits: Arc<Limits>,
    usage: Arc<Usage>,
    /// The keys of an environment share its place; environments do not change.
    places: Mutex<HashMap<EnvironmentId, Arc<Place>>>,
}

impl Checks {
    /// Creates the checks, and the look-ups that [`single_flight::read`] is to answer. With `needs_lease`, the cache is
    /// trusted only after [`trust_cache_until`](Self::trust_cache_until).
    pub(super) fn new(
        db: Db,
        clock: Clock,
        cache: Arc<Cache>,
        limits: Arc<Limits>,
        usage: Arc<Usage>,
        needs_lease: bool,
    ) -> (Self, Batches<Flight>) {
        let (single_flight, look_ups) = SingleFlight::new();
        let trusted_until = AtomicU64::new(if needs_lease { 0 } else { u64::MAX });
        let checks = Self { db, clock, cache, trusted_until, single_flight, limits, usage, places: Mutex::default() };
        (checks, look_ups)
    }

    /// The keys that are in memory.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Returns whether checks may trust the cache: every change is applied to it, except changes that are not answered yet.
    pub fn trusts_cache(&self) -> bool {
        match self.trusted_until.load(Ordering::Acquire) {
            u64::MAX => true,
            until => self.clock.boottime() < until,
        }
    }

    /// Lets checks trust the cache until a boot time, nanoseconds; from now on no more with 0.
    pub(super) fn trust_cache_until(&self, boottime: u64) {
        self.trusted_until.store(boottime, Ordering::Release);
    }

    /// Checks a presented string, and returns the reply that `answer` makes of the outcome.
    ///
    /// # Errors
    /// When the key is not in the cache and the database does not answer.
    pub async fn verify<R>(
        &self,
        presented: &str,
        ask: &Ask<'_>,
        purpose: Purpose,
        mut answer: impl FnMut(Verdict<'_>) -> R,
    ) -> Result<R, Unavailable> {
        let Some(presented) = PresentedKey::parse(presented) else {
            return Ok(answer(Verdict::NOT_FOUND));
        };
        let hash = presented.hash;
        // The answer of the shared (cross-node) limits.
        let mut counted = None;
        loop {
            let reply = if let Some(reply) = self.cached(&hash, ask, purpose, counted, &mut answer) {
                reply
            } else {
                // Boxed, as is everything that waits: few requests have to, and the future of a request should be small.
                let found =
                    if presented.checksum_fits() { Box::pin(self.look_up(hash, ask.tenant)).await? } else { None };
                let Some(key) = found else {
                    return Ok(answer(Verdict::NOT_FOUND));
                };
                // A node that may not trust its cache may have an older row there.
                let landed = self.cached(&hash, ask, purpose, counted, &mut answer);
                // Already evicted; the row that was read is still valid for this request.
                landed.unwrap_or_else(|| {
                    self.verdict(&self.record(&key).uncached(), ask, purpose, counted).map(&mut answer)
                })
            };
            match reply {
                Ok(reply) => return Ok(reply),
                // And then judged again: the key may have ended meanwhile.
                Err(needs) => counted = Some(Box::pin(self.limits.charge_shared(needs)).await?),
            }
        }
    }

    /// Counts a request that a key was [admitted](Purpose::Admit) for.
    pub fn count(&self, pass: &Pass, address: Option<IpAddr>) {
        let now = self.clock.now();
        if self.cache.peek(&pass.hash, |record| self.usage.count(record, address, now)).is_none() {
            self.usage.count_reported(pass.id, 1, now);
        }
    }

    /// Returns the reply for a key that is in the cache, or the limits that have to be charged first; `None` if it is not
    /// there, or the cache may not be trusted.
    fn cached<R>(
        &self,
        hash: &KeyHash,
        ask: &Ask<'_>,
        purpose: Purpose,
        counted: Option<Counted>,
        answer: &mut impl FnMut(Verdict<'_>) -> R,
    ) -> Option<Result<R, NeedsSharedLimits>> {
        if !self.trusts_cache() {
            return None;
        }
        self.cache.with(hash, |record| self.verdict(record, ask, purpose, counted).map(answer))
    }

    /// Returns the outcome for a known key, or the limits that have to be charged first.
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
            if counted.is_none() && self.limits.is_shared() {
                return Err(NeedsSharedLimits { key: record.id, rate, quota, cost: ask.cost });
            }
            let counted = counted.unwrap_or(Counted::Local);
            (verdict.limits, verdict.limited) = self.limits.meters.spend(meter, rate, quota, ask.cost, counted, now);
            verdict.code = match verdict.limited {
                None => Code::Valid,
                Some(Limited::Rate(_)) => Code::RateLimited,
                Some(Limited::Quota(_)) => Code::QuotaExceeded,
            };
        }
        if verdict.code != Code::Valid {
            self.limits.refund(record.id, counted, ask.cost);
        }
        match (verdict.code, purpose) {
            (Code::Valid, Purpose::Use) => self.usage.count(record, ask.address, now),
            (Code::Valid, _) => {}
            (refusal, _) => self.usage.count_refusal(record.id, refusal, now),
        }
        Ok(verdict)
    }

    /// Creates the record of a key.
    fn record(&self, key: &Key) -> Record {
        let place = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(places.entry(key.environment).or_insert_with(|| Arc::new(key.place())))
        };
        Record::new(key, place, self.limits.meter(key))
    }
}
