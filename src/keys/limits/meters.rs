//! What a key may do over time: a rate limit (GCRA, whose burst is the limit) and a monthly quota.
//!
//! GCRA is written as the leaky bucket that it is equal to, in whole numbers without rounding: a
//! request adds `window` to the debt, each nanosecond takes `limit` off it, and the debt may be at most
//! `limit × window`. So no limit is ever more or less than it says, whatever its numbers.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use tracing_mutex::stdsync::{Mutex, MutexGuard};

use super::shared::Counted;
use crate::cluster::limits::Decision;
use crate::domain::{Cost, Key, Spent, SpentRow};
use crate::model::{KeyId, Quota, RateLimit, Timestamp};
use crate::runtime::clock::Now;

const NANOSECONDS: u128 = 1_000_000_000;
/// Windows up to this are over before a restart is; longer ones are written down.
const SHORT_WINDOW: u32 = 60;

/// How a rate limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateState {
    /// The limit.
    pub rate: RateLimit,
    /// Requests that would be let through now.
    pub remaining: u64,
    /// Seconds until it is whole again, rounded up.
    pub reset: u64,
}

/// How a quota stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaState {
    /// The quota.
    pub quota: Quota,
    /// Requests that are left in this month.
    pub remaining: u64,
    /// Seconds until the next month.
    pub reset: u64,
}

/// How a key's limits stand after a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitState {
    /// Its rate limit.
    pub rate: Option<RateState>,
    /// Its quota.
    pub quota: Option<QuotaState>,
}

/// Why a request may not take what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// Too many at once; seconds after which it may, rounded up.
    Rate(u64),
    /// None left in this month; seconds until the next one.
    Quota(u64),
}

