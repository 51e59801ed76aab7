//! The change log of keys. This node follows it and republishes each change to its subscribers; a change is answered
//! after all nodes have acknowledged it.

pub(super) mod change_id;
mod follower;
pub(super) mod subscribers;
pub(super) mod subscription;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::check::Checks;
use super::limits::Limits;
use crate::cluster::{Node, NodeState, Nodes, Proof};
use crate::domain::Unavailable;
use crate::model::{OrganisationId, Timestamp};
use crate::runtime::clock::Clock;
use crate::store::{Db, Position, StoreError};
use follower::{Followed, Follower};
use subscribers::{SubscribeError, Subscribers};
use subscription::{Start, Subscription};

/// The retention of the change log in milliseconds: an hour. A node or a subscriber that was away for less misses no
/// change.
const LOG_RETENTION: i64 = 3_600_000;
/// The timeout for this node to apply a change. After it, the change gets 503; its caller is about to give up.
const APPLIED_TIMEOUT: Duration = Duration::from_secs(15);

/// Follows the change log, which all nodes write.
#[derive(Debug)]
pub struct ChangeLog {
    db: Db,
    clock: Clock,
    checks: Arc<Checks>,
    limits: Arc<Limits>,
    subscribers: Arc<Subscribers>,
    follower: Arc<Follower>,
    /// This server as a node, if several servers may share the database.
    node: Option<Arc<Node>>,
    opened_at: Timestamp,
    following: OnceLock<AbortHandle>,
}

impl ChangeLog {
    /// Follows the log from a position on, in a task that ends when this is dropped.
    pub(super) fn follow(
        db: Db,
        clock: Clock,
        checks: Arc<Checks>,
        limits: Arc<Limits>,
        node: Option<Arc<Node>>,
        position: Position,
    ) -> Arc<Self> {
        let log_db = node.as_ref().map_or_else(|| db.clone(), |node| node.db().clone());
        let follower = Arc::new(Follower::new(log_db, position));
        let opened_at = clock.now();
        let log = Arc::new(Self {
            db,
            clock,
            checks,
            limits,
            subscribers: Arc::default(),
            follower: Arc::clone(&follower),
            node: node.clone(),
            opened_at,
            following: OnceLock::new(),
        });
        let following = tokio::spawn(follower::follow(Arc::downgrade(&log), follower, node));
        let _ = log.following.set(following.abort_handle());
        log
    }

    /// Subscribes to the changes of an organisation's keys.
    ///
    /// # Errors
    /// When there are too many subscribers, or the database fails.
    pub async fn subscribe(&self, organisation: OrganisationId, start: Start) -> Result<Subscription, SubscribeError> {
        Subscription::open(&self.subscribers, self.db.clone(), organisation, start).await
    }

    /// Returns the status of all nodes of the database.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn nodes(&self) -> Result<Nodes, StoreError> {
        let end = self.db.changes_end().await?;
        let nodes = match &self.node {
            None => vec![NodeState::alone(self.opened_at, self.follower.position().number)],
            Some(node) => node.states().await?,
        };
        Ok(Nodes::new(nodes, end))
    }

    /// Waits until no check on any node uses the state before a change.
    pub(super) async fn applied(&self, number: i64) -> Result<Proof, Unavailable> {
        let mut followed = self.follower.subscribe();
        // Request a new reading: the database may have lost commits since an earlier one.
        let ticket = self.follower.request_reading();
        let is_applied = |followed: &Followed| followed.requested >= ticket && followed.position.number >= number;
        let here = tokio::time::timeout(APPLIED_TIMEOUT, followed.wait_for(is_applied));
        if !matches!(here.await, Ok(Ok(_))) {
            return Err(Unavailable::Acknowledgements);
        }
        self.subscribers.delivered(number).await;
        match &self.node {
            None => Ok(Proof::ALONE),
            Some(node) => node.prove(number).await.map_err(|error| {
                tracing::error!(%error, "cannot read which nodes have applied a change; its caller gets 503");
                Unavailable::Acknowledgements
            }),
        }
    }

    /// Stops following the log and trusting the cache, and gives up the lease of this node.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn leave(&self) -> Result<(), StoreError> {
        if let Some(following) = self.following.get() {
            following.abort();
            // The task must not renew the lease that is given up here.
            while !following.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        self.checks.trust_cache_until(0);
        match &self.node {
            None => Ok(()),
            Some(node) => node.leave().await,
        }
    }

    /// Removes the rows of dead nodes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remove_dead_nodes(&self) -> Result<(), StoreError> {
        match &self.node {
            Some(node) => node.remove_dead_nodes().await,
            None => Ok(()),
        }
    }

    /// Deletes changes that are too old for subscribers to resume after.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_old(&self) -> Result<(), StoreError> {
        self.db.delete_changes_before(self.clock.now().plus(-LOG_RETENTION)).await
    }
}
