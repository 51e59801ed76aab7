//! The bodies of the hookstream contract, with exactly its fields (docs/CONTRACTS.md, "hookstream").
//!
//! Texts stay texts here: the domain parses them and reports the errors. The attributes `cfg_attr(feature = "ssr", …)`
//! repeat the rules for the server's OpenAPI document, which the browser's half does not need.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Quota, RateLimit};

/// The body of `POST /v1/auth/api-keys`, in its short and its long form, with Latchkey's additions.
// Every field is optional to the parser, so that a missing one is reported by name together with all other errors.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct CreateApiKey {
    /// The label; required.
    #[cfg_attr(feature = "ssr", schema(required, value_type = String, min_length = 1, max_length = 100, pattern = "^[^\\u0000-\\u001F\\u007F-\\u009F\\u2028-\\u202E\\u2066-\\u2069]*[^\\s\\u0000-\\u001F\\u007F-\\u009F\\u2028-\\u202E\\u2066-\\u2069\\u00AD\\u034F\\u061C\\u115F\\u1160\\u17B4\\u17B5\\u180B-\\u180F\\u200B-\\u200F\\u2060-\\u206F\\u2800\\u3164\\uFE00-\\uFE0F\\uFEFF\\uFFA0\\uFFF0-\\uFFF8\u{1BCA0}-\u{1BCA3}\u{1D173}-\u{1D17A}\u{E0000}-\u{E0FFF}][^\\u0000-\\u001F\\u007F-\\u009F\\u2028-\\u202E\\u2066-\\u2069]*$", examples("Production Backend")))]
    pub name: Option<String>,
    /// The organisation; with `env_id` or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", schema(pattern = "^org_[0-9a-f]{16}$"))]
    pub org_id: Option<String>,
    /// The environment; with `org_id` or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", schema(pattern = "^env_[0-9a-f]{16}$"))]
    pub env_id: Option<String>,
    /// Names separated by spaces; `*` or null for full access.
    // `Some(None)` is an explicit `null`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", schema(value_type = Option<String>, pattern = "^ *([*]|[A-Za-z0-9._-]+:([A-Za-z0-9._-]+|[*])( +[A-Za-z0-9._-]+:([A-Za-z0-9._-]+|[*]))*) *$", examples("events:write keys:verify", "*")))]
    pub scopes: Option<Option<String>>,
    /// The moment from which the key is refused, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", schema(format = DateTime, examples("2027-01-01T00:00:00Z")))]
    pub expires_at: Option<String>,
    /// Networks that the key may be used from, as CIDRs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", schema(min_items = 1, max_items = 100, examples("203.0.113.0/24", "2001:db8::/32")))]
    pub ip_allowlist: Option<Vec<String>>,
    /// At most `limit` requests in `window_seconds`.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// At most `limit` requests in a calendar month, UTC.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// Names and values that the owner attaches to the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// Tells an explicit `null` from an absent field.
#[expect(clippy::option_option, reason = "absent, null and a text are three things")]
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A structure that is read from an object only: serde itself would also accept an array, in the order of the fields.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::<Object<T>>::deserialize(deserializer).map(|object| object.map(|Object(value)| value))
}

