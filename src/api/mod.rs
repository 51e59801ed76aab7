//! The contracts: what is asked over HTTP, and how it is answered.
//!
//! Each contract is a translation between its wire and the one domain; nothing of a contract leaks
//! into the domain, and no contract knows another.

pub mod document;
pub mod hooksentry;
pub mod hookstream;
pub mod native;
