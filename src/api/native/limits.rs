//! The headers `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).

use std::fmt::Write;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::keys::LimitState;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Sets the headers with the state of a key's limits. The policies are named `rate` and `quota`. The quota has no
/// window, because months differ in length.
pub(super) fn set_headers(limits: &LimitState, headers: &mut HeaderMap) {
    let (mut policy, mut state) = (String::new(), String::new());
    // Writing to a string cannot fail.
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
