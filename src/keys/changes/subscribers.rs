//! Broadcasts key changes, in commit order, to clients that cache keys (`GET /v1/revocations`).
//!
//! Each stream has a queue of its own, and gets the changes of its organisation only. A stream is told where it
//! resumes from the change log in the database, a few changes at a time: so nothing is kept in memory for streams that
//! do not exist yet, and any node can resume a stream of another.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing_mutex::stdsync::{Mutex, MutexGuard};

use crate::keys::{Core, Keys};
use crate::model::OrganisationId;
use crate::store::{Change, OrganisationEnd, StoreError};

/// Changes that wait for one stream: one that is further behind reads the change log instead.
const QUEUE_CAPACITY: usize = 256;
/// Changes of which it is known whom they were told; of older ones nobody waits any more.
const TOLD_CAPACITY: usize = 1024;
/// How often it is asked whether streams have taken a change: half of the times at once, then each millisecond.
const TAKEN_ATTEMPTS: u32 = 40;
/// Changes that a stream reads from the log at once.
const PAGE: i64 = 100;
/// Streams of this server: further ones get 503, so that they never take all of its connections.
const MAX_STREAMS: usize = 1000;
/// Streams of one organisation on this server: further ones get 429. Twenty organisations can be as greedy as they
/// like before another one gets a 503.
const MAX_STREAMS_OF_ORGANISATION: usize = 50;

/// The id of a change as subscribers see it. It tells nothing about other organisations, and is good on every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeId {
    history: i64,
    token: i64,
    number: i64,
}

impl ChangeId {
    fn of(history: i64, change: &Change) -> Self {
        Self { history, token: change.token, number: change.organisation_number }
    }
}

impl From<OrganisationEnd> for ChangeId {
    fn from(end: OrganisationEnd) -> Self {
        Self { history: end.history, token: end.token, number: end.number }
    }
}

/// `HISTORY-TOKEN-NUMBER`; the first two are 16 hex digits.
impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}-{}", self.history, self.token, self.number)
    }
}

/// A text that is no id of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoChangeId;

impl FromStr for ChangeId {
    type Err = NoChangeId;

    fn from_str(text: &str) -> Result<Self, NoChangeId> {
        let mut parts = text.splitn(3, '-');
        let mut bits = || u64::from_str_radix(parts.next()?, 16).ok().map(u64::cast_signed);
        let (history, token) = (bits().ok_or(NoChangeId)?, bits().ok_or(NoChangeId)?);
        let number = parts.next().and_then(|number| number.parse().ok()).ok_or(NoChangeId)?;
        Ok(Self { history, token, number })
    }
}

/// Where a subscriber begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what changes from now on.
    Now,
    /// After this change.
    After(ChangeId),
    /// Something may have been missed, and nobody knows what.
    Unknown,
}

/// What a subscriber is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// A key has changed or ended.
    Changed(Change),
    /// Something may have been missed: everything that is cached has to be dropped.
    Reset,
}

/// Why there is no subscription.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The organisation has as many as it may have.
    #[error("the organisation has {MAX_STREAMS_OF_ORGANISATION} streams of changes on this server already")]
    OrganisationIsFull,
    /// The server has as many as it can have.
    #[error("this server has {MAX_STREAMS} streams of changes already")]
    ServerIsFull,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Default)]
struct Streams {
    organisations: HashMap<OrganisationId, OfOrganisation>,
    /// How many there are in all.
    count: usize,
    /// How often all were told to reset.
    resets: u64,
    /// The last changes that were told to anyone, by their numbers in the whole log.
    told: VecDeque<(i64, OrganisationId)>,
}

#[derive(Debug, Default)]
struct OfOrganisation {
    /// How many streams there are, those included that have no queue at the moment.
    count: usize,
    queues: Vec<mpsc::Sender<Change>>,
}

