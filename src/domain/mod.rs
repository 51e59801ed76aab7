//! The domain types: a key and its string, its place, the rights of a caller, and audit entries. Pure: no I/O.

mod access;
mod audit;
mod caller;
mod key;
mod key_string;
mod organisation;
mod person;
mod place;
mod search;
mod unavailable;

pub use access::{Action, Denied, may};
pub use audit::{
    ActorType, AuditAction, AuditActor, AuditChain, AuditContext, AuditEntry, AuditFields, AuditTarget, RequestOrigin,
    TargetType,
};
pub use caller::Caller;
#[cfg(test)]
pub(crate) use key::tests::key;
pub use key::{Ask, Code, Cost, Key, KeyFilter, KeyState, Limits, Owner, Spent, SpentRow};
pub use key_string::{KeyHash, PlainKey, PresentedKey};
pub use organisation::NewOrganisation;
pub use person::{Environment, Membership, Person, Verified};
pub use place::Place;
pub use search::{Search, fold};
pub use unavailable::Unavailable;
