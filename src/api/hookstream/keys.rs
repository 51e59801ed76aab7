//! The key operations of hookstream. Server functions call them.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use super::wire;
use crate::domain::KeyFilter;
use crate::keys::{Cursor, Request, RevokeError};
use crate::model::wire::{ApiKeyList, CreateApiKey, CreatedApiKey, ListApiKeys, RevokeApiKey, Revoked};
use crate::model::{ApiError, FieldError, KeyId};
use crate::web::Services;
use crate::web::auth::{Manager, OwnKey};
use crate::web::openapi::{DESCENDANTS, Problem};

/// The path of the server functions.
pub const API_KEYS: &str = "/v1/auth/api-keys";

const CREATE: &str = "The response shows the plaintext key for the only time: save it.\n\n\
    Without `org_id` and `env_id` the key belongs to the user's first organisation and its Production environment. \
    404 for an organisation or environment that is unknown or not the caller's. API keys may create keys only if the \
    operator allows it.";
const LIST: &str = "Returns the keys that the caller made, or all keys of an organisation (`org_id`), newest first and \
    including revoked keys. `next_cursor` is set only if there are more keys; pass it back as `cursor`.";
const REVOKE: &str = "Revokes the key and its descendants (the keys that it made, and their descendants), immediately \
    and permanently. A key that is already revoked gets the same response. Members revoke the keys that they made, \
    admins and owners all keys of the organisation.";

/// The maximum and the default number of keys in one response.
const MAX_PAGE_SIZE: u32 = 1000;

/// Returns the document of the key endpoints. The server routes its paths to the server functions, which call the
/// functions of this module.
pub fn document() -> Document {
    #[derive(OpenApi)]
    #[openapi(paths(create, list, revoke_itself, revoke, revoke_by_query))]
    struct Operations;

    Operations::openapi()
}

/// Create API key
///
/// # Errors
/// See docs/CONTRACTS.md, "Errors".
#[utoipa::path(
    post,
    path = API_KEYS,
    operation_id = "createApiKey",
    tag = "API keys",
    description = CREATE,
    request_body(content = CreateApiKey, examples(
        ("name" = (summary = "Only the name", value = json!({ "name": "Production Backend" }))),
        ("full" = (summary = "All fields", value = json!({
            "name": "Production key",
            "scopes": "events:write keys:verify",
            "expires_at": "2099-01-01T00:00:00Z",
            "ip_allowlist": ["203.0.113.0/24"],
            "rate_limit": { "limit": 100, "window_seconds": 60 },
            "quota": { "limit": 10000 },
            "metadata": { "team": "billing" },
        }))),
    )),
    responses(
        (status = 201, description = "The key, shown once.", body = CreatedApiKey, example = json!({
            "id": "ak_8f3a1b2c4d5e6f7a",
            "name": "Production Backend",
            "key": "hs_live_a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8a9b0c1d2e3f4a5b6c7d8e9f0a1b2",
            "key_prefix": "hs_live_a1b2",
            "scopes": null,
            "created_at": "2026-03-01T12:00:00Z",
        })),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>, Problem<413>, Problem<415>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = []), ("access_token" = []), ("api_key" = []), ("api_key_bearer" = [])),
)]
pub async fn create(services: &Services, parts: &mut Parts, request: CreateApiKey) -> Result<CreatedApiKey, ApiError> {
    let Manager(caller) = Manager::from_request_parts(parts, services).await?;
    let draft = wire::draft(request, &caller, services.clock.now())?;
    let issued = services.keys.issue(&caller, draft).await?;
    Ok(wire::created(issued))
}

