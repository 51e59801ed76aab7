//! Follows the log of changes: drops changed keys from the cache and republishes each change, in commit order.
//!
//! A change is logged in the transaction that makes it, and one task follows that log, whichever node wrote it. So
//! subscribers get the order of the commits, and a node that was away catches up by reading on where it stopped. On
//! a node the same task renews the lease, which holds only once everything has been read that was committed
//! before the renewal was answered.
//!
//! A database may go back, after a restored backup or a failover that loses commits. Each reading shows whether the log
//! continues the log that was followed ([`Continuity`]); otherwise this server drops everything that it cached.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use super::ChangeLog;
use crate::cluster::{Doubt, Node, RENEW_EVERY};
use crate::runtime::entropy::Entropy;
use crate::store::{Continuity, Db, Notice, Position, StoreError};

/// Changes of one reading.
const MAX_CHANGES: i64 = 1000;
/// Time between readings of the log when nothing wakes the task.
const READ_EVERY: Duration = Duration::from_secs(1);
/// A statement that takes longer is given up, and tried again.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between a failure and the next attempt.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The progress of the task that follows the log.
#[derive(Debug)]
pub(super) struct Follower {
    /// Not the connections that checks wait for: a node must be able to renew its lease under any load.
    db: Db,
    followed: watch::Sender<Followed>,
    /// Readings of the log that were requested.
    requested: AtomicU64,
    woken: Notify,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Followed {
    /// Everything up to here is dropped from the cache.
    pub(super) position: Position,
    /// The log was read to its end after this many readings had been requested.
    pub(super) requested: u64,
}

impl Follower {
    /// Creates a follower that has read everything up to a position.
    pub(super) fn new(db: Db, position: Position) -> Self {
        let followed = watch::Sender::new(Followed { position, requested: 0 });
        Self { db, followed, requested: AtomicU64::new(0), woken: Notify::new() }
    }

    /// The position up to which every change is dropped from the cache.
    pub(super) fn position(&self) -> Position {
        self.followed.borrow().position
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Followed> {
        self.followed.subscribe()
    }

    /// Requests a reading of the log. Returns its number.
    pub(super) fn request_reading(&self) -> u64 {
        let number = self.requested.fetch_add(1, Ordering::AcqRel) + 1;
        self.woken.notify_one();
        number
    }

    fn set_position(&self, position: Position) {
        self.followed.send_modify(|followed| followed.position = position);
    }
}

impl ChangeLog {
    /// Reads the log to its end, and drops the changed keys.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let follower = &self.follower;
        // Before the reading begins, which then has everything that was committed before these were requested.
        let requested = follower.requested.load(Ordering::Acquire);
        loop {
            let position = follower.position();
            let reading = in_time(follower.db.read_changes(position.number, MAX_CHANGES)).await?;
            match reading.continues(position) {
                Continuity::Whole => {}
                Continuity::Gap => {
                    tracing::warn!(
                        from = position.number,
                        "the change log has no entries any more that this server missed; all cached keys are dropped"
                    );
                    self.checks.forget();
                    self.subscribers.reset();
                }
                Continuity::Broken => {
                    self.database_went_back(position, reading.end).await?;
                    continue;
                }
            }
            for change in &reading.changes {
                self.checks.invalidate(change.hash);
                self.subscribers.broadcast(*change);
            }
            if let Some(last) = reading.changes.last() {
                follower.set_position(reading.end.after(last));
            }
            if i64::try_from(reading.changes.len()).is_ok_and(|count| count < MAX_CHANGES) {
                follower.followed.send_modify(|followed| followed.requested = requested);
                return Ok(());
            }
        }
    }

    /// Drops everything cached, and goes on from the end of the log as it is now.
    async fn database_went_back(&self, position: Position, end: Position) -> Result<(), StoreError> {
        tracing::error!(
            read_up_to = position.number,
            log_ends_at = end.number,
            "the change log in the database is not the one that this server has followed: the database was restored to \
             an earlier state, or a failover lost commits; all cached keys, sessions and quota parts are dropped, and \
             subscribers of /v1/revocations are told to drop theirs"
        );
        if end.epoch != position.epoch {
            tracing::error!("it is another installation's database; stop all nodes, and start them again");
        }
        if let Some(node) = &self.node {
            // Nodes that the database has forgotten may trust their caches until their leases end.
            node.distrust_others();
        }
        self.drop_everything();
        let begun = self.begin_history(position, end).await;
        // Also after a failure: what subscribers cache is of the other history.
        self.subscribers.reset();
        self.follower.set_position(begun?);
        Ok(())
    }

