//! Broadcasts key changes, in commit order, to clients that cache keys (`GET /v1/revocations`).
//!
//! Each stream has a queue of its own, and gets the changes of its organisation only. A stream that resumes reads the
//! change log in the database, page by page. So no memory is used for streams that are not connected, and any node can
//! resume a stream of another node.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing_mutex::stdsync::{Mutex, MutexGuard};

use crate::model::OrganisationId;
use crate::store::{Change, StoreError};

/// Changes in the queue of one stream: a stream that is further behind reads the change log instead.
const QUEUE_CAPACITY: usize = 256;
/// Recent changes in memory with their organisation; no request waits for the delivery of older changes.
const BROADCAST_CAPACITY: usize = 1024;
/// Attempts to see that streams have taken a change: half of them without a pause, then one each millisecond.
const DELIVERY_ATTEMPTS: u32 = 40;
/// Streams on this server: further ones get 503, so that streams never take all of its connections.
const MAX_STREAMS: usize = 1000;
/// Streams of one organisation on this server: further ones get 429. Other organisations get 503 only once twenty
/// organisations use all of theirs.
const MAX_STREAMS_OF_ORGANISATION: usize = 50;

/// The reason why a subscription failed.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The organisation has the maximal number of streams.
    #[error("the organisation has {MAX_STREAMS_OF_ORGANISATION} streams of changes on this server already")]
    OrganisationIsFull,
    /// The server has the maximal number of streams.
    #[error("this server has {MAX_STREAMS} streams of changes already")]
    ServerIsFull,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Default)]
struct Streams {
    organisations: HashMap<OrganisationId, OrganisationStreams>,
    /// The number of streams of all organisations.
    count: usize,
    /// The number of resets of all streams.
    resets: u64,
    /// The last changes that were broadcast, by their numbers in the whole log.
    broadcast: VecDeque<(i64, OrganisationId)>,
}

#[derive(Debug, Default)]
struct OrganisationStreams {
    /// The number of streams, including streams without a queue.
    count: usize,
    queues: Vec<mpsc::Sender<Change>>,
}

/// The queues of all streams of this server.
#[derive(Debug, Default)]
pub(super) struct Subscribers(Mutex<Streams>);

impl Subscribers {
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a change to the queues of its organisation's streams.
    pub(super) fn broadcast(&self, change: Change) {
        let mut streams = self.lock();
        let Some(organisation) = streams.organisations.get_mut(&change.organisation) else { return };
        // A full queue is closed: at its end, the stream continues in the log.
        organisation.queues.retain(|queue| queue.try_send(change).is_ok());
        if streams.broadcast.len() == BROADCAST_CAPACITY {
            streams.broadcast.pop_front();
        }
        streams.broadcast.push_back((change.number, change.organisation));
    }

    /// Waits until the streams have taken a change from their queues, for about 20 ms at most: a client may never read.
    pub(super) async fn delivered(&self, number: i64) {
        let is_waiting = || {
            let streams = self.lock();
            let broadcast = streams.broadcast.iter().rev().find(|(broadcast, _)| *broadcast == number);
            let organisation = broadcast.and_then(|(_, organisation)| streams.organisations.get(organisation));
            organisation.is_some_and(|streams| streams.queues.iter().any(|queue| queue.capacity() < QUEUE_CAPACITY))
        };
        for attempt in 0..DELIVERY_ATTEMPTS {
            if !is_waiting() {
                return;
            }
            if attempt < DELIVERY_ATTEMPTS / 2 {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Closes all queues, because changes may have been missed.
    pub(super) fn reset(&self) {
        let mut streams = self.lock();
        streams.resets += 1;
        streams.organisations.values_mut().for_each(|organisation| organisation.queues.clear());
    }

    /// Reserves a place for a stream of an organisation.
    pub(super) fn take_place(self: &Arc<Self>, organisation: OrganisationId) -> Result<StreamSlot, SubscribeError> {
        let mut streams = self.lock();
        if streams.organisations.get(&organisation).is_some_and(|of| of.count >= MAX_STREAMS_OF_ORGANISATION) {
            return Err(SubscribeError::OrganisationIsFull);
        }
        if streams.count >= MAX_STREAMS {
            return Err(SubscribeError::ServerIsFull);
        }
        streams.count += 1;
        streams.organisations.entry(organisation).or_default().count += 1;
        Ok(StreamSlot { subscribers: Arc::clone(self), organisation })
    }
}

/// A stream's place among the streams of its organisation, released when it is dropped.
#[derive(Debug)]
pub(super) struct StreamSlot {
    subscribers: Arc<Subscribers>,
    pub(super) organisation: OrganisationId,
}

impl StreamSlot {
    /// Opens a queue, which gets the changes that are broadcast from now on. Returns also the number of earlier resets.
    pub(super) fn open_queue(&self) -> (mpsc::Receiver<Change>, u64) {
        let (sender, queue) = mpsc::channel(QUEUE_CAPACITY);
        let mut streams = self.subscribers.lock();
        streams.organisations.entry(self.organisation).or_default().queues.push(sender);
        (queue, streams.resets)
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut streams = self.subscribers.lock();
        streams.count -= 1;
        if let Some(organisation) = streams.organisations.get_mut(&self.organisation) {
            organisation.count -= 1;
            organisation.queues.retain(|queue| !queue.is_closed());
            if organisation.count == 0 {
                streams.organisations.remove(&self.organisation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::PlainKey;
    use crate::model::{KeyId, Mode};
    use crate::runtime::entropy::Entropy;

    #[test]
    fn a_stream_that_does_not_read_has_a_bounded_queue() {
        let subscribers = Arc::new(Subscribers::default());
        let place = subscribers.take_place(OrganisationId(1)).expect("a place");
        let (mut queue, _) = place.open_queue();
        let hash = PlainKey::hookstream(Mode::Live, &Entropy::seeded(1)).hash();
        for number in 1..=1000 {
            let (organisation, key) = (OrganisationId(1), KeyId(1));
            let change = Change {
                number,
                organisation,
                organisation_number: number,
                key,
                hash,
                revoked: false,
                token: 7,
                previous: 7,
            };
            subscribers.broadcast(change);
        }
        let mut queued = 0;
        while queue.try_recv().is_ok() {
            queued += 1;
        }
        assert_eq!(queued, QUEUE_CAPACITY);
        assert!(queue.is_closed(), "the stream continues in the log");
    }

    #[test]
    fn the_streams_of_an_organisation_and_of_the_server_are_limited() {
        let subscribers = Arc::new(Subscribers::default());
        let take = |organisation| subscribers.take_place(OrganisationId(organisation));
        let mut places: Vec<StreamSlot> = (0..MAX_STREAMS_OF_ORGANISATION).map(|_| take(1).expect("a place")).collect();
        assert!(matches!(take(1), Err(SubscribeError::OrganisationIsFull)));
        places.pop();
        places.push(take(1).expect("the released place"));
        places.push(take(2).expect("another organisation's"));
        for organisation in 3.. {
            match take(organisation) {
                Ok(place) => places.push(place),
                Err(error) => {
                    assert!(matches!(error, SubscribeError::ServerIsFull));
                    break;
                }
            }
        }
        assert_eq!(places.len(), MAX_STREAMS);
        drop(places);
        let streams = subscribers.lock();
        assert!(streams.count == 0 && streams.organisations.is_empty());
    }
}
