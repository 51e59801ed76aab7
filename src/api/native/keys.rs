//! Shows, edits and revokes one key, for the members of its organisation.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::FromRequest;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, RawQuery, Request, State};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::{Caller, Key};
use crate::keys::{Edit, KeyUsage};
use crate::model::{ApiError, KeyId, KeyName, Quota, RateLimit, Scopes, Timestamp};
use crate::web::Services;
use crate::web::auth::SignedIn;
use crate::web::fields::{self, Fields};
use crate::web::json::{self, Json};
use crate::web::openapi::{DESCENDANTS, Problem};
use crate::web::time::seconds;

/// The number of hours of usage in the response.
const USAGE_HOURS: i64 = 48;
const HOUR_MS: i64 = 3_600_000;

/// A key without its key string.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyDetails {
    #[schema(pattern = "^ak_[0-9a-f]{16}$")]
    id: String,
    uuid: Uuid,
    name: String,
    /// The first 12 characters of the key string.
    key_prefix: String,
    #[schema(pattern = "^org_[0-9a-f]{16}$")]
    org_id: String,
    tenant_id: Uuid,
    #[schema(pattern = "^env_[0-9a-f]{16}$")]
    env_id: String,
    /// `live` or `test`.
    #[schema(pattern = "^(live|test)$")]
    environment: &'static str,
    /// The first of these states that applies.
    #[schema(pattern = "^(revoked|disabled|expired|active)$")]
    state: &'static str,
    /// Whether the key is enabled, that is, not paused.
    enabled: bool,
    /// The scopes; null for full access.
    #[schema(required)]
    scopes: Option<String>,
    #[schema(required, format = DateTime)]
    expires_at: Option<String>,
    #[schema(required)]
    ip_allowlist: Option<Vec<String>>,
    #[schema(required)]
    rate_limit: Option<RateLimit>,
    #[schema(required)]
    quota: Option<Quota>,
    /// The remaining requests in this month; null without a quota.
    #[schema(required)]
    quota_remaining: Option<u64>,
    #[schema(required)]
    metadata: Option<BTreeMap<String, String>>,
    #[schema(format = DateTime)]
    created_at: String,
    /// The e-mail address of the creator.
    #[schema(required)]
    created_by: Option<String>,
    /// The key that made this key.
    #[schema(required, pattern = "^ak_[0-9a-f]{16}$")]
    parent_key_id: Option<String>,
    #[schema(required, format = DateTime)]
    disabled_at: Option<String>,
    #[schema(required, format = DateTime)]
    revoked_at: Option<String>,
    /// The number of accepted requests, on any path.
    request_count: i64,
    #[schema(required, format = DateTime)]
    last_used_at: Option<String>,
    /// The addresses of the last uses, newest first.
    recent_addresses: Vec<RecentAddress>,
    /// The outcomes of the last 48 hours. Hours without requests are omitted.
    usage: Vec<UsageHour>,
}

/// An address from which a key was used.
#[derive(Debug, Serialize, ToSchema)]
struct RecentAddress {
    address: String,
    #[schema(format = DateTime)]
    last_used_at: String,
}

/// The outcomes of a key's requests in one hour.
#[derive(Debug, Serialize, ToSchema)]
struct UsageHour {
    /// The start of the hour.
    #[schema(format = DateTime)]
    hour: String,
    /// The number of requests per outcome.
    outcomes: BTreeMap<&'static str, i64>,
}

impl KeyDetails {
    fn new(key: Key, usage: KeyUsage, now: Timestamp) -> Self {
        let mut hours: Vec<UsageHour> = Vec::new();
        for used in usage.hours {
            let hour = seconds(Timestamp(used.hour * HOUR_MS));
            if hours.last().is_none_or(|last| last.hour != hour) {
                hours.push(UsageHour { hour, outcomes: BTreeMap::new() });
            }
            if let Some(last) = hours.last_mut() {
                last.outcomes.insert(used.code.as_str(), used.count);
            }
        }
        let recent_addresses = usage
            .addresses
            .iter()
            .map(|from| RecentAddress { address: from.address.to_string(), last_used_at: seconds(from.last_used_at) })
            .collect();
        Self {
            id: key.id.to_string(),
            uuid: key.uuid,
            key_prefix: key.prefix.clone(),
            org_id: key.organisation.to_string(),
            tenant_id: key.organisation_uuid,
            env_id: key.environment.to_string(),
            environment: key.mode.as_str(),
            state: key.state(now).as_str(),
            enabled: key.disabled_at.is_none(),
            scopes: key.scopes.to_wire(),
            expires_at: key.limits.expires_at.map(seconds),
            ip_allowlist: key.limits.ip_allowlist.map(|list| list.iter().map(ToString::to_string).collect()),
            rate_limit: key.limits.rate_limit,
            quota: key.limits.quota,
            quota_remaining: usage.quota.map(|quota| quota.remaining),
            metadata: key.metadata,
            created_at: seconds(key.created_at),
            created_by: key.creator,
            parent_key_id: key.parent.map(|id| id.to_string()),
            disabled_at: key.disabled_at.map(seconds),
            revoked_at: key.revoked_at.map(seconds),
            request_count: key.request_count,
            last_used_at: key.last_used_at.map(seconds),
            recent_addresses,
            usage: hours,
            name: key.name,
        }
    }
}