/// What one key has spent.
#[derive(Debug)]
pub struct Meter {
    id: KeyId,
    spending: Mutex<Spending>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Spending {
    /// In requests × nanoseconds of `window`.
    debt: u128,
    /// When the debt was that, on the monotonic clock.
    at: u64,
    /// The window that the debt is counted in, nanoseconds.
    window: u128,
    /// The limit that it is paid off with.
    limit: u32,
    quota_used: u64,
    month: i32,
    /// When that month is over.
    month_ends: Timestamp,
    /// Whether something was spent since it was last written down.
    unsaved: bool,
}

impl Meter {
    fn lock(&self) -> MutexGuard<'_, Spending> {
        self.spending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spending {
    /// As it was written down.
    fn restored(key: &Key, now: Now) -> Self {
        let mut spending = Self { at: now.monotonic, ..Self::default() };
        let Spent { rate_until, quota_month, quota_used } = key.spent;
        if let (Some(rate), Some(until)) = (key.limits.rate_limit, rate_until) {
            spending.count_in(rate);
            let left = u128::try_from(until.since(now.wall)).unwrap_or_default() * 1_000_000;
            let whole = u128::from(rate.limit) * spending.window;
            spending.debt = (left * u128::from(rate.limit)).min(whole);
        }
        spending.turn_month(now.wall);
        if quota_month == Some(spending.month) {
            spending.quota_used = quota_used;
        }
        spending
    }

    /// Counts the debt in another limit's units, when the limit was changed.
    fn count_in(&mut self, rate: RateLimit) {
        let window = u128::from(rate.window_seconds) * NANOSECONDS;
        if self.window != window {
            self.debt = match self.window {
                0 => 0,
                // Both are at most 2⁴⁷ and the debt is at most 2³⁰ windows.
                before => self.debt / before * window + self.debt % before * window / before,
            };
            self.window = window;
        }
        self.limit = rate.limit;
    }

    /// Takes off what the time since has paid.
    fn drain(&mut self, now: u64) {
        let passed = u128::from(now.saturating_sub(self.at));
        self.debt = self.debt.saturating_sub(passed * u128::from(self.limit));
        self.at = self.at.max(now);
    }

    fn turn_month(&mut self, now: Timestamp) {
        if now >= self.month_ends {
            let (month, ends) = month_of(now);
            if month != self.month {
                self.quota_used = 0;
            }
            (self.month, self.month_ends) = (month, ends);
        }
    }

    fn state(&self, rate: Option<RateLimit>, quota: Option<Quota>, now: Now) -> LimitState {
        LimitState {
            rate: rate.map(|rate| {
                let free = (u128::from(rate.limit) * self.window).saturating_sub(self.debt);
                RateState {
                    rate,
                    remaining: u64::try_from(free / self.window).unwrap_or(u64::MAX),
                    reset: self.seconds_until(0),
                }
            }),
            quota: quota.map(|quota| QuotaState {
                quota,
                remaining: quota.limit.saturating_sub(self.quota_used),
                reset: self.seconds_of_month(now.wall),
            }),
        }
    }

    /// Seconds until the debt is down to `target`, rounded up.
    fn seconds_until(&self, target: u128) -> u64 {
        let each_second = u128::from(self.limit.max(1)) * NANOSECONDS;
        u64::try_from(self.debt.saturating_sub(target).div_ceil(each_second)).unwrap_or(u64::MAX)
    }

    fn seconds_of_month(&self, now: Timestamp) -> u64 {
        u64::try_from(self.month_ends.since(now)).unwrap_or_default().div_ceil(1000)
    }
}

/// What all keys have spent. A key's meter outlives its record: neither an edit nor the cache's need for
/// room gives anybody a new burst.
///
/// No method holds two of these locks at once, nor one of them and a meter's: a request that has one of them never
/// waits for another thread that waits for it.
#[derive(Debug, Default)]
pub struct Limiter {
    meters: Mutex<HashMap<KeyId, Arc<Meter>>>,
    /// Meters whose `unsaved` flag is set. Set the flag first, release the meter, then push.
    unsaved: Mutex<Vec<Arc<Meter>>>,
}

/// Spending that is about to be saved, with its meters.
#[derive(Debug)]
pub(in crate::keys) struct TakenSpending {
    pub(in crate::keys) meters: Vec<Arc<Meter>>,
    pub(in crate::keys) rows: Vec<SpentRow>,
}

impl Limiter {
    /// The meter of a key that has a limit to be counted.
    pub(in crate::keys) fn meter(&self, key: &Key, now: Now) -> Option<Arc<Meter>> {
        key.limits.rate_limit.is_some().then_some(()).or(key.limits.quota.map(drop))?;
        let mut meters = self.meters();
        let new = || Arc::new(Meter { id: key.id, spending: Mutex::new(Spending::restored(key, now)) });
        Some(Arc::clone(meters.entry(key.id).or_insert_with(new)))
    }

