//! HookSentry's bodies, to the field (seed 002).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::accounts::{ACCESS_LIFETIME, TokenPair};
use crate::api::time::milliseconds;
use crate::keys::Key;
use crate::model::Timestamp;
use crate::store::EventHead;

/// The body of `login`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogIn {
    pub email: Option<String>,
    pub password: Option<String>,
    pub tenant_id: Option<Uuid>,
}

/// The body of `refresh` and `logout`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefreshToken {
    pub refresh_token: Option<String>,
}

/// A pair of tokens.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    access_token: String,
    /// Seconds.
    expires_in: i64,
    refresh_token: String,
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

/// The body of a creation.
#[derive(Deserialize)]
pub struct CreateKey {
    pub name: Option<String>,
}

/// The answer to a creation, the only place where a key's string ever stands.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreatedKey {
    pub id: Uuid,
    pub name: String,
    pub key: String,
    pub created_at: String,
}

/// A key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyItem {
    id: Uuid,
    name: String,
    is_active: bool,
    created_at: String,
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

/// A page of anything.
#[derive(Serialize)]
pub struct Page<T> {
    pub total: i64,
    pub items: Vec<T>,
}

/// The answer to an event.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    pub id: Uuid,
    pub status: &'static str,
    pub accepted_at: String,
}

/// An event without its body.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventItem {
    id: Uuid,
    source: String,
    key_id: Uuid,
    key_name: String,
    accepted_at: String,
    /// Bytes of the body.
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
#[derive(Serialize)]
pub struct Event {
    #[serde(flatten)]
    pub item: EventItem,
    /// As it came.
    pub body: Box<RawValue>,
}