/// The queues of all streams of this server.
#[derive(Debug, Default)]
pub(in crate::keys) struct Feed(Mutex<Streams>);

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a change to the queues of its organisation's streams.
    pub(in crate::keys) fn tell(&self, change: Change) {
        let mut streams = self.lock();
        let Some(of_organisation) = streams.organisations.get_mut(&change.organisation) else { return };
        // One without room has its queue closed: at its end, the stream goes on in the log.
        of_organisation.queues.retain(|queue| queue.try_send(change).is_ok());
        if streams.told.len() == TOLD_CAPACITY {
            streams.told.pop_front();
        }
        streams.told.push_back((change.number, change.organisation));
    }

    /// Waits until the streams that were told a change have taken it out of their queues, but not for long: one whose
    /// client does not read never does.
    pub(in crate::keys) async fn taken(&self, number: i64) {
        let is_waiting = || {
            let streams = self.lock();
            let told = streams.told.iter().rev().find(|(told, _)| *told == number);
            let of_organisation = told.and_then(|(_, organisation)| streams.organisations.get(organisation));
            of_organisation.is_some_and(|of| of.queues.iter().any(|queue| queue.capacity() < QUEUE_CAPACITY))
        };
        for attempt in 0..TAKEN_ATTEMPTS {
            if !is_waiting() {
                return;
            }
            if attempt < TAKEN_ATTEMPTS / 2 {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Closes all queues: nobody knows what was missed.
    pub(in crate::keys) fn reset(&self) {
        let mut streams = self.lock();
        streams.resets += 1;
        streams.organisations.values_mut().for_each(|of_organisation| of_organisation.queues.clear());
    }

    /// A place for a stream of an organisation, as long as it is held.
    fn take_place(self: &Arc<Self>, organisation: OrganisationId) -> Result<Place, SubscribeError> {
        let mut streams = self.lock();
        if streams.organisations.get(&organisation).is_some_and(|of| of.count >= MAX_STREAMS_OF_ORGANISATION) {
            return Err(SubscribeError::OrganisationIsFull);
        }
        if streams.count >= MAX_STREAMS {
            return Err(SubscribeError::ServerIsFull);
        }
        streams.count += 1;
        streams.organisations.entry(organisation).or_default().count += 1;
        Ok(Place { feed: Arc::clone(self), organisation })
    }
}

/// A stream's place among those of its organisation.
#[derive(Debug)]
struct Place {
    feed: Arc<Feed>,
    organisation: OrganisationId,
}

impl Place {
    /// A new queue, which gets what is told from now on, and how often all queues were reset before.
    fn open_queue(&self) -> (mpsc::Receiver<Change>, u64) {
        let (sender, queue) = mpsc::channel(QUEUE_CAPACITY);
        let mut streams = self.feed.lock();
        streams.organisations.entry(self.organisation).or_default().queues.push(sender);
        (queue, streams.resets)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.feed.lock();
        streams.count -= 1;
        if let Some(of_organisation) = streams.organisations.get_mut(&self.organisation) {
            of_organisation.count -= 1;
            of_organisation.queues.retain(|queue| !queue.is_closed());
            if of_organisation.count == 0 {
                streams.organisations.remove(&self.organisation);
            }
        }
    }
}

/// A stream of an organisation's changes, each once and in their order.
///
/// While it [is behind](Self::is_behind), what comes next is not in its queue: [`catch_up`](Self::catch_up) brings it.
#[derive(Debug)]
pub struct Subscription {
    // Closed before its place is given back.
    queue: mpsc::Receiver<Change>,
    place: Place,
    core: Arc<Core>,
    /// How often all streams had been reset when the queue was opened.
    resets: u64,
    is_closed: bool,
    /// What the subscriber has been told last.
    at: ChangeId,
    must_reset: bool,
    /// Changes up to here come from the log, later ones from the queue.
    end: OrganisationEnd,
    page: VecDeque<Change>,
}

impl Keys {
    /// Subscribes to the changes of an organisation's keys.
    ///
    /// # Errors
    /// When there are too many subscribers, or the database fails.
    pub async fn subscribe(&self, organisation: OrganisationId, start: Start) -> Result<Subscription, SubscribeError> {
        let place = self.core.feed.take_place(organisation)?;
        let (queue, resets) = place.open_queue();
        let end = self.core.db.changes_end_of(organisation).await?;
        let mut subscription = Subscription {
            queue,
            place,
            core: Arc::clone(&self.core),
            resets,
            is_closed: false,
            at: end.into(),
            must_reset: false,
            end,
            page: VecDeque::new(),
        };
        subscription.begin(start, end).await?;
        Ok(subscription)
    }
}

impl Subscription {
    /// The id of what the subscriber has been told last: everything up to it, and nothing else.
    pub fn at(&self) -> ChangeId {
        self.at
    }

    /// Whether there is something that the queue does not have.
    pub fn is_behind(&self) -> bool {
        self.is_closed || self.must_reset || self.at.number < self.end.number
    }

    /// The next thing to tell while this is behind; `None` when there is nothing more than what the queue has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn catch_up(&mut self) -> Result<Option<Told>, StoreError> {
        if self.is_closed {
            self.reopen().await?;
        }
        if std::mem::take(&mut self.must_reset) {
            return Ok(Some(Told::Reset));
        }
        if self.at.number >= self.end.number {
            return Ok(None);
        }
        let organisation = self.place.organisation;
        if self.page.is_empty() {
            self.page = self.core.db.changes_of(organisation, self.at.number, self.end.last, PAGE).await?.into();
        }
        match self.page.pop_front() {
            Some(change) if change.organisation_number == self.at.number + 1 => Ok(Some(self.advance(change))),
            // Changes that were not read yet have been deleted meanwhile, because they are old.
            _ => {
                let end = self.core.db.changes_end_of(organisation).await?;
                self.begin(Start::Unknown, end).await?;
                self.must_reset = false;
                Ok(Some(Told::Reset))
            }
        }
    }

    /// The next change, as soon as there is one; `None` when this has fallen behind. Nothing is lost when the caller
    /// stops waiting.
    pub async fn changed(&mut self) -> Option<Told> {
        loop {
            match self.queue.recv().await {
                Some(change) if change.number <= self.end.last => {}
                Some(change) if change.organisation_number == self.at.number + 1 => return Some(self.advance(change)),
                _ => {
                    self.is_closed = true;
                    return None;
                }
            }
        }
    }

    fn advance(&mut self, change: Change) -> Told {
        self.at = ChangeId::of(self.at.history, &change);
        Told::Changed(change)
    }

    /// Goes on with another queue.
    async fn reopen(&mut self) -> Result<(), StoreError> {
        let (queue, resets) = self.place.open_queue();
        let start = if resets == self.resets { Start::After(self.at) } else { Start::Unknown };
        let end = self.core.db.changes_end_of(self.place.organisation).await?;
        self.begin(start, end).await?;
        (self.queue, self.resets, self.is_closed) = (queue, resets, false);
        Ok(())
    }

    /// Finds where the subscriber is in the log, which ends there. The queue was opened before the end was read: so
    /// each later change is in it.
    async fn begin(&mut self, start: Start, end: OrganisationEnd) -> Result<(), StoreError> {
        let organisation = self.place.organisation;
        let resumed = match start {
            Start::Now => Some(end.into()),
            Start::Unknown => None,
            Start::After(id) if id == end.into() => Some(id),
            Start::After(id) if id.history != end.history || id.number >= end.number => None,
            Start::After(id) => {
                // Before its first change an organisation has no token.
                let is_known = if id.number == 0 {
                    let first = self.core.db.changes_of(organisation, 0, end.last, 1).await?;
                    first.first().is_some_and(|first| first.organisation_number == 1)
                } else {
                    self.core.db.has_change(organisation, id.number, id.token).await?
                };
                is_known.then_some(id)
            }
        };
        self.at = resumed.unwrap_or(end.into());
        self.must_reset = resumed.is_none();
        self.end = end;
        self.page.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::PlainKey;
    use crate::model::{KeyId, Mode};
    use crate::runtime::entropy::Entropy;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = ChangeId { history: -2, token: i64::MIN, number: 17 };
        assert_eq!(id.to_string(), "fffffffffffffffe-8000000000000000-17");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "x", "1-2", "1-2-", "1-2-3-4", "-1--2-3", "00000000000000ff-1", "1-2-x"] {
            assert_eq!(text.parse::<ChangeId>(), Err(NoChangeId), "{text}");
        }
    }

    #[test]
    fn a_stream_that_does_not_read_has_a_bounded_queue() {
        let feed = Arc::new(Feed::default());
        let place = feed.take_place(OrganisationId(1)).expect("a place");
        let (mut queue, _) = place.open_queue();
        let hash = PlainKey::hookstream(Mode::Live, &Entropy::seeded(1)).hash();
        for number in 1..=1000 {
            let (organisation, key) = (OrganisationId(1), KeyId(1));
            let of = Change {
                number,
                organisation,
                organisation_number: number,
                key,
                hash,
                revoked: false,
                token: 7,
                previous: 7,
            };
            feed.tell(of);
        }
        let mut told = 0;
        while queue.try_recv().is_ok() {
            told += 1;
        }
        assert_eq!(told, QUEUE_CAPACITY);
        assert!(queue.is_closed(), "it goes on in the log");
    }

    #[test]
    fn an_organisation_takes_its_own_places_and_no_others() {
        let feed = Arc::new(Feed::default());
        let take = |organisation| feed.take_place(OrganisationId(organisation));
        let mut places: Vec<Place> = (0..MAX_STREAMS_OF_ORGANISATION).map(|_| take(1).expect("a place")).collect();
        assert!(matches!(take(1), Err(SubscribeError::OrganisationIsFull)));
        places.pop();
        places.push(take(1).expect("the place that was given back"));
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
        let streams = feed.lock();
        assert!(streams.count == 0 && streams.organisations.is_empty());
    }
}
