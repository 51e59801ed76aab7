//! Background tasks that start, stop and are awaited as a group.

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// A group of background tasks that end together. Dropping the group aborts them.
#[derive(Debug, Default)]
pub struct Tasks {
    stop: CancellationToken,
    running: JoinSet<()>,
}

impl Tasks {
    /// Spawns a task that ends by itself soon after the token is cancelled, so that it can finish its current work.
    pub fn spawn<F>(&mut self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.running.spawn(task(self.stop.clone()));
    }

    /// Spawns a task that may be dropped at any await point.
    pub fn spawn_until_stopped(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.running.spawn(async move {
            stop.run_until_cancelled_owned(task).await;
        });
    }

    /// Stops the tasks, and waits until the last one has ended.
    ///
    /// # Errors
    /// When a task has panicked.
    pub async fn stop(mut self) -> Result<(), JoinError> {
        self.stop.cancel();
        while let Some(ended) = self.running.join_next().await {
            ended?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn stopping_waits_for_the_current_work_of_a_task() {
        let is_done = Arc::new(AtomicBool::new(false));
        let mut tasks = Tasks::default();
        tasks.spawn_until_stopped(std::future::pending());
        let done = Arc::clone(&is_done);
        tasks.spawn(|stop| async move {
            stop.cancelled().await;
            tokio::task::yield_now().await;
            done.store(true, Ordering::SeqCst);
        });
        tasks.stop().await.unwrap();
        assert!(is_done.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn the_panic_of_a_task_is_an_error() {
        let mut tasks = Tasks::default();
        tasks.spawn_until_stopped(async { panic!("a task") });
        tokio::task::yield_now().await;
        assert!(tasks.stop().await.unwrap_err().is_panic());
    }
}
