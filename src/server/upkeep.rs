//! The periodic work of a server: jobs, each of which one node runs for all nodes, and tasks that every process runs
//! for itself.
//!
//! Tasks and not jobs, because they are about the memory or the lease of one process: the flush of usage counts and
//! quota leases (`keep_flushing`), the renewal of a node's lease and the reading of the change log (`keys`, `cluster`),
//! checkpoints and the disk watch of a SQLite file (`store`), and [`keep_tidying`].

use std::pin::Pin;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::jobs::{Failure, Job, Jobs, Kind, Runner};
use crate::runtime::tasks::Tasks;
use crate::web::Services;

/// Clean-ups that one node runs at a time: a large backlog of one kind does not delay the other kinds, and requests
/// wait for at most two clean-up transactions.
const CONCURRENT_CLEAN_UPS: usize = 2;
const TIDY_INTERVAL: Duration = Duration::from_mins(1);
const PLAN_RETRY_DELAY: Duration = Duration::from_secs(10);

/// Starts the job runners and the tidying task. Erasures have a runner of their own, one at a time: they may take long, and
/// must not delay the clean-up.
pub(super) fn start(tasks: &mut Tasks, services: &Services, jobs: &Jobs) {
    tasks.spawn(|stop| clean_up(services.clone(), jobs.clone(), stop));
    tasks.spawn(|stop| runner(services, jobs, &Kind::ERASURES, 1).run(stop));
    tasks.spawn_until_stopped(keep_tidying(services.clone()));
}

/// Plans the periodic jobs, and runs them until `stop` is cancelled.
async fn clean_up(services: Services, jobs: Jobs, stop: CancellationToken) {
    // Retries: a disk that is full at the start of a server may get room later.
    while let Err(error) = jobs.plan(&Kind::CLEAN_UP).await {
        tracing::error!(%error, "cannot plan the clean-up of the database; will retry");
        if stop.run_until_cancelled(tokio::time::sleep(PLAN_RETRY_DELAY)).await.is_none() {
            return;
        }
    }
    runner(&services, &jobs, &Kind::CLEAN_UP, CONCURRENT_CLEAN_UPS).run(stop).await;
}

/// A running job.
type Running = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Returns a runner of some kinds of jobs.
fn runner(
    services: &Services,
    jobs: &Jobs,
    kinds: &[Kind],
    capacity: usize,
) -> Runner<impl Fn(Job) -> Running + Send + Sync + 'static> {
    let (services, owned) = (services.clone(), jobs.clone());
    let handler = move |job| -> Running { Box::pin(run(services.clone(), owned.clone(), job)) };
    Runner::new(jobs.clone(), kinds, capacity, handler)
}

/// Runs a clean-up job.
async fn run(services: Services, jobs: Jobs, job: Job) -> Result<(), Failure> {
    match job.kind {
        Kind::DeleteEndedSessions => services.accounts.delete_ended_sessions().await?,
        Kind::DeleteEndedTokens => services.accounts.delete_ended_tokens().await?,
        Kind::DeleteOldNetworks => services.accounts.delete_old_networks().await?,
        Kind::DeleteOldChanges => services.changes.delete_old().await?,
        Kind::DeleteOldOutcomes => services.usage.delete_old_outcomes().await?,
        Kind::PurgeRevokedKeys => services.keys.purge_revoked().await?,
        Kind::DeleteOldEvents => drop(services.events.delete_old_events().await?),
        Kind::DeleteOldIdempotencyKeys => services.events.delete_old_idempotency_keys().await?,
        Kind::DeleteEndedJobs => drop(jobs.delete_ended().await?),
        Kind::DeleteEndedInvitations => services.teams.delete_ended_invitations().await?,
        Kind::EraseOrganisation => services.teams.erase(&job.payload).await?,
    }
    Ok(())
}

/// Drops unused rate-limit meters from memory, and removes nodes that have been dead for long, by this process's clock.
async fn keep_tidying(services: Services) {
    let mut tick = tokio::time::interval(TIDY_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        services.limits.tidy();
        if let Err(error) = services.changes.remove_dead_nodes().await {
            tracing::error!(%error, "cannot remove dead nodes; will retry");
        }
    }
}
