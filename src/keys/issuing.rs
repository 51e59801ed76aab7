//! New keys share their commits, as events do: many that are made at once are one write to disk, and none
//! is shown before it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::Core;
use super::issue::bind;
use crate::domain::Key;
use crate::model::KeyId;
use crate::runtime::entropy::Entropy;
use crate::store::{Batch, Inserted, Most, StoreError};

/// Keys that wait at the most; more are told to come again.
const WAITING: usize = 4096;
/// Keys of one transaction at the most.
const GROUP: usize = 256;

/// The key was not stored. Nothing of it is kept, as far as anybody can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key was not stored")]
pub struct NotStored;

struct Waiting {
    key: Key,
    answer: oneshot::Sender<Result<(Key, Inserted), NotStored>>,
}

/// Where new keys are stored.
#[derive(Debug)]
pub(super) struct Issuing(mpsc::Sender<Waiting>);

impl Issuing {
    pub(super) fn new(core: Arc<Core>, entropy: Entropy, most: Most) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        tokio::spawn(write(core, entropy, most, waiting));
        Self(queue)
    }

    /// Stores a key. When this answers, it is on disk, with an id that no other key has.
    pub(super) async fn store(&self, key: Key) -> Result<(Key, Inserted), NotStored> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Waiting { key, answer }).map_err(|_| NotStored)?;
        answered.await.unwrap_or(Err(NotStored))
    }
}

/// One transaction after the other, each with whatever has come during the last one.
async fn write(core: Arc<Core>, entropy: Entropy, most: Most, mut waiting: mpsc::Receiver<Waiting>) {
    let mut group = Vec::new();
    while waiting.recv_many(&mut group, GROUP).await > 0 {
        let (mut keys, answers): (Vec<Key>, Vec<_>) =
            group.drain(..).map(|waiting| (waiting.key, waiting.answer)).unzip();
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
                NotStored
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
