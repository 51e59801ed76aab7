//! The meters of all keys with a limit: the spending of each key, and whether it is saved.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use tracing_mutex::stdsync::{Mutex, MutexGuard};

use super::shared::Counted;
use super::spending::{LimitState, Limited, QuotaState, Spending};
use crate::domain::{Cost, Key, SpentRow};
use crate::model::{KeyId, Quota, RateLimit};
use crate::runtime::clock::Now;

/// The spending of one key.
#[derive(Debug)]
pub(in crate::keys) struct Meter {
    id: KeyId,
    metered: Mutex<Metered>,
}

#[derive(Debug)]
struct Metered {
    spending: Spending,
    /// Whether there is spending since the last save.
    unsaved: bool,
}

impl Meter {
    fn lock(&self) -> MutexGuard<'_, Metered> {
        self.metered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The meters of all keys. A key's meter outlives its record, so that neither an edit nor an eviction from the cache
/// gives the key a new burst.
///
/// No method holds two of these locks, or one of them and the lock of a meter. So a request that holds one never waits
/// for another lock, and cannot deadlock.
#[derive(Debug, Default)]
pub(in crate::keys) struct Meters {
    meters: Mutex<HashMap<KeyId, Arc<Meter>>>,
    /// Meters with a set `unsaved` flag. Set the flag first, release the meter's lock, then push.
    unsaved: Mutex<Vec<Arc<Meter>>>,
}

/// The spending to save, with its meters.
#[derive(Debug)]
pub(super) struct TakenSpending {
    pub(super) meters: Vec<Arc<Meter>>,
    pub(super) rows: Vec<SpentRow>,
}

impl Meters {
    /// Returns the meter of a key that has a rate limit or a quota.
    pub(super) fn meter(&self, key: &Key, now: Now) -> Option<Arc<Meter>> {
        key.limits.rate_limit.is_some().then_some(()).or(key.limits.quota.map(drop))?;
        let mut meters = self.meters();
        let new = || {
            let metered = Metered { spending: Spending::restored(key, now), unsaved: false };
            Arc::new(Meter { id: key.id, metered: Mutex::new(metered) })
        };
        Some(Arc::clone(meters.entry(key.id).or_insert_with(new)))
    }

    /// Charges a request's cost to both limits, or to neither.
    pub(in crate::keys) fn spend(
        &self,
        meter: &Arc<Meter>,
        rate: Option<RateLimit>,
        quota: Option<Quota>,
        cost: Cost,
        counted: Counted,
        now: Now,
    ) -> (LimitState, Option<Limited>) {
        let mut metered = meter.lock();
        let (state, limited) = metered.spending.spend(rate, quota, cost, counted, now);
        let has_spent = limited.is_none() && cost.0 > 0;
        // Shared spending is in Redis and in the quota leases.
        let must_save = has_spent && matches!(counted, Counted::Local) && Spending::is_worth_saving(rate, quota);
        let newly_unsaved = must_save && !std::mem::replace(&mut metered.unsaved, true);
        drop(metered);
        if newly_unsaved {
            self.unsaved().push(Arc::clone(meter));
        }
        (state, limited)
    }

    /// Returns the state of a key's quota, if it has one.
    pub(super) fn quota_of(&self, key: &Key, now: Now) -> Option<QuotaState> {
        let quota = key.limits.quota?;
        self.meter(key, now)?.lock().spending.quota_state(quota, now)
    }

    /// Takes out the spending since the last call.
    pub(super) fn take_unsaved(&self, now: Now) -> TakenSpending {
        let meters = std::mem::take(&mut *self.unsaved());
        let rows = meters
            .iter()
            .map(|meter| {
                let mut metered = meter.lock();
                metered.unsaved = false;
                metered.spending.row(meter.id, now)
            })
            .collect();
        TakenSpending { meters, rows }
    }

    /// Puts back meters after a failure, so that the next flush writes their rows.
    pub(super) fn keep_unsaved(&self, meters: Vec<Arc<Meter>>) {
        for meter in meters {
            let was_unsaved = std::mem::replace(&mut meter.lock().unsaved, true);
            if !was_unsaved {
                self.unsaved().push(meter);
            }
        }
    }

    /// Drops the meters without unsaved spending that no record uses.
    pub(super) fn tidy(&self, now: u64) {
        self.meters().retain(|_, meter| {
            // No lock is needed: a meter with this one reference is used by no other thread.
            let Some(meter) = Arc::get_mut(meter) else { return true };
            let metered = meter.metered.get_mut().unwrap_or_else(PoisonError::into_inner);
            metered.unsaved || metered.spending.has_unsaved_debt(now)
        });
    }