fn not_found() -> ApiError {
    ApiError::not_found("API key not found")
}

/// Parses a key id. An id in another form counts as an id that does not exist: 404.
fn key_id(path: Result<Path<String>, PathRejection>) -> Result<KeyId, ApiError> {
    path.ok().and_then(|Path(id)| id.parse().ok()).ok_or_else(not_found)
}

async fn details(services: &Services, key: Key) -> Result<Answer<KeyDetails>, ApiError> {
    let usage = services.usage.of(&key, USAGE_HOURS).await?;
    Ok(Answer(KeyDetails::new(key, usage, services.clock.now())))
}

/// Get key
///
/// Returns everything about a key except the key string, which is not stored. Only for members of its organisation.
#[utoipa::path(
    get,
    path = "/v1/keys/{id}",
    operation_id = "showKey",
    tag = "Key management",
    params(("id" = String, Path, description = "The key's id.", pattern = "^ak_[0-9a-f]{16}$", example = "ak_8f3a1b2c4d5e6f7a")),
    responses((status = 200, description = "The key.", body = KeyDetails), Problem<401>, Problem<403>, Problem<404>),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = []), ("access_token" = [])),
)]
pub(super) async fn show(
    State(services): State<Services>,
    SignedIn(person): SignedIn,
    path: Result<Path<String>, PathRejection>,
) -> Result<Answer<KeyDetails>, ApiError> {
    let key = services.keys.get(key_id(path)?).await?.ok_or_else(not_found)?;
    if !Caller::Person(person).may_see(&key) {
        return Err(not_found());
    }
    details(&services, key).await
}

/// The changes of a key. An omitted field stays as it is; `null` removes the value.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(clippy::option_option, reason = "omitted, null and a value are three cases")]
struct EditKey {
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 100,
        pattern = "^[^\\u0000-\\u001F\\u007F-\\u009F\\u2028-\\u202E\\u2066-\\u2069]*[^\\s\\u0000-\\u001F\\u007F-\\u009F\\u2028-\\u202E\\u2066-\\u2069\\u00AD\\u034F\\u061C\\u115F\\u1160\\u17B4\\u17B5\\u180B-\\u180F\\u200B-\\u200F\\u2060-\\u206F\\u2800\\u3164\\uFE00-\\uFE0F\\uFEFF\\uFFA0\\uFFF0-\\uFFF8\u{1BCA0}-\u{1BCA3}\u{1D173}-\u{1D17A}\u{E0000}-\u{E0FFF}][^\\u0000-\\u001F\\u007F-\\u009F\\u2028-\\u202E\\u2066-\\u2069]*$"
    )]
    name: Option<String>,
    /// `null` or `*` for full access.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, pattern = "^ *([*]|[A-Za-z0-9._-]+:([A-Za-z0-9._-]+|[*])( +[A-Za-z0-9._-]+:([A-Za-z0-9._-]+|[*]))*) *$")]
    scopes: Option<Option<String>>,
    /// `false` pauses the key: checks refuse it until `true` resumes it.
    #[schema(nullable = false)]
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2099-01-01T00:00:00Z")]
    expires_at: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>, min_items = 1, max_items = 100, example = json!(["203.0.113.0/24"]))]
    ip_allowlist: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<RateLimit>)]
    rate_limit: Option<Option<RateLimit>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Quota>)]
    quota: Option<Option<Quota>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    metadata: Option<Option<BTreeMap<String, String>>>,
}

/// Distinguishes an explicit `null` from an absent field.
#[expect(clippy::option_option, reason = "absent, null and a value are three cases")]
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl EditKey {
    fn read(self, now: Timestamp) -> Result<Edit, ApiError> {
        let mut fields = Fields::default();
        // Parses a value, keeps null.
        macro_rules! parsed {
            ($field:ident, $parse:expr) => {
                self.$field.and_then(|value| match value {
                    None => Some(None),
                    Some(value) => fields.take(stringify!($field), $parse(value)).map(Some),
                })
            };
        }
        let edit = Edit {
            name: self.name.and_then(|name| fields.take("name", KeyName::parse(&name))),
            scopes: self.scopes.and_then(|scopes| fields.take("scopes", Scopes::parse(scopes.as_deref()))),
            enabled: self.enabled,
            expires_at: parsed!(expires_at, |text: String| fields::expiry(&text, now)),
            ip_allowlist: parsed!(ip_allowlist, |texts: Vec<String>| fields::networks(&texts)),
            rate_limit: parsed!(rate_limit, fields::rate_limit),
            quota: parsed!(quota, fields::quota),
            metadata: self.metadata.and_then(|map| match map {
                None => Some(None),
                Some(map) => fields.take("metadata", fields::metadata(map)),
            }),
        };
        if fields.are_right() { Ok(edit) } else { Err(fields.error()) }
    }
}

