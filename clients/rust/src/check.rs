//! What is asked about a key.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Which kind of environment a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// `live`
    Live,
    /// `test`
    Test,
}

impl Environment {
    /// As it is written.
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

/// A question about a key. `Check { scopes: "reports:read", ..Check::new(key) }`
#[derive(Clone, Copy, Serialize)]
pub struct Check<'a> {
    /// The whole string that was presented.
    pub key: &'a str,
    /// Scopes that must all be held, separated by spaces; none when it is empty.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub scopes: &'a str,
    /// The environment that the key must belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// Where the request came from. A key with an allowlist is refused without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// How much of the key's limits the request takes: 1 as a rule, 0 only looks. Anything but 1 is always
    /// asked from the server.
    pub cost: u32,
}

impl<'a> Check<'a> {
    /// Whether the key is good at all.
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
    fn a_check_is_written_as_the_server_reads_it() {
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
