//! Several servers of one database: who they are, and what each may do with what it remembers.
//!
//! PostgreSQL is the truth, of the cluster as well: the nodes, their leases and the numbers of changes stand
//! there. What `keys` does with a change is its own matter; this is only about who has heard of it. Redis
//! holds what may be lost: what was spent of limits that all count together.

pub mod limits;
mod node;
mod process;
pub mod redis;
mod status;

pub use node::{Doubt, JoinError, LEASE, Member, Node, Proof, RENEW_EVERY, Renewal};
pub use status::{NodeState, Nodes};
