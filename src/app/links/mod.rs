//! Reads and writes the addresses of pages.

pub(crate) mod events;
pub(crate) mod key_in_address;
pub(crate) mod keys;
