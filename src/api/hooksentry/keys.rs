//! `/api/v1/apikeys`.

use axum::Json as Answer;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use uuid::Uuid;

use super::caller::TenantCaller;
use super::error::{Error, Invalid};
use super::params;
use super::query::Query;
use super::wire::{CreateKey, CreatedKey, KeyItem, Page};
use crate::domain::{Denied, Limits};
use crate::keys::{Draft, KeyStringForm};
use crate::model::{ApiError, KeyName, Scopes};
use crate::runtime::lists::Tenant;
use crate::store::{KeyColumn, KeyPage};
use crate::web::Services;
use crate::web::json::Json;
use crate::web::openapi::{DESCENDANTS, Problem};
use crate::web::time::milliseconds;

/// The only scope of a HookSentry key (docs/CONTRACTS.md, "Key strings").
const SCOPE: &str = "events:write";

/// Create tenant key
///
/// Creates a key for the ingest endpoint of the token's tenant. The response shows the plaintext key for the only time:
/// save it.
#[utoipa::path(
    post,
    path = "/api/v1/apikeys",
    operation_id = "createTenantKey",
    tag = "Tenant keys",
    request_body(content = CreateKey, example = json!({ "name": "Production Key" })),
    responses(
        (status = 201, description = "The key, shown once.", body = CreatedKey,
            headers(("Location" = String, description = "The key's own address, `/api/v1/apikeys/{id}`.")),
            example = json!({
                "id": "1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d",
                "name": "Production Key",
                "key": "hks_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c",
                "createdAt": "2026-07-03T14:32:00.000Z",
            })),
        Invalid, Problem<401>, Problem<403>, Problem<404>, Problem<413>, Problem<415>,
    ),
    security(("access_token" = []), ("api_key" = []), ("api_key_bearer" = [])),
)]
pub async fn create(
    State(services): State<Services>,
    TenantCaller { caller, .. }: TenantCaller,
    body: Result<Json<CreateKey>, ApiError>,
) -> Result<impl IntoResponse, Error> {
    let Json(body) = body?;
    let name = match &body.name {
        Some(name) => KeyName::parse(name).map_err(|error| Error::Invalid(format!("`name` {error}")))?,
        None => return Err(Error::Invalid("`name` is required".to_owned())),
    };
    let place = caller.place(None).map_err(|denied| match denied {
        Denied::Hidden => ApiError::not_found("Tenant not found"),
        Denied::NotAllowed => ApiError::forbidden("Your role in the tenant does not allow you to create keys."),
    })?;
    let scopes = Scopes::Named(vec![SCOPE.to_owned()]);
    let draft = Draft {
        name,
        place,
        scopes: Some(scopes.clone()),
        default_scopes: scopes,
        limits: Limits::default(),
        metadata: None,
        form: KeyStringForm::HookSentry,
    };
    let issued = services.keys.issue(&caller, draft).await?;
    let key = issued.key;
    let location = format!("/api/v1/apikeys/{}", key.uuid);
    let created = CreatedKey {
        id: key.uuid,
        key: issued.plain.reveal(),
        created_at: milliseconds(key.created_at),
        name: key.name,
    };
    Ok((StatusCode::CREATED, [(LOCATION, location)], Answer(created)))
}

/// List tenant keys
///
/// Returns a page of the tenant's keys. The names of the parameters and their words are case-insensitive. A page past
/// the end has no items.
#[utoipa::path(
    get,
    path = "/api/v1/apikeys",
    operation_id = "listTenantKeys",
    tag = "Tenant keys",
    params(params::Paging, params::OfKeys),
    responses(
        (status = 200, description = "A page.", body = Page<KeyItem>, example = json!({
            "total": 1,
            "items": [{
                "id": "1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d",
                "name": "Production Key",
                "isActive": true,
                "createdAt": "2026-07-03T14:32:00.000Z",
                "revokedAt": null,
            }],
        })),
        Invalid, Problem<401>, Problem<403>, Problem<429>,
    ),
    security(("access_token" = []), ("api_key" = []), ("api_key_bearer" = [])),
)]
pub async fn list(
    State(services): State<Services>,
    caller: TenantCaller,
    RawQuery(query): RawQuery,
) -> Result<Answer<Page<KeyItem>>, Error> {
    let caller = caller.inside()?;
    let query = Query::parse(query.as_deref(), &["Qt", "Pg", "CpOrd", "TpOrd", "IsActive"])?;
    let paging = query.paging()?;
    let column = query.choose(
        "CpOrd",
        &[
            ("id", KeyColumn::Id),
            ("name", KeyColumn::Name),
            ("isActive", KeyColumn::IsActive),
            ("createdAt", KeyColumn::CreatedAt),
            ("revokedAt", KeyColumn::RevokedAt),
        ],
    )?;
    let page = KeyPage {
        organisation: caller.tenant,
        // A key may manage only the keys of its own environment.
        environment: caller.caller.key().map(|key| key.environment),
        active: query.choose("IsActive", &[("true", true), ("false", false)])?,
        column: column.unwrap_or(KeyColumn::Id),
        descending: paging.descending,
        offset: paging.offset,
        limit: paging.limit,
    };
    let admission = services.lists.admit(Tenant::Organisation(caller.tenant)).await?;
    let _place = admission.step().await;
    let (total, keys) = services.keys.page(&page).await?;
    Ok(Answer(Page { total, items: keys.into_iter().map(KeyItem::from).collect() }))
}

/// Revoke tenant key
///
/// Revokes the key and its descendants (the keys that it made, and their descendants), immediately and permanently. 404
/// for a key that is unknown or already revoked. 403 for a key of another tenant, or of another member unless the
/// caller is an admin or owner.
#[utoipa::path(
    delete,
    path = "/api/v1/apikeys/{id}",
    operation_id = "revokeTenantKey",
    tag = "Tenant keys",
    params(
        ("id" = Uuid, Path, description = "The key's id.", example = "1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d"),
        ("descendants" = Option<bool>, Query, description = DESCENDANTS, nullable = false),
    ),
    responses(
        (status = 200, description = "No check that begins after this answer accepts the key.", body = KeyItem,
            example = json!({
                "id": "1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d",
                "name": "Production Key",
                "isActive": false,
                "createdAt": "2026-07-03T14:32:00.000Z",
                "revokedAt": "2026-07-03T16:00:00.000Z",
            })),
        Invalid, Problem<401>, Problem<403>, Problem<404>,
    ),
    security(("access_token" = []), ("api_key" = []), ("api_key_bearer" = [])),
)]
pub async fn revoke(
    State(services): State<Services>,
    caller: TenantCaller,
    id: Result<Path<Uuid>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Answer<KeyItem>, Error> {
    let TenantCaller { caller, tenant } = caller.inside()?;
    let Path(id) = id.map_err(|_| ApiError::not_found("There is no such key, or it is revoked already."))?;
    let query = Query::parse_known(query.as_deref(), &["descendants"])?;
    let descendants = query.choose("descendants", &[("true", true), ("false", false)])?.unwrap_or(true);
    let key = services.keys.revoke_once(&caller, tenant, id, descendants).await?;
    Ok(Answer(key.into()))
}
