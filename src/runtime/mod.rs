//! Building blocks of the server that know nothing of keys: shared queues, and the tenants that share them.

pub mod batch;
mod network;
mod tenant;

pub use network::Network;
pub use tenant::Tenant;
