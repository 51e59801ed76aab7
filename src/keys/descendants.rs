//! The limits that a key passes on to its descendants: the keys that it made, directly or through other keys.
//!
//! Pausing, narrowing or revoking a key applies to its descendants as well, in the same transaction. Resuming or
//! widening a key does not: each descendant keeps its own, smaller rights.

use ipnet::IpNet;

use crate::domain::Key;
use crate::model::{MANAGE_KEYS, Quota, RateLimit, Scopes, Timestamp};

/// The fields of a key that an edit has narrowed, with their new values.
#[derive(Debug, Default)]
pub(super) struct Narrowing {
    is_paused: bool,
    scopes: Option<Scopes>,
    expires_at: Option<Timestamp>,
    ip_allowlist: Option<Vec<IpNet>>,
    rate_limit: Option<RateLimit>,
    quota: Option<Quota>,
}

impl Narrowing {
    /// Compares a key before and after an edit. Pausing a paused key pauses its descendants again: one of them may have
    /// been resumed, or not included, meanwhile.
    pub(super) fn between(before: &Key, after: &Key, is_paused: bool) -> Self {
        let (old, new) = (&before.limits, &after.limits);
        let loses_scopes = match (&before.scopes, &after.scopes) {
            (_, Scopes::Unset | Scopes::All) => false,
            (Scopes::Unset | Scopes::All, Scopes::Named(_)) => true,
            (Scopes::Named(names), after) => names.iter().any(|name| !after.hold(name)),
        };
        let loses_networks = |networks: &[IpNet]| match &old.ip_allowlist {
            None => true,
            Some(before) => before.iter().any(|network| !is_within(*network, networks)),
        };
        Self {
            is_paused,
            scopes: loses_scopes.then(|| after.scopes.clone()),
            expires_at: new.expires_at.filter(|at| old.expires_at.is_none_or(|before| *at < before)),
            ip_allowlist: new.ip_allowlist.clone().filter(|networks| loses_networks(networks)),
            rate_limit: new
                .rate_limit
                .filter(|rate| old.rate_limit.is_none_or(|before| cap_rate(before, *rate) != before)),
            quota: new.quota.filter(|quota| old.quota.is_none_or(|before| quota.limit < before.limit)),
        }
    }

    /// Narrows a descendant. A descendant that would have no scope or no network left keeps its own, and is paused.
    /// Returns whether anything changed.
    pub(super) fn apply(&self, key: &mut Key, now: Timestamp) -> bool {
        let before = (key.scopes.clone(), key.limits.clone(), key.disabled_at);
        let mut is_paused = self.is_paused;
        if let Some(bound) = &self.scopes {
            match common_scopes(&key.scopes, bound) {
                Some(scopes) => key.scopes = scopes,
                None => is_paused = true,
            }
        }
        if let Some(bound) = &self.ip_allowlist {
            let networks =
                key.limits.ip_allowlist.as_ref().map_or_else(|| bound.clone(), |own| common_networks(own, bound));
            if networks.is_empty() {
                is_paused = true;
            } else {
                key.limits.ip_allowlist = Some(networks);
            }
        }
        let limits = &mut key.limits;
        if let Some(bound) = self.expires_at {
            limits.expires_at = Some(limits.expires_at.map_or(bound, |own| own.min(bound)));
        }
        if let Some(bound) = self.rate_limit {
            limits.rate_limit = Some(limits.rate_limit.map_or(bound, |own| cap_rate(own, bound)));
        }
        if let Some(bound) = self.quota {
            limits.quota = Some(limits.quota.filter(|own| own.limit < bound.limit).unwrap_or(bound));
        }
        if is_paused {
            key.disabled_at = key.disabled_at.or(Some(now));
        }
        before != (key.scopes.clone(), key.limits.clone(), key.disabled_at)
    }
}

/// Returns whether one of the networks contains this one.
pub(super) fn is_within(network: IpNet, networks: &[IpNet]) -> bool {
    networks.iter().any(|wider| wider.contains(&network))
}

/// Returns the scopes that both lists grant; `None` if there is none. The right to manage keys stays only if the key
/// itself names it: a wildcard never grants it.
fn common_scopes(own: &Scopes, bound: &Scopes) -> Option<Scopes> {
    let kept = own.names().iter().filter(|name| bound.hold(name));
    let narrowed = bound
        .names()
        .iter()
        .filter(|name| own.hold(name) && !own.name_explicitly(name) && name.as_str() != MANAGE_KEYS);
    // The intersection of two lists with wildcards can exceed the length of a list; dropping scopes is safe.
    let names: Vec<String> = kept.chain(narrowed).take(Scopes::MAX_NAMES).cloned().collect();
    (!names.is_empty()).then_some(Scopes::Named(names))
}

/// Returns the intersection of two lists. Two networks are either disjoint, or one contains the other.
fn common_networks(own: &[IpNet], bound: &[IpNet]) -> Vec<IpNet> {
    let kept = own.iter().filter(|network| is_within(**network, bound));
    let narrowed = bound.iter().filter(|network| is_within(**network, own) && !own.contains(network));
    kept.chain(narrowed).copied().collect()
}

