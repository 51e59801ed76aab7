//! `/api/v1/apikeys`.

use axum::Json as Answer;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use uuid::Uuid;

use super::caller::TenantCaller;
use super::error::Error;
use super::query::Query;
use super::wire::{CreateKey, CreatedKey, KeyItem, Page};
use crate::api::Services;
use crate::api::json::Json;
use crate::api::time::milliseconds;
use crate::keys::{Draft, KeyStringForm, Limits};
use crate::model::{ApiError, KeyName, Scopes};
use crate::store::{KeyColumn, KeyPage};

/// What a HookSentry key is for (CONTRACTS, "Key strings").
const SCOPE: &str = "events:write";

/// `POST /api/v1/apikeys`.
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
    let place = caller.place(None).map_err(|_| ApiError::not_found("Tenant not found"))?;
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
    tracing::info!(key = %key.id, organisation = %key.organisation, "a key was created");
    let location = format!("/api/v1/apikeys/{}", key.uuid);
    let created =
        CreatedKey { id: key.uuid, key: issued.plain.reveal(), created_at: milliseconds(key.created_at), name: key.name };
    Ok((StatusCode::CREATED, [(LOCATION, location)], Answer(created)))
}

/// `GET /api/v1/apikeys`.
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
        // A key that may manage keys does so in its own environment.
        environment: caller.caller.key().map(|key| key.environment),
        active: query.choose("IsActive", &[("true", true), ("false", false)])?,
        column: column.unwrap_or(KeyColumn::Id),
        descending: paging.descending,
        offset: paging.offset,
        limit: paging.limit,
    };
    let (total, keys) = services.keys.page(&page).await?;
    Ok(Answer(Page { total, items: keys.into_iter().map(KeyItem::from).collect() }))
}

/// `DELETE /api/v1/apikeys/{id}`.
pub async fn revoke(
    State(services): State<Services>,
    caller: TenantCaller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Answer<KeyItem>, Error> {
    let TenantCaller { caller, tenant } = caller.inside()?;
    let id = id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok());
    let id = id.ok_or_else(|| ApiError::not_found("There is no such key, or it is revoked already."))?;
    let key = services.keys.revoke_once(&caller, tenant, id).await?;
    tracing::info!(key = %key.id, organisation = %key.organisation, "a key was revoked");
    Ok(Answer(key.into()))
}
