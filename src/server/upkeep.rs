//! The periodic work of a server: jobs, each of which one node does for all of them, and a task for what every process has
//! to do for itself.
//!
//! Not a job, because it is about the memory or the lease of one process: the flush of counts and of parts of quotas
//! (`keep_flushing`), the renewal of a node's lease and the reading of the change log (`keys`, `cluster`), checkpoints and the
//! watch over a SQLite file (`store`), and [`keep_forgetting`].

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::jobs::{Failure, Job, Jobs, Kind, Runner};
use crate::runtime::tasks::Tasks;
use crate::web::Services;

/// Clean-ups that one node runs at a time: a large backlog of one kind does not hold up the others, and requests wait for
/// two of their transactions at most.
const CLEAN_UPS: usize = 2;
const FORGET_EVERY: Duration = Duration::from_mins(1);
const PLAN_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Starts the runner of jobs and the task.
pub(super) fn start(tasks: &mut Tasks, services: &Services, jobs: Jobs) {
    tasks.spawn(|stop| clean_up(services.clone(), jobs, stop));
    tasks.spawn_until_stopped(keep_forgetting(services.clone()));
}

/// Plans the periodic jobs, and runs them until it is told to `stop`.
async fn clean_up(services: Services, jobs: Jobs, stop: CancellationToken) {
    // A disk that is full at the start of a server gets room later.
    while let Err(error) = jobs.plan(&Kind::CLEAN_UP).await {
        tracing::error!(%error, "cannot plan the clean-up of the database; will retry");
        if stop.run_until_cancelled(tokio::time::sleep(PLAN_AGAIN_AFTER)).await.is_none() {
            return;
        }
    }
    let handler = {
        let jobs = jobs.clone();
        move |job| run(services.clone(), jobs.clone(), job)
    };
    Runner::new(jobs, &Kind::CLEAN_UP, CLEAN_UPS, handler).run(stop).await;
}

/// Runs a job of any kind.
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
    }
    Ok(())
}

/// Drops meters that no key needs any more from this process's memory, and removes nodes that it has seen dead for long:
/// each node judges that by its own clock.
async fn keep_forgetting(services: Services) {
    let mut forget = tokio::time::interval(FORGET_EVERY);
    forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        forget.tick().await;
        services.limits.tidy();
        if let Err(error) = services.changes.remove_dead_nodes().await {
            tracing::error!(%error, "cannot remove dead nodes; will retry");
        }
    }
}
