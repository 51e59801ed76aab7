//! Limits as programs read them: `RateLimit` and `RateLimit-Policy`
//! (draft-ietf-httpapi-ratelimit-headers-10).

use std::fmt::Write;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::keys::LimitState;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Says how a key's limits stand, in the headers of an answer. A policy is called `rate` or `quota`; the
/// quota has no window, because months differ.
pub(super) fn say(limits: &LimitState, headers: &mut HeaderMap) {
    let (mut policy, mut state) = (String::new(), String::new());
    // Writing into a string does not fail.
    if let Some(rate) = limits.rate {
        let _ = write!(policy, "\"rate\";q={};w={}", rate.rate.limit, rate.rate.window_seconds);
        let _ = write!(state, "\"rate\";r={};t={}", rate.remaining, rate.reset);
    }
    if let Some(quota) = limits.quota {
        let comma = if policy.is_empty() { "" } else { ", " };
        let _ = write!(policy, "{comma}\"quota\";q={}", quota.quota.limit);
        let _ = write!(state, "{comma}\"quota\";r={};t={}", quota.remaining, quota.reset);
    }
    for (name, text) in [(POLICY, policy), (STATE, state)] {
        if !text.is_empty()
            && let Ok(value) = HeaderValue::try_from(text)
        {
            headers.insert(name, value);
        }
    }
}