/// Returns the largest rate limit that allows neither a larger burst nor a higher average rate than either of the two.
fn cap_rate(own: RateLimit, bound: RateLimit) -> RateLimit {
    let limit = own.limit.min(bound.limit);
    // The shortest window in which `limit` requests do not exceed the rate.
    let window =
        |rate: RateLimit| (u64::from(limit) * u64::from(rate.window_seconds)).div_ceil(u64::from(rate.limit.max(1)));
    let window = window(own).max(window(bound));
    // At most the longer of the two windows, so it fits into 32 bits.
    RateLimit { limit, window_seconds: u32::try_from(window).unwrap_or(u32::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Limits, key};

    fn named(text: &str) -> Scopes {
        Scopes::parse(Some(text)).unwrap()
    }

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn rate(limit: u32, window_seconds: u32) -> RateLimit {
        RateLimit { limit, window_seconds }
    }

    #[test]
    fn common_scopes_are_granted_by_both_lists() {
        let common =
            |own: &str, bound: &str| common_scopes(&named(own), &named(bound)).and_then(|scopes| scopes.to_wire());
        assert_eq!(common("a:x b:y", "a:x c:z").as_deref(), Some("a:x"));
        assert_eq!(common("a:*", "a:x a:y b:z").as_deref(), Some("a:x a:y"));
        assert_eq!(common("a:x b:y", "a:* b:*").as_deref(), Some("a:x b:y"));
        assert_eq!(common("a:*", "a:*").as_deref(), Some("a:*"));
        assert_eq!(common("*", "a:x b:*").as_deref(), Some("a:x b:*"));
        assert_eq!(common("a:x", "b:y"), None);
    }

    #[test]
    fn a_wildcard_never_becomes_the_right_to_manage_keys() {
        assert_eq!(common_scopes(&Scopes::All, &named("api-keys:write")), None);
        assert_eq!(common_scopes(&named("api-keys:*"), &named("api-keys:write a:x")), None);
        let own = named("api-keys:write a:x");
        assert_eq!(common_scopes(&own, &named("api-keys:write")).unwrap().to_wire().as_deref(), Some("api-keys:write"));
    }

    #[test]
    fn common_scopes_never_exceed_the_length_of_a_list() {
        let many = |one: &str, other: &str| {
            let names: Vec<String> = (0..49).map(|n| format!("{other}:s{n}")).collect();
            named(&format!("{one}:* {}", names.join(" ")))
        };
        let common = common_scopes(&many("a", "b"), &many("b", "a")).unwrap();
        assert_eq!(Scopes::parse(common.to_wire().as_deref()), Ok(common));
    }

    #[test]
    fn common_networks_lie_within_both_lists() {
        let own = networks(&["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]);
        let bound = networks(&["10.1.0.0/16", "192.0.2.0/24", "10.2.0.0/16"]);
        assert_eq!(common_networks(&own, &bound), networks(&["192.0.2.1/32", "10.1.0.0/16", "10.2.0.0/16"]));
        assert_eq!(common_networks(&own, &networks(&["198.51.100.0/24"])), networks(&[]));
    }

    #[test]
    fn a_capped_rate_allows_neither_a_larger_burst_nor_more_over_time() {
        assert_eq!(cap_rate(rate(10, 1), rate(100, 60)), rate(10, 6));
        assert_eq!(cap_rate(rate(200, 1), rate(100, 60)), rate(100, 60));
        assert_eq!(cap_rate(rate(5, 60), rate(100, 60)), rate(5, 60));
        assert_eq!(cap_rate(rate(100, 86_400), rate(1, 1)), rate(1, 864));
        assert_eq!(cap_rate(rate(1_000_000_000, 86_400), rate(1_000_000_000, 86_400)), rate(1_000_000_000, 86_400));
    }

    #[test]
    fn widening_changes_no_descendant() {
        let wide = Key { scopes: Scopes::All, ..key() };
        let limits = Limits {
            expires_at: Some(Timestamp(5)),
            ip_allowlist: Some(networks(&["10.0.0.0/8"])),
            rate_limit: Some(rate(1, 1)),
            quota: Some(Quota { limit: 1 }),
        };
        let narrow = Key { scopes: named("a:x"), limits, ..key() };
        let mut child = key();
        assert!(!Narrowing::between(&narrow, &wide, false).apply(&mut child, Timestamp(1)));
        assert!(!Narrowing::between(&narrow, &narrow, false).apply(&mut child, Timestamp(1)));
        assert!(Narrowing::between(&wide, &narrow, false).apply(&mut child, Timestamp(1)));
        assert_eq!((child.scopes, child.limits, child.disabled_at), (narrow.scopes, narrow.limits, None));
    }

    #[test]
    fn a_descendant_without_remaining_scopes_or_networks_is_paused() {
        let before = Key { scopes: named("a:x b:y"), ..key() };
        let after = Key { scopes: named("b:y"), ..before.clone() };
        let mut child = Key { scopes: named("a:x"), ..key() };
        assert!(Narrowing::between(&before, &after, false).apply(&mut child, Timestamp(7)));
        assert_eq!((child.scopes.clone(), child.disabled_at), (named("a:x"), Some(Timestamp(7))));
        assert!(
            !Narrowing::between(&before, &after, false).apply(&mut child, Timestamp(8)),
            "it stays paused since the first time"
        );

        let limits = |texts: &[&str]| Limits { ip_allowlist: Some(networks(texts)), ..Limits::default() };
        let after = Key { limits: limits(&["10.0.0.0/8"]), ..before.clone() };
        let mut child = Key { limits: limits(&["192.0.2.0/24"]), ..key() };
        assert!(Narrowing::between(&before, &after, false).apply(&mut child, Timestamp(7)));
        assert_eq!((child.limits.clone(), child.disabled_at), (limits(&["192.0.2.0/24"]), Some(Timestamp(7))));
    }
}
