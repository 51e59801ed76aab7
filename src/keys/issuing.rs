//! New keys share their commits, as events do: many that are made at once are one write to disk, and none
//! is shown before it.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Core;
use super::issue::bind;
use crate::domain::Key;
use crate::model::KeyId;
use crate::runtime::Tenant;
use crate::runtime::batch::{self, Batches, Full, Limits, Queue};
use crate::runtime::entropy::Entropy;
use crate::store::{Batch, Inserted, Most, StoreError};

/// New keys that wait for a transaction, in all and of one organisation, and those of one transaction.
const LIMITS: Limits = Limits { capacity: 4096, tenant_capacity: 1024, batch: 256, batch_weight: usize::MAX };

/// The key was not stored. Nothing of it is kept, unless the database failed in the middle of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    /// The database failed, or keys of all organisations fill the queue.
    #[error("the key was not stored")]
    Unavailable,
    /// Keys of this organisation fill its share of the queue.
    #[error("too many new keys of the organisation are waiting")]
    TooMany,
}

impl From<Full> for NotStored {
    fn from(full: Full) -> Self {
        match full {
            Full::Tenant => Self::TooMany,
            Full::Server => Self::Unavailable,
        }
    }
}

struct Waiting {
    key: Key,
    answer: oneshot::Sender<Result<(Key, Inserted), NotStored>>,
}

/// Where new keys are stored.
#[derive(Debug)]
pub(super) struct Issuing(Queue<Waiting>);

impl Issuing {
    pub(super) fn new(core: Arc<Core>, entropy: Entropy, most: Most) -> Self {
        let (queue, waiting) = batch::queue(LIMITS);
        tokio::spawn(write(core, entropy, most, waiting));
        Self(queue)
    }

    /// Stores a key. When this answers, it is on disk, with an id that no other key has.
    pub(super) async fn store(&self, key: Key) -> Result<(Key, Inserted), NotStored> {
        let (answer, answered) = oneshot::channel();
        self.0.push(Tenant::Organisation(key.organisation), 1, Waiting { key, answer })?;
        answered.await.unwrap_or(Err(NotStored::Unavailable))
    }
}

/// One transaction after the other, each with whatever has come during the last one.
async fn write(core: Arc<Core>, entropy: Entropy, most: Most, mut waiting: Batches<Waiting>) {
    while let Some(group) = waiting.next().await {
        let (mut keys, answers): (Vec<Key>, Vec<_>) =
            group.into_iter().map(|waiting| (waiting.key, waiting.answer)).unzip();
        let mut outcomes = insert(&core, &mut keys, most).await;
        let is_conflict =
            |outcome: &Result<Inserted, Arc<StoreError>>| outcome.as_ref().is_err_and(|error| error.is_conflict());
        let taken: Vec<usize> = (0..keys.len()).filter(|at| is_conflict(&outcomes[*at])).collect();
        for at in taken {
            // An id that another key has: once in hours at the most.
            keys[at].id = KeyId(entropy.id_at(keys[at].created_at));
            if let Some(outcome) = insert(&core, &mut keys[at..=at], most).await.pop() {
                outcomes[at] = outcome;
            }
        }
        // Somebody may have asked for one before it was there.
        for key in &keys {
            core.invalidate(key.hash);
        }
        for ((key, answer), outcome) in keys.into_iter().zip(answers).zip(outcomes) {
            let outcome = outcome.map_err(|error| {
                tracing::error!(%error, key = %key.id, "a key could not be stored");
                NotStored::Unavailable
            });
            // Whoever does not wait any more has a key that nobody has seen.
            let _ = answer.send(outcome.map(|inserted| (key, inserted)));
        }
    }
}

/// Stores keys in one transaction, and in smaller ones if one of them cannot be stored.
async fn insert(core: &Core, keys: &mut [Key], most: Most) -> Vec<Result<Inserted, Arc<StoreError>>> {
    let mut batch = Batch::new(keys.len());
    while let Some(rows) = batch.next_rows() {
        let stored = core.db.insert_keys(&mut keys[rows.clone()], most, bind).await;
        batch.settle(rows, stored);
    }
    batch.outcomes()
}
