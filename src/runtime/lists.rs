//! Concurrency limits for searches and lists, shared fairly by tenants.
//!
//! Searches and lists read many rows. The number that run at a time is below the number of database connections, so
//! that checks and single keys always find a connection. A tenant has fewer places than exist. A search takes its place
//! anew for each step, and callers get places in the order in which they asked: a tenant with a thousand searches
//! delays another tenant by one step at most.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tracing_mutex::stdsync::Mutex;

use crate::model::{OrganisationId, UserId};

/// The longest wait of a search or list for a place of its tenant; then it is refused with [`Busy`].
pub const PLACE_TIMEOUT: Duration = Duration::from_secs(5);
/// Tenants in the map: above this number, tenants without a search or list are evicted.
const MAX_TENANTS: usize = 1024;

/// The tenant that a search or list is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tenant {
    /// An organisation.
    Organisation(OrganisationId),
    /// A person, for a list of their own keys across organisations.
    Person(UserId),
}

/// The tenant has as many searches and lists under way as it may, and a place did not become free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many searches and lists of this tenant are under way")]
pub struct Busy;

/// The places for searches and lists.
#[derive(Debug)]
pub struct Lists {
    places: Semaphore,
    places_per_tenant: usize,
    tenants: Mutex<HashMap<Tenant, Arc<Semaphore>>>,
}

/// The right to one search or list.
#[derive(Debug)]
pub struct Admission<'a> {
    places: &'a Semaphore,
    _own: OwnedSemaphorePermit,
}

impl Lists {
    /// Creates the places: `places` steps run at a time, and a tenant has at most `places_per_tenant` searches and
    /// lists under way.
    pub fn new(places: usize, places_per_tenant: usize) -> Self {
        Self { places: Semaphore::new(places), places_per_tenant, tenants: Mutex::default() }
    }

    /// Creates places without a limit, for benchmarks.
    pub fn unbounded() -> Self {
        Self::new(Semaphore::MAX_PERMITS, Semaphore::MAX_PERMITS)
    }

    /// Waits until the tenant has fewer searches and lists under way than it may.
    ///
    /// # Errors
    /// [`Busy`] when that takes longer than [`PLACE_TIMEOUT`].
    pub async fn admit(&self, tenant: Tenant) -> Result<Admission<'_>, Busy> {
        let own = {
            let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            if tenants.len() >= MAX_TENANTS {
                // A search that runs or waits holds the semaphore of its tenant.
                tenants.retain(|_, own| Arc::strong_count(own) > 1);
            }
            let own = tenants.entry(tenant).or_insert_with(|| Arc::new(Semaphore::new(self.places_per_tenant)));
            Arc::clone(own)
        };
        let own =
            tokio::time::timeout(PLACE_TIMEOUT, own.acquire_owned()).await.ok().and_then(Result::ok).ok_or(Busy)?;
        Ok(Admission { places: &self.places, _own: own })
    }
}

impl Admission<'_> {
    /// Waits for a place, which the step holds until it drops the permit. Returns `None` only for a closed semaphore,
    /// and this one is never closed.
    pub async fn step(&self) -> Option<SemaphorePermit<'_>> {
        self.places.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt;

    use super::*;

    const GREEDY: Tenant = Tenant::Organisation(OrganisationId(1));
    const OTHER: Tenant = Tenant::Organisation(OrganisationId(2));

    /// Starts sixteen searches of one tenant, of fifty steps each, and counts the steps.
    fn be_greedy(lists: &Arc<Lists>, steps: &Arc<AtomicUsize>) -> Vec<tokio::task::JoinHandle<()>> {
        let search = |_| {
            let (lists, steps) = (Arc::clone(lists), Arc::clone(steps));
            tokio::spawn(async move {
                let admission = lists.admit(GREEDY).await.unwrap();
                for _ in 0..50 {
                    let place = admission.step().await;
                    steps.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    drop(place);
                }
            })
        };
        (0..16).map(search).collect()
    }

    #[tokio::test]
    async fn a_greedy_tenant_makes_another_one_wait_for_one_step_at_most() {
        for (places, places_per_tenant) in [(2, 1), (8, 4), (1, 1)] {
            let lists = Arc::new(Lists::new(places, places_per_tenant));
            let steps = Arc::new(AtomicUsize::new(0));
            let searches = be_greedy(&lists, &steps);
            while steps.load(Ordering::SeqCst) < 5 {
                tokio::task::yield_now().await;
            }
            for _ in 0..10 {
                let before = steps.load(Ordering::SeqCst);
                let admission = lists.admit(OTHER).await.unwrap();
                let place = admission.step().await;
                let waited = steps.load(Ordering::SeqCst) - before;
                assert!(waited <= places_per_tenant, "{waited} steps of the greedy tenant came first");
                drop(place);
                tokio::task::yield_now().await;
            }
            assert!(searches.iter().any(|search| !search.is_finished()), "the greedy tenant still has searches");
            for search in searches {
                search.await.unwrap();
            }
            assert_eq!(steps.load(Ordering::SeqCst), 16 * 50);
        }
    }

    #[tokio::test]
    async fn as_many_steps_run_at_a_time_as_there_are_places() {
        let lists = Lists::new(2, 2);
        let admissions = [lists.admit(GREEDY).await.unwrap(), lists.admit(OTHER).await.unwrap()];
        let held = [admissions[0].step().await, admissions[1].step().await];
        assert!(held.iter().all(Option::is_some));
        assert!(admissions[1].step().now_or_never().is_none(), "a third step waits");
        drop(held);
        assert!(admissions[1].step().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_search_beyond_the_bound_waits_and_is_refused_in_the_end() {
        let lists = Lists::new(4, 2);
        let held = [lists.admit(GREEDY).await.unwrap(), lists.admit(GREEDY).await.unwrap()];
        assert_eq!(lists.admit(GREEDY).await.unwrap_err(), Busy);
        assert!(lists.admit(OTHER).await.is_ok());
        drop(held);
        assert!(lists.admit(GREEDY).await.is_ok());
    }

    #[tokio::test]
    async fn tenants_without_a_search_are_evicted() {
        let lists = Lists::new(4, 1);
        let _held = lists.admit(GREEDY).await.unwrap();
        for id in 10..10_000 {
            lists.admit(Tenant::Organisation(OrganisationId(id))).await.unwrap();
        }
        let tenants = lists.tenants.lock().unwrap();
        assert!(tenants.len() <= MAX_TENANTS && tenants.contains_key(&GREEDY));
    }
}