/// List API keys
///
/// # Errors
/// See docs/CONTRACTS.md, "Errors".
#[utoipa::path(
    get,
    path = API_KEYS,
    operation_id = "listApiKeys",
    tag = "API keys",
    description = LIST,
    params(ListApiKeys),
    responses(
        (status = 200, description = "The keys, masked.", body = ApiKeyList, example = json!({ "api_keys": [{
            "id": "ak_8f3a1b2c4d5e6f7a",
            "name": "Production Backend",
            "key_prefix": "hs_live_a1b2",
            "scopes": null,
            "request_count": 142,
            "revoked": 0,
            "created_at": "2026-03-01T12:00:00Z",
            "last_used_at": "2026-03-01T14:30:00Z",
        }] })),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>, Problem<429>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = []), ("access_token" = []), ("api_key" = []), ("api_key_bearer" = [])),
)]
pub async fn list(services: &Services, parts: &mut Parts, request: ListApiKeys) -> Result<ApiKeyList, ApiError> {
    let Manager(caller) = Manager::from_request_parts(parts, services).await?;
    let mut errors = Vec::new();
    let limit = match request.limit.as_deref().map(str::parse::<u32>) {
        None => MAX_PAGE_SIZE,
        Some(Ok(limit @ 1..=MAX_PAGE_SIZE)) => limit,
        Some(_) => {
            errors.push(FieldError::new("limit", "must be a number from 1 to 1000"));
            MAX_PAGE_SIZE
        }
    };
    let after = match request.cursor.as_deref().map(str::parse::<Cursor>).transpose() {
        Ok(after) => after,
        Err(error) => {
            errors.push(FieldError::new("cursor", error));
            None
        }
    };
    if !errors.is_empty() {
        return Err(ApiError::invalid_fields(errors));
    }
    // An id in another form counts as an id that does not exist.
    let no_place = || wire::no_place(crate::domain::Denied::Hidden);
    let organisation = request.org_id.map(|id| id.parse().map_err(|_| no_place())).transpose()?;
    let environment = request.env_id.map(|id| id.parse().map_err(|_| no_place())).transpose()?;
    let owner = caller.listing(organisation, environment).map_err(wire::no_place)?;
    let admission = services.lists.admit(caller.tenant(owner)).await?;
    let request = Request { owner, filter: KeyFilter::default(), limit, after };
    let page = services.keys.list(&request, &admission).await?;
    Ok(ApiKeyList {
        api_keys: page.keys.iter().map(wire::item).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    })
}

/// Revoke API key
///
/// The id `current` means the key that the request presents.
///
/// # Errors
/// See docs/CONTRACTS.md, "Errors".
#[utoipa::path(
    delete,
    path = "/v1/auth/api-keys/{id}",
    operation_id = "revokeApiKey",
    tag = "API keys",
    description = REVOKE,
    params(
        ("id" = String, Path, description = "The key's id.", pattern = "^ak_[0-9a-f]{16}$", example = "ak_8f3a1b2c4d5e6f7a"),
        ("descendants" = Option<bool>, Query, description = DESCENDANTS, nullable = false),
    ),
    responses(
        (status = 200, description = "No check that begins after this answer accepts the key.", body = Revoked, example = json!({ "success": true })),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>, Problem<413>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = []), ("access_token" = []), ("api_key" = []), ("api_key_bearer" = [])),
)]
pub async fn revoke(services: &Services, parts: &mut Parts, request: RevokeApiKey) -> Result<Revoked, ApiError> {
    if request.id == "current" {
        return revoke_itself(services, parts, request.descendants).await;
    }
    let Manager(caller) = Manager::from_request_parts(parts, services).await?;
    let id: KeyId = request.id.parse().map_err(|_| RevokeError::NotFound)?;
    services.keys.revoke(&caller, id, request.descendants.unwrap_or(true)).await?;
    Ok(Revoked { success: true })
}

/// Revoke current key
///
/// # Errors
/// 401.
#[utoipa::path(
    delete,
    path = "/v1/auth/api-keys/current",
    operation_id = "revokeCurrentApiKey",
    tag = "API keys",
    description = "Revokes the API key that the request presents. Works with any scopes, from outside the IP allowlist, and while the key is paused.",
    params(("descendants" = Option<bool>, Query, description = DESCENDANTS, nullable = false)),
    responses(
        (status = 200, description = "No check that begins after this answer accepts the key.", body = Revoked, example = json!({ "success": true })),
        Problem<400>, Problem<401>, Problem<403>, Problem<413>,
    ),
    security(("api_key" = []), ("api_key_bearer" = [])),
)]
async fn revoke_itself(services: &Services, parts: &mut Parts, descendants: Option<bool>) -> Result<Revoked, ApiError> {
    let OwnKey(key) = OwnKey::from_request_parts(parts, services).await?;
    services.keys.revoke_itself(&key, descendants.unwrap_or(true)).await?;
    Ok(Revoked { success: true })
}

/// Revoke API key, by query parameter
///
/// Works like `DELETE /v1/auth/api-keys/{id}`. The dashboard uses this form.
#[utoipa::path(
    delete,
    path = API_KEYS,
    operation_id = "revokeApiKeyByQuery",
    tag = "API keys",
    params(
        ("id" = String, Query, description = "The key's id.", pattern = "^ak_[0-9a-f]{16}$", example = "ak_8f3a1b2c4d5e6f7a"),
        ("descendants" = Option<bool>, Query, description = DESCENDANTS, nullable = false),
    ),
    responses(
        (status = 200, description = "No check that begins after this answer accepts the key.", body = Revoked, example = json!({ "success": true })),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>, Problem<413>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = []), ("access_token" = []), ("api_key" = []), ("api_key_bearer" = [])),
)]
#[expect(dead_code, reason = "describes the path of the server function; `revoke` answers there as well")]
fn revoke_by_query() {}
