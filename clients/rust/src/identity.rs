//! Whose request it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::check::Environment;
use crate::outcome::Outcome;
use crate::scopes;

/// The key that a request was let in by: what [`LatchkeyLayer`](crate::LatchkeyLayer) leaves in the
/// extensions of the request. With the feature `axum` it is an extractor. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// `ak_…`
    pub key_id: Arc<str>,
    /// What the key is called.
    pub name: Arc<str>,
    /// The organisation that it belongs to.
    pub org_id: Arc<str>,
    /// The environment that it belongs to.
    pub env_id: Arc<str>,
    /// Which kind of environment that is.
    pub environment: Environment,
    /// What the key holds, separated by spaces; `None` and `*` for full access.
    pub scopes: Option<Arc<str>>,
    /// What its owner has noted with it.
    pub metadata: Option<Arc<BTreeMap<String, String>>>,
}

impl Identity {
    /// `None` unless the outcome is a good one.
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

    /// Whether the key holds a scope, `resource:action`.
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
    fn only_a_good_outcome_is_somebody() {
        let identity = Identity::of(&valid()).expect("an identity");
        assert_eq!((&*identity.key_id, &*identity.name), ("ak_8f3a1b2c4d5e6f7a", "Backend"));
        assert!(identity.holds("reports:read") && !identity.holds("keys:verify"));
        assert_eq!(Identity::of(&Outcome { code: Code::RateLimited, ..valid() }), None);
        assert_eq!(Identity::of(&Outcome { org_id: None, ..valid() }), None);
    }
}
