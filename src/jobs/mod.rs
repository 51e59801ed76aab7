//! Durable jobs: rows of the table `jobs`, each of which one of the servers runs, at least once.
//!
//! A worker claims a job for a lease ([`LEASE_MS`]), which it extends while it runs the job. A worker that dies or is cut
//! off loses its lease, and another one takes the job over; the claim of the first one then changes nothing any more. So a
//! handler may run twice, and must be able to.

mod runner;
mod schedule;
mod worker;

pub use runner::{LEASE_MS, Runner};
pub use schedule::Kind;

use std::sync::Arc;

use tokio::sync::Notify;

use crate::model::Timestamp;
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::store::{Db, NewJob, StoreError};

/// Bytes of a payload: a larger one is refused. A job refers to rows; it does not carry them.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 10;
/// Milliseconds for which a job is kept after it was done.
const DONE_KEPT_MS: i64 = 24 * 3_600_000;
/// Milliseconds for which a job is kept after its last attempt failed.
const DEAD_KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// Why an attempt failed. The text is stored and logged, so it must not contain a secret.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A job as its handler gets it.
#[derive(Debug, Clone)]
pub struct Job {
    /// The id of the row, equal at every attempt.
    pub id: i64,
    /// The handler to run.
    pub kind: Kind,
    /// JSON.
    pub payload: String,
    /// The number of this attempt, from 1.
    pub attempt: i64,
}

/// The payload of a job is larger than [`MAX_PAYLOAD_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload of a job has more than {MAX_PAYLOAD_BYTES} bytes")]
pub struct PayloadTooLarge;

/// The jobs of a database.
#[derive(Debug, Clone)]
pub struct Jobs {
    db: Db,
    clock: Clock,
    entropy: Entropy,
    /// Wakes the runners of this process; other nodes look by themselves within seconds.
    added: Arc<Notify>,
}

impl Jobs {
    /// The jobs of this database.
    pub fn new(db: Db, clock: Clock, entropy: Entropy) -> Self {
        Self { db, clock, entropy, added: Arc::default() }
    }

    /// Makes a job that is due at a moment, for a store function that inserts it in the transaction of the change that it
    /// belongs to. [`wake`](Self::wake) afterwards.
    ///
    /// # Errors
    /// [`PayloadTooLarge`].
    pub fn prepare(
        &self,
        kind: Kind,
        payload: &serde_json::Value,
        due_at: Timestamp,
    ) -> Result<NewJob, PayloadTooLarge> {
        let payload = payload.to_string();
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(PayloadTooLarge);
        }
        Ok(NewJob { id: self.entropy.id(), kind: kind.name(), payload, created_at: self.clock.now(), due_at })
    }

    /// Stores a job in a transaction of its own, and wakes the runners of this process.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn enqueue(&self, job: &NewJob) -> Result<(), StoreError> {
        self.db.insert_job(job).await?;
        self.wake();
        Ok(())
    }

    /// Makes the runners of this process look for jobs that are due.
    pub fn wake(&self) {
        self.added.notify_waiters();
    }

    /// Makes the rows of the periodic jobs of these kinds, and updates their intervals. A new one is due now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn plan(&self, kinds: &[Kind]) -> Result<(), StoreError> {
        let periodic = kinds.iter().filter_map(|kind| Some((self.entropy.id(), kind.name(), kind.interval_ms()?)));
        self.db.plan_jobs(periodic, self.clock.now()).await
    }

    /// Deletes jobs that ended long ago; returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_ended(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        self.db.delete_ended_jobs(now.plus(-DONE_KEPT_MS), now.plus(-DEAD_KEPT_MS)).await
    }
}