    /// Takes a request's cost off both limits, or off none. A rate limit that Redis let through is counted here as
    /// well, so that nobody has a new burst when it goes away.
    pub(in crate::keys) fn spend(
        &self,
        meter: &Arc<Meter>,
        rate: Option<RateLimit>,
        quota: Option<Quota>,
        Cost(cost): Cost,
        counted: Counted,
        now: Now,
    ) -> (LimitState, Option<Limited>) {
        let mut spending = meter.lock();
        if let Some(rate) = rate {
            spending.count_in(rate);
        }
        spending.drain(now.monotonic);
        spending.turn_month(now.wall);
        let added = u128::from(cost) * spending.window;
        let whole = u128::from(spending.limit) * spending.window;
        let (decision, taken, is_here) = match counted {
            Counted::Here => (None, None, true),
            Counted::Together { rate, quota } => (rate, quota, false),
        };
        let rate_limited = rate.and_then(|_| match decision {
            Some(decision) => decision.retry_after,
            None if spending.debt + added > whole => Some(spending.seconds_until(whole.saturating_sub(added)).max(1)),
            None => None,
        });
        let is_used_up = quota.is_some_and(|quota| match taken {
            Some(taken) => !taken.enough,
            None => spending.quota_used.saturating_add(cost.into()) > quota.limit,
        });
        let limited = match rate_limited {
            Some(seconds) => Some(Limited::Rate(seconds)),
            None if is_used_up => Some(Limited::Quota(spending.seconds_of_month(now.wall).max(1))),
            None => None,
        };
        let mut newly_unsaved = false;
        if limited.is_none() && cost > 0 {
            if rate.is_some() {
                spending.debt = (spending.debt + added).min(whole.max(spending.debt));
            }
            if quota.is_some() {
                spending.quota_used = spending.quota_used.saturating_add(cost.into());
            }
            let worth_saving = quota.is_some() || rate.is_some_and(|rate| rate.window_seconds > SHORT_WINDOW);
            // What all count together is kept where they do.
            newly_unsaved = is_here && worth_saving && !std::mem::replace(&mut spending.unsaved, true);
        }
        let mut state = spending.state(rate, quota, now);
        drop(spending);
        if newly_unsaved {
            self.unsaved().push(Arc::clone(meter));
        }
        if let (Some(rate), Some(Decision { remaining, reset, .. })) = (rate, decision) {
            state.rate = Some(RateState { rate, remaining, reset });
        }
        if let (Some(known), Some(taken)) = (&mut state.quota, taken) {
            known.remaining = taken.remaining;
        }
        (state, limited)
    }

    /// How a key's quota stands, if it has one.
    pub(in crate::keys) fn quota_of(&self, key: &Key, now: Now) -> Option<QuotaState> {
        let quota = key.limits.quota?;
        let meter = self.meter(key, now)?;
        let mut spending = meter.lock();
        spending.turn_month(now.wall);
        spending.state(None, Some(quota), now).quota
    }

    /// What was spent since this was last asked.
    pub(in crate::keys) fn take_unsaved(&self, now: Now) -> TakenSpending {
        let meters = std::mem::take(&mut *self.unsaved());
        let rows = meters
            .iter()
            .map(|meter| {
                let mut spending = meter.lock();
                spending.unsaved = false;
                spending.drain(now.monotonic);
                let milliseconds = (spending.debt / u128::from(spending.limit.max(1))).div_ceil(1_000_000);
                let left = i64::try_from(milliseconds).unwrap_or(i64::MAX);
                SpentRow {
                    id: meter.id.0,
                    rate_until: (left > 0).then(|| now.wall.plus(left).0),
                    quota_month: spending.month,
                    quota_used: spending.quota_used,
                }
            })
            .collect();
        TakenSpending { meters, rows }
    }

    /// Puts back meters whose rows could not be saved, so that the next flush writes them.
    pub(in crate::keys) fn keep_unsaved(&self, meters: Vec<Arc<Meter>>) {
        for meter in meters {
            let was_unsaved = std::mem::replace(&mut meter.lock().unsaved, true);
            if !was_unsaved {
                self.unsaved().push(meter);
            }
        }
    }

    /// Forgets the meters that no record uses and that have nothing to remember.
    pub(in crate::keys) fn tidy(&self, now: u64) {
        self.meters().retain(|_, meter| {
            // Without a lock: a meter that is referenced from here alone is used by no other thread.
            let Some(meter) = Arc::get_mut(meter) else { return true };
            let spending = meter.spending.get_mut().unwrap_or_else(PoisonError::into_inner);
            spending.drain(now);
            // A long window's debt is in the database.
            spending.unsaved || (spending.debt > 0 && spending.window <= u128::from(SHORT_WINDOW) * NANOSECONDS)
        });
    }

