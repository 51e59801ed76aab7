//! The bodies of the HookSentry contract, with exactly the fields of docs/CONTRACTS.md, "HookSentry".

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::accounts::{ACCESS_LIFETIME, TokenPair};
use crate::domain::Key;
use crate::model::Timestamp;
use crate::store::{EventHead, ListedKey};
use crate::web::time::milliseconds;

/// The body of `login`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogIn {
    #[schema(required, value_type = String, examples("ada@example.com"))]
    pub email: Option<String>,
    #[schema(required, value_type = String, examples("correct horse battery"))]
    pub password: Option<String>,
    pub tenant_id: Option<Uuid>,
}

/// The body of `refresh` and `logout`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefreshToken {
    #[schema(required, value_type = String, examples("REFRESH_TOKEN"))]
    pub refresh_token: Option<String>,
}

/// A pair of tokens.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    access_token: String,
    /// The lifetime of the access token, in seconds.
    expires_in: i64,
    refresh_token: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

impl From<TokenPair> for Tokens {
    fn from(pair: TokenPair) -> Self {
        Self {
            access_token: pair.access.reveal(),
            expires_in: ACCESS_LIFETIME / 1000,
            refresh_token: pair.refresh.reveal(),
            expires_at: milliseconds(pair.expires_at),
        }
    }
}

/// The body of a request to create a key.
#[derive(Deserialize, ToSchema)]
pub struct CreateKey {
    #[schema(required, value_type = String, min_length = 1, max_length = 100, pattern = "^[^\\u0000-\\u001F\\u007F-\\u009F\\u2028-\\u202E\\u2066-\\u2069]*[^\\s\\u0000-\\u001F\\u007F-\\u009F\\u2028-\\u202E\\u2066-\\u2069\\u00AD\\u034F\\u061C\\u115F\\u1160\\u17B4\\u17B5\\u180B-\\u180F\\u200B-\\u200F\\u2060-\\u206F\\u2800\\u3164\\uFE00-\\uFE0F\\uFEFF\\uFFA0\\uFFF0-\\uFFF8\u{1BCA0}-\u{1BCA3}\u{1D173}-\u{1D17A}\u{E0000}-\u{E0FFF}][^\\u0000-\\u001F\\u007F-\\u009F\\u2028-\\u202E\\u2066-\\u2069]*$", examples("Production Key"))]
    pub name: Option<String>,
}

/// The response to a creation. No other response shows the key string.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedKey {
    pub id: Uuid,
    pub name: String,
    #[schema(pattern = "^hks_[0-9a-f]{32}$")]
    pub key: String,
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// A key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyItem {
    id: Uuid,
    name: String,
    is_active: bool,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(required, format = DateTime)]
    revoked_at: Option<String>,
}

impl From<Key> for KeyItem {
    fn from(key: Key) -> Self {
        Self {
            id: key.uuid,
            name: key.name,
            is_active: key.revoked_at.is_none(),
            created_at: milliseconds(key.created_at),
            revoked_at: key.revoked_at.map(milliseconds),
        }
    }
}

impl From<ListedKey> for KeyItem {
    fn from(key: ListedKey) -> Self {
        Self {
            id: key.uuid,
            name: key.name,
            is_active: key.revoked_at.is_none(),
            created_at: milliseconds(Timestamp(key.created_at)),
            revoked_at: key.revoked_at.map(|at| milliseconds(Timestamp(at))),
        }
    }
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub struct Page<T> {
    pub total: i64,
    pub items: Vec<T>,
}

/// The response to an accepted event.
#[expect(clippy::struct_field_names, reason = "the field name of the contract")]
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    pub id: Uuid,
    /// Always `Accepted`.
    #[schema(pattern = "^Accepted$")]
    pub status: &'static str,
    #[schema(format = DateTime)]
    pub accepted_at: String,
}

/// An event without its body.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventItem {
    id: Uuid,
    source: String,
    key_id: Uuid,
    key_name: String,
    #[schema(format = DateTime)]
    accepted_at: String,
    /// The size of the body in bytes.
    size: i64,
}

impl From<EventHead> for EventItem {
    fn from(head: EventHead) -> Self {
        Self {
            id: head.uuid,
            source: head.source,
            key_id: head.key_uuid,
            key_name: head.key_name,
            accepted_at: milliseconds(Timestamp(head.received_at)),
            size: head.size,
        }
    }
}

/// An event with its body.
#[derive(Serialize, ToSchema)]
pub struct Event {
    #[serde(flatten)]
    pub item: EventItem,
    /// The JSON exactly as it was received.
    #[schema(value_type = serde_json::Value)]
    pub body: Box<RawValue>,
}