    /// Marks the history as another one, unless another node has done so. Returns the end of the log after that.
    async fn begin_history(&self, position: Position, end: Position) -> Result<Position, StoreError> {
        if end.history == position.history {
            in_time(self.follower.db.begin_history(end.history, Entropy::System.id())).await?;
        }
        in_time(self.follower.db.changes_end()).await
    }

    /// Drops everything that was cached of the database, here and by subscribers. Nodes that the database may have
    /// forgotten count as caching it until their leases end.
    fn distrust(&self, node: &Node) {
        node.distrust_others();
        self.drop_everything();
        self.subscribers.reset();
    }

    /// Drops everything that was cached of the database here.
    fn drop_everything(&self) {
        self.db.forget();
        self.limits.forget_quota_leases();
        self.checks.forget();
    }

    /// Renews the lease of this node, and applies all changes that were committed before the renewal was answered.
    async fn renew(&self, node: &Node) -> Result<(), StoreError> {
        let before = self.follower.position();
        let Some(renewal) = node.renew(before).await? else {
            tracing::error!("another server has taken this one's place: every check reads the database");
            return Ok(());
        };
        match renewal.doubt {
            None => {}
            Some(Doubt::WentBack) => {
                // A doubt is reported once: act on it before anything that can fail.
                self.distrust(node);
                let end = in_time(self.follower.db.changes_end()).await?;
                self.database_went_back(before, end).await?;
            }
            Some(doubt @ (Doubt::OtherServer | Doubt::Unregistered)) => {
                tracing::warn!(?doubt, "commits may have been lost; all cached keys are dropped");
                self.distrust(node);
            }
        }
        self.catch_up().await?;
        self.acknowledge(node, before, renewal.doubt.is_some()).await?;
        self.checks.trust_cache_until(renewal.until);
        Ok(())
    }

    async fn catch_up_and_acknowledge(&self, node: &Node) -> Result<(), StoreError> {
        let before = self.follower.position();
        self.catch_up().await?;
        self.acknowledge(node, before, false).await
    }

    async fn acknowledge(&self, node: &Node, before: Position, in_any_case: bool) -> Result<(), StoreError> {
        let position = self.follower.position();
        if in_any_case || position != before {
            in_time(node.acknowledge(position)).await?;
        }
        Ok(())
    }
}

/// Gives up a statement that takes too long.
async fn in_time<T>(statement: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(STATEMENT_TIMEOUT, statement).await.map_err(|_| StoreError::slow())?
}

/// Follows the log until it is dropped.
pub(super) async fn follow(log: Weak<ChangeLog>, follower: Arc<Follower>, node: Option<Arc<Node>>) {
    let _listening = node.clone().map(|node| AbortOnDrop(tokio::spawn(listen(Arc::clone(&follower), node))));
    let mut tick = tokio::time::interval(if node.is_some() { RENEW_EVERY } else { READ_EVERY });
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_well = true;
    loop {
        let is_time = tokio::select! {
            _ = tick.tick() => true,
            () = follower.woken.notified() => false,
        };
        let Some(log) = log.upgrade() else { return };
        let outcome = match &node {
            Some(node) if is_time => log.renew(node).await,
            Some(node) => log.catch_up_and_acknowledge(node).await,
            None => log.catch_up().await,
        };
        match &outcome {
            Ok(()) if !is_well => tracing::info!("the change log can be read again"),
            // Once: the failure lasts for as long as the database does not answer.
            Err(error) if is_well => {
                tracing::error!(%error, "cannot read the change log; on a node, cached keys are trusted until its lease ends");
            }
            _ => {}
        }
        is_well = outcome.is_ok();
        if let Some(node) = node.as_ref().filter(|_| is_time && is_well) {
            // A lease is counted from when its renewal was seen: a node that reads only when a key is revoked waits for
            // all of it. In another task, so that it cannot delay the renewal of this node's lease.
            let node = Arc::clone(node);
            tokio::spawn(async move { node.watch_others().await });
        }
        if !is_well {
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

/// Wakes the follower, and requests that wait for acknowledgements, when another node sends a notice.
async fn listen(follower: Arc<Follower>, node: Arc<Node>) {
    loop {
        // A notice that is lost is read at the next renewal.
        if let Ok(Some(mut notices)) = node.notices().await {
            follower.woken.notify_one();
            while let Ok(notice) = notices.next().await {
                if notice != Notice::Acknowledged {
                    follower.woken.notify_one();
                }
                if notice != Notice::Changed {
                    node.acknowledged();
                }
            }
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
