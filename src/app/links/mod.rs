//! Addresses of pages: reading and writing them.

pub(crate) mod events;
pub(crate) mod key_in_address;
pub(crate) mod keys;
