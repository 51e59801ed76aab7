//! The queue of requests that are processed in batches: new keys, events, look-ups of keys and of sessions.
//!
//! The worker takes a batch as soon as it is free, with all requests that arrived meanwhile. Without load, a request
//! has a batch of its own; under load, batches grow. Tenants take turns within a batch, and each has a share of the
//! queue, so that a tenant with many requests fills neither the queue nor the batches of the others.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};

use tokio::sync::{Notify, Semaphore};
use tracing_mutex::stdsync::{Mutex, MutexGuard};

use super::Tenant;

/// The limits of a queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Pending requests: further ones get [`Full::Server`].
    pub capacity: usize,
    /// Pending requests of one tenant: its further ones get [`Full::Tenant`].
    pub tenant_capacity: usize,
    /// Requests in one batch.
    pub batch: usize,
    /// The weight after which no further request is added to a batch.
    pub batch_weight: usize,
}

/// The reason why a request was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The tenant has used its share of the queue.
    #[error("too many requests of this tenant are waiting")]
    Tenant,
    /// All tenants together have filled the queue, or its worker has ended.
    #[error("too many requests are waiting")]
    Server,
}

/// Creates a queue.
pub fn queue<T>(limits: QueueLimits) -> (Queue<T>, Batches<T>) {
    let state = State { limits, tenants: HashMap::new(), turns: VecDeque::new(), pending: 0, is_closed: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), arrived: Notify::new() });
    (Queue(Arc::clone(&shared)), Batches(shared))
}

/// The sending end of a queue. Dropping it ends the worker.
pub struct Queue<T>(Arc<Shared<T>>);

/// The receiving end of a queue. Dropping it drops the pending requests.
pub struct Batches<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    arrived: Notify,
}

struct State<T> {
    limits: QueueLimits,
    /// The pending requests of each tenant, oldest first, with their weights.
    tenants: HashMap<Tenant, VecDeque<(usize, T)>>,
    /// The tenants with pending requests, in the order of their next turns.
    turns: VecDeque<Tenant>,
    pending: usize,
    is_closed: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn push(&mut self, tenant: Tenant, weight: usize, request: T) -> Result<(), Full> {
        if self.is_closed || self.pending >= self.limits.capacity {
            return Err(Full::Server);
        }
        let own = self.tenants.entry(tenant).or_default();
        if own.len() >= self.limits.tenant_capacity {
            return Err(Full::Tenant);
        }
        if own.is_empty() {
            self.turns.push_back(tenant);
        }
        own.push_back((weight, request));
        self.pending += 1;
        Ok(())
    }

    fn take(&mut self) -> Vec<T> {
        let mut batch = Vec::new();
        let mut weight = 0;
        while batch.len() < self.limits.batch
            && weight < self.limits.batch_weight
            && let Some(tenant) = self.turns.pop_front()
        {
            let Some(own) = self.tenants.get_mut(&tenant) else { continue };
            if let Some((of_request, request)) = own.pop_front() {
                weight += of_request;
                batch.push(request);
                self.pending -= 1;
            }
            if own.is_empty() {
                self.tenants.remove(&tenant);
            } else {
                self.turns.push_back(tenant);
            }
        }
        batch
    }
}

impl<T> Queue<T> {
    /// Queues a request of a tenant. `weight` is its share of [`QueueLimits::batch_weight`].
    ///
    /// # Errors
    /// [`Full`] when the queue or the share of the tenant is full.
    pub fn push(&self, tenant: Tenant, weight: usize, request: T) -> Result<(), Full> {
        self.0.lock().push(tenant, weight, request)?;
        self.0.arrived.notify_one();
        Ok(())
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.arrived.notify_one();
    }
}

impl<T> Drop for Batches<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        // Drops the requests outside the lock: a destructor of a request may use the queue.
        let dropped = std::mem::take(&mut state.tenants);
        drop(state);
        drop(dropped);
    }
}

impl<T> std::fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.0.lock().pending).finish_non_exhaustive()
    }
}

impl<T> Batches<T> {
    /// Waits for requests and takes the next batch; `None` when the queue is closed and empty.
    pub async fn next(&mut self) -> Option<Vec<T>> {
        loop {
            {
                let mut state = self.0.lock();
                let batch = state.take();
                if !batch.is_empty() {
                    return Some(batch);
                }
                if state.is_closed {
                    return None;
                }
            }
            self.0.arrived.notified().await;
        }
    }

