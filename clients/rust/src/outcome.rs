//! The outcome of a check.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::check::{Check, Environment};
use crate::scopes;

/// The code of an outcome: the first that applies, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Code {
    /// The application's organisation has no such key.
    NotFound,
    /// The key is revoked.
    Revoked,
    /// The key is paused.
    Disabled,
    /// The key has expired.
    Expired,
    /// The key belongs to another environment than required.
    WrongEnvironment,
    /// The key's allowlist does not contain the caller's address, or the check has no address.
    Forbidden,
    /// The key does not have all required scopes.
    InsufficientScopes,
    /// The rate limit is exceeded.
    RateLimited,
    /// The quota of the month is used up.
    QuotaExceeded,
    /// The key is valid.
    Valid,
    /// A refusal that this version of the client does not know.
    #[serde(other)]
    Other,
}

impl Code {
    /// Whether every check of the key is refused at the moment, independent of its requirements.
    pub(crate) fn ends_the_key(self) -> bool {
        matches!(self, Self::NotFound | Self::Revoked | Self::Disabled | Self::Expired)
    }
}

/// The outcome of a check. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The code.
    pub code: Code,
    /// `ak_…`. `None` when there is no such key, like all following fields.
    pub key_id: Option<Arc<str>>,
    /// The name of the key.
    pub name: Option<Arc<str>>,
    /// The organisation of the key.
    pub org_id: Option<Arc<str>>,
    /// The environment of the key.
    pub env_id: Option<Arc<str>>,
    /// The mode of the environment.
    pub environment: Option<Environment>,
    /// The scopes of the key, separated by spaces; `None` or `*` for full access.
    pub scopes: Option<Arc<str>>,
    /// The expiry of the key.
    #[serde(default, deserialize_with = "moment")]
    pub expires_at: Option<SystemTime>,
    /// The metadata of the key.
    pub metadata: Option<Arc<BTreeMap<String, String>>>,
    /// The state of the rate limit; `None` for a key without one, and if the rate limit was not checked.
    pub ratelimit: Option<RateLimit>,
    /// With [`Code::InsufficientScopes`]: the required scopes that the key does not have.
    #[serde(default)]
    pub missing_scopes: Vec<String>,
    /// With [`Code::RateLimited`] and [`Code::QuotaExceeded`]: seconds until a retry can succeed.
    pub retry_after: Option<u64>,
}

/// The state of a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct RateLimit {
    /// Requests in a window.
    pub limit: u32,
    /// Requests that would be accepted now.
    pub remaining: u64,
    /// Seconds until `limit` requests would be accepted.
    pub reset: u64,
}

impl Outcome {
    /// Whether to accept the request.
    pub fn is_valid(&self) -> bool {
        self.code == Code::Valid
    }

    /// Whether the key has a scope, `resource:action`. Independent of whether the key is valid.
    pub fn holds(&self, scope: &str) -> bool {
        self.key_id.is_some() && scopes::hold(self.scopes.as_deref(), scope)
    }

    /// Whether this cached outcome is certainly also the outcome of `check`, if the key has not changed.
    pub(crate) fn answers(&self, check: &Check<'_>, now: SystemTime) -> bool {
        self.is_valid()
            && check.cost == 1
            && self.expires_at.is_none_or(|end| now < end)
            && check.environment.is_none_or(|asked| self.environment == Some(asked))
            && scopes::hold_all(self.scopes.as_deref(), check.scopes)
    }
}

/// The body of a response, which also has the field `valid`.
#[derive(Deserialize)]
struct Answer {
    valid: bool,
    #[serde(flatten)]
    outcome: Outcome,
}

/// Parses a response; `None` for invalid or contradictory ones.
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

    /// The outcome of a valid key.
    pub(crate) fn valid() -> Outcome {
        let text = r#"{"valid":true,"code":"VALID","key_id":"ak_8f3a1b2c4d5e6f7a","name":"Backend",
            "org_id":"org_5b6c7d8e9f0a1b2c","env_id":"env_1a2b3c4d5e6f7a8b","environment":"live",
            "scopes":"events:write reports:*","expires_at":"1970-01-01T00:01:40Z","metadata":{"plan":"pro"},
            "ratelimit":{"limit":100,"remaining":99,"reset":1},"request_id":"0123456789abcdef"}"#;
        read(text.as_bytes()).expect("an outcome")
    }

    #[test]
    fn all_fields_of_an_outcome_are_parsed() {
        let outcome = valid();
        assert_eq!(outcome.key_id.as_deref(), Some("ak_8f3a1b2c4d5e6f7a"));
        assert_eq!(outcome.environment, Some(Environment::Live));
        assert_eq!(outcome.expires_at, Some(UNIX_EPOCH + Duration::from_secs(100)));
        assert_eq!(outcome.metadata.as_ref().and_then(|all| all.get("plan")).map(String::as_str), Some("pro"));
        assert_eq!(outcome.ratelimit, Some(RateLimit { limit: 100, remaining: 99, reset: 1 }));
        assert!(outcome.holds("reports:read") && !outcome.holds("keys:verify"));
    }

    #[test]
    fn unknown_codes_of_later_servers_are_refusals() {
        let nobody = r#"{"valid":false,"code":"NOT_FOUND","key_id":null,"name":null,"org_id":null,"env_id":null,
            "environment":null,"scopes":null,"expires_at":null,"metadata":null,"ratelimit":null,"request_id":"0"}"#;
        let outcome = read(nobody.as_bytes()).expect("an outcome");
        assert_eq!(outcome.code, Code::NotFound);
        assert!(!outcome.holds("a:b"), "an unknown key holds no scope");
        let later = read(br#"{"valid":false,"code":"ON_FIRE","missing_scopes":["a:b"],"retry_after":7}"#);
        let later = later.expect("an outcome");
        assert_eq!((later.code, later.retry_after), (Code::Other, Some(7)));
        assert_eq!(later.missing_scopes, ["a:b"]);
    }

    #[test]
    fn invalid_and_contradictory_responses_are_errors() {
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
    fn a_cached_outcome_answers_only_checks_that_are_certainly_valid() {
        let (outcome, before) = (valid(), UNIX_EPOCH + Duration::from_secs(99));
        let check = Check { scopes: "reports:read", environment: Some(Environment::Live), ..Check::new("k") };
        assert!(outcome.answers(&check, before));
        assert!(!outcome.answers(&check, before + Duration::from_secs(1)), "the key has expired");
        assert!(!outcome.answers(&Check { scopes: "keys:verify", ..check }, before));
        assert!(!outcome.answers(&Check { environment: Some(Environment::Test), ..check }, before));
        for cost in [0, 2] {
            assert!(!outcome.answers(&Check { cost, ..check }, before));
        }
        assert!(!Outcome { code: Code::Disabled, ..outcome }.answers(&check, before));
    }
}
