//! The contracts: the HTTP operations, with their requests and responses.
//!
//! Each contract translates between its wire format and the shared domain. The domain does not depend on a contract,
//! and no contract on another.

pub mod document;
pub mod hooksentry;
pub mod hookstream;
pub mod native;
