//! The identity of a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::check::Environment;
use crate::outcome::Outcome;
use crate::scopes;

/// The key of an accepted request. [`LatchkeyLayer`](crate::LatchkeyLayer) stores it in the extensions of the request.
/// With the feature `axum`, an extractor. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// `ak_…`
    pub key_id: Arc<str>,
    /// The name of the key.
    pub name: Arc<str>,
    /// The organisation of the key.
    pub org_id: Arc<str>,
    /// The environment of the key.
    pub env_id: Arc<str>,
    /// The mode of the environment.
    pub environment: Environment,
    /// The scopes of the key, separated by spaces; `None` or `*` for full access.
    pub scopes: Option<Arc<str>>,
    /// The metadata of the key.
    pub metadata: Option<Arc<BTreeMap<String, String>>>,
}

impl Identity {
    /// Returns the identity of a valid outcome; `None` for others.
    pub(crate) fn of(outcome: &Outcome) -> Option<Self> {
        if !outcome.is_valid() {
            return None;
        }
        Some(Self {
            key_id: outcome.key_id.clone()?,
            name: outcome.name.clone()?,
            org_id: outcome.org_id.clone()?,
            env_id: outcome.env_id.clone()?,
            environment: outcome.environment?,
            scopes: outcome.scopes.clone(),
            metadata: outcome.metadata.clone(),
        })
    }

    /// Whether the key has a scope, `resource:action`.
    pub fn holds(&self, scope: &str) -> bool {
        scopes::hold(self.scopes.as_deref(), scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Code;
    use crate::outcome::tests::valid;

    #[test]
    fn only_a_valid_outcome_has_an_identity() {
        let identity = Identity::of(&valid()).expect("an identity");
        assert_eq!((&*identity.key_id, &*identity.name), ("ak_8f3a1b2c4d5e6f7a", "Backend"));
        assert!(identity.holds("reports:read") && !identity.holds("keys:verify"));
        assert_eq!(Identity::of(&Outcome { code: Code::RateLimited, ..valid() }), None);
        assert_eq!(Identity::of(&Outcome { org_id: None, ..valid() }), None);
    }
}
