//! The limits of keys: rate limits and quotas, of one node and shared by all.

pub(super) mod meters;
pub(super) mod quota_leases;
pub(super) mod shared;
