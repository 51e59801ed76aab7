//! Wakes the pages that show an organisation's events live.
//!
//! A page is woken by events of its own organisation only, and reads the new events from the database. The number of
//! pages is limited for each person and each organisation, below the limit of the server.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use tokio::sync::mpsc;
use tracing_mutex::stdsync::{Mutex, MutexGuard};

use crate::model::{KeyId, OrganisationId, UserId};
use crate::store::NewEvent;

/// Pages on this server: further ones get 503, so that pages never take all of its connections.
const MAX_PAGES: usize = 500;
/// Pages of one organisation on this server: further ones get 429.
const MAX_PAGES_OF_ORGANISATION: usize = 50;
/// Pages of one person on this server: further ones get 429. More than the tabs that a person reads.
const MAX_PAGES_OF_PERSON: usize = 20;
/// Events that are queued for one page. Further ones are dropped: a page with a full queue is about to read anyway.
const QUEUE_CAPACITY: usize = 16;

/// A notification of a new event.
#[derive(Debug)]
pub struct Arrival {
    /// The source of the event.
    pub source: String,
    /// The key that the event was sent with.
    pub key: KeyId,
}

/// The reason why a page cannot watch events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The person has the maximal number of pages open.
    #[error("you have {MAX_PAGES_OF_PERSON} pages open that show live events")]
    PersonIsFull,
    /// The organisation has the maximal number of pages open.
    #[error("the organisation has {MAX_PAGES_OF_ORGANISATION} pages open that show live events")]
    OrganisationIsFull,
    /// The server has the maximal number of pages open.
    #[error("this server has {MAX_PAGES} pages open that show live events")]
    ServerIsFull,
}

#[derive(Debug, Default)]
struct Pages {
    queues: HashMap<OrganisationId, Vec<mpsc::Sender<Arc<Arrival>>>>,
    of_people: HashMap<UserId, usize>,
    count: usize,
}

/// The pages on this server that watch events.
#[derive(Debug, Default)]
pub(super) struct Watchers(Mutex<Pages>);

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the pages of an event's organisation.
    pub(super) fn wake(&self, event: &NewEvent) {
        let pages = self.lock();
        let Some(queues) = pages.queues.get(&event.organisation) else { return };
        let arrival = Arc::new(Arrival { source: event.source.clone(), key: event.key });
        for queue in queues {
            // A page that was closed removes its queue when its `Watcher` is dropped.
            let _ = queue.try_send(Arc::clone(&arrival));
        }
    }

    /// Registers a page, which is woken from now on.
    pub(super) fn watch(self: &Arc<Self>, organisation: OrganisationId, person: UserId) -> Result<Watcher, WatchError> {
        let mut pages = self.lock();
        if pages.of_people.get(&person).is_some_and(|count| *count >= MAX_PAGES_OF_PERSON) {
            return Err(WatchError::PersonIsFull);
        }
        if pages.queues.get(&organisation).is_some_and(|queues| queues.len() >= MAX_PAGES_OF_ORGANISATION) {
            return Err(WatchError::OrganisationIsFull);
        }
        if pages.count >= MAX_PAGES {
            return Err(WatchError::ServerIsFull);
        }
        let (sender, arrivals) = mpsc::channel(QUEUE_CAPACITY);
        pages.count += 1;
        *pages.of_people.entry(person).or_default() += 1;
        pages.queues.entry(organisation).or_default().push(sender);
        Ok(Watcher { arrivals, organisation, person, watchers: Arc::clone(self) })
    }
}

/// A registered page, which is woken until this is dropped.
#[derive(Debug)]
pub struct Watcher {
    arrivals: mpsc::Receiver<Arc<Arrival>>,
    organisation: OrganisationId,
    person: UserId,
    watchers: Arc<Watchers>,
}

impl Watcher {
    /// Waits for an event that `is_wanted`.
    pub async fn arrival(&mut self, is_wanted: impl Fn(&Arrival) -> bool) {
        while let Some(arrival) = self.arrivals.recv().await {
            if is_wanted(&arrival) {
                return;
            }
        }
    }

    /// Drops the queued notifications, because the page is about to read all events.
    pub fn forget(&mut self) {
        while self.arrivals.try_recv().is_ok() {}
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.arrivals.close();
        let mut pages = self.watchers.lock();
        pages.count -= 1;
        if let Some(count) = pages.of_people.get_mut(&self.person) {
            *count -= 1;
            if *count == 0 {
                pages.of_people.remove(&self.person);
            }
        }
        if let Some(queues) = pages.queues.get_mut(&self.organisation) {
            queues.retain(|queue| !queue.is_closed());
            if queues.is_empty() {
                pages.queues.remove(&self.organisation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EnvironmentId, Timestamp};

    #[test]
    fn an_event_wakes_the_pages_of_its_own_organisation_only() {
        let watchers = Arc::new(Watchers::default());
        let mut own = watchers.watch(OrganisationId(1), UserId(1)).expect("a page");
        let mut other = watchers.watch(OrganisationId(2), UserId(1)).expect("a page");
        watchers.wake(&NewEvent {
            uuid: uuid::Uuid::nil(),
            organisation: OrganisationId(1),
            environment: EnvironmentId(1),
            source: "orders".to_owned(),
            key: KeyId(1),
            idempotency_key: None,
            body: bytes::Bytes::new(),
            received_at: Timestamp(0),
        });
        assert!(own.arrivals.try_recv().is_ok() && other.arrivals.try_recv().is_err());
    }

    #[test]
    fn the_pages_of_a_person_and_of_an_organisation_are_limited() {
        let watchers = Arc::new(Watchers::default());
        let watch = |organisation, person| watchers.watch(OrganisationId(organisation), UserId(person));
        let mut pages: Vec<Watcher> = (0..MAX_PAGES_OF_PERSON).map(|_| watch(1, 1).expect("a page")).collect();
        assert_eq!(watch(1, 1).unwrap_err(), WatchError::PersonIsFull);
        assert_eq!(
            watch(2, 1).unwrap_err(),
            WatchError::PersonIsFull,
            "the limit of a person holds across organisations"
        );
        pages.extend((0..MAX_PAGES_OF_PERSON).map(|_| watch(1, 2).expect("another person's")));
        pages.extend((pages.len()..MAX_PAGES_OF_ORGANISATION).map(|_| watch(1, 3).expect("the last ones")));
        assert_eq!(watch(1, 4).unwrap_err(), WatchError::OrganisationIsFull);
        pages.push(watch(2, 4).expect("another organisation's"));
        for other in 10.. {
            match watch(other, other) {
                Ok(page) => pages.push(page),
                Err(error) => {
                    assert_eq!(error, WatchError::ServerIsFull);
                    break;
                }
            }
        }
        assert_eq!(pages.len(), MAX_PAGES);
        drop(pages);
        let pages = watchers.lock();
        assert!(pages.count == 0 && pages.queues.is_empty() && pages.of_people.is_empty());
    }
}
