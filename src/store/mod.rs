//! What is on disk: SQL for both engines, and nothing that decides anything.
//!
//! A statement is a file in `sql/`; where the engines must differ there is one file for each.

mod accounts;
mod db;
mod keys;
mod sessions;

pub use accounts::{MembershipRow, NewUser, StoredUser};
pub(crate) use accounts::Registered;
pub use db::{Db, DatabaseUrlError, StoreError};
pub use keys::{Inserted, KeyFilter, Listed, NewRow, Owner, Use};
pub use sessions::StoredSession;
