//! Types that the server and the browser share.
//!
//! Value types that hold only valid values, and the wire types of the hookstream contract, which the dashboard uses
//! too. No I/O, no clock, no framework: the module compiles to WASM.

mod error;
mod id;
mod limits;
mod name;
mod nfc;
mod organisation;
mod scopes;
mod time;
pub mod wire;

pub use error::{ApiError, FieldError};
pub use id::{AuditEntryId, EnvironmentId, IdError, IdText, InvitationId, KeyId, NodeId, OrganisationId, UserId};
pub use limits::{Quota, RateLimit};
pub use name::{KeyName, NameError};
pub use nfc::nfc;
pub use organisation::{Mode, Role};
pub use scopes::{MANAGE_KEYS, ScopeList, Scopes, ScopesError};
pub use time::{Timestamp, ago};
