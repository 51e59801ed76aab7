//! The status of the nodes that serve the database, for operators.

use std::time::Duration;

use super::Node;
use crate::model::{NodeId, Timestamp};
use crate::store::{Position, StoreError};

/// The status of a node, as this one sees it.
#[derive(Debug, Clone)]
pub struct NodeState {
    /// Its id, which is new at each start.
    pub id: NodeId,
    /// Its name, which the operator chose.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// The time of its start, by its own clock.
    pub started_at: Timestamp,
    /// The rest of its lease, as other nodes count it; zero when the lease has expired.
    pub lease_left: Duration,
    /// The number of the last change that it has applied.
    pub heard: i64,
    /// Whether its Redis answers; `None` without Redis.
    pub redis: Option<bool>,
    /// Whether it is the node that answers this request.
    pub is_self: bool,
}

/// The status of all nodes.
#[derive(Debug, Clone)]
pub struct Nodes {
    /// The nodes, oldest first.
    pub nodes: Vec<NodeState>,
    /// The number of the last committed change.
    pub last_change: i64,
    /// The id of the database that `last_change` belongs to.
    pub epoch: u64,
}

impl NodeState {
    /// Returns the status of a server that is the only one of its database.
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
    /// Combines the status of all nodes with the end of the change log, which was read before them.
    pub fn new(nodes: Vec<NodeState>, end: Position) -> Self {
        // A node may have applied later changes.
        let last_change = nodes.iter().map(|node| node.heard).max().unwrap_or_default().max(end.number);
        Self { nodes, last_change, epoch: end.epoch.cast_unsigned() }
    }
}

impl Node {
    /// Returns the status of all nodes of the database.
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
