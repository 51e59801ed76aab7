//! What ended or changed, told to those who keep their own memory of keys.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;

use super::token::KeyHash;
use crate::model::{KeyId, OrganisationId};

/// Changes that are kept for those who were away for a moment.
const KEPT: usize = 10_000;
/// Changes that a slow listener may be behind before it has to begin anew.
const BEHIND: usize = 1024;

/// A key that is not any more what it was.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// Counted from 1.
    pub number: u64,
    /// Whose key.
    pub organisation: OrganisationId,
    /// Which.
    pub key: KeyId,
    /// What is kept of its string.
    pub hash: KeyHash,
    /// Whether it ended for good.
    pub revoked: bool,
}

#[derive(Debug, Default)]
struct Recent {
    last: u64,
    changes: VecDeque<Change>,
}

/// The feed.
#[derive(Debug)]
pub struct Feed {
    recent: Mutex<Recent>,
    heard: broadcast::Sender<Change>,
    /// Numbers begin anew with every start of the server; this tells one's from another's.
    pub(super) epoch: u64,
}

/// What a listener gets.
#[derive(Debug)]
pub struct Subscription {
    /// The epoch of the numbers.
    pub epoch: u64,
    /// The number of the last change before `heard` begins.
    pub last: u64,
    /// What was missed; `None` when nobody knows any more, and the listener has to forget all.
    pub missed: Option<Vec<Change>>,
    /// What comes.
    pub heard: broadcast::Receiver<Change>,
}

impl Feed {
    pub(super) fn new(epoch: u64) -> Self {
        Self { recent: Mutex::default(), heard: broadcast::channel(BEHIND).0, epoch }
    }

    pub(super) fn tell(&self, organisation: OrganisationId, key: KeyId, hash: KeyHash, revoked: bool) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.last += 1;
        let change = Change { number: recent.last, organisation, key, hash, revoked };
        if recent.changes.len() == KEPT {
            recent.changes.pop_front();
        }
        recent.changes.push_back(change);
        // Nobody listening is no failure.
        let _ = self.heard.send(change);
    }

    /// Everything from now on, and what came after the change `(epoch, number)`, if one is named.
    pub(super) fn subscribe(&self, after: Option<(u64, u64)>) -> Subscription {
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
    use crate::model::Mode;

    #[test]
    fn who_was_away_hears_what_was_missed_or_that_nobody_knows() {
        let feed = Feed::new(7);
        let hash = PlainKey::hookstream(Mode::Live, &Entropy::seeded(1)).hash();
        for key in 1..=3 {
            feed.tell(OrganisationId(1), KeyId(key), hash, true);
        }
        let missed =
            |after| feed.subscribe(after).missed.map(|changes| changes.iter().map(|c| c.key.0).collect::<Vec<_>>());
        assert_eq!(missed(None), Some(vec![]));
        assert_eq!(missed(Some((7, 1))), Some(vec![2, 3]));
        assert_eq!(missed(Some((7, 3))), Some(vec![]));
        assert_eq!(missed(Some((7, 4))), None, "a number that was never given");
        assert_eq!(missed(Some((8, 1))), None, "another start's number");
        for key in 4..=i64::try_from(KEPT).unwrap() + 1 {
            feed.tell(OrganisationId(1), KeyId(key), hash, true);
        }
        assert_eq!(missed(Some((7, 0))), None, "too long ago");
        assert_eq!(missed(Some((7, 1))).map(|keys| keys.len()), Some(KEPT));
    }
}