    fn meters(&self) -> MutexGuard<'_, HashMap<KeyId, Arc<Meter>>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsaved(&self) -> MutexGuard<'_, Vec<Arc<Meter>>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The month of a moment, counted from year 0, and when it is over; UTC.
pub(in crate::keys) fn month_of(now: Timestamp) -> (i32, Timestamp) {
    let Ok(moment) = time::OffsetDateTime::from_unix_timestamp(now.0.div_euclid(1000)) else {
        return (i32::MAX, Timestamp(i64::MAX));
    };
    let month = u8::from(moment.month());
    let (year, next) =
        if month == 12 { (moment.year() + 1, time::Month::January) } else { (moment.year(), moment.month().next()) };
    let ends = time::Date::from_calendar_date(year, next, 1)
        .map_or(i64::MAX, |date| date.midnight().assume_utc().unix_timestamp().saturating_mul(1000));
    (moment.year() * 12 + i32::from(month) - 1, Timestamp(ends))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::key;

    const RATE: RateLimit = RateLimit { limit: 3, window_seconds: 10 };

    fn at(milliseconds: i64) -> Now {
        Now {
            wall: Timestamp(1_772_366_400_000 + milliseconds),
            monotonic: u64::try_from(milliseconds).unwrap() * 1_000_000,
        }
    }

    struct Scene {
        limiter: Limiter,
        meter: Arc<Meter>,
        rate: Option<RateLimit>,
        quota: Option<Quota>,
    }

    impl Scene {
        fn new(rate: Option<RateLimit>, quota: Option<Quota>) -> Self {
            Self::restored(rate, quota, Spent::default(), 0)
        }

        fn restored(rate: Option<RateLimit>, quota: Option<Quota>, spent: Spent, milliseconds: i64) -> Self {
            let mut key = key();
            (key.limits.rate_limit, key.limits.quota, key.spent) = (rate, quota, spent);
            let limiter = Limiter::default();
            let meter = limiter.meter(&key, at(milliseconds)).expect("it has a limit");
            Self { limiter, meter, rate, quota }
        }

        fn spend(&self, cost: u32, milliseconds: i64) -> (LimitState, Option<Limited>) {
            self.limiter.spend(&self.meter, self.rate, self.quota, Cost(cost), Counted::Here, at(milliseconds))
        }
    }

    #[test]
    fn the_burst_is_the_limit_and_comes_back_evenly() {
        let scene = Scene::new(Some(RATE), None);
        for remaining in [2, 1, 0] {
            let (state, limited) = scene.spend(1, 0);
            assert_eq!((limited, state.rate.unwrap().remaining), (None, remaining));
        }
        let (state, limited) = scene.spend(1, 0);
        assert_eq!(limited, Some(Limited::Rate(4)));
        assert_eq!(state.rate.unwrap().reset, 10);
        assert_eq!(scene.spend(1, 3_333).1, Some(Limited::Rate(1)));
        assert_eq!(scene.spend(1, 3_334).1, None);
        assert_eq!(scene.spend(1, 3_335).1, Some(Limited::Rate(4)));
        // Nothing is saved up beyond the limit.
        assert_eq!(scene.spend(3, 1_000_000).1, None);
        assert_eq!(scene.spend(1, 1_000_000).1, Some(Limited::Rate(4)));
    }

    #[test]
    fn a_limited_request_spends_nothing() {
        let scene = Scene::new(Some(RATE), Some(Quota { limit: 2 }));
        assert_eq!(scene.spend(1, 0).1, None);
        assert!(matches!(scene.spend(2, 0).1, Some(Limited::Quota(_))));
        let (state, limited) = scene.spend(1, 0);
        assert_eq!((limited, state.rate.unwrap().remaining, state.quota.unwrap().remaining), (None, 1, 0));
        let (state, limited) = scene.spend(4, 0);
        assert!(matches!(limited, Some(Limited::Rate(_))), "the rate limit comes first");
        assert_eq!(state.rate.unwrap().remaining, 1);
    }

    #[test]
    fn a_cost_of_nothing_only_looks() {
        let scene = Scene::new(Some(RATE), Some(Quota { limit: 1 }));
        assert_eq!(scene.spend(0, 0).0.rate.unwrap().remaining, 3);
        assert_eq!(scene.spend(1, 0).1, None);
        assert_eq!(scene.spend(0, 0), (scene.spend(0, 0).0, None));
    }

    #[test]
    fn a_quota_is_new_in_the_next_month() {
        let quota = Quota { limit: 1 };
        let scene = Scene::new(None, Some(quota));
        assert_eq!(scene.spend(1, 0).1, None);
        // From noon of 1 March 2026 to 1 April.
        let left = 30 * 86_400 + 43_200;
        assert_eq!(scene.spend(1, 0).1, Some(Limited::Quota(left)));
        let left = i64::try_from(left).unwrap() * 1000;
        assert_eq!(scene.spend(1, left - 1).1, Some(Limited::Quota(1)));
        assert_eq!(scene.spend(1, left).1, None);
    }

    #[test]
    fn what_was_spent_survives_a_restart() {
        let rate = RateLimit { limit: 3, window_seconds: 3600 };
        let quota = Quota { limit: 5 };
        let scene = Scene::new(Some(rate), Some(quota));
        assert_eq!(scene.spend(3, 0).1, None);
        let taken = scene.limiter.take_unsaved(at(1_000));
        assert!(scene.limiter.take_unsaved(at(1_000)).rows.is_empty(), "it is given out once");
        scene.limiter.keep_unsaved(taken.meters);
        let [row] = scene.limiter.take_unsaved(at(1_000)).rows[..] else { panic!("one key") };
        let spent = Spent {
            rate_until: row.rate_until.map(Timestamp),
            quota_month: Some(row.quota_month),
            quota_used: row.quota_used,
        };
        let scene = Scene::restored(Some(rate), Some(quota), spent, 600_000);
        let (state, limited) = scene.spend(1, 600_000);
        assert_eq!(limited, Some(Limited::Rate(600)));
        assert_eq!(state.quota.unwrap().remaining, 2);
        assert_eq!(scene.spend(1, 1_200_000).1, None);
    }

    #[test]
    fn an_edited_limit_keeps_what_was_spent() {
        let mut scene = Scene::new(Some(RATE), None);
        assert_eq!(scene.spend(3, 0).1, None);
        scene.rate = Some(RateLimit { limit: 6, window_seconds: 60 });
        let (state, limited) = scene.spend(1, 0);
        assert_eq!((limited, state.rate.unwrap().remaining), (None, 2));
        scene.rate = Some(RateLimit { limit: 1, window_seconds: 1 });
        assert_eq!(scene.spend(1, 0).1, Some(Limited::Rate(4)));
    }

    #[test]
    fn meters_that_nobody_needs_are_forgotten() {
        let Scene { limiter, meter, rate, quota } = Scene::new(Some(RATE), None);
        assert_eq!(limiter.spend(&meter, rate, quota, Cost(1), Counted::Here, at(0)).1, None);
        drop(meter);
        limiter.tidy(at(1_000).monotonic);
        assert_eq!(limiter.meters.lock().unwrap().len(), 1);
        limiter.tidy(at(10_000).monotonic);
        assert_eq!(limiter.meters.lock().unwrap().len(), 0);
    }

    /// The longest that a thread is waited for; much longer than any of them needs.
    const WATCHDOG: std::time::Duration = std::time::Duration::from_secs(20);
    /// Long enough for a thread to get to the lock that it has to wait for. A shorter one only finds less.
    const UNTIL_IT_WAITS: std::time::Duration = std::time::Duration::from_millis(200);

    /// Lets `first` wait for a lock that is held here, and says whether `second` ends nevertheless.
    fn ends_while_another_waits<T>(
        held: MutexGuard<'_, T>,
        first: impl FnOnce() + Send,
        second: impl FnOnce() + Send,
    ) -> bool {
        let (ended, is_ended) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(first);
            std::thread::sleep(UNTIL_IT_WAITS);
            scope.spawn(move || {
                second();
                ended.send(())
            });
            let ended = is_ended.recv_timeout(WATCHDOG).is_ok();
            drop(held);
            ended
        })
    }

