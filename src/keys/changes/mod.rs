//! Changes of keys: the log that is followed, and the subscribers that it is republished to.

pub(super) mod follower;
pub(super) mod subscribers;
