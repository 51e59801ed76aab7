//! What ended or changed, told to those who keep their own memory of keys, in the order of the commits.

use std::collections::VecDeque;
use std::sync::PoisonError;

use tokio::sync::broadcast;
use tracing_mutex::stdsync::Mutex;

use crate::store::Change;

/// Changes that are kept for those who were away for a moment.
pub(super) const KEPT: usize = 10_000;
/// Changes that a slow listener may be behind before it has to begin anew.
const BEHIND: usize = 1024;

#[derive(Debug, Default)]
struct Recent {
    last: i64,
    changes: VecDeque<Change>,
}

/// The feed.
#[derive(Debug)]
pub struct Feed {
    recent: Mutex<Recent>,
    heard: broadcast::Sender<Change>,
    /// Whose numbers they are: another database has another one.
    epoch: u64,
}

/// What a listener gets.
#[derive(Debug)]
pub struct Subscription {
    /// The epoch of the numbers.
    pub epoch: u64,
    /// The number of the last change before `heard` begins.
    pub last: i64,
    /// What was missed; `None` when nobody knows any more, and the listener has to forget all.
    pub missed: Option<Vec<Change>>,
    /// What comes.
    pub heard: broadcast::Receiver<Change>,
}

impl Feed {
    /// The feed of a database, of whose changes the last ones are these, and the very last has this number.
    pub(super) fn new(epoch: u64, last: i64, recent: Vec<Change>) -> Self {
        let recent = Mutex::new(Recent { last, changes: recent.into() });
        Self { recent, heard: broadcast::channel(BEHIND).0, epoch }
    }

    /// Tells the next change. One that does not follow the last was not heard in between: whoever listens
    /// sees it by its number.
    pub(super) fn tell(&self, change: Change) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if change.number != recent.last + 1 {
            recent.changes.clear();
        }
        recent.last = change.number;
        if recent.changes.len() == KEPT {
            recent.changes.pop_front();
        }
        recent.changes.push_back(change);
        // Nobody listening is no failure.
        let _ = self.heard.send(change);
    }

    /// Everything from now on, and what came after the change `(epoch, number)`, if one is named.
    pub(super) fn subscribe(&self, after: Option<(u64, i64)>) -> Subscription {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = recent.changes.front().map_or(recent.last + 1, |change| change.number);
        let missed = match after {
            None => Some(Vec::new()),
            Some((epoch, number)) if epoch == self.epoch && number <= recent.last && number + 1 >= oldest => {
                Some(recent.changes.iter().filter(|change| change.number > number).copied().collect())
            }
            Some(_) => None,
        };
        Subscription { epoch: self.epoch, last: recent.last, missed, heard: self.heard.subscribe() }
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.heard.receiver_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Entropy;
    use crate::keys::PlainKey;
    use crate::model::{KeyId, Mode, OrganisationId};

    #[test]
    fn who_was_away_hears_what_was_missed_or_that_nobody_knows() {
        let hash = PlainKey::hookstream(Mode::Live, &Entropy::seeded(1)).hash();
        let change =
            |number| Change { number, organisation: OrganisationId(1), key: KeyId(number), hash, revoked: true };
        let feed = Feed::new(7, 2, vec![change(1), change(2)]);
        feed.tell(change(3));
        let missed =
            |after| feed.subscribe(after).missed.map(|changes| changes.iter().map(|c| c.key.0).collect::<Vec<_>>());
        assert_eq!(missed(None), Some(vec![]));
        assert_eq!(missed(Some((7, 1))), Some(vec![2, 3]));
        assert_eq!(missed(Some((7, 3))), Some(vec![]));
        assert_eq!(missed(Some((7, 4))), None, "a number that was never given");
        assert_eq!(missed(Some((8, 1))), None, "another start's number");
        for number in 4..=i64::try_from(KEPT).unwrap() + 1 {
            feed.tell(change(number));
        }
        assert_eq!(missed(Some((7, 0))), None, "too long ago");
        assert_eq!(missed(Some((7, 1))).map(|keys| keys.len()), Some(KEPT));
        feed.tell(change(20_000));
        assert_eq!(missed(Some((7, 10_001))), None, "not heard in between");
        assert_eq!(missed(Some((7, 19_999))), Some(vec![20_000]));
    }
}
