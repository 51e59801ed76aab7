//! The native contract: for services and gateways that check keys, and for operators.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde::Serialize;
use uuid::Uuid;

use super::Services;
use super::auth::KeyCaller;
use super::time::seconds;

/// What a key is told about itself (CONTRACTS, Native).
#[derive(Debug, Serialize)]
struct WhoAmI {
    key_id: String,
    key_uuid: Uuid,
    name: String,
    key_prefix: String,
    org_id: String,
    tenant_id: Uuid,
    env_id: String,
    environment: &'static str,
    scopes: Option<String>,
    expires_at: Option<String>,
    created_at: String,
}

/// `GET /v1/whoami`: tells a developer in one curl that a key works.
pub async fn who_am_i(KeyCaller(key): KeyCaller, State(_): State<Services>) -> impl IntoResponse {
    Json(WhoAmI {
        key_id: key.id.to_string(),
        key_uuid: key.uuid,
        key_prefix: key.prefix,
        org_id: key.organisation.to_string(),
        tenant_id: key.organisation_uuid,
        env_id: key.environment.to_string(),
        environment: key.mode.as_str(),
        scopes: key.scopes.to_wire(),
        expires_at: key.limits.expires_at.map(seconds),
        created_at: seconds(key.created_at),
        name: key.name,
    })
}
