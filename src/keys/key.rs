//! A key, and whether it is good for what is asked.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use uuid::Uuid;

use crate::model::wire::{Quota, RateLimit};
use crate::model::{EnvironmentId, KeyId, Mode, OrganisationId, Scopes, Timestamp, UserId};

/// A key: everything but its string.
#[derive(Debug, Clone)]
pub struct Key {
    /// hookstream's id.
    pub id: KeyId,
    /// HookSentry's id of the same key.
    pub uuid: Uuid,
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
pub struct Ask {
    /// Scopes that must all be held.
    pub scopes: Vec<String>,
    /// The mode that its environment must have.
    pub mode: Option<Mode>,
    /// Where the request came from; `None` when that cannot be known.
    pub address: Option<IpAddr>,
}

/// Whether a key is good for what is asked, limits and quotas apart. The first that applies
/// (CONTRACTS, Native).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
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
    /// It does not hold these.
    InsufficientScopes(Vec<String>),
    /// It is good.
    Valid,
}

impl Key {
    /// The state at a moment.
    pub fn state(&self, now: Timestamp) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if self.disabled_at.is_some() {
            KeyState::Disabled
        } else if self.limits.expires_at.is_some_and(|at| at <= now) {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }

    /// Judges the key, purely by what is in it.
    pub fn judge(&self, now: Timestamp, ask: &Ask) -> Judgement {
        match self.state(now) {
            KeyState::Revoked => return Judgement::Revoked,
            KeyState::Disabled => return Judgement::Disabled,
            KeyState::Expired => return Judgement::Expired,
            KeyState::Active => {}
        }
        if ask.mode.is_some_and(|mode| mode != self.mode) {
            return Judgement::WrongEnvironment;
        }
        if !self.limits.allow_address(ask.address) {
            return Judgement::Forbidden;
        }
        let missing: Vec<String> = ask.scopes.iter().filter(|scope| !self.scopes.hold(scope)).cloned().collect();
        if missing.is_empty() { Judgement::Valid } else { Judgement::InsufficientScopes(missing) }
    }
}

impl Limits {
    /// Whether a request from there is allowed; an unknown address never is, where there is a list.
    fn allow_address(&self, address: Option<IpAddr>) -> bool {
        let Some(networks) = &self.ip_allowlist else {
            return true;
        };
        address.is_some_and(|address| {
            // An IPv4 peer on a dual-stack socket is shown as ::ffff:a.b.c.d.
            let address = address.to_canonical();
            networks.iter().any(|network| network.contains(&address))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key {
            id: KeyId(1),
            uuid: Uuid::nil(),
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
            metadata: None,
            created_at: Timestamp(0),
            disabled_at: None,
            revoked_at: None,
            request_count: 0,
            last_used_at: None,
        }
    }

    #[test]
    fn the_first_reason_that_applies_is_the_one_given() {
        let now = Timestamp(1_000);
        let ask = Ask { scopes: vec!["events:write".into()], mode: Some(Mode::Test), address: None };
        let mut key = key();
        key.scopes = Scopes::Named(vec!["keys:verify".into()]);
        key.limits.ip_allowlist = Some(vec!["10.0.0.0/8".parse().unwrap()]);
        key.limits.expires_at = Some(now);
        key.disabled_at = Some(now);
        key.revoked_at = Some(now);
        assert_eq!(key.judge(now, &ask), Judgement::Revoked);
        key.revoked_at = None;
        assert_eq!(key.judge(now, &ask), Judgement::Disabled);
        key.disabled_at = None;
        assert_eq!(key.judge(now, &ask), Judgement::Expired);
        key.limits.expires_at = Some(Timestamp(1_001));
        assert_eq!(key.judge(now, &ask), Judgement::WrongEnvironment);
        let ask = Ask { mode: Some(Mode::Live), ..ask };
        assert_eq!(key.judge(now, &ask), Judgement::Forbidden);
        let ask = Ask { address: Some("10.1.2.3".parse().unwrap()), ..ask };
        assert_eq!(key.judge(now, &ask), Judgement::InsufficientScopes(vec!["events:write".into()]));
        let ask = Ask { scopes: vec!["keys:verify".into()], ..ask };
        assert_eq!(key.judge(now, &ask), Judgement::Valid);
    }

    #[test]
    fn an_ipv4_address_is_the_same_in_its_mapped_form() {
        let mut key = key();
        key.limits.ip_allowlist = Some(vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        let from = |address: &str| {
            let ask = Ask { address: Some(address.parse().unwrap()), ..Ask::default() };
            key.judge(Timestamp(0), &ask)
        };
        assert_eq!(from("::ffff:192.0.2.7"), Judgement::Valid);
        assert_eq!(from("192.0.2.7"), Judgement::Valid);
        assert_eq!(from("2001:db8::1"), Judgement::Valid);
        assert_eq!(from("192.0.3.7"), Judgement::Forbidden);
        assert_eq!(key.judge(Timestamp(0), &Ask::default()), Judgement::Forbidden);
    }
}
