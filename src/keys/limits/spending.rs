//! The arithmetic of a rate limit (GCRA with a burst of the limit) and a monthly quota.
//!
//! GCRA is implemented as the equivalent leaky bucket, in integers without rounding: a request adds `window` to the
//! debt, each nanosecond subtracts `limit`, and the debt may be at most `limit × window`. So any limit is exact.

use super::shared::Counted;
use crate::cluster::limits::Decision;
use crate::domain::{Cost, Key, Spent, SpentRow};
use crate::model::{KeyId, Quota, RateLimit, Timestamp};
use crate::runtime::clock::Now;

const NANOSECONDS_PER_SECOND: u128 = 1_000_000_000;
/// The debt of windows up to this, in seconds, is not saved: such a window ends before a restart does.
const SHORT_WINDOW_SECONDS: u32 = 60;

/// The state of a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateState {
    /// The limit.
    pub rate: RateLimit,
    /// Requests that would be admitted now.
    pub remaining: u64,
    /// Seconds until the full limit is available again, rounded up.
    pub reset: u64,
}

/// The state of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaState {
    /// The quota.
    pub quota: Quota,
    /// Requests that are left in this month.
    pub remaining: u64,
    /// Seconds until the next month.
    pub reset: u64,
}

/// The state of a key's limits after a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitState {
    /// The key's rate limit.
    pub rate: Option<RateState>,
    /// The key's quota.
    pub quota: Option<QuotaState>,
}

/// The limit that refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// The rate limit; with the seconds after which the request would be admitted, rounded up.
    Rate(u64),
    /// The quota; with the seconds until the next month.
    Quota(u64),
}

/// The spending of one key.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spending {
    /// In requests × nanoseconds of `window`.
    debt: u128,
    /// The time of that debt, on the monotonic clock.
    at: u64,
    /// The window of the rate limit, nanoseconds.
    window: u128,
    /// The rate limit, in requests.
    limit: u32,
    quota_used: u64,
    month: i32,
    /// The end of the month.
    month_ends: Timestamp,
}

impl Spending {
    /// Continues from the saved spending.
    pub(super) fn restored(key: &Key, now: Now) -> Self {
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

    /// Charges a request's cost to both limits, or to neither. Requests that Redis has admitted are counted here as
    /// well, so that no key gets a new burst when Redis fails.
    pub(super) fn spend(
        &mut self,
        rate: Option<RateLimit>,
        quota: Option<Quota>,
        Cost(cost): Cost,
        counted: Counted,
        now: Now,
    ) -> (LimitState, Option<Limited>) {
        if let Some(rate) = rate {
            self.count_in(rate);
        }
        self.drain(now.monotonic);
        self.turn_month(now.wall);
        let added = u128::from(cost) * self.window;
        let whole = u128::from(self.limit) * self.window;
        let (decision, charge) = match counted {
            Counted::Local => (None, None),
            Counted::Shared { rate, quota } => (rate, quota),
        };
        let rate_limited = rate.and_then(|_| match decision {
            Some(decision) => decision.retry_after,
            None if self.debt + added > whole => Some(self.seconds_until(whole.saturating_sub(added)).max(1)),
            None => None,
        });
        let is_used_up = quota.is_some_and(|quota| match charge {
            Some(charge) => !charge.enough,
            None => self.quota_used.saturating_add(cost.into()) > quota.limit,
        });
        let limited = match rate_limited {
            Some(seconds) => Some(Limited::Rate(seconds)),
            None if is_used_up => Some(Limited::Quota(self.seconds_of_month(now.wall).max(1))),
            None => None,
        };
        if limited.is_none() && cost > 0 {
            if rate.is_some() {
                self.debt = (self.debt + added).min(whole.max(self.debt));
            }
            if quota.is_some() {
                self.quota_used = self.quota_used.saturating_add(cost.into());
            }
        }
        let mut state = self.state(rate, quota, now);
        if let (Some(rate), Some(Decision { remaining, reset, .. })) = (rate, decision) {
            state.rate = Some(RateState { rate, remaining, reset });
        }
        if let (Some(known), Some(charge)) = (&mut state.quota, charge) {
            known.remaining = charge.remaining;
        }
        (state, limited)
    }

    /// Returns the state of a quota.
    pub(super) fn quota_state(&mut self, quota: Quota, now: Now) -> Option<QuotaState> {
        self.turn_month(now.wall);
        self.state(None, Some(quota), now).quota
    }

    /// Returns the row to save.
    pub(super) fn row(&mut self, id: KeyId, now: Now) -> SpentRow {
        self.drain(now.monotonic);
        let milliseconds = (self.debt / u128::from(self.limit.max(1))).div_ceil(1_000_000);
        let left = i64::try_from(milliseconds).unwrap_or(i64::MAX);
        SpentRow {
            id: id.0,
            rate_until: (left > 0).then(|| now.wall.plus(left).0),
            quota_month: self.month,
            quota_used: self.quota_used,
        }
    }

    /// Returns whether the spending of these limits has to survive a restart.
    pub(super) fn is_worth_saving(rate: Option<RateLimit>, quota: Option<Quota>) -> bool {
        quota.is_some() || rate.is_some_and(|rate| rate.window_seconds > SHORT_WINDOW_SECONDS)
    }

    /// Returns whether a key has debt that is in memory only. The debt of a long window is in the database.
    pub(super) fn has_unsaved_debt(&mut self, now: u64) -> bool {
        self.drain(now);
        self.debt > 0 && self.window <= u128::from(SHORT_WINDOW_SECONDS) * NANOSECONDS_PER_SECOND
    }

    /// Converts the debt to the units of another rate limit, if the limit was changed.
    fn count_in(&mut self, rate: RateLimit) {
        let window = u128::from(rate.window_seconds) * NANOSECONDS_PER_SECOND;
        if self.window != window {
            self.debt = match self.window {
                0 => 0,
                // No overflow: both windows are at most 2⁴⁷, and the debt is at most 2³⁰ windows.
                before => self.debt / before * window + self.debt % before * window / before,
            };
            self.window = window;
        }
        self.limit = rate.limit;
    }

    /// Subtracts the debt that was paid off since the last call.
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

    /// Returns the seconds until the debt is at most `target`, rounded up.
    fn seconds_until(&self, target: u128) -> u64 {
        let each_second = u128::from(self.limit.max(1)) * NANOSECONDS_PER_SECOND;
        u64::try_from(self.debt.saturating_sub(target).div_ceil(each_second)).unwrap_or(u64::MAX)
    }

    fn seconds_of_month(&self, now: Timestamp) -> u64 {
        u64::try_from(self.month_ends.since(now)).unwrap_or_default().div_ceil(1000)
    }
}

/// Returns the month (UTC) of a time, counted from year 0, and the end of that month.
pub(super) fn month_of(now: Timestamp) -> (i32, Timestamp) {
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
        spending: Spending,
        rate: Option<RateLimit>,
        quota: Option<Quota>,
    }

