//! The hookstream contract's bodies, to the field (seeds 000 and 001; CONTRACTS, hookstream).
//!
//! Texts stay texts here: what they mean is parsed in the domain, which says what is wrong with them.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The body of `POST /v1/auth/api-keys`, in both seeds' forms, with our extras.
///
/// Every field is optional to the parser, so that a missing one is reported by name together with
/// all else that is wrong.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CreateApiKey {
    /// The label; required.
    pub name: Option<String>,
    /// The organisation; with `env_id` or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// The environment; with `org_id` or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_id: Option<String>,
    /// Names separated by spaces; `Some(None)` is an explicit `null`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Option<String>>,
    /// The moment from which the key is refused, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Networks that the key may be used from, as CIDRs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_allowlist: Option<Vec<String>>,
    /// At most so many requests in so many seconds.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// At most so many requests in a calendar month, UTC.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// What the owner wants to remember about the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// Tells an explicit `null` from an absent field.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A structure that is read from an object only: serde itself would also take an array, by the order
/// of the fields.
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

/// At most `limit` requests in `window_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// How many requests.
    pub limit: u32,
    /// In how many seconds.
    pub window_seconds: u32,
}

/// At most `limit` requests in a calendar month, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// How many requests.
    pub limit: u64,
}

/// The extras of a key; each appears only when it is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extras {
    /// The moment from which the key is refused, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Networks that the key may be used from, as CIDRs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_allowlist: Option<Vec<String>>,
    /// At most so many requests in so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// At most so many requests in a calendar month, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// What the owner wants to remember about the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// The answer to a creation, the only place where a key's string ever stands.
#[derive(Clone, Serialize, Deserialize)]
pub struct CreatedApiKey {
    /// `ak_` and 16 hex digits.
    pub id: String,
    /// The label, trimmed.
    pub name: String,
    /// The whole key string.
    pub key: String,
    /// Its first 12 characters.
    pub key_prefix: String,
    /// Names separated by spaces, `*`, or null.
    pub scopes: Option<String>,
    /// RFC 3339, UTC, whole seconds.
    pub created_at: String,
    /// What was set beyond the seeds' fields. The browser does not read it: buffering what could be
    /// such a field would make its half a tenth larger.
    #[serde(flatten, skip_deserializing)]
    pub extras: Extras,
}

// The string must not reach a log by way of `{:?}`.
impl std::fmt::Debug for CreatedApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedApiKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The query of `GET /v1/auth/api-keys`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ListApiKeys {
    /// All keys of this organisation, in place of those that the caller made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// Only keys of this environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_id: Option<String>,
    /// How many at the most, 1 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// `next_cursor` of the answer before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The answer to a listing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApiKeyList {
    /// Newest first, revoked ones included.
    pub api_keys: Vec<ApiKeyItem>,
    /// There only when there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A key in a listing: masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyItem {
    /// `ak_` and 16 hex digits.
    pub id: String,
    /// The label.
    pub name: String,
    /// The first 12 characters of the key string.
    pub key_prefix: String,
    /// Names separated by spaces, `*`, or null.
    pub scopes: Option<String>,
    /// Requests that the key was good for.
    pub request_count: i64,
    /// 1 if the key is revoked, otherwise 0.
    pub revoked: u8,
    /// RFC 3339, UTC, whole seconds.
    pub created_at: String,
    /// The same, null until the first use.
    pub last_used_at: Option<String>,
    /// What was set beyond the seeds' fields.
    #[serde(flatten)]
    pub extras: Extras,
}

/// Which key a `DELETE` ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevokeApiKey {
    /// `ak_` and 16 hex digits, or `current` for the key that the request itself presents.
    pub id: String,
    /// Whether the keys that this key made end with it (`?descendants=true`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descendants: Option<bool>,
}

/// The answer to a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Always true: what cannot be revoked is an error.
    pub success: bool,
}