/// Additional fields of a key; each appears only when it is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Extras {
    /// The moment from which the key is refused, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", schema(nullable = false, format = DateTime))]
    pub expires_at: Option<String>,
    /// Networks that the key may be used from, as CIDRs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", schema(nullable = false))]
    pub ip_allowlist: Option<Vec<String>>,
    /// At most `limit` requests in `window_seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", schema(nullable = false))]
    pub rate_limit: Option<RateLimit>,
    /// At most `limit` requests in a calendar month, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", schema(nullable = false))]
    pub quota: Option<Quota>,
    /// Names and values that the owner attaches to the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", schema(nullable = false))]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// The response to a creation: the only response with the key string.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct CreatedApiKey {
    /// `ak_` and 16 hex digits.
    #[cfg_attr(feature = "ssr", schema(pattern = "^ak_[0-9a-f]{16}$", examples("ak_8f3a1b2c4d5e6f7a")))]
    pub id: String,
    /// The label, trimmed.
    pub name: String,
    /// The whole key string.
    pub key: String,
    /// The first 12 characters of the key string.
    #[cfg_attr(feature = "ssr", schema(min_length = 12, max_length = 12, examples("hs_live_a1b2")))]
    pub key_prefix: String,
    /// Names separated by spaces, `*`, or null.
    #[cfg_attr(feature = "ssr", schema(required))]
    pub scopes: Option<String>,
    /// RFC 3339, UTC, whole seconds.
    #[cfg_attr(feature = "ssr", schema(format = DateTime, examples("2026-03-01T12:00:00Z")))]
    pub created_at: String,
    /// The additional fields that were set.
    // The browser does not read them: code that buffers unknown fields would make its half a tenth larger.
    #[serde(flatten, skip_deserializing)]
    pub extras: Extras,
}

// Written by hand, so that the key string never reaches a log.
impl std::fmt::Debug for CreatedApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedApiKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The query of `GET /v1/auth/api-keys`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct ListApiKeys {
    /// Lists all keys of this organisation instead of the caller's own keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", param(pattern = "^org_[0-9a-f]{16}$", nullable = false))]
    pub org_id: Option<String>,
    /// Only keys of this environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", param(pattern = "^env_[0-9a-f]{16}$", nullable = false))]
    pub env_id: Option<String>,
    /// The largest number of keys to return, 1 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", param(value_type = u32, required = false, minimum = 1, maximum = 1000))]
    pub limit: Option<String>,
    /// `next_cursor` of the previous page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", param(nullable = false, pattern = "^[0-9a-f]{32}$"))]
    pub cursor: Option<String>,
}

/// A page of keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct ApiKeyList {
    /// Newest first, revoked ones included.
    pub api_keys: Vec<ApiKeyItem>,
    /// The cursor of the next page; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "ssr", schema(nullable = false))]
    pub next_cursor: Option<String>,
}

/// A masked key in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct ApiKeyItem {
    /// `ak_` and 16 hex digits.
    #[cfg_attr(feature = "ssr", schema(pattern = "^ak_[0-9a-f]{16}$", examples("ak_8f3a1b2c4d5e6f7a")))]
    pub id: String,
    /// The label.
    pub name: String,
    /// The first 12 characters of the key string.
    #[cfg_attr(feature = "ssr", schema(min_length = 12, max_length = 12, examples("hs_live_a1b2")))]
    pub key_prefix: String,
    /// Names separated by spaces, `*`, or null.
    #[cfg_attr(feature = "ssr", schema(required))]
    pub scopes: Option<String>,
    /// The number of requests that were accepted with the key.
    #[cfg_attr(feature = "ssr", schema(minimum = 0))]
    pub request_count: i64,
    /// 1 if the key is revoked, otherwise 0.
    #[cfg_attr(feature = "ssr", schema(minimum = 0, maximum = 1))]
    pub revoked: u8,
    /// RFC 3339, UTC, whole seconds.
    #[cfg_attr(feature = "ssr", schema(format = DateTime, examples("2026-03-01T12:00:00Z")))]
    pub created_at: String,
    /// RFC 3339, UTC, whole seconds; null until the first use.
    #[cfg_attr(feature = "ssr", schema(required, format = DateTime, examples("2026-03-01T14:30:00Z")))]
    pub last_used_at: Option<String>,
    /// The additional fields that were set.
    #[serde(flatten)]
    pub extras: Extras,
}

/// The key that a `DELETE` revokes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevokeApiKey {
    /// `ak_` and 16 hex digits, or `current` for the key that authenticates the request.
    pub id: String,
    /// Whether the keys below it, at any depth, are revoked too. Default: yes. The query is `?descendants=false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descendants: Option<bool>,
}

/// The response to a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Revoked {
    /// Always true: a failed revocation is an error.
    pub success: bool,
}
