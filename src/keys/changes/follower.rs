//! Follows the log of changes: drops changed keys from the cache and republishes each change, in commit order.
//!
//! A change is logged in its own transaction, and one task follows the log of all nodes. So subscribers get the changes
//! in commit order, and a node that was disconnected continues where it stopped. On a node of several, this task also
//! renews the lease. The lease holds once the task has read everything that was committed before the renewal was
//! answered.
//!
//! A database may lose commits, after a restored backup or a failover. Each reading shows whether the log continues the
//! log that was followed ([`Continuity`]); otherwise this server drops everything that it has cached.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use super::ChangeLog;
use crate::cluster::{Doubt, Node, RENEW_EVERY};
use crate::runtime::entropy::Entropy;
use crate::store::{Continuity, Db, Notice, Position, StoreError};

/// Changes that one statement reads; for more, another one follows.
const MAX_CHANGES: i64 = 1000;
/// Time between readings of the log without a notice.
const READ_EVERY: Duration = Duration::from_secs(1);
/// The timeout of a statement, after which it is tried again.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between a failure and the next attempt.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The progress of the task that follows the log.
#[derive(Debug)]
pub(super) struct Follower {
    /// With dedicated connections on a node, so that it can renew its lease under any load.
    db: Db,
    followed: watch::Sender<Followed>,
    /// The number of requested readings of the log.
    requested: AtomicU64,
    woken: Notify,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Followed {
    /// The position up to which all changed keys are dropped from the cache.
    pub(super) position: Position,
    /// The number of readings that had been requested when the last complete reading began.
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
    /// Reads the log to its end, and drops the changed keys from the cache.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let follower = &self.follower;
        // Loaded before the reading, which so includes everything that was committed before these requests.
        let requested = follower.requested.load(Ordering::Acquire);
        loop {
            let position = follower.position();
            let reading = in_time(follower.db.read_changes(position.number, MAX_CHANGES)).await?;
            match reading.continues(position) {
                Continuity::Whole => {}
                Continuity::Gap => {
                    tracing::warn!(
                        from = position.number,
                        "the change log no longer has entries that this server needs; all cached keys are dropped"
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

    /// Drops everything that is cached, and continues at the current end of the log.
    async fn database_went_back(&self, position: Position, end: Position) -> Result<(), StoreError> {
        tracing::error!(
            read_up_to = position.number,
            log_ends_at = end.number,
            "the change log in the database is not the one that this server has followed: the database was restored to \
             an earlier state, or a failover lost commits; all cached keys, sessions and quota parts are dropped, and \
             subscribers of /v1/revocations are told to drop theirs"
        );
        if end.epoch != position.epoch {
            tracing::error!("the database belongs to another installation; stop all nodes, and start them again");
        }
        if let Some(node) = &self.node {
            // Nodes that the database has lost may trust their caches until their leases end.
            node.distrust_others();
        }
        self.drop_everything();
        let begun = self.begin_history(position, end).await;
        // Also after an error, because subscribers have cached keys of the old history.
        self.subscribers.reset();
        self.follower.set_position(begun?);
        Ok(())
    }

    /// Begins a new history of the log, unless another node has done so. Returns the end of the log after that.
    async fn begin_history(&self, position: Position, end: Position) -> Result<Position, StoreError> {
        if end.history == position.history {
            in_time(self.follower.db.begin_history(end.history, Entropy::System.id())).await?;
        }
        in_time(self.follower.db.changes_end()).await
    }

    /// Drops everything that this server and its subscribers have cached. Nodes that the database may have lost count
    /// as live until their leases end.
    fn distrust(&self, node: &Node) {
        node.distrust_others();
        self.drop_everything();
        self.subscribers.reset();
    }

    /// Drops everything that this server has cached.
    fn drop_everything(&self) {
        self.db.forget();
        self.limits.forget_quota_leases();
        self.checks.forget();
    }

    /// Renews the lease of this node, and applies all changes that were committed before the renewal was answered.
    async fn renew(&self, node: &Node) -> Result<(), StoreError> {
        let before = self.follower.position();
        let Some(renewal) = node.renew(before).await? else {
            tracing::error!("another server has replaced this node; without a lease, every check reads the database");
            return Ok(());
        };
        match renewal.doubt {
            None => {}
            Some(Doubt::WentBack) => {
                // A doubt is reported once, so act on it before any step that can fail.
                self.distrust(node);
                let end = in_time(self.follower.db.changes_end()).await?;
                self.database_went_back(before, end).await?;
            }
            Some(doubt @ (Doubt::OtherServer | Doubt::Unregistered)) => {
                tracing::warn!(?doubt, "the database may have lost commits; all cached keys are dropped");
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

/// Runs a statement with a timeout.
async fn in_time<T>(statement: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(STATEMENT_TIMEOUT, statement).await.map_err(|_| StoreError::slow())?
}

/// Follows the log until the [`ChangeLog`] is dropped.
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
            // Logged once, because the error lasts as long as the database does not answer.
            Err(error) if is_well => {
                tracing::error!(%error, "cannot read the change log; a node trusts cached keys until its lease ends");
            }
            _ => {}
        }
        is_well = outcome.is_ok();
        if let Some(node) = node.as_ref().filter(|_| is_time && is_well) {
            // Other nodes' leases count from when this node sees their renewals: without regular readings, a revocation
            // would wait for a whole lease. In a task of its own, so that it cannot delay this node's renewals.
            let node = Arc::clone(node);
            tokio::spawn(async move { node.watch_others().await });
        }
        if !is_well {
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

/// Listens for notices of other nodes: wakes the follower, and requests that wait for acknowledgements.
async fn listen(follower: Arc<Follower>, node: Arc<Node>) {
    loop {
        // If a notice is lost, the next renewal reads the log anyway.
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
