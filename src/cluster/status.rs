//! The nodes that serve the database, as operators see them.

use std::time::Duration;

use super::Node;
use crate::model::{NodeId, Timestamp};
use crate::store::{Position, StoreError};

/// A server, as this one sees it.
#[derive(Debug, Clone)]
pub struct NodeState {
    /// Another one at each start.
    pub id: NodeId,
    /// Its name, which the operator chose.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// By its own clock.
    pub started_at: Timestamp,
    /// The rest of its lease, as other nodes reckon it; zero when the lease is over.
    pub lease_left: Duration,
    /// The last change that it has dropped.
    pub heard: i64,
    /// Whether its Redis answers; `None` without one.
    pub redis: Option<bool>,
    /// Whether it is the one that was asked.
    pub is_self: bool,
}

/// All of them.
#[derive(Debug, Clone)]
pub struct Nodes {
    /// Oldest first.
    pub nodes: Vec<NodeState>,
    /// The number of the last change that was committed.
    pub last_change: i64,
    /// Which database that number is of.
    pub epoch: u64,
}

impl NodeState {
    /// The only server, where the database takes no further ones.
    pub fn alone(started_at: Timestamp, heard: i64) -> Self {
        Self {
            id: NodeId(0),
            name: "the only server".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at,
            lease_left: Duration::MAX,
            heard,
            redis: None,
            is_self: true,
        }
    }
}

impl Nodes {
    /// The servers of a database whose log of changes ended at `end` before they were read.
    pub fn new(nodes: Vec<NodeState>, end: Position) -> Self {
        // A node that was read after it may have heard of more.
        let last_change = nodes.iter().map(|node| node.heard).max().unwrap_or_default().max(end.number);
        Self { nodes, last_change, epoch: end.epoch.cast_unsigned() }
    }
}

impl Node {
    /// The servers of the database.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn states(&self) -> Result<Vec<NodeState>, StoreError> {
        let members = self.members().await?;
        let states = members.iter().map(|member| NodeState {
            id: NodeId(member.row.id),
            name: member.row.name.clone(),
            version: member.row.version.clone(),
            started_at: Timestamp(member.row.started_at),
            lease_left: member.lease_left,
            heard: member.row.heard,
            redis: member.row.redis.map(|answers| answers != 0),
            is_self: member.row.id == self.id(),
        });
        Ok(states.collect())
    }
}
