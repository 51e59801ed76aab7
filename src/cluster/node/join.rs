//! Registers a server as a node, unless another server is in the way.

use std::sync::atomic::AtomicU64;

use tokio::sync::{Mutex as AsyncMutex, watch};
use tracing_mutex::stdsync::Mutex;

use super::{Node, REDIS_ROUNDS, RENEW_EVERY};
use crate::cluster::process;
use crate::cluster::redis::Redis;
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::store::{Db, NodeRow, StoreError};

/// The reason why a server did not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Another server is there, and one of the two is meant to be alone.
    #[error(
        "the database is served by another process, the node {0}: stop it, or give every node the same --redis-url"
    )]
    Served(String),
    /// The other nodes count limits in another Redis.
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
    /// Registers this server. Several servers need a shared Redis: if this one or another one has none, no other server may
    /// hold a lease. Waits for the end of a dead server's lease.
    ///
    /// # Errors
    /// When another server is in the way, or the database fails.
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
            asked: AtomicU64::new(0),
            registry: AsyncMutex::default(),
            acknowledgements: watch::Sender::default(),
            redis,
            renewed: Mutex::default(),
            distrusted_until: AtomicU64::new(0),
            other_redis_rounds: AtomicU64::new(0),
        };
        let mut first_seen = None;
        loop {
            let Err(other) = node.register(true).await? else { return Ok(node) };
            // A node that renews its lease is alive.
            let is_redis = node.has_other_redis(&other);
            match first_seen {
                Some((id, renewals)) if id == other.id && is_redis => {
                    if other.renewals.saturating_sub(renewals).unsigned_abs() >= REDIS_ROUNDS {
                        return Err(JoinError::OtherRedis(other.name));
                    }
                }
                Some(seen) if !is_redis && seen != (other.id, other.renewals) => {
                    return Err(JoinError::Served(other.name));
                }
                Some((id, _)) if id == other.id => {}
                _ => {
                    tracing::info!(node = other.name, "another server was here: waiting until its lease is over");
                    first_seen = Some((other.id, other.renewals));
                }
            }
            tokio::time::sleep(RENEW_EVERY).await;
        }
    }

    /// Writes the row. `Err` names a node that is in the way; if this one is `joining`, also a node that has another Redis.
    pub(super) async fn register(&self, joining: bool) -> Result<Result<(), NodeRow>, StoreError> {
        let before = self.clock.boottime();
        let row = NodeRow {
            redis: self.redis_answers().map(i64::from),
            redis_identity: self.redis_identity(),
            ..self.own.clone()
        };
        self.db
            .register_node(&row, |others| {
                let (mut dead, mut in_the_way) = (Vec::new(), None);
                for other in self.observe(others, before) {
                    // Only for servers without other nodes: machines that were copied while they ran mistake each
                    // other's processes for their own.
                    if self.own.sole != 0 && other.row.sole != 0 && process::has_ended(&other.row.process) {
                        dead.push(other.row);
                    } else if (other.row.sole != 0 || self.own.sole != 0) && other.row.id != self.own.id {
                        if other.is_live() { in_the_way = Some(other.row) } else { dead.push(other.row) }
                    } else if joining && other.is_live() && self.has_other_redis(&other.row) {
                        in_the_way = Some(other.row);
                    }
                }
                in_the_way.map_or(Ok(dead), Err)
            })
            .await
    }

    /// Returns whether another node counts limits in another Redis.
    pub(super) fn has_other_redis(&self, other: &NodeRow) -> bool {
        other.id != self.own.id
            && matches!((self.redis_identity(), other.redis_identity), (Some(own), Some(other)) if own != other)
    }
}
