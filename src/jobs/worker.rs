//! Runs one job: extends its lease while the handler runs, and saves the outcome.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::sleep;

use super::runner::LEASE_MS;
use super::schedule::BACKOFF;
use super::{Failure, Job, Jobs, Kind};
use crate::model::Timestamp;
use crate::store::{ClaimedJob, Settled};

/// The time between two extensions of a lease.
pub(super) const EXTEND_EVERY: Duration = Duration::from_secs(20);
/// Attempts to save the outcome of a job, a second apart, while the database fails. After the last one the lease ends
/// and the job runs again.
const SETTLE_ATTEMPTS: u32 = 10;
/// Characters of an error that are stored.
const MAX_ERROR_CHARS: usize = 1_000;

/// Runs jobs with one handler.
pub(super) struct Worker<F> {
    pub(super) jobs: Jobs,
    pub(super) handler: F,
    pub(super) extend_every: Duration,
}

/// A job that this worker has claimed.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) kind: Kind,
    pub(super) claim: i64,
    pub(super) since: Timestamp,
    pub(super) row: ClaimedJob,
}

impl<F, Running> Worker<F>
where
    F: Fn(Job) -> Running + Send + Sync + 'static,
    Running: Future<Output = Result<(), Failure>> + Send + 'static,
{
    /// Runs a job while it holds the lease, and saves the outcome.
    pub(super) async fn work(self: Arc<Self>, held: Held) {
        let (kind, job) = (held.kind.name(), held.row.id);
        tracing::debug!(kind, job, attempt = held.row.attempts, "job started");
        let is_periodic = held.row.interval_ms.is_some();
        let outcome = if !is_periodic && held.row.attempts > BACKOFF.attempts {
            Err("the lease of the last attempt ran out".to_owned())
        } else {
            tokio::select! {
                outcome = self.handle(&held) => outcome,
                () = self.keep_lease(&held) => {
                    tracing::warn!(kind, job, "a job lost its lease and is interrupted; another worker runs it");
                    return;
                }
            }
        };
        let settled = self.settled(&held, outcome);
        match &settled {
            Settled::Done | Settled::NextTurn(_) => tracing::debug!(kind, job, "job finished"),
            Settled::Retry { at, error } => {
                let seconds = at.since(self.jobs.clock.now()) / 1_000;
                tracing::warn!(
                    kind,
                    job,
                    attempt = held.row.attempts,
                    error,
                    seconds,
                    "job failed; it will be retried"
                );
            }
            Settled::Dead { error } => {
                tracing::error!(
                    kind,
                    job,
                    attempt = held.row.attempts,
                    error,
                    "job failed for the last time; it is kept as dead"
                );
            }
        }
        self.settle(&held, &settled).await;
    }

    /// Runs the handler. A panic counts as a failure.
    async fn handle(&self, held: &Held) -> Result<(), String> {
        let Held { kind, row: ClaimedJob { id, payload, attempts, .. }, .. } = held;
        let job = Job { id: *id, kind: *kind, payload: payload.clone(), attempt: *attempts };
        let handled = AssertUnwindSafe(async { (self.handler)(job).await });
        match handled.catch_unwind().await {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(panic) => Err(format!("panic: {}", message(panic.as_ref()))),
        }
    }

    /// Extends the lease until it is lost, then returns.
    async fn keep_lease(&self, held: &Held) {
        loop {
            sleep(self.extend_every).await;
            let until = self.jobs.clock.now().plus(LEASE_MS);
            match self.jobs.db.extend_job(held.row.id, held.claim, until).await {
                Ok(true) => {}
                Ok(false) => return,
                // No other worker can take the job over while the database does not answer.
                Err(error) => {
                    tracing::warn!(
                        kind = held.kind.name(),
                        job = held.row.id,
                        %error,
                        "cannot extend the lease of a job; will retry"
                    );
                }
            }
        }
    }

    fn settled(&self, held: &Held, outcome: Result<(), String>) -> Settled {
        let now = self.jobs.clock.now();
        let ClaimedJob { interval_ms, attempts, .. } = held.row;
        let error = match (outcome, interval_ms) {
            (Ok(()), None) => return Settled::Done,
            (Ok(()), Some(interval)) => return Settled::NextTurn(held.since.plus(interval).max(now)),
            // PostgreSQL cannot store NUL in a text.
            (Err(error), _) => error.chars().filter(|char| *char != '\0').take(MAX_ERROR_CHARS).collect(),
        };
        if interval_ms.is_none() && attempts >= BACKOFF.attempts {
            return Settled::Dead { error };
        }
        let delay = BACKOFF.delay_ms(attempts, &self.jobs.entropy).min(interval_ms.unwrap_or(i64::MAX));
        Settled::Retry { at: now.plus(delay), error }
    }

    async fn settle(&self, held: &Held, settled: &Settled) {
        let (kind, job) = (held.kind.name(), held.row.id);
        for attempt in 1.. {
            match self.jobs.db.settle_job(job, held.claim, settled, self.jobs.clock.now()).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::warn!(
                        kind,
                        job,
                        "the lease of a job ran out while it ran; another worker runs it as well"
                    );
                    return;
                }
                Err(error) if attempt >= SETTLE_ATTEMPTS => {
                    tracing::error!(kind, job, %error, "cannot save the outcome of a job; it runs again when its lease ends");
                    return;
                }
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        }
    }
}

/// Returns the message of a panic.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
