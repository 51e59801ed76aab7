//! Keys, their limits and states, and the request and outcome of a check.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use uuid::Uuid;

use super::{KeyHash, Place, Search};
use crate::model::{
    EnvironmentId, KeyId, Mode, OrganisationId, Quota, RateLimit, ScopeList, Scopes, Timestamp, UserId,
};
use crate::runtime::Tenant;

/// A key, without its string.
#[derive(Debug, Clone)]
pub struct Key {
    /// The id in hookstream's contract.
    pub id: KeyId,
    /// The id of the same key in HookSentry's contract.
    pub uuid: Uuid,
    /// The hash of the key string.
    pub hash: KeyHash,
    /// The organisation that owns the key.
    pub organisation: OrganisationId,
    /// The id of the same organisation in HookSentry's contract.
    pub organisation_uuid: Uuid,
    /// The environment that the key belongs to.
    pub environment: EnvironmentId,
    /// The mode of that environment.
    pub mode: Mode,
    /// The user that created the key; for a key created by a key, the creator of that key.
    pub created_by: Option<UserId>,
    /// The creator's e-mail address.
    pub creator: Option<String>,
    /// The key that created this one, if a key did.
    pub parent: Option<KeyId>,
    /// The label.
    pub name: String,
    /// The first 12 characters of the key string.
    pub prefix: String,
    /// The scopes of the key.
    pub scopes: Scopes,
    /// Expiry, IP allowlist, rate limit and quota.
    pub limits: Limits,
    /// The spending of the limits as it was last saved.
    pub spent: Spent,
    /// Names and values that the owner attached to the key.
    pub metadata: Option<BTreeMap<String, String>>,
    /// The moment of creation.
    pub created_at: Timestamp,
    /// The moment when the key was paused, if it is paused.
    pub disabled_at: Option<Timestamp>,
    /// The moment of revocation, if the key is revoked.
    pub revoked_at: Option<Timestamp>,
    /// The number of requests that were accepted with the key.
    pub request_count: i64,
    /// The moment of the last of these requests.
    pub last_used_at: Option<Timestamp>,
}

/// Limits of a key beside its scopes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// The key is refused from this moment on.
    pub expires_at: Option<Timestamp>,
    /// The only networks that the key may be used from.
    pub ip_allowlist: Option<Vec<IpNet>>,
    /// A number of requests in a number of seconds.
    pub rate_limit: Option<RateLimit>,
    /// A number of requests in a calendar month, UTC.
    pub quota: Option<Quota>,
}

/// The spending of a key's limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// The moment when the rate limit is full again; `None` when it is full.
    pub rate_until: Option<Timestamp>,
    /// The month of `quota_used`, counted from year 0.
    pub quota_month: Option<i32>,
    /// Requests in that month.
    pub quota_used: u64,
}

/// The spending of a key, as a flush saves it.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct SpentRow {
    /// The id of the key.
    pub id: i64,
    /// The moment when the rate limit is full again, milliseconds since 1970; `None` when it need not be saved.
    pub rate_until: Option<i64>,
    /// The month of `quota_used`, counted from year 0.
    pub quota_month: i32,
    /// Requests in that month.
    pub quota_used: u64,
}

/// The owner of the keys in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Keys that this user created, in organisations that the user is still a member of.
    Creator(UserId),
    /// Keys that this user created in this environment, while the user is still a member.
    CreatorIn(UserId, EnvironmentId),
    /// Keys that this user created in this organisation, while the user is still a member.
    CreatorFor(UserId, OrganisationId),
    /// All keys of an organisation.
    Organisation(OrganisationId),
    /// All keys of an environment.
    Environment(EnvironmentId),
}

/// Filters of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Only keys in this state.
    pub state: Option<KeyState>,
    /// Only keys that match a search.
    pub search: Option<Search>,
}

/// The state of a key. A key is in exactly one state: the first of these that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Revoked; a key cannot leave this state.
    Revoked,
    /// Paused.
    Disabled,
    /// Past its expiry.
    Expired,
    /// Not revoked, paused or expired.
    Active,
}

impl KeyState {
    /// The word in addresses and SQL statements.
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

/// The requirements that a request has for a key.
#[derive(Debug, Clone, Default)]
pub struct Ask<'a> {
    /// Scopes that the key must all hold; `*` is full access.
    pub scopes: ScopeList<'a>,
    /// The mode that the key's environment must have.
    pub mode: Option<Mode>,
    /// The client's address; `None` when it is unknown.
    pub address: Option<IpAddr>,
    /// The organisation that must own the key: another's key is treated as not found.
    pub organisation: Option<OrganisationId>,
    /// The part of the key's limits that the request takes.
    pub cost: Cost,
    /// The tenant that a look-up is charged to, when the key is not in the cache.
    pub tenant: Tenant,
}

/// The number of requests that a request counts as, in the rate limit and the quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost(pub u32);

impl Default for Cost {
    fn default() -> Self {
        Self(1)
    }
}

/// The outcome of a check: the first that applies (docs/CONTRACTS.md, "Native").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// There is no such key, or it belongs to another organisation.
    NotFound,
    /// The key is revoked.
    Revoked,
    /// The key is paused.
    Disabled,
    /// The key has expired.
    Expired,
    /// The request requires another mode.
    WrongEnvironment,
    /// The client's address is not in the IP allowlist.
    Forbidden,
    /// The key lacks a required scope.
    InsufficientScopes,
    /// The rate limit is exceeded.
    RateLimited,
    /// The quota of this month is spent.
    QuotaExceeded,
    /// The key is valid for the request.
    Valid,
}

impl Code {
    /// All codes, in order of precedence.
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
    /// Derives the state of a key at `now`.
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
    /// Returns the state at a moment.
    pub fn state(&self, now: Timestamp) -> KeyState {
        KeyState::of(self.revoked_at.is_some(), self.disabled_at.is_some(), self.limits.expires_at, now)
    }

    /// Returns the organisation and the environment of the key.
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

    /// Returns an active key without limits or scopes.
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
