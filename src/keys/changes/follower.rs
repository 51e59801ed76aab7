//! Follows the log of changes: drops changed keys from the cache and republishes each change, in commit order.
//!
//! A change is logged in the transaction that makes it, and one task follows that log, whoever wrote it. So
//! subscribers get the order of the commits, and a node that was away catches up by reading on where it stopped. On
//! a node the same task renews the lease, which holds only once everything has been read that was committed
//! before the renewal was answered.
//!
//! A database may go back: by a restored backup, or a failover that loses commits. Each reading shows whether the log
//! is still the one that was followed ([`Continuity`]); where it is not, this server drops everything that it cached.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use crate::cluster::{Doubt, Node, NodeState, Nodes, Proof, RENEW_EVERY};
use crate::keys::{Core, Keys};
use crate::runtime::entropy::Entropy;
use crate::store::{Continuity, Db, Notice, Position, StoreError};

/// Changes of one reading at the most.
const MAX_CHANGES: i64 = 1000;
/// How often the log is read when nothing wakes the task.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A statement that takes longer is given up, and tried again.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// A change that is not heard of for so long is not going to be before its caller gives up.
const HEARD_WITHIN: Duration = Duration::from_secs(15);

/// A change is on disk, but nobody knows whether every node has heard of it. Whoever asks again waits for
/// that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the change is stored, but it is not known whether every node has heard of it")]
pub struct Unproven;

/// How far the log was followed.
#[derive(Debug)]
pub(in crate::keys) struct Hearing {
    /// Not the one that checks wait for: a node must be able to renew its lease under any load.
    db: Db,
    followed: watch::Sender<Followed>,
    /// Readings of the log that were asked for.
    asked: AtomicU64,
    woken: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Followed {
    /// Everything up to here is dropped from the cache.
    position: Position,
    /// The log was read to its end after so many readings had been asked for.
    asked: u64,
}

impl Hearing {
    /// A follower that has read everything up to a position.
    pub(in crate::keys) fn new(db: Db, position: Position) -> Self {
        let followed = watch::Sender::new(Followed { position, asked: 0 });
        Self { db, followed, asked: AtomicU64::new(0), woken: Notify::new() }
    }

    /// The position up to which every change is dropped here.
    pub(in crate::keys) fn position(&self) -> Position {
        self.followed.borrow().position
    }

    fn set_position(&self, position: Position) {
        self.followed.send_modify(|followed| followed.position = position);
    }
}

impl Keys {
    /// The servers of the database.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn nodes(&self) -> Result<Nodes, StoreError> {
        let end = self.core.db.changes_end().await?;
        let nodes = match &self.core.node {
            None => vec![NodeState::alone(self.opened_at, self.core.hearing.position().number)],
            Some(node) => node.states().await?,
        };
        Ok(Nodes::new(nodes, end))
    }
}

