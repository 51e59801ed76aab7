//! Verify: checks a key string, and the rights of the key for a request.
//!
//! The steps: form, SHA-256, the cache, on a miss the checksum (so that junk costs no look-up) and the database, the
//! fields of the key, the limits, the count. A check of a cached key never waits, takes no contended lock, and
//! allocates nothing.

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
    /// A request with the key: charges its limits and counts the outcome.
    Use,
    /// A request with the key that may still fail for another reason: as [`Use`](Self::Use), but the caller counts a
    /// success with [`Checks::count`].
    Admit,
    /// A request about the key itself: charges and counts nothing.
    Identify,
}

/// The outcome of a check. A refusal is an outcome too; an error means that the service itself failed.
#[derive(Debug, Clone, Copy)]
pub struct Verdict<'a> {
    /// The code of the outcome.
    pub code: Code,
    /// The key; `None` if no key was found.
    pub record: Option<&'a Record>,
    /// The state of its limits, if they were charged.
    pub limits: LimitState,
    /// The limit that refused the request.
    pub limited: Option<Limited>,
}

impl Verdict<'_> {
    const NOT_FOUND: Verdict<'static> =
        Verdict { code: Code::NotFound, record: None, limits: LimitState { rate: None, quota: None }, limited: None };

    /// Returns the proof that the key was accepted; `None` for any other outcome.
    pub fn pass(&self) -> Option<Pass> {
        self.record.filter(|_| self.code == Code::Valid).map(Pass::of)
    }

    /// Returns a pass if the key is neither revoked nor expired. A key that is paused, or used from outside its
    /// allowlist, can still revoke itself.
    pub fn not_ended(&self, now: Timestamp) -> Option<Pass> {
        let has_ended = matches!(self.code, Code::NotFound | Code::Revoked | Code::Expired);
        self.record.filter(|record| !has_ended && record.expires_at().is_none_or(|at| at > now)).map(Pass::of)
    }
}

/// The proof that a check accepted a key.
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

/// Checks keys, with the cache if it may be trusted, and otherwise with the database.
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
    /// The places of environments, shared by their keys; an environment never changes.
    places: Mutex<HashMap<EnvironmentId, Arc<Place>>>,
}

impl Checks {
    /// Creates the checks, and the queue of look-ups for [`single_flight::read`]. With `needs_lease`, the cache is
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

    /// The cache of keys.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Returns whether checks may trust the cache: every change was applied to it, except changes that are not answered
    /// yet.
    pub fn trusts_cache(&self) -> bool {
        match self.trusted_until.load(Ordering::Acquire) {
            u64::MAX => true,
            until => self.clock.boottime() < until,
        }
    }

    /// Sets the boot time (ns) until which checks trust the cache; 0 stops that now.
    pub(super) fn trust_cache_until(&self, boottime: u64) {
        self.trusted_until.store(boottime, Ordering::Release);
    }

    /// Checks a presented string. Returns the reply that `answer` makes from the outcome.
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
                // Boxed, to keep the future of a request small: few requests have to wait.
                let found =
                    if presented.checksum_fits() { Box::pin(self.look_up(hash, ask.tenant)).await? } else { None };
                let Some(key) = found else {
                    return Ok(answer(Verdict::NOT_FOUND));
                };
                // `None` as well if the cache may not be trusted, because it may have an older row.
                let landed = self.cached(&hash, ask, purpose, counted, &mut answer);
                // Already evicted; the row that was read is still valid for this request.
                landed.unwrap_or_else(|| {
                    self.verdict(&self.record(&key).uncached(), ask, purpose, counted).map(&mut answer)
                })
            };
            match reply {
                Ok(reply) => return Ok(reply),
                // Then judge the key again, because it may have been revoked meanwhile.
                Err(needs) => counted = Some(Box::pin(self.limits.charge_shared(needs)).await?),
            }
        }
    }

    /// Counts a success after [`Purpose::Admit`].
    pub fn count(&self, pass: &Pass, address: Option<IpAddr>) {
        let now = self.clock.now();
        if self.cache.peek(&pass.hash, |record| self.usage.count(record, address, now)).is_none() {
            self.usage.count_reported(pass.id, 1, now);
        }
    }

    /// Returns the reply for a cached key, or the limits to charge first; `None` if the key is not cached, or the cache
    /// may not be trusted.
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

    /// Returns the outcome for a key, or the limits to charge first.
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
