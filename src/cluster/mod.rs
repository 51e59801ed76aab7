//! Several servers (nodes) on one database: their registry, their leases, and the limits that they share.
//!
//! PostgreSQL is the source of truth for the cluster too: the registry, the leases and the numbers of applied changes
//! are stored there. This module tracks which node has applied which change; `keys` applies the changes. Redis holds
//! data that may be lost: the counts of shared rate limits.

pub mod limits;
mod node;
mod process;
pub mod redis;
mod status;

pub use node::{Doubt, JoinError, LEASE, Member, Node, Proof, RENEW_EVERY, Renewal};
pub use status::{NodeState, Nodes};
