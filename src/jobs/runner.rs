//! The runner: finds jobs that are due, claims them, and runs them beside each other.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::schedule::BACKOFF;
use super::{Failure, Job, Jobs, Kind};
use crate::model::Timestamp;
use crate::store::{ClaimedJob, Settled, StoreError};

/// Milliseconds of a lease, by the clocks of the nodes: the job of a worker that died is taken over after at most this long.
pub const LEASE_MS: i64 = 60_000;
/// A lease is extended this often while its job runs.
const EXTEND_EVERY: Duration = Duration::from_secs(20);
/// The longest time between two looks: another node's jobs, and a clock that was set, are noticed after at most this long.
const LONGEST_REST: Duration = Duration::from_secs(5);
/// The time for jobs that run when the server stops; after it they are interrupted.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Jobs that a wrong clock has put off are looked for this often, nanoseconds.
const PULL_BACK_EVERY: u64 = 60_000_000_000;
/// The outcome of a job is written this often, a second apart, while the database fails. Then the lease runs out, and the job
/// runs again.
const SETTLE_ATTEMPTS: u32 = 10;
/// Characters of an error that are stored.
const MAX_ERROR_CHARS: usize = 1_000;

/// Runs the due jobs of some kinds, a bounded number at a time.
pub struct Runner<F> {
    jobs: Jobs,
    kinds: Vec<Kind>,
    capacity: usize,
    stop_timeout: Duration,
    worker: Arc<Worker<F>>,
}

/// Runs one job.
struct Worker<F> {
    jobs: Jobs,
    handler: F,
    extend_every: Duration,
}

/// A job that is held.
#[derive(Debug)]
struct Held {
    kind: Kind,
    claim: i64,
    since: Timestamp,
    row: ClaimedJob,
}

