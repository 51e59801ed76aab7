//! A stream of key changes: resumes in the change log, and continues with its queue.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::change_id::ChangeId;
use super::subscribers::{StreamSlot, SubscribeError, Subscribers};
use crate::model::OrganisationId;
use crate::store::{Change, Db, OrganisationEnd, StoreError};

/// Changes that a stream reads from the log in one statement.
const PAGE_SIZE: i64 = 100;

/// The position in the change log that a subscription begins at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the next change.
    Now,
    /// After this change.
    After(ChangeId),
    /// At an unknown position: the subscriber may have missed changes.
    Unknown,
}

/// A notification for a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notification {
    /// A key was changed or revoked.
    Changed(Change),
    /// Changes may have been missed: the subscriber must drop everything that it caches.
    Reset,
}

/// A stream of an organisation's changes, each once and in commit order.
///
/// While the stream [is behind](Self::is_behind), [`catch_up`](Self::catch_up) returns the next notification, which is
/// not in the queue.
#[derive(Debug)]
pub struct Subscription {
    // The first field, so that the queue is closed before the place is released.
    queue: mpsc::Receiver<Change>,
    place: StreamSlot,
    db: Db,
    /// The number of resets of all streams when the queue was opened.
    resets: u64,
    is_closed: bool,
    /// The id of the last change that the subscriber got.
    at: ChangeId,
    must_reset: bool,
    /// Changes up to this position are read from the log, later ones from the queue.
    end: OrganisationEnd,
    page: VecDeque<Change>,
}

impl Subscription {
    /// Opens a stream of the changes of an organisation's keys.
    pub(super) async fn open(
        subscribers: &Arc<Subscribers>,
        db: Db,
        organisation: OrganisationId,
        start: Start,
    ) -> Result<Self, SubscribeError> {
        let place = subscribers.take_place(organisation)?;
        let (queue, resets) = place.open_queue();
        let end = db.changes_end_of(organisation).await?;
        let mut subscription = Self {
            queue,
            place,
            db,
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

    /// The id of the last change that the subscriber got, after all earlier ones.
    pub fn at(&self) -> ChangeId {
        self.at
    }

    /// Returns whether there is a notification that the queue does not have.
    pub fn is_behind(&self) -> bool {
        self.is_closed || self.must_reset || self.at.number < self.end.number
    }

    /// Returns the next notification while this is behind; `None` if the queue has all further ones.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn catch_up(&mut self) -> Result<Option<Notification>, StoreError> {
        if self.is_closed {
            self.reopen().await?;
        }
        if std::mem::take(&mut self.must_reset) {
            return Ok(Some(Notification::Reset));
        }
        if self.at.number >= self.end.number {
            return Ok(None);
        }
        let organisation = self.place.organisation;
        if self.page.is_empty() {
            self.page = self.db.changes_of(organisation, self.at.number, self.end.last, PAGE_SIZE).await?.into();
        }
        match self.page.pop_front() {
            Some(change) if change.organisation_number == self.at.number + 1 => Ok(Some(self.advance(change))),
            // The next change was deleted meanwhile, because it is old.
            _ => {
                let end = self.db.changes_end_of(organisation).await?;
                self.begin(Start::Unknown, end).await?;
                self.must_reset = false;
                Ok(Some(Notification::Reset))
            }
        }
    }

    /// Waits for the next change; `None` if this has fallen behind. Cancel safe.
    pub async fn changed(&mut self) -> Option<Notification> {
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

    fn advance(&mut self, change: Change) -> Notification {
        self.at = ChangeId::of(self.at.history, &change);
        Notification::Changed(change)
    }

    /// Continues with a new queue.
    async fn reopen(&mut self) -> Result<(), StoreError> {
        let (queue, resets) = self.place.open_queue();
        let start = if resets == self.resets { Start::After(self.at) } else { Start::Unknown };
        let end = self.db.changes_end_of(self.place.organisation).await?;
        self.begin(start, end).await?;
        (self.queue, self.resets, self.is_closed) = (queue, resets, false);
        Ok(())
    }

    /// Finds the subscriber's position in the log, which ends at `end`. The queue was opened before `end` was read, so
    /// it gets each later change.
    async fn begin(&mut self, start: Start, end: OrganisationEnd) -> Result<(), StoreError> {
        let organisation = self.place.organisation;
        let resumed = match start {
            Start::Now => Some(end.into()),
            Start::Unknown => None,
            Start::After(id) if id == end.into() => Some(id),
            Start::After(id) if id.history != end.history || id.number >= end.number => None,
            Start::After(id) => {
                // An organisation has no token before its first change.
                let is_known = if id.number == 0 {
                    let first = self.db.changes_of(organisation, 0, end.last, 1).await?;
                    first.first().is_some_and(|first| first.organisation_number == 1)
                } else {
                    self.db.has_change(organisation, id.number, id.token).await?
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
