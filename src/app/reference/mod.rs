//! The API reference, for people.

pub(crate) mod operation;
pub(crate) mod page;
pub(crate) mod schema;