impl<F, Running> Runner<F>
where
    F: Fn(Job) -> Running + Send + Sync + 'static,
    Running: Future<Output = Result<(), Failure>> + Send + 'static,
{
    /// A runner of the jobs of these kinds, at most `capacity` at a time: further ones wait.
    ///
    /// `handler` runs a job, which may have run before, wholly or in part. Its future is dropped when the lease is lost, and
    /// when the server stops and does not wait any longer.
    pub fn new(jobs: Jobs, kinds: &[Kind], capacity: usize, handler: F) -> Self {
        let worker = Worker { jobs: jobs.clone(), handler, extend_every: EXTEND_EVERY };
        Self { jobs, kinds: kinds.to_vec(), capacity, stop_timeout: STOP_TIMEOUT, worker: Arc::new(worker) }
    }

    /// Runs jobs until it is told to `stop`. Then it waits for running jobs, but no longer than five seconds. A failure of the
    /// database is waited out.
    pub async fn run(self, stop: CancellationToken) {
        let mut running = JoinSet::new();
        let mut pulled_back = None;
        let mut is_failing = false;
        while !stop.is_cancelled() {
            // From before the look: a job that is added meanwhile is looked for again.
            let mut added = pin!(self.jobs.added.notified());
            added.as_mut().enable();
            let rest = match self.look(&mut running, &mut pulled_back).await {
                Ok(rest) => {
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("jobs are claimed again");
                    }
                    rest
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!(%error, "cannot claim jobs; none is started until the database answers");
                    }
                    LONGEST_REST
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = added.as_mut() => {}
                Some(_) = running.join_next() => {}
                () = sleep(rest) => {}
            }
        }
        let all = async { while running.join_next().await.is_some() {} };
        if timeout(self.stop_timeout, all).await.is_err() {
            tracing::warn!(
                jobs = running.len(),
                "jobs are interrupted by the stop; they run again when their leases end"
            );
            running.shutdown().await;
        }
    }

    /// Starts the jobs that are due, and returns the time until the next look.
    async fn look(&self, running: &mut JoinSet<()>, pulled_back: &mut Option<u64>) -> Result<Duration, StoreError> {
        while running.try_join_next().is_some() {}
        let Jobs { db, clock, entropy, .. } = &self.jobs;
        let monotonic = clock.monotonic();
        if pulled_back.is_none_or(|last| monotonic.saturating_sub(last) >= PULL_BACK_EVERY) {
            let jobs = db.pull_back_jobs(clock.now(), BACKOFF.longest_ms, LEASE_MS).await?;
            if jobs > 0 {
                tracing::warn!(
                    jobs,
                    "jobs were due later than any rule says, as after a wrong clock; they are due now"
                );
            }
            *pulled_back = Some(monotonic);
        }
        let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
        for (name, at) in db.due_jobs(&names).await? {
            let now = clock.now();
            if let Ok(rest) = u64::try_from(at.since(now))
                && rest > 0
            {
                return Ok(LONGEST_REST.min(Duration::from_millis(rest)));
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
        Ok(LONGEST_REST)
    }
}

impl<F, Running> Worker<F>
where
    F: Fn(Job) -> Running + Send + Sync + 'static,
    Running: Future<Output = Result<(), Failure>> + Send + 'static,
{
    /// Runs a job while its lease holds, and writes down its outcome.
    async fn work(self: Arc<Self>, held: Held) {
        let (kind, job) = (held.kind.name(), held.row.id);
        tracing::debug!(kind, job, attempt = held.row.attempts, "job begins");
        let is_periodic = held.row.interval_ms.is_some();
        let outcome = if !is_periodic && held.row.attempts > BACKOFF.attempts {
            Err("the lease of the last attempt ran out".to_owned())
        } else {
            tokio::select! {
                outcome = self.handle(&held) => outcome,
                () = self.keep(&held) => {
                    tracing::warn!(kind, job, "the lease of a job is lost: it is interrupted here, another worker runs it");
                    return;
                }
            }
        };
        let settled = self.settled(&held, outcome);
        match &settled {
            Settled::Done | Settled::NextTurn(_) => tracing::debug!(kind, job, "job is done"),
            Settled::Retry { at, error } => {
                let seconds = at.since(self.jobs.clock.now()) / 1_000;
                tracing::warn!(
                    kind,
                    job,
                    attempt = held.row.attempts,
                    error,
                    seconds,
                    "job failed; it will be tried again"
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

    /// Runs the handler. A panic of it is its failure.
    async fn handle(&self, held: &Held) -> Result<(), String> {
        let Held { kind, row: ClaimedJob { id, payload, attempts, .. }, .. } = held;
        let job = Job { id: *id, kind: *kind, payload: payload.clone(), attempt: *attempts };
        let handled = AssertUnwindSafe(async { (self.handler)(job).await });
        match handled.catch_unwind().await {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(panic) => Err(format!("panic: {}", message(panic.as_ref()))),
        }
    }

    /// Extends the lease; returns when it is lost.
    async fn keep(&self, held: &Held) {
        loop {
            sleep(self.extend_every).await;
            let until = self.jobs.clock.now().plus(LEASE_MS);
            match self.jobs.db.extend_job(held.row.id, held.claim, until).await {
                Ok(true) => {}
                Ok(false) => return,
                // While the database does not answer, no other worker takes the job over.
                Err(error) => {
                    tracing::warn!(kind = held.kind.name(), job = held.row.id, %error, "cannot extend the lease of a job");
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
            // PostgreSQL stores no NUL.
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

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::Notify;

    use super::*;
    use crate::runtime::clock::Clock;
    use crate::runtime::entropy::Entropy;
    use crate::store::Db;

    const KIND: Kind = Kind::DeleteOldEvents;
    const BEGIN: Timestamp = Timestamp(1_000_000);

    /// A job that is due, in a file.
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

    /// Waits until a job is due at this moment, or none is.
    async fn until_due(jobs: &Jobs, at: Option<Timestamp>) {
        let reached = async {
            while due(jobs).await != at {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_mins(1), reached).await.expect("due at the expected moment");
    }

    /// Sets a flag when it is dropped.
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
        // Another worker claims it, by a clock that is ahead.
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
            "it is held still"
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