/// The query parameters of calls that change a key.
#[derive(Debug, Deserialize)]
struct ChangeQuery {
    descendants: Option<bool>,
}

/// Whether a call applies to the key's descendants as well.
fn with_descendants(query: Option<&str>) -> Result<bool, ApiError> {
    Ok(json::from_query::<ChangeQuery>(query)?.descendants.unwrap_or(true))
}

/// Removes all parameters except `descendants`: an unknown parameter must not make a revocation fail.
fn only_descendants(query: Option<&str>) -> String {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let known = pairs.filter(|(name, _)| name == "descendants");
    form_urlencoded::Serializer::new(String::new()).extend_pairs(known).finish()
}

/// Update key
///
/// Changes the settings of a key. The key string stays the same. Members edit the keys that they made, admins and
/// owners all keys of the organisation. From the response on, every check uses the new settings.
///
/// Pausing or narrowing a key also applies to its descendants (the keys that it made, and their descendants).
/// Descendants are paused, keep only scopes and networks that the key still has, and get its expiry, rate limit and
/// quota as upper bounds. A descendant that is left without a scope or a network is paused. Resuming or widening a key
/// does not change its descendants.
#[utoipa::path(
    patch,
    path = "/v1/keys/{id}",
    operation_id = "editKey",
    tag = "Key management",
    params(
        ("id" = String, Path, description = "The key's id.", pattern = "^ak_[0-9a-f]{16}$", example = "ak_8f3a1b2c4d5e6f7a"),
        ("descendants" = Option<bool>, Query, description = DESCENDANTS, nullable = false),
    ),
    request_body(content = EditKey, example = json!({ "enabled": false })),
    responses(
        (status = 200, description = "The key after the change.", body = KeyDetails),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>, Problem<409>, Problem<413>, Problem<415>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = []), ("access_token" = [])),
)]
pub(super) async fn edit(
    State(services): State<Services>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Answer<KeyDetails>, ApiError> {
    let (mut parts, body) = request.into_parts();
    let SignedIn(person) = SignedIn::from_request_parts(&mut parts, &services).await?;
    let id = key_id(path)?;
    let descendants = with_descendants(parts.uri.query())?;
    let Json(changes) = Json::<EditKey>::from_request(Request::from_parts(parts, body), &services).await?;
    let edit = changes.read(services.clock.now())?;
    let key = services.keys.edit(&Caller::Person(person), id, edit, descendants).await?;
    details(&services, key).await
}

/// The proof of a revocation: the nodes that have dropped the key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevokedEverywhere {
    /// Always true. A failed revocation is an error response.
    revoked: bool,
    /// The number of nodes that might have accepted the key.
    nodes: u32,
    /// The number of these nodes that confirmed that they dropped the key.
    acknowledged: u32,
    /// The names of the nodes that did not confirm before their lease to accept keys ended.
    waited_out: Vec<String>,
    /// The duration of the revocation, until the last node confirmed or its lease ended.
    milliseconds: i64,
}

/// Revoke key, with proof
///
/// Revokes the key and its descendants (the keys that it made, and their descendants), immediately and permanently. The
/// response tells which nodes have dropped the key. Works for a key that is already revoked as well.
#[utoipa::path(
    post,
    path = "/v1/keys/{id}/revoke",
    operation_id = "revokeKeyWithProof",
    tag = "Key management",
    params(
        ("id" = String, Path, description = "The key's id.", pattern = "^ak_[0-9a-f]{16}$", example = "ak_8f3a1b2c4d5e6f7a"),
        ("descendants" = Option<bool>, Query, description = DESCENDANTS, nullable = false),
    ),
    responses(
        (status = 200, description = "No check that begins after this answer accepts the key.", body = RevokedEverywhere, example = json!({
            "revoked": true, "nodes": 1, "acknowledged": 1, "waited_out": [], "milliseconds": 3,
        })),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = []), ("access_token" = [])),
)]
pub(super) async fn revoke(
    State(services): State<Services>,
    SignedIn(person): SignedIn,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Answer<RevokedEverywhere>, ApiError> {
    let id = key_id(path)?;
    let descendants = with_descendants(Some(&only_descendants(query.as_deref())))?;
    let began = services.clock.monotonic();
    let (_, proof) = services.keys.revoke(&Caller::Person(person), id, descendants).await?;
    let nanoseconds = services.clock.monotonic().saturating_sub(began);
    Ok(Answer(RevokedEverywhere {
        revoked: true,
        nodes: proof.nodes,
        acknowledged: proof.acknowledged,
        waited_out: proof.waited_out,
        milliseconds: i64::try_from(nanoseconds.div_ceil(1_000_000)).unwrap_or(i64::MAX),
    }))
}
