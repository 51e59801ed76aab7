//! The database layer: SQL for both engines, without rules.
//!
//! A statement is a file in `sql/`; where the engines must differ there is one file for each. A function that changes
//! the rights of a person or a key, or a setting, takes its audit entry; `audit.rs` lists the exceptions.

mod account_admin;
mod accounts;
mod audit;
mod batch;
mod changes;
mod checkpoints;
mod db;
mod error;
mod events;
mod family;
mod file;
mod ingest;
mod jobs;
mod key_lists;
mod key_pages;
mod keys;
mod migrate_data;
mod new_changes;
mod nodes;
mod pool;
mod quotas;
mod revoked;
mod sessions;
mod tokens;
mod url;
mod usage;

pub use account_admin::AccountRow;
pub(crate) use accounts::Registered;
pub use accounts::{NewUser, PersonRow, StoredUser};
pub(crate) use batch::Batch;
pub use changes::{Change, Position};
pub(crate) use changes::{Continuity, OrganisationEnd};
pub use db::{DatabaseUrlError, Db, SqliteFile, StoreError};
pub use events::{EventFilter, EventHead, EventPage, Retention, StoredEvent};
pub(crate) use family::{FamilyKey, KeyEdit};
pub use ingest::{NewEvent, Taken};
pub use jobs::NewJob;
pub(crate) use jobs::{ClaimedJob, Settled};
pub use key_pages::{KeyColumn, KeyCounts, KeyList, KeyPage, ListedKey};
pub(crate) use keys::NewKey;
pub use keys::{Inserted, MaxKeys};
pub use migrate_data::{MigrateDataError, Progress, open_both};
pub(crate) use nodes::Renewed;
pub use nodes::{NodeRow, Notice, Notices};
pub use quotas::QuotaPart;
pub use sessions::{SignedInRow, StoredSession};
pub use tokens::{NewToken, Refreshed, TokenKind};
pub use usage::{HourlyUse, LoggedUses, UsageRows, UsedFrom};
