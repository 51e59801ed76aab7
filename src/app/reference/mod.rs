//! The page of the API reference.

pub(crate) mod operation;
pub(crate) mod page;
pub(crate) mod schema;
