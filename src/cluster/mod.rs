//! What the servers of one installation share.

pub mod limits;
pub mod redis;
