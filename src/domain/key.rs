//! A key, and whether it is good for what is asked.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use uuid::Uuid;

use super::{KeyHash, Place, Search};
use crate::model::{
    EnvironmentId, KeyId, Mode, OrganisationId, Quota, RateLimit, ScopeList, Scopes, Timestamp, UserId,
};
use crate::runtime::Tenant;

/// A key: everything but its string.
#[derive(Debug, Clone)]
pub struct Key {
    /// hookstream's id.
    pub id: KeyId,
    /// HookSentry's id of the same key.
    pub uuid: Uuid,
    /// What is kept of its string.
    pub hash: KeyHash,
    /// Whose it is.
    pub organisation: OrganisationId,
    /// HookSentry's id of the same organisation.
    pub organisation_uuid: Uuid,
    /// Where it belongs.
    pub environment: EnvironmentId,
    /// What that environment is for.
    pub mode: Mode,
    /// Who made it; for a key made by a key, who made that one.
    pub created_by: Option<UserId>,
    /// Their address.
    pub creator: Option<String>,
    /// The key that made it.
    pub parent: Option<KeyId>,
    /// Its label.
    pub name: String,
    /// The first 12 characters of its string.
    pub prefix: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// Its bounds.
    pub limits: Limits,
    /// How much of them was spent when it was last written down.
    pub spent: Spent,
    /// What its owner wants to remember.
    pub metadata: Option<BTreeMap<String, String>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was switched off, if it is.
    pub disabled_at: Option<Timestamp>,
    /// When it was ended, if it was.
    pub revoked_at: Option<Timestamp>,
    /// Requests that it was good for.
    pub request_count: i64,
    /// The last of them.
    pub last_used_at: Option<Timestamp>,
}

/// What bounds a key beyond its scopes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// It is refused from this moment on.
    pub expires_at: Option<Timestamp>,
    /// The only networks that it may be used from.
    pub ip_allowlist: Option<Vec<IpNet>>,
    /// So many requests in so many seconds.
    pub rate_limit: Option<RateLimit>,
    /// So many requests in a calendar month, UTC.
    pub quota: Option<Quota>,
}

/// What a key has spent of its limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// When its rate limit is whole again, if it is not.
    pub rate_until: Option<Timestamp>,
    /// The month of `quota_used`, counted from year 0.
    pub quota_month: Option<i32>,
    /// Requests in that month.
    pub quota_used: u64,
}

/// The spending of a key, as a flush saves it.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct SpentRow {
    /// Which key.
    pub id: i64,
    /// When its rate limit is whole again, milliseconds since 1970, if that is worth knowing.
    pub rate_until: Option<i64>,
    /// The month of `quota_used`, counted from year 0.
    pub quota_month: i32,
    /// Requests in that month.
    pub quota_used: u64,
}

/// The owner whose keys a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Those that this user made, in organisations that they are still in.
    Creator(UserId),
    /// Those of them that belong to this environment.
    CreatorIn(UserId, EnvironmentId),
    /// Those of them that belong to this organisation.
    CreatorFor(UserId, OrganisationId),
    /// All of an organisation.
    Organisation(OrganisationId),
    /// All of an environment.
    Environment(EnvironmentId),
}

/// Which of the keys a listing shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Only in this state.
    pub state: Option<KeyState>,
    /// Only those that a search finds.
    pub search: Option<Search>,
}

/// What a key is, in one word. A key is in exactly one state: the first that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Ended for good.
    Revoked,
    /// Switched off.
    Disabled,
    /// Its time is over.
    Expired,
    /// None of these.
    Active,
}

impl KeyState {
    /// The word for it in addresses and statements.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Active => "active",
        }
    }

    /// Reads [`as_str`](Self::as_str) back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Revoked, Self::Disabled, Self::Expired, Self::Active].into_iter().find(|state| state.as_str() == text)
    }
}

