//! Grouped commits: many small requests share one write to disk, and none is answered before it.
//!
//! One task takes whatever has come while it wrote the last group. Nobody waits for a group to fill:
//! alone, a request has a transaction of its own; under load, groups grow by themselves.

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
use crate::runtime::batch::{self, Batches, Full, Limits, Queue};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::store::{Batch, Db, NewEvent, Taken};

/// Events that wait for a transaction, in all and of one organisation, and those of one transaction, whose weight is the
/// bytes of their bodies.
const LIMITS: Limits = Limits { capacity: 4096, tenant_capacity: 1024, batch: 512, batch_weight: 8 * 1024 * 1024 };

/// An event that a key let in.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// The key.
    pub key: &'a Pass,
    /// What sends it.
    pub source: SourceName,
    /// What the sender recognises it by.
    pub idempotency_key: Option<IdempotencyKey>,
    /// JSON, checked.
    pub body: Bytes,
}

/// Why an event was not taken. Nothing of it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The database failed, or events of all organisations fill the queue.
    #[error("the event was not taken")]
    Unavailable,
    /// Events of this organisation fill its share of the queue.
    #[error("too many events of the organisation are waiting")]
    TooMany,
    /// The rest of the disk is kept for revocations.
    #[error("the disk is almost full")]
    DiskReserve,
    /// The source is new, and its environment has this many, which is the most that it may have.
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

struct Waiting {
    event: NewEvent,
    source_id: i64,
    answer: oneshot::Sender<Result<Taken, Refused>>,
}

/// Where events come in.
#[derive(Debug)]
pub struct Inbox {
    queue: Queue<Waiting>,
    watchers: Arc<Watchers>,
    clock: Clock,
    entropy: Entropy,
}

impl Inbox {
    pub(super) fn new(db: Db, clock: Clock, entropy: Entropy, limits: EventLimits) -> Self {
        let (queue, waiting) = batch::queue(LIMITS);
        let watchers = Arc::<Watchers>::default();
        let reserve = Reserve::new(db.clone(), clock.clone(), limits.disk_reserve);
        let sources = Sources::new(db.clone(), limits.max_sources);
        tokio::spawn(write(db, waiting, Arc::clone(&watchers), reserve, sources));
        Self { queue, watchers, clock, entropy }
    }

    /// Takes an event. When this answers with success, the event is on disk.
    ///
    /// # Errors
    /// When it could not be written.
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
        self.queue.push(tenant, bytes, Waiting { event, source_id: self.entropy.id(), answer })?;
        answered.await.unwrap_or(Err(Refused::Unavailable))
    }

    /// Wakes a person's page at every event of an organisation from now on, once it is on disk, without repetitions.
    ///
    /// # Errors
    /// When there are too many such pages.
    pub fn watch(&self, organisation: OrganisationId, person: UserId) -> Result<Watcher, WatchError> {
        self.watchers.watch(organisation, person)
    }
}

async fn write(
    db: Db,
    mut waiting: Batches<Waiting>,
    watchers: Arc<Watchers>,
    mut reserve: Reserve,
    mut sources: Sources,
) {
    while let Some(mut group) = waiting.next().await {
        let bytes = group.iter().map(|waiting| waiting.event.body.len()).sum();
        if reserve.is_low(bytes) {
            for waiting in group {
                let _ = waiting.answer.send(Err(Refused::DiskReserve));
            }
            continue;
        }
        match sources.admit(group.iter().map(|waiting| &waiting.event)).await {
            Ok(admitted) => {
                let mut admitted = admitted.into_iter();
                for waiting in group.extract_if(.., |_| !admitted.next().unwrap_or_default()) {
                    let _ = waiting.answer.send(Err(Refused::TooManySources(sources.most())));
                }
            }
            Err(error) => {
                tracing::error!(%error, events = group.len(), "cannot look up the sources of events; they are refused");
                for waiting in group {
                    let _ = waiting.answer.send(Err(Refused::Unavailable));
                }
                continue;
            }
        }
        if group.is_empty() {
            continue;
        }
        let (ids, (events, answers)): (Vec<i64>, (Vec<NewEvent>, Vec<_>)) =
            group.into_iter().map(|waiting| (waiting.source_id, (waiting.event, waiting.answer))).unzip();
        let mut batch = Batch::new(events.len());
        while let Some(rows) = batch.next_rows() {
            let stored = db.insert_events(&events[rows.clone()], &ids[rows.clone()]).await;
            batch.settle(rows, stored);
        }
        let stored = batch.outcomes();
        sources.are_there(events.iter().zip(&stored).filter(|(_, stored)| stored.is_ok()).map(|(event, _)| event));
        let failed = stored.iter().filter(|stored| stored.is_err()).count();
        if let Some(error) = stored.iter().find_map(|stored| stored.as_ref().err()) {
            tracing::error!(%error, events = failed, "events could not be written");
        }
        for ((event, answer), stored) in events.into_iter().zip(answers).zip(stored) {
            if stored.as_ref().is_ok_and(|taken| !taken.repeated) {
                watchers.wake(&event);
            }
            // Whoever does not wait any more finds the event all the same.
            let _ = answer.send(stored.map_err(|_| Refused::Unavailable));
        }
    }
}
