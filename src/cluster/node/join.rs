//! Registers a server as a node, unless another node conflicts with it.

use std::sync::atomic::AtomicU64;

use tokio::sync::{Mutex as AsyncMutex, watch};
use tracing_mutex::stdsync::Mutex;

use super::{Node, REDIS_CONFLICT_RENEWALS, RENEW_EVERY};
use crate::cluster::process;
use crate::cluster::redis::Redis;
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::store::{Db, NodeRow, StoreError};

/// The reason why a server did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Another server uses the database, and one of the two has no Redis, so it cannot share the database.
    #[error(
        "the database is served by another process, the node {0}: stop it, or give every node the same --redis-url"
    )]
    Served(String),
    /// Another node counts limits in another Redis.
    #[error(
        "the node {0} counts limits in another Redis than the one at this node's --redis-url, so keys could use their \
         rate limits twice: give every node the same --redis-url"
    )]
    OtherRedis(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Node {
    /// Registers this server. Several servers need a shared Redis: if this one or another one has no Redis, no other
    /// server may hold a lease. Waits until the lease of a dead server expires.
    ///
    /// # Errors
    /// When another server conflicts with this one, or the database fails.
    pub async fn join(
        db: &Db,
        clock: Clock,
        entropy: &Entropy,
        name: String,
        redis: Option<Redis>,
    ) -> Result<Self, JoinError> {
        let own = NodeRow {
            id: entropy.id(),
            name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sole: i64::from(redis.is_none()),
            process: process::identity(),
            started_at: clock.now().0,
            renewals: 1,
            heard: 0,
            redis: None,
            redis_identity: None,
        };
        let node = Self {
            db: db.with_dedicated_pool(),
            clock,
            own,
            observed: Mutex::default(),
            requested: AtomicU64::new(0),
            registry: AsyncMutex::default(),
            acknowledgements: watch::Sender::default(),
            redis,
            renewed: Mutex::default(),
            distrusted_until: AtomicU64::new(0),
            redis_conflict_renewals: AtomicU64::new(0),
        };
        let mut first_seen = None;
        loop {
            let Err(other) = node.register(true).await? else { return Ok(node) };
            // A node that renews its lease is alive.
            let has_other_redis = node.has_other_redis(&other);
            match first_seen {
                Some((id, renewals)) if id == other.id && has_other_redis => {
                    if other.renewals.saturating_sub(renewals).unsigned_abs() >= REDIS_CONFLICT_RENEWALS {
                        return Err(JoinError::OtherRedis(other.name));
                    }
                }
                Some(seen) if !has_other_redis && seen != (other.id, other.renewals) => {
                    return Err(JoinError::Served(other.name));
                }
                Some((id, _)) if id == other.id => {}
                _ => {
                    tracing::info!(
                        node = other.name,
                        "another server has a lease on the database; waiting until it expires"
                    );
                    first_seen = Some((other.id, other.renewals));
                }
            }
            tokio::time::sleep(RENEW_EVERY).await;
        }
    }

    /// Writes the node's row. The inner `Err` is a conflicting node; while `joining`, a node with another Redis
    /// conflicts as well.
    pub(super) async fn register(&self, joining: bool) -> Result<Result<(), NodeRow>, StoreError> {
        let before = self.clock.boottime();
        let row = NodeRow {
            redis: self.redis_answers().map(i64::from),
            redis_identity: self.redis_identity(),
            ..self.own.clone()
        };
        self.db
            .register_node(&row, |others| {
                let (mut dead, mut conflict) = (Vec::new(), None);
                for other in self.observe(others, before) {
                    // Only between servers without Redis: clones of a running machine share its boot id, and take each
                    // other's processes for their own.
                    if self.own.sole != 0 && other.row.sole != 0 && process::has_ended(&other.row.process) {
                        dead.push(other.row);
                    } else if (other.row.sole != 0 || self.own.sole != 0) && other.row.id != self.own.id {
                        if other.is_live() { conflict = Some(other.row) } else { dead.push(other.row) }
                    } else if joining && other.is_live() && self.has_other_redis(&other.row) {
                        conflict = Some(other.row);
                    }
                }
                conflict.map_or(Ok(dead), Err)
            })
            .await
    }

    /// Returns whether another node counts limits in another Redis.
    pub(super) fn has_other_redis(&self, other: &NodeRow) -> bool {
        other.id != self.own.id
            && matches!((self.redis_identity(), other.redis_identity), (Some(own), Some(other)) if own != other)
    }
}
