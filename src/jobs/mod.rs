//! Durable jobs: rows of the table `jobs`. One of the servers runs each job, at least once.
//!
//! A worker claims a job for a lease ([`LEASE_MS`]), and extends the lease while it runs the job. When a worker dies or
//! is cut off, its lease ends and another worker takes the job over; the claim of the first worker has no effect from
//! then on. So a handler may run twice, and must be idempotent.

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

/// The largest payload in bytes: a larger one is refused. A job refers to rows; it does not carry them.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 10;
/// Retention of a job that is done, in milliseconds.
const DONE_RETENTION_MS: i64 = 24 * 3_600_000;
/// Retention of a dead job, in milliseconds.
const DEAD_RETENTION_MS: i64 = 30 * 24 * 3_600_000;

/// The error of a failed attempt. The text is stored and logged, so it must not contain a secret.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A job as its handler gets it.
#[derive(Debug, Clone)]
pub struct Job {
    /// The id of the row, equal for every attempt.
    pub id: i64,
    /// The handler to run.
    pub kind: Kind,
    /// The payload, in JSON.
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
    /// Wakes the runners of this process; other nodes poll within seconds.
    added: Arc<Notify>,
}

impl Jobs {
    /// Creates access to the jobs of a database.
    pub fn new(db: Db, clock: Clock, entropy: Entropy) -> Self {
        Self { db, clock, entropy, added: Arc::default() }
    }

    /// Builds a job that is due at a moment. The caller passes it to a store function, which inserts it in the
    /// transaction of the change that it belongs to, and then calls [`wake`](Self::wake).
    ///
    /// # Errors
    /// [`PayloadTooLarge`] above [`MAX_PAYLOAD_BYTES`].
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

    /// Inserts the rows of the periodic jobs of these kinds, and updates their intervals. A new one is due now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn plan(&self, kinds: &[Kind]) -> Result<(), StoreError> {
        let periodic = kinds.iter().filter_map(|kind| Some((self.entropy.id(), kind.name(), kind.interval_ms()?)));
        self.db.plan_jobs(periodic, self.clock.now()).await
    }

    /// Deletes jobs that ended before the retention; returns their number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_ended(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        self.db.delete_ended_jobs(now.plus(-DONE_RETENTION_MS), now.plus(-DEAD_RETENTION_MS)).await
    }
}
