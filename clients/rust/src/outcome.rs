//! What a check comes to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::check::{Check, Environment};
use crate::scopes;

/// The first of these that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Code {
    /// No key of the caller's organisation.
    NotFound,
    /// It was revoked.
    Revoked,
    /// It is switched off.
    Disabled,
    /// Its time is over.
    Expired,
    /// It belongs to another environment than was asked for.
    WrongEnvironment,
    /// It may not be used from this address, or the address is not known and the key has an allowlist.
    Forbidden,
    /// It does not hold all scopes that were asked for.
    InsufficientScopes,
    /// It was used too often for the moment.
    RateLimited,
    /// It was used too often for this month.
    QuotaExceeded,
    /// It is good.
    Valid,
    /// A refusal that this version does not know.
    #[serde(other)]
    Other,
}

impl Code {
    /// Whether no check of this key can come to anything better at the moment, whatever it asks for.
    pub(crate) fn ends_the_key(self) -> bool {
        matches!(self, Self::NotFound | Self::Revoked | Self::Disabled | Self::Expired)
    }
}

/// The outcome of a check. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Outcome {
    /// What it is.
    pub code: Code,
    /// `ak_…`; `None`, like all of the following, when there is no such key.
    pub key_id: Option<Arc<str>>,
    /// What the key is called.
    pub name: Option<Arc<str>>,
    /// The organisation that it belongs to.
    pub org_id: Option<Arc<str>>,
    /// The environment that it belongs to.
    pub env_id: Option<Arc<str>>,
    /// Which kind of environment that is.
    pub environment: Option<Environment>,
    /// What the key holds, separated by spaces; `None` and `*` for full access.
    pub scopes: Option<Arc<str>>,
    /// When it ends.
    #[serde(default, deserialize_with = "moment")]
    pub expires_at: Option<SystemTime>,
    /// What its owner has noted with it.
    pub metadata: Option<Arc<BTreeMap<String, String>>>,
    /// How its rate limit stands; `None` without one, and where it was not asked.
    pub ratelimit: Option<RateLimit>,
    /// With [`Code::InsufficientScopes`]: the asked ones that the key does not hold.
    #[serde(default)]
    pub missing_scopes: Vec<String>,
    /// With [`Code::RateLimited`] and [`Code::QuotaExceeded`]: seconds after which it is worth trying again.
    pub retry_after: Option<u64>,
}

/// How a rate limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct RateLimit {
    /// Requests in a window.
    pub limit: u32,
    /// Requests that would be let through now.
    pub remaining: u64,
    /// Seconds until all of them would be.
    pub reset: u64,
}

impl Outcome {
    /// Whether to let the request through.
    pub fn is_valid(&self) -> bool {
        self.code == Code::Valid
    }

    /// Whether the key holds a scope, `resource:action`. Says nothing of whether the key is good.
    pub fn holds(&self, scope: &str) -> bool {
        self.key_id.is_some() && scopes::hold(self.scopes.as_deref(), scope)
    }

    /// Whether this outcome of another check is surely that of `check` as well, if nothing was done to the
    /// key since.
    pub(crate) fn answers(&self, check: &Check<'_>, now: SystemTime) -> bool {
        self.is_valid()
            && check.cost == 1
            && self.expires_at.is_none_or(|end| now < end)
            && check.environment.is_none_or(|asked| self.environment == Some(asked))
            && scopes::hold_all(self.scopes.as_deref(), check.scopes)
    }
}

/// As it comes: with a word of its own for whether it is good.
#[derive(Deserialize)]
struct Answer {
    valid: bool,
    #[serde(flatten)]
    outcome: Outcome,
}