    #[test]
    fn meters_that_are_put_back_hold_up_no_request() {
        let quota = Some(Quota { limit: 9 });
        let Scene { limiter, meter, .. } = Scene::new(None, quota);
        let mut other = key();
        (other.id, other.limits.quota) = (KeyId(2), quota);
        limiter.spend(&meter, None, quota, Cost(1), Counted::Here, at(0));
        let taken = limiter.take_unsaved(at(0));
        // A request of this key is being counted, and one of another key comes.
        let ended = ends_while_another_waits(
            meter.lock(),
            || limiter.keep_unsaved(taken.meters),
            || {
                let meter = limiter.meter(&other, at(0)).expect("it has a limit");
                limiter.spend(&meter, None, quota, Cost(1), Counted::Here, at(0));
                limiter.tidy(0);
            },
        );
        assert!(ended, "a request waits for a lock of a thread that waits for another request");
        assert_eq!(limiter.take_unsaved(at(0)).rows.len(), 2);
    }

    #[test]
    fn a_request_that_waits_for_the_list_of_meters_to_save_holds_no_meter() {
        let quota = Some(Quota { limit: 9 });
        let Scene { limiter, meter, .. } = Scene::new(None, quota);
        let ended = ends_while_another_waits(
            limiter.unsaved(),
            || {
                limiter.spend(&meter, None, quota, Cost(1), Counted::Here, at(0));
            },
            || drop(meter.lock()),
        );
        assert!(ended, "a request holds its meter while it waits for the list");
        assert_eq!(limiter.take_unsaved(at(0)).rows.len(), 1);
    }