impl Core {
    /// Reads the log to its end, and drops what changed.
    async fn hear(&self) -> Result<(), StoreError> {
        // Before the reading begins: it has everything that was committed before these were asked for.
        let asked = self.hearing.asked.load(Ordering::Acquire);
        loop {
            let position = self.hearing.position();
            let reading = in_time(self.hearing.db.read_changes(position.number, MAX_CHANGES)).await?;
            match reading.continues(position) {
                Continuity::Whole => {}
                Continuity::Gap => {
                    tracing::warn!(
                        from = position.number,
                        "the change log has no entries any more that this server missed; all cached keys are dropped"
                    );
                    self.forget();
                    self.feed.reset();
                }
                Continuity::Broken => {
                    self.database_went_back(position, reading.end).await?;
                    continue;
                }
            }
            for change in &reading.changes {
                self.invalidate(change.hash);
                self.feed.tell(*change);
            }
            if let Some(last) = reading.changes.last() {
                self.hearing.set_position(reading.end.after(last));
            }
            if i64::try_from(reading.changes.len()).is_ok_and(|count| count < MAX_CHANGES) {
                self.hearing.followed.send_modify(|followed| followed.asked = asked);
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
            // Nodes that the database does not know of any more may go by what they cached until their leases end.
            node.distrust_others();
        }
        self.start_over();
        let begun = self.begin_history(position, end).await;
        // Whether or not: what subscribers remember is of the other history.
        self.feed.reset();
        self.hearing.set_position(begun?);
        Ok(())
    }

    /// Marks the history as another one, unless another node has done so. The end of the log after that.
    async fn begin_history(&self, position: Position, end: Position) -> Result<Position, StoreError> {
        if end.history == position.history {
            in_time(self.hearing.db.begin_history(end.history, Entropy::System.id())).await?;
        }
        in_time(self.hearing.db.changes_end()).await
    }

    /// Drops everything that was cached of the database, here and by subscribers. Nodes that the database may have
    /// forgotten count as caching it until their leases end.
    fn distrust(&self, node: &Node) {
        node.distrust_others();
        self.start_over();
        self.feed.reset();
    }

    /// Drops everything that was cached of the database.
    fn start_over(&self) {
        self.db.forget();
        self.marked.forget();
        self.places.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Some(together) = self.together.get() {
            together.parts.forget();
        }
        self.forget();
    }

    /// Waits until no check anywhere goes by what was before a change.
    pub(in crate::keys) async fn effective(&self, number: i64) -> Result<Proof, Unproven> {
        let mut followed = self.hearing.followed.subscribe();
        // A reading that begins from now on: an earlier one may be of a database that has gone back since.
        let ticket = self.hearing.asked.fetch_add(1, Ordering::AcqRel) + 1;
        self.hearing.woken.notify_one();
        let is_dropped = |followed: &Followed| followed.asked >= ticket && followed.position.number >= number;
        let here = tokio::time::timeout(HEARD_WITHIN, followed.wait_for(is_dropped));
        if !matches!(here.await, Ok(Ok(_))) {
            return Err(Unproven);
        }
        self.feed.taken(number).await;
        match &self.node {
            None => Ok(Proof::ALONE),
            Some(node) => node.prove(number).await.map_err(|error| {
                tracing::error!(%error, "it cannot be known whether every node has heard of a change");
                Unproven
            }),
        }
    }

    /// Renews the lease of this node, and hears what was committed before that was answered.
    async fn renew(&self, node: &Node) -> Result<(), StoreError> {
        let before = self.hearing.position();
        let Some(renewal) = node.renew(before).await? else {
            tracing::error!("another server has taken this one's place: every check reads the database");
            return Ok(());
        };
        match renewal.doubt {
            None => {}
            Some(Doubt::WentBack) => {
                // A doubt is reported once: act on it before anything that can fail.
                self.distrust(node);
                let end = in_time(self.hearing.db.changes_end()).await?;
                self.database_went_back(before, end).await?;
            }
            Some(doubt @ (Doubt::OtherServer | Doubt::Unregistered)) => {
                tracing::warn!(?doubt, "commits may have been lost; all cached keys are dropped");
                self.distrust(node);
            }
        }
        self.hear().await?;
        self.acknowledge(node, before, renewal.doubt.is_some()).await?;
        self.trusted_until.store(renewal.until, Ordering::Release);
        Ok(())
    }

    async fn hear_and_acknowledge(&self, node: &Node) -> Result<(), StoreError> {
        let before = self.hearing.position();
        self.hear().await?;
        self.acknowledge(node, before, false).await
    }

    async fn acknowledge(&self, node: &Node, before: Position, in_any_case: bool) -> Result<(), StoreError> {
        let position = self.hearing.position();
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

/// Follows the log, until nobody needs it any more.
pub(in crate::keys) async fn follow(core: Weak<Core>, hearing: Arc<Hearing>, node: Option<Arc<Node>>) {
    let _listening = node.clone().map(|node| AbortOnDrop(tokio::spawn(listen(Arc::clone(&hearing), node))));
    let mut tick = tokio::time::interval(if node.is_some() { RENEW_EVERY } else { LOOK_EVERY });
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_well = true;
    loop {
        let is_time = tokio::select! {
            _ = tick.tick() => true,
            () = hearing.woken.notified() => false,
        };
        let Some(core) = core.upgrade() else { return };
        let done = match &node {
            Some(node) if is_time => core.renew(node).await,
            Some(node) => core.hear_and_acknowledge(node).await,
            None => core.hear().await,
        };
        match &done {
            Ok(()) if !is_well => tracing::info!("the change log can be read again"),
            // Once: it goes on for as long as the database is away.
            Err(error) if is_well => {
                tracing::error!(%error, "cannot read the change log; on a node, cached keys are trusted until its lease ends");
            }
            _ => {}
        }
        is_well = done.is_ok();
        if let Some(node) = node.as_ref().filter(|_| is_time && is_well) {
            // A lease is counted from when its renewal was seen: whoever looks only when a key is revoked waits for
            // all of it. Beside this loop, which has its own lease to think of.
            let node = Arc::clone(node);
            tokio::spawn(async move { node.watch_others().await });
        }
        if !is_well {
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }
}

/// Passes on what other nodes say.
async fn listen(hearing: Arc<Hearing>, node: Arc<Node>) {
    loop {
        // What cannot be heard is read at the next renewal.
        if let Ok(Some(mut notices)) = node.notices().await {
            hearing.woken.notify_one();
            while let Ok(notice) = notices.next().await {
                if notice != Notice::Acknowledged {
                    hearing.woken.notify_one();
                }
                if notice != Notice::Changed {
                    node.acknowledged();
                }
            }
        }
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
