//! `GET /v1/whoami`: shows the presented key, so that one curl tests a key.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::model::ApiError;
use crate::web::Services;
use crate::web::auth::KeyCaller;
use crate::web::openapi::Problem;
use crate::web::time::seconds;

/// The presented key.
#[derive(Debug, Serialize, ToSchema)]
struct WhoAmI {
    key_id: String,
    key_uuid: Uuid,
    name: String,
    key_prefix: String,
    org_id: String,
    tenant_id: Uuid,
    env_id: String,
    /// `live` or `test`.
    #[schema(pattern = "^(live|test)$")]
    environment: &'static str,
    #[schema(required)]
    scopes: Option<String>,
    #[schema(required, format = DateTime)]
    expires_at: Option<String>,
    #[schema(format = DateTime)]
    created_at: String,
}

/// Who am I
///
/// Returns the presented key. One curl shows that a key works. Counts as one request of the key.
#[utoipa::path(
    get,
    path = "/v1/whoami",
    operation_id = "whoAmI",
    tag = "Current key",
    responses(
        (status = 200, description = "The key.", body = WhoAmI, example = json!({
            "key_id": "ak_8f3a1b2c4d5e6f7a",
            "key_uuid": "1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d",
            "name": "Production Backend",
            "key_prefix": "hs_live_a1b2",
            "org_id": "org_5b6c7d8e9f0a1b2c",
            "tenant_id": "9b2f7c1e-4a3d-4e5f-8a6b-7c8d9e0f1a2b",
            "env_id": "env_1a2b3c4d5e6f7a8b",
            "environment": "live",
            "scopes": null,
            "expires_at": null,
            "created_at": "2026-03-01T12:00:00Z",
        })),
        Problem<401>, Problem<403>, Problem<429>,
    ),
    security(("api_key" = []), ("api_key_bearer" = [])),
)]
pub async fn who_am_i(KeyCaller(pass): KeyCaller, State(services): State<Services>) -> Result<Response, ApiError> {
    let key = services.keys.get(pass.id).await?.ok_or_else(ApiError::internal)?;
    let who = WhoAmI {
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
    };
    Ok(Json(who).into_response())
}