    impl Scene {
        fn new(rate: Option<RateLimit>, quota: Option<Quota>) -> Self {
            let mut key = key();
            (key.limits.rate_limit, key.limits.quota) = (rate, quota);
            Self { spending: Spending::restored(&key, at(0)), rate, quota }
        }

        fn spend(&mut self, cost: u32, milliseconds: i64) -> (LimitState, Option<Limited>) {
            self.spending.spend(self.rate, self.quota, Cost(cost), Counted::Local, at(milliseconds))
        }
    }

    #[test]
    fn the_burst_is_the_limit_and_refills_evenly() {
        let mut scene = Scene::new(Some(RATE), None);
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
        // An idle time accumulates no more than the limit.
        assert_eq!(scene.spend(3, 1_000_000).1, None);
        assert_eq!(scene.spend(1, 1_000_000).1, Some(Limited::Rate(4)));
    }

    #[test]
    fn a_limited_request_spends_nothing() {
        let mut scene = Scene::new(Some(RATE), Some(Quota { limit: 2 }));
        assert_eq!(scene.spend(1, 0).1, None);
        assert!(matches!(scene.spend(2, 0).1, Some(Limited::Quota(_))));
        let (state, limited) = scene.spend(1, 0);
        assert_eq!((limited, state.rate.unwrap().remaining, state.quota.unwrap().remaining), (None, 1, 0));
        let (state, limited) = scene.spend(4, 0);
        assert!(matches!(limited, Some(Limited::Rate(_))), "the rate limit comes first");
        assert_eq!(state.rate.unwrap().remaining, 1);
    }

    #[test]
    fn a_cost_of_zero_spends_nothing() {
        let mut scene = Scene::new(Some(RATE), Some(Quota { limit: 1 }));
        assert_eq!(scene.spend(0, 0).0.rate.unwrap().remaining, 3);
        assert_eq!(scene.spend(1, 0).1, None);
        assert_eq!(scene.spend(0, 0), (scene.spend(0, 0).0, None));
    }

    #[test]
    fn a_quota_resets_in_the_next_month() {
        let quota = Quota { limit: 1 };
        let mut scene = Scene::new(None, Some(quota));
        assert_eq!(scene.spend(1, 0).1, None);
        // From noon of 1 March 2026 to 1 April.
        let left = 30 * 86_400 + 43_200;
        assert_eq!(scene.spend(1, 0).1, Some(Limited::Quota(left)));
        let left = i64::try_from(left).unwrap() * 1000;
        assert_eq!(scene.spend(1, left - 1).1, Some(Limited::Quota(1)));
        assert_eq!(scene.spend(1, left).1, None);
    }

    #[test]
    fn an_edited_limit_keeps_the_spending() {
        let mut scene = Scene::new(Some(RATE), None);
        assert_eq!(scene.spend(3, 0).1, None);
        scene.rate = Some(RateLimit { limit: 6, window_seconds: 60 });
        let (state, limited) = scene.spend(1, 0);
        assert_eq!((limited, state.rate.unwrap().remaining), (None, 2));
        scene.rate = Some(RateLimit { limit: 1, window_seconds: 1 });
        assert_eq!(scene.spend(1, 0).1, Some(Limited::Rate(4)));
    }

    /// The textbook form of GCRA, and a calendar, as separate states. The theoretical arrival time is in units of
    /// 1/limit nanoseconds.
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
        fn an_hour_of_requests_matches_the_reference(
            limit in 1u32..2_000,
            window_seconds in 1u32..4_000,
            quota in 1u64..5_000,
            ticks in prop::collection::vec((0i64..3_000, 0u32..4), 2_400),
        ) {
            let (rate, quota) = (RateLimit { limit, window_seconds }, Quota { limit: quota });
            let mut spending = Scene::new(Some(rate), Some(quota)).spending;
            let mut reference = Reference { arrival: 0, used: 0, month: 0 };
            let mut now = 0;
            for (step, cost) in ticks {
                // About an hour, in which a month ends for the quota: March has 31 days.
                now += step;
                let moment = Now { wall: Timestamp(1_774_999_800_000 + now), ..at(now) };
                let (_, limited) = spending.spend(Some(rate), Some(quota), Cost(cost), Counted::Local, moment);
                prop_assert_eq!(limited.is_none(), reference.allows(rate, quota, cost, moment));
            }
        }
    }
}
