//! Sessions: their storage, and the look-up of the person of a session.

pub(super) mod current;
pub(super) mod store;