/// Reads an answer. `None` for anything that is no outcome, or that contradicts itself.
pub(crate) fn read(body: &[u8]) -> Option<Outcome> {
    let Answer { valid, outcome } = serde_json::from_slice(body).ok()?;
    let is_known = outcome.key_id.is_some()
        && outcome.name.is_some()
        && outcome.org_id.is_some()
        && outcome.env_id.is_some()
        && outcome.environment.is_some();
    (valid == outcome.is_valid() && (is_known || !valid)).then_some(outcome)
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    text.map(|text| OffsetDateTime::parse(&text, &Rfc3339).map(SystemTime::from))
        .transpose()
        .map_err(serde::de::Error::custom)
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
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
            Self::Other => "OTHER",
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// A good key's.
    pub(crate) fn valid() -> Outcome {
        let text = r#"{"valid":true,"code":"VALID","key_id":"ak_8f3a1b2c4d5e6f7a","name":"Backend",
            "org_id":"org_5b6c7d8e9f0a1b2c","env_id":"env_1a2b3c4d5e6f7a8b","environment":"live",
            "scopes":"events:write reports:*","expires_at":"1970-01-01T00:01:40Z","metadata":{"plan":"pro"},
            "ratelimit":{"limit":100,"remaining":99,"reset":1},"request_id":"0123456789abcdef"}"#;
        read(text.as_bytes()).expect("an outcome")
    }

    #[test]
    fn an_outcome_is_read_whole() {
        let outcome = valid();
        assert_eq!(outcome.key_id.as_deref(), Some("ak_8f3a1b2c4d5e6f7a"));
        assert_eq!(outcome.environment, Some(Environment::Live));
        assert_eq!(outcome.expires_at, Some(UNIX_EPOCH + Duration::from_secs(100)));
        assert_eq!(outcome.metadata.as_ref().and_then(|all| all.get("plan")).map(String::as_str), Some("pro"));
        assert_eq!(outcome.ratelimit, Some(RateLimit { limit: 100, remaining: 99, reset: 1 }));
        assert!(outcome.holds("reports:read") && !outcome.holds("keys:verify"));
    }

    #[test]
    fn a_refusal_is_read_and_one_of_a_later_server_is_none_the_less_one() {
        let nobody = r#"{"valid":false,"code":"NOT_FOUND","key_id":null,"name":null,"org_id":null,"env_id":null,
            "environment":null,"scopes":null,"expires_at":null,"metadata":null,"ratelimit":null,"request_id":"0"}"#;
        let outcome = read(nobody.as_bytes()).expect("an outcome");
        assert_eq!(outcome.code, Code::NotFound);
        assert!(!outcome.holds("a:b"), "nobody holds nothing");
        let later = read(br#"{"valid":false,"code":"ON_FIRE","missing_scopes":["a:b"],"retry_after":7}"#);
        let later = later.expect("an outcome");
        assert_eq!((later.code, later.retry_after), (Code::Other, Some(7)));
        assert_eq!(later.missing_scopes, ["a:b"]);
    }

    #[test]
    fn what_contradicts_itself_is_no_outcome() {
        for text in [
            "",
            "{}",
            "<html>",
            r#"{"valid":true}"#,
            r#"{"valid":true,"code":"VALID"}"#,
            r#"{"valid":true,"code":"REVOKED"}"#,
            r#"{"valid":false,"code":"VALID"}"#,
            r#"{"valid":false,"code":"EXPIRED","expires_at":"soon"}"#,
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_remembered_outcome_answers_only_what_is_plainly_valid() {
        let (outcome, before) = (valid(), UNIX_EPOCH + Duration::from_secs(99));
        let check = Check { scopes: "reports:read", environment: Some(Environment::Live), ..Check::new("k") };
        assert!(outcome.answers(&check, before));
        assert!(!outcome.answers(&check, before + Duration::from_secs(1)), "its time is over");
        assert!(!outcome.answers(&Check { scopes: "keys:verify", ..check }, before));
        assert!(!outcome.answers(&Check { environment: Some(Environment::Test), ..check }, before));
        for cost in [0, 2] {
            assert!(!outcome.answers(&Check { cost, ..check }, before));
        }
        assert!(!Outcome { code: Code::Disabled, ..outcome }.answers(&check, before));
    }
}
