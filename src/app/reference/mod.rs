//! The page of the API reference.

pub(crate) mod call;
pub(crate) mod contents;
pub(crate) mod curl;
pub(crate) mod operation;
pub(crate) mod page;
pub(crate) mod schema;
pub(crate) mod search;
