//! The runner: finds due jobs, claims them, and runs them concurrently.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::schedule::BACKOFF;
use super::worker::{EXTEND_EVERY, Held, Worker};
use super::{Failure, Job, Jobs, Kind};
use crate::store::StoreError;

/// The length of a lease in milliseconds, on the clocks of the nodes: another worker takes the job of a dead worker
/// over after at most this time.
pub const LEASE_MS: i64 = 60_000;
/// The longest time between two polls: jobs of other nodes, and a changed clock, are noticed after at most this time.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// The time that running jobs get when the server stops; then they are interrupted.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// The time between two searches for jobs that a wrong clock postponed, in nanoseconds.
const PULL_BACK_INTERVAL_NS: u64 = 60_000_000_000;

/// Runs the due jobs of some kinds, a bounded number at a time.
pub struct Runner<F> {
    jobs: Jobs,
    kinds: Vec<Kind>,
    capacity: usize,
    stop_timeout: Duration,
    worker: Arc<Worker<F>>,
}

impl<F, Running> Runner<F>
where
    F: Fn(Job) -> Running + Send + Sync + 'static,
    Running: Future<Output = Result<(), Failure>> + Send + 'static,
{
    /// Creates a runner of the jobs of these kinds, at most `capacity` at a time: further ones wait.
    ///
    /// `handler` runs a job, which may have run before, wholly or in part. Its future is dropped when the lease is
    /// lost, and when a stopping server does not wait any longer.
    pub fn new(jobs: Jobs, kinds: &[Kind], capacity: usize, handler: F) -> Self {
        let worker = Worker { jobs: jobs.clone(), handler, extend_every: EXTEND_EVERY };
        Self { jobs, kinds: kinds.to_vec(), capacity, stop_timeout: STOP_TIMEOUT, worker: Arc::new(worker) }
    }

    /// Runs jobs until `stop` is cancelled. Then it waits for running jobs, but no longer than five seconds. When the
    /// database fails, it retries.
    pub async fn run(self, stop: CancellationToken) {
        let mut running = JoinSet::new();
        let mut pulled_back = None;
        let mut is_failing = false;
        while !stop.is_cancelled() {
            // Registered before the poll, so that a job that is added during the poll causes another one.
            let mut added = pin!(self.jobs.added.notified());
            added.as_mut().enable();
            let delay = match self.poll(&mut running, &mut pulled_back).await {
                Ok(delay) => {
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("jobs can be claimed again; due jobs are started");
                    }
                    delay
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!(%error, "cannot claim jobs; none is started until the database answers");
                    }
                    MAX_POLL_INTERVAL
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = added.as_mut() => {}
                Some(_) = running.join_next() => {}
                () = sleep(delay) => {}
            }
        }
        let all = async { while running.join_next().await.is_some() {} };
        if timeout(self.stop_timeout, all).await.is_err() {
            tracing::warn!(
                jobs = running.len(),
                "the server stops and interrupts running jobs; they run again when their leases end"
            );
            running.shutdown().await;
        }
    }

    /// Starts the due jobs, and returns the time until the next poll.
    async fn poll(&self, running: &mut JoinSet<()>, pulled_back: &mut Option<u64>) -> Result<Duration, StoreError> {
        while running.try_join_next().is_some() {}
        let Jobs { db, clock, entropy, .. } = &self.jobs;
        let monotonic = clock.monotonic();
        if pulled_back.is_none_or(|last| monotonic.saturating_sub(last) >= PULL_BACK_INTERVAL_NS) {
            let jobs = db.pull_back_jobs(clock.now(), BACKOFF.longest_ms, LEASE_MS).await?;
            if jobs > 0 {
                tracing::warn!(
                    jobs,
                    "jobs were scheduled later than any interval allows, probably by a wrong clock; they are due now"
                );
            }
            *pulled_back = Some(monotonic);
        }
        let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
        for (name, at) in db.due_jobs(&names).await? {
            let now = clock.now();
            if let Ok(delay) = u64::try_from(at.since(now))
                && delay > 0
            {
                return Ok(MAX_POLL_INTERVAL.min(Duration::from_millis(delay)));
            }
            let free = self.capacity.saturating_sub(running.len());
            if free == 0 {
                break;
            }
            let Some(&kind) = self.kinds.iter().find(|kind| kind.name() == name) else { continue };
            let claim = entropy.id();
            for row in db.claim_jobs(kind.name(), claim, now, now.plus(LEASE_MS), free).await? {
                let held = Held { kind, claim, since: now, row };
                running.spawn(Arc::clone(&self.worker).work(held));
            }
        }
        Ok(MAX_POLL_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::Notify;

    use super::*;
    use crate::model::Timestamp;
    use crate::runtime::clock::Clock;
    use crate::runtime::entropy::Entropy;
    use crate::store::{Db, Settled};

    const KIND: Kind = Kind::DeleteOldEvents;
    const BEGIN: Timestamp = Timestamp(1_000_000);

    /// Creates a SQLite file with one due job.
    async fn one_job(folder: &tempfile::TempDir) -> Jobs {
        let db = Db::open(&format!("sqlite:{}", folder.path().join("test.db").display())).await.expect("it opens");
        db.migrate().await.expect("it migrates");
        let jobs = Jobs::new(db, Clock::fixed(BEGIN), Entropy::seeded(1));
        let job = jobs.prepare(KIND, &serde_json::Value::Null, BEGIN).expect("a small payload");
        jobs.enqueue(&job).await.expect("it is stored");
        jobs
    }

    async fn due(jobs: &Jobs) -> Option<Timestamp> {
        let due = jobs.db.due_jobs(&[KIND.name()]).await.expect("an answer");
        due.first().map(|(_, at)| *at)
    }

    /// Waits until the next job is due at `at`, or until there is no due job.
    async fn until_due(jobs: &Jobs, at: Option<Timestamp>) {
        let reached = async {
            while due(jobs).await != at {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_mins(1), reached).await.expect("due at the expected moment");
    }

    /// A guard that sets a flag when it is dropped.
    struct Dropped(Arc<AtomicBool>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_lease_is_extended_while_its_job_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let jobs = one_job(&folder).await;
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let handler = {
            let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
            move |_| {
                let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
                async move {
                    begun.notify_one();
                    go_on.notified().await;
                    Ok(())
                }
            }
        };
        let mut runner = Runner::new(jobs.clone(), &[KIND], 1, handler);
        Arc::get_mut(&mut runner.worker).expect("nothing runs yet").extend_every = Duration::from_millis(1);
        let stop = CancellationToken::new();
        let running = tokio::spawn(runner.run(stop.clone()));
        begun.notified().await;
        for _ in 0..3 {
            jobs.clock.advance(LEASE_MS - 1);
            until_due(&jobs, Some(jobs.clock.now().plus(LEASE_MS))).await;
        }
        go_on.notify_one();
        until_due(&jobs, None).await;
        stop.cancel();
        running.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_job_whose_lease_is_lost_is_interrupted() {
        let folder = tempfile::tempdir().expect("a folder");
        let jobs = one_job(&folder).await;
        let (begun, is_dropped) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let handler = {
            let (begun, is_dropped) = (Arc::clone(&begun), Arc::clone(&is_dropped));
            move |_| {
                let (begun, guard) = (Arc::clone(&begun), Dropped(Arc::clone(&is_dropped)));
                async move {
                    let _guard = guard;
                    begun.notify_one();
                    std::future::pending().await
                }
            }
        };
        let mut runner = Runner::new(jobs.clone(), &[KIND], 1, handler);
        Arc::get_mut(&mut runner.worker).expect("nothing runs yet").extend_every = Duration::from_millis(1);
        let stop = CancellationToken::new();
        let running = tokio::spawn(runner.run(stop.clone()));
        begun.notified().await;
        // Another worker claims the job, with a clock that is ahead.
        let later = jobs.clock.now().plus(1000 * LEASE_MS);
        let taken = jobs.db.claim_jobs(KIND.name(), 7, later, later.plus(LEASE_MS), 1).await.expect("an answer");
        assert_eq!(taken.len(), 1);
        let dropped = async {
            while !is_dropped.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_mins(1), dropped).await.expect("it is interrupted");
        stop.cancel();
        running.await.expect("no panic");
        assert!(
            jobs.db.settle_job(taken[0].id, 7, &Settled::Done, later).await.expect("an answer"),
            "the other worker still has the claim"
        );
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_ever_and_what_it_interrupts_runs_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let jobs = one_job(&folder).await;
        let begun = Arc::new(Notify::new());
        let handler = {
            let begun = Arc::clone(&begun);
            move |_| {
                begun.notify_one();
                std::future::pending()
            }
        };
        let mut runner = Runner::new(jobs.clone(), &[KIND], 1, handler);
        runner.stop_timeout = Duration::from_millis(1);
        let stop = CancellationToken::new();
        let running = tokio::spawn(runner.run(stop.clone()));
        begun.notified().await;
        stop.cancel();
        running.await.expect("no panic");
        assert_eq!(due(&jobs).await, Some(BEGIN.plus(LEASE_MS)));
        let again = jobs.db.claim_jobs(KIND.name(), 7, BEGIN.plus(LEASE_MS), BEGIN.plus(2 * LEASE_MS), 1).await;
        assert_eq!(again.expect("an answer").first().map(|row| row.attempts), Some(2));
    }
}
