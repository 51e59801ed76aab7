//! Group commit: concurrent events share one transaction, and each is answered after it.
//!
//! One task writes the events that arrived while it wrote the batch before. No event waits for a batch to fill: a
//! single event gets a transaction of its own, and under load the batches grow.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::reserve::Reserve;
use super::sources::Sources;
use super::watchers::{WatchError, Watcher, Watchers};
use super::{EventLimits, IdempotencyKey, SourceName};
use crate::keys::Pass;
use crate::model::{OrganisationId, UserId};
use crate::runtime::Tenant;
use crate::runtime::batch::{self, Batches, Full, Queue, QueueLimits};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::store::{Batch, Db, NewEvent, Taken};

/// The capacity of the queue, in events: beyond 4096, or 1024 of one organisation, further events get 503 or 429. A
/// transaction takes up to 512 events and 8 MiB of bodies.
const LIMITS: QueueLimits =
    QueueLimits { capacity: 4096, tenant_capacity: 1024, batch: 512, batch_weight: 8 * 1024 * 1024 };

/// An event to store, sent with a valid key.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// The key.
    pub key: &'a Pass,
    /// The source that sends it.
    pub source: SourceName,
    /// The sender's idempotency key, if there is one.
    pub idempotency_key: Option<IdempotencyKey>,
    /// Valid JSON.
    pub body: Bytes,
}

/// The reason why an event was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The database failed, or the queue is full.
    #[error("the event was not taken")]
    Unavailable,
    /// The organisation's share of the queue is full.
    #[error("too many events of the organisation are waiting")]
    TooMany,
    /// The free disk space is reserved for revocations.
    #[error("the disk is almost full")]
    DiskReserve,
    /// The source is new, and its environment has the maximal number of sources, which is given here.
    #[error("the environment has {0} sources")]
    TooManySources(i64),
}

impl From<Full> for Refused {
    fn from(full: Full) -> Self {
        match full {
            Full::Tenant => Self::TooMany,
            Full::Server => Self::Unavailable,
        }
    }
}

struct PendingEvent {
    event: NewEvent,
    source_id: i64,
    answer: oneshot::Sender<Result<Taken, Refused>>,
}

/// The queue of incoming events, and the task that writes them.
#[derive(Debug)]
pub struct Inbox {
    queue: Queue<PendingEvent>,
    watchers: Arc<Watchers>,
    clock: Clock,
    entropy: Entropy,
}

impl Inbox {
    pub(super) fn new(db: Db, clock: Clock, entropy: Entropy, limits: EventLimits) -> Self {
        let (queue, batches) = batch::queue(LIMITS);
        let watchers = Arc::<Watchers>::default();
        let reserve = Reserve::new(db.clone(), clock.clone(), limits.disk_reserve);
        let sources = Sources::new(db.clone(), limits.max_sources);
        tokio::spawn(write(db, batches, Arc::clone(&watchers), reserve, sources));
        Self { queue, watchers, clock, entropy }
    }

    /// Stores an event. On success, the event is on disk.
    ///
    /// # Errors
    /// When the event could not be written.
    pub async fn take(&self, incoming: Incoming<'_>) -> Result<Taken, Refused> {
        let now = self.clock.now();
        let milliseconds = u64::try_from(now.0).unwrap_or_default();
        let event = NewEvent {
            uuid: uuid::Builder::from_unix_timestamp_millis(milliseconds, &self.entropy.bytes()).into_uuid(),
            organisation: incoming.key.place.organisation,
            environment: incoming.key.place.environment,
            source: incoming.source.0,
            key: incoming.key.id,
            idempotency_key: incoming.idempotency_key.map(|key| key.0),
            body: incoming.body,
            received_at: now,
        };
        let (answer, answered) = oneshot::channel();
        let (tenant, bytes) = (Tenant::Organisation(event.organisation), event.body.len());
        self.queue.push(tenant, bytes, PendingEvent { event, source_id: self.entropy.id(), answer })?;
        answered.await.unwrap_or(Err(Refused::Unavailable))
    }

    /// Wakes a person's page at each new event of an organisation, once the event is on disk. An event that repeats an
    /// idempotency key wakes no page.
    ///
    /// # Errors
    /// When too many such pages are open.
    pub fn watch(&self, organisation: OrganisationId, person: UserId) -> Result<Watcher, WatchError> {
        self.watchers.watch(organisation, person)
    }
}

async fn write(
    db: Db,
    mut batches: Batches<PendingEvent>,
    watchers: Arc<Watchers>,
    mut reserve: Reserve,
    mut sources: Sources,
) {
    while let Some(mut pending) = batches.next().await {
        let bytes = pending.iter().map(|pending| pending.event.body.len()).sum();
        if reserve.is_low(bytes) {
            for refused in pending {
                let _ = refused.answer.send(Err(Refused::DiskReserve));
            }
            continue;
        }
        match sources.admit(pending.iter().map(|pending| &pending.event)).await {
            Ok(admitted) => {
                let mut admitted = admitted.into_iter();
                for refused in pending.extract_if(.., |_| !admitted.next().unwrap_or_default()) {
                    let _ = refused.answer.send(Err(Refused::TooManySources(sources.max())));
                }
            }
            Err(error) => {
                tracing::error!(%error, events = pending.len(), "cannot look up event sources; the events get 503");
                for refused in pending {
                    let _ = refused.answer.send(Err(Refused::Unavailable));
                }
                continue;
            }
        }
        if pending.is_empty() {
            continue;
        }
        let (ids, (events, answers)): (Vec<i64>, (Vec<NewEvent>, Vec<_>)) =
            pending.into_iter().map(|pending| (pending.source_id, (pending.event, pending.answer))).unzip();
        let mut batch = Batch::new(events.len());
        while let Some(rows) = batch.next_rows() {
            let stored = db.insert_events(&events[rows.clone()], &ids[rows.clone()]).await;
            batch.settle(rows, stored);
        }
        let stored = batch.outcomes();
        sources.mark_known(events.iter().zip(&stored).filter(|(_, stored)| stored.is_ok()).map(|(event, _)| event));
        let failed = stored.iter().filter(|stored| stored.is_err()).count();
        if let Some(error) = stored.iter().find_map(|stored| stored.as_ref().err()) {
            tracing::error!(%error, events = failed, "cannot write events; they get 503");
        }
        for ((event, answer), stored) in events.into_iter().zip(answers).zip(stored) {
            if stored.as_ref().is_ok_and(|taken| !taken.repeated) {
                watchers.wake(&event);
            }
            // The send fails if the request was dropped meanwhile; the event is stored all the same.
            let _ = answer.send(stored.map_err(|_| Refused::Unavailable));
        }
    }
}
