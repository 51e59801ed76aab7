//! The request of a check.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The mode of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// `live`
    Live,
    /// `test`
    Test,
}

impl Environment {
    /// Returns the name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A check of a key. `Check { scopes: "reports:read", ..Check::new(key) }`
#[derive(Clone, Copy, Serialize)]
pub struct Check<'a> {
    /// The whole key string that the caller presented.
    pub key: &'a str,
    /// Required scopes, separated by spaces; empty for none.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub scopes: &'a str,
    /// The required environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// The address of the caller. Without it, a key with an allowlist is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// The units that the request charges to the key's limits: 1 as a rule, 0 to charge nothing. A check with a value
    /// other than 1 always asks the server.
    pub cost: u32,
}

impl<'a> Check<'a> {
    /// Creates a check without requirements.
    pub fn new(key: &'a str) -> Self {
        Self { key, scopes: "", environment: None, ip: None, cost: 1 }
    }
}

impl fmt::Debug for Check<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("key", &"…")
            .field("scopes", &self.scopes)
            .field("environment", &self.environment)
            .field("ip", &self.ip)
            .field("cost", &self.cost)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_serialised_as_the_server_expects() {
        let written = |check: &Check<'_>| serde_json::to_string(check).expect("JSON");
        assert_eq!(written(&Check::new("k")), r#"{"key":"k","cost":1}"#);
        let check = Check {
            scopes: "a:b",
            environment: Some(Environment::Test),
            ip: Some("::1".parse().expect("an address")),
            cost: 0,
            ..Check::new("k")
        };
        assert_eq!(written(&check), r#"{"key":"k","scopes":"a:b","environment":"test","ip":"::1","cost":0}"#);
    }

    #[test]
    fn the_key_is_not_printed() {
        assert!(!format!("{:?}", Check::new("hs_live_secret")).contains("secret"));
    }
}