    fn meters(&self) -> MutexGuard<'_, HashMap<KeyId, Arc<Meter>>> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unsaved(&self) -> MutexGuard<'_, Vec<Arc<Meter>>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Spent, key};
    use crate::model::Timestamp;

    fn at(milliseconds: i64) -> Now {
        Now {
            wall: Timestamp(1_772_366_400_000 + milliseconds),
            monotonic: u64::try_from(milliseconds).unwrap() * 1_000_000,
        }
    }

    struct Scene {
        meters: Meters,
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
            let meters = Meters::default();
            let meter = meters.meter(&key, at(milliseconds)).expect("it has a limit");
            Self { meters, meter, rate, quota }
        }

        fn spend(&self, cost: u32, milliseconds: i64) -> (LimitState, Option<Limited>) {
            self.meters.spend(&self.meter, self.rate, self.quota, Cost(cost), Counted::Local, at(milliseconds))
        }
    }

    #[test]
    fn spending_survives_a_restart() {
        let rate = RateLimit { limit: 3, window_seconds: 3600 };
        let quota = Quota { limit: 5 };
        let scene = Scene::new(Some(rate), Some(quota));
        assert_eq!(scene.spend(3, 0).1, None);
        let taken = scene.meters.take_unsaved(at(1_000));
        assert!(scene.meters.take_unsaved(at(1_000)).rows.is_empty(), "each row is taken once");
        scene.meters.keep_unsaved(taken.meters);
        let [row] = scene.meters.take_unsaved(at(1_000)).rows[..] else { panic!("one key") };
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
    fn unused_meters_are_dropped_once_their_debt_is_paid() {
        let rate = Some(RateLimit { limit: 3, window_seconds: 10 });
        let Scene { meters, meter, quota, .. } = Scene::new(rate, None);
        assert_eq!(meters.spend(&meter, rate, quota, Cost(1), Counted::Local, at(0)).1, None);
        drop(meter);
        meters.tidy(at(1_000).monotonic);
        assert_eq!(meters.meters.lock().unwrap().len(), 1);
        meters.tidy(at(10_000).monotonic);
        assert_eq!(meters.meters.lock().unwrap().len(), 0);
    }

    /// The timeout for a thread to end; much longer than any of them needs.
    const END_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);
    /// Time for a thread to reach the lock that it waits for. If it is too short, the test finds fewer errors.
    const REACH_LOCK_DELAY: std::time::Duration = std::time::Duration::from_millis(200);

    /// Lets `first` wait for the lock that is `held`. Returns whether `second` ends meanwhile.
    fn ends_while_another_waits<T>(
        held: MutexGuard<'_, T>,
        first: impl FnOnce() + Send,
        second: impl FnOnce() + Send,
    ) -> bool {
        let (ended, is_ended) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(first);
            std::thread::sleep(REACH_LOCK_DELAY);
            scope.spawn(move || {
                second();
                ended.send(())
            });
            let ended = is_ended.recv_timeout(END_TIMEOUT).is_ok();
            drop(held);
            ended
        })
    }

    #[test]
    fn putting_meters_back_blocks_no_other_request() {
        let quota = Some(Quota { limit: 9 });
        let Scene { meters, meter, .. } = Scene::new(None, quota);
        let mut other = key();
        (other.id, other.limits.quota) = (KeyId(2), quota);
        meters.spend(&meter, None, quota, Cost(1), Counted::Local, at(0));
        let taken = meters.take_unsaved(at(0));
        // A request of this key holds its meter, while a request of another key arrives.
        let ended = ends_while_another_waits(
            meter.lock(),
            || meters.keep_unsaved(taken.meters),
            || {
                let meter = meters.meter(&other, at(0)).expect("it has a limit");
                meters.spend(&meter, None, quota, Cost(1), Counted::Local, at(0));
                meters.tidy(0);
            },
        );
        assert!(ended, "a request waits for a lock of a thread that waits for another request");
        assert_eq!(meters.take_unsaved(at(0)).rows.len(), 2);
    }

    #[test]
    fn a_request_that_waits_for_the_list_of_unsaved_meters_holds_no_meter() {
        let quota = Some(Quota { limit: 9 });
        let Scene { meters, meter, .. } = Scene::new(None, quota);
        let ended = ends_while_another_waits(
            meters.unsaved(),
            || {
                meters.spend(&meter, None, quota, Cost(1), Counted::Local, at(0));
            },
            || drop(meter.lock()),
        );
        assert!(ended, "a request holds its meter while it waits for the list");
        assert_eq!(meters.take_unsaved(at(0)).rows.len(), 1);
    }
}