/// What a request wants of a key.
#[derive(Debug, Clone, Default)]
pub struct Ask<'a> {
    /// Scopes that must all be held; `*` is full access.
    pub scopes: ScopeList<'a>,
    /// The mode that its environment must have.
    pub mode: Option<Mode>,
    /// Where the request came from; `None` when that cannot be known.
    pub address: Option<IpAddr>,
    /// Whose key it must be: another's is as good as none.
    pub organisation: Option<OrganisationId>,
    /// How much of its limits the request takes.
    pub cost: Cost,
    /// The tenant that a look-up is charged to, when the key is not in the cache.
    pub tenant: Tenant,
}

/// How much of a key's limits a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost(pub u32);

impl Default for Cost {
    fn default() -> Self {
        Self(1)
    }
}

/// The outcome of a check, the first that applies (docs/CONTRACTS.md, "Native").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// No such key, or another organisation's.
    NotFound,
    /// It was ended.
    Revoked,
    /// It is switched off.
    Disabled,
    /// Its time is over.
    Expired,
    /// Another mode was asked for.
    WrongEnvironment,
    /// It may not be used from there.
    Forbidden,
    /// It does not hold all that was asked for.
    InsufficientScopes,
    /// Too many requests at once.
    RateLimited,
    /// No request is left in this month.
    QuotaExceeded,
    /// It is good.
    Valid,
}

impl Code {
    /// All of them, in their order.
    pub const ALL: [Self; 10] = [
        Self::NotFound,
        Self::Revoked,
        Self::Disabled,
        Self::Expired,
        Self::WrongEnvironment,
        Self::Forbidden,
        Self::InsufficientScopes,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::Valid,
    ];

    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::Revoked => "REVOKED",
            Self::Disabled => "DISABLED",
            Self::Expired => "EXPIRED",
            Self::WrongEnvironment => "WRONG_ENVIRONMENT",
            Self::Forbidden => "FORBIDDEN",
            Self::InsufficientScopes => "INSUFFICIENT_SCOPES",
            Self::RateLimited => "RATE_LIMITED",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::Valid => "VALID",
        }
    }

    /// Reads [`as_str`](Self::as_str) back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

impl KeyState {
    /// What the four facts make of a key.
    pub fn of(revoked: bool, disabled: bool, expires_at: Option<Timestamp>, now: Timestamp) -> Self {
        if revoked {
            Self::Revoked
        } else if disabled {
            Self::Disabled
        } else if expires_at.is_some_and(|at| at <= now) {
            Self::Expired
        } else {
            Self::Active
        }
    }
}

impl Key {
    /// The state at a moment.
    pub fn state(&self, now: Timestamp) -> KeyState {
        KeyState::of(self.revoked_at.is_some(), self.disabled_at.is_some(), self.limits.expires_at, now)
    }

    /// Where it belongs.
    pub fn place(&self) -> Place {
        Place {
            organisation: self.organisation,
            organisation_uuid: self.organisation_uuid,
            environment: self.environment,
            mode: self.mode,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::PlainKey;
    use crate::runtime::entropy::Entropy;

    /// A key without anything special.
    pub fn key() -> Key {
        Key {
            id: KeyId(1),
            uuid: Uuid::nil(),
            hash: PlainKey::hookstream(Mode::Live, &Entropy::seeded(1)).hash(),
            organisation: OrganisationId(1),
            organisation_uuid: Uuid::nil(),
            environment: EnvironmentId(1),
            mode: Mode::Live,
            created_by: None,
            creator: None,
            parent: None,
            name: "k".to_owned(),
            prefix: "hs_live_0000".to_owned(),
            scopes: Scopes::Unset,
            limits: Limits::default(),
            spent: Spent::default(),
            metadata: None,
            created_at: Timestamp(0),
            disabled_at: None,
            revoked_at: None,
            request_count: 0,
            last_used_at: None,
        }
    }

    #[test]
    fn every_code_reads_back() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(code));
        }
        assert_eq!(Code::parse("valid"), None);
    }
}