    /// The textbook's GCRA and a calendar, in fractions of a nanosecond and without any state shared
    /// between the two: a theoretical arrival time in units of 1/limit nanoseconds.
    struct Reference {
        arrival: i128,
        used: u64,
        month: u32,
    }

    impl Reference {
        fn allows(&mut self, rate: RateLimit, quota: Quota, cost: u32, now: Now) -> bool {
            let limit = i128::from(rate.limit);
            let now_units = i128::from(now.monotonic) * limit;
            let interval = i128::from(rate.window_seconds) * 1_000_000_000;
            let burst = interval * limit;
            let arrival = self.arrival.max(now_units) + interval * i128::from(cost);
            let seconds = now.wall.0 / 1000;
            let month = u32::try_from(seconds / 86_400).unwrap().checked_sub(20_513).unwrap() / 31;
            if month != self.month {
                (self.month, self.used) = (month, 0);
            }
            let allowed = arrival - now_units <= burst && self.used + u64::from(cost) <= quota.limit;
            if allowed {
                self.arrival = arrival;
                self.used += u64::from(cost);
            }
            allowed
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn an_hour_of_ticks_is_as_the_reference_says(
            limit in 1u32..2_000,
            window_seconds in 1u32..4_000,
            quota in 1u64..5_000,
            ticks in prop::collection::vec((0i64..3_000, 0u32..4), 2_400),
        ) {
            let (rate, quota) = (RateLimit { limit, window_seconds }, Quota { limit: quota });
            let scene = Scene::new(Some(rate), Some(quota));
            let mut reference = Reference { arrival: 0, used: 0, month: 0 };
            let mut now = 0;
            for (step, cost) in ticks {
                // About an hour, and with it the turn of a month for the quota: March has 31 days.
                now += step;
                let moment = Now { wall: Timestamp(1_774_999_800_000 + now), ..at(now) };
                let (_, limited) = scene.limiter.spend(&scene.meter, Some(rate), Some(quota), Cost(cost), Counted::Here, moment);
                prop_assert_eq!(limited.is_none(), reference.allows(rate, quota, cost, moment));
            }
        }
    }
}
