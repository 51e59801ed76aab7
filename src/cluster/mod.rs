//! Several servers of one database: who they are, and what each may do with what it remembers.
//!
//! PostgreSQL is the truth, of the cluster as well: the nodes, their leases and the numbers of changes stand
//! there. What `keys` does with a change is its own matter; this is only about who has heard of it.

mod node;
mod process;

pub use node::{JoinError, LEASE, Member, Node, Proof, RENEW_EVERY};
