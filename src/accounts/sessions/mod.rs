//! Sessions: how they are stored, and who is behind one.

pub(super) mod current;
pub(super) mod store;
