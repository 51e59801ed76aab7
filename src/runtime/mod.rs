//! Building blocks of the server that are independent of keys: time, randomness, background tasks, shared queues, and
//! the tenants that share them.

pub mod batch;
pub mod clock;
pub mod entropy;
pub mod lists;
mod network;
pub mod tasks;
mod tenant;
pub mod time;

pub use network::Network;
pub use tenant::Tenant;