    /// Processes batches until the queue is closed, at most `at_once` at a time. A batch is taken only when a slot is
    /// free, so that requests wait in the queue, where tenants take turns.
    pub async fn work<F>(mut self, at_once: usize, work: impl Fn(Vec<T>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(at_once));
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await
            && let Some(batch) = self.next().await
        {
            let working = work(batch);
            tokio::spawn(async move {
                working.await;
                drop(slot);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OrganisationId;

    const LIMITS: QueueLimits = QueueLimits { capacity: 100, tenant_capacity: 40, batch: 10, batch_weight: 1_000 };

    fn tenant(id: i64) -> Tenant {
        Tenant::Organisation(OrganisationId(id))
    }

    /// A tenant, and the number of its request.
    type Numbered = (i64, usize);

    fn filled(tenants: &[(i64, usize)]) -> (Queue<Numbered>, Batches<Numbered>) {
        let (queue, batches) = queue(LIMITS);
        for (id, requests) in tenants {
            for number in 0..*requests {
                let _ = queue.push(tenant(*id), 1, (*id, number));
            }
        }
        (queue, batches)
    }

    #[test]
    fn a_greedy_tenant_leaves_room_for_others() {
        let (queue, _batches) = filled(&[(1, 40)]);
        assert_eq!(queue.push(tenant(1), 1, (1, 40)), Err(Full::Tenant));
        assert_eq!(queue.push(tenant(2), 1, (2, 0)), Ok(()));
        let (queue, _batches) = filled(&[(1, 40), (2, 40), (3, 40)]);
        assert_eq!(queue.push(tenant(4), 1, (4, 0)), Err(Full::Server));
    }

    #[tokio::test]
    async fn a_newcomer_behind_a_greedy_tenant_is_in_the_next_batch() {
        let (queue, mut batches) = filled(&[(1, 40)]);
        let first = batches.next().await.expect("a batch");
        assert_eq!(first, (0..10).map(|number| (1, number)).collect::<Vec<_>>());
        queue.push(tenant(2), 1, (2, 0)).expect("room");
        let second = batches.next().await.expect("a batch");
        assert_eq!(second.iter().filter(|(id, _)| *id == 2).count(), 1, "{second:?}");
        assert_eq!(second.len(), 10);
    }

    #[tokio::test]
    async fn tenants_share_a_batch_and_keep_the_order_of_their_requests() {
        let (_queue, mut batches) = filled(&[(1, 40), (2, 3), (3, 20)]);
        let batch = batches.next().await.expect("a batch");
        assert_eq!(batch, [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (3, 2), (1, 3)]);
    }

    #[tokio::test]
    async fn a_batch_ends_with_the_request_that_reaches_its_weight() {
        let (queue, mut batches) = queue(LIMITS);
        for number in 0..4 {
            queue.push(tenant(1), 400, number).expect("room");
        }
        assert_eq!(batches.next().await, Some(vec![0, 1, 2]));
        assert_eq!(batches.next().await, Some(vec![3]));
    }

    #[tokio::test]
    async fn a_closed_queue_hands_out_its_remaining_requests_and_ends() {
        let (queue, mut batches) = filled(&[(1, 2)]);
        drop(queue);
        assert_eq!(batches.next().await.map(|batch| batch.len()), Some(2));
        assert_eq!(batches.next().await, None);
        let (queue, batches) = filled(&[(1, 1)]);
        drop(batches);
        assert_eq!(queue.push(tenant(1), 1, (1, 1)), Err(Full::Server));
    }

    #[tokio::test(start_paused = true)]
    async fn batches_are_taken_when_a_slot_is_free() {
        let (queue, batches) = queue(QueueLimits { batch: 1, ..LIMITS });
        let queue = Arc::new(queue);
        let (max_running, now) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
        for number in 0..9 {
            queue.push(tenant(number), 1, ()).expect("room");
        }
        drop(queue);
        let (seen, running) = (Arc::clone(&max_running), Arc::clone(&now));
        batches
            .work(2, move |_| {
                let (seen, running) = (Arc::clone(&seen), Arc::clone(&running));
                async move {
                    let at_once = {
                        let mut running = running.lock().unwrap();
                        *running += 1;
                        *running
                    };
                    {
                        let mut seen = seen.lock().unwrap();
                        *seen = at_once.max(*seen);
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                    *running.lock().unwrap() -= 1;
                }
            })
            .await;
        assert_eq!(*max_running.lock().unwrap(), 2);
    }
}
