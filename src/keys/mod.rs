//! The heart: issue, list, revoke and verify keys.
//!
//! Rules only. How they are stored is `store`'s, how they are asked for and answered is each
//! contract's in `api`.

mod issue;
mod key;
mod list;
mod revoke;
mod token;
mod usage;
mod verify;

pub use issue::{Draft, IssueError, Issued, KeyStringForm};
pub use key::{Ask, Judgement, Key, KeyState, Limits};
pub use list::{Cursor, CursorError, Page, Request};
pub use revoke::{RevokeError, RevokeOnceError};
pub use token::{KeyHash, PlainKey, PresentedKey};
pub use usage::{FLUSH_EVERY, Usage};
pub use verify::Verdict;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::store::Db;
pub use crate::store::KeyFilter;

/// What the operator decides about keys.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The most keys that an organisation may have that are not revoked.
    pub most_per_organisation: i64,
    /// Whether a key may manage keys (CONTRACTS, "Keys must not make keys").
    pub keys_may_manage_keys: bool,
}

/// The keys, and all that is done with them.
#[derive(Debug)]
pub struct Keys {
    db: Db,
    clock: Clock,
    entropy: Entropy,
    usage: Usage,
    policy: Policy,
}

impl Keys {
    /// The keys of a database.
    pub fn new(db: Db, clock: Clock, entropy: Entropy, policy: Policy) -> Self {
        Self { usage: Usage::default(), db, clock, entropy, policy }
    }

    /// What the operator decided.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The time, as every rule about keys sees it.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
}
