//! The bodies of hookstream's key endpoints.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::wire;
use crate::api::Services;
use crate::api::auth::{Manager, OwnKey};
use crate::keys::{Cursor, IssueError, Request, RevokeError};
use crate::model::wire::{ApiKeyList, CreateApiKey, CreatedApiKey, ListApiKeys, RevokeApiKey, Revoked};
use crate::model::{ApiError, FieldError, KeyId};
use crate::store::KeyFilter;

/// The most keys of one answer, and how many there are without a word.
const LARGEST_PAGE: u32 = 1000;

/// `POST /v1/auth/api-keys`.
///
/// # Errors
/// Those of CONTRACTS, hookstream.
pub async fn create(services: &Services, parts: &mut Parts, request: CreateApiKey) -> Result<CreatedApiKey, ApiError> {
    let Manager(caller) = Manager::from_request_parts(parts, services).await?;
    let draft = wire::draft(request, &caller, services.keys.clock().now())?;
    let issued = services.keys.issue(&caller, draft).await.map_err(|error| match error {
        IssueError::OrganisationFull(most) => ApiError::forbidden(format!(
            "The organisation has {most} keys, as many as it may. Revoke some that are not used, or raise --max-keys-per-organisation."
        )),
        IssueError::MakerEnded => ApiError::unauthenticated("The API key was revoked or disabled meanwhile."),
        IssueError::Broader(fields) => ApiError::invalid_fields(fields),
        IssueError::Store(error) => error.into(),
    })?;
    tracing::info!(key = %issued.key.id, organisation = %issued.key.organisation, "a key was created");
    Ok(wire::created(issued))
}

/// `GET /v1/auth/api-keys`.
///
/// # Errors
/// Those of CONTRACTS, hookstream.
pub async fn list(services: &Services, parts: &mut Parts, request: ListApiKeys) -> Result<ApiKeyList, ApiError> {
    let Manager(caller) = Manager::from_request_parts(parts, services).await?;
    let mut errors = Vec::new();
    let limit = match request.limit.as_deref().map(str::parse::<u32>) {
        None => LARGEST_PAGE,
        Some(Ok(limit @ 1..=LARGEST_PAGE)) => limit,
        Some(_) => {
            errors.push(FieldError::new("limit", "must be a number from 1 to 1000"));
            LARGEST_PAGE
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
    // An id of another form is an id that does not exist.
    let no_place = || wire::no_place(crate::accounts::PlaceError);
    let organisation = request.org_id.map(|id| id.parse().map_err(|_| no_place())).transpose()?;
    let environment = request.env_id.map(|id| id.parse().map_err(|_| no_place())).transpose()?;
    let owner = caller.listing(organisation, environment).map_err(wire::no_place)?;
    let page = services.keys.list(&Request { owner, filter: KeyFilter::default(), limit, after }).await?;
    Ok(ApiKeyList {
        api_keys: page.keys.iter().map(wire::item).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    })
}

/// `DELETE /v1/auth/api-keys/:id`; with `current` for an id, the key that the request presents.
///
/// # Errors
/// Those of CONTRACTS, hookstream.
pub async fn revoke(services: &Services, parts: &mut Parts, request: RevokeApiKey) -> Result<Revoked, ApiError> {
    if request.id == "current" {
        let OwnKey(key) = OwnKey::from_request_parts(parts, services).await?;
        services.keys.revoke_itself(&key).await?;
        tracing::info!(key = %key.id, "a key revoked itself");
        return Ok(Revoked { success: true });
    }
    let Manager(caller) = Manager::from_request_parts(parts, services).await?;
    let not_found = || ApiError::not_found("API key not found");
    let id: KeyId = request.id.parse().map_err(|_| not_found())?;
    let descendants = request.descendants.unwrap_or(false);
    let key = services.keys.revoke(&caller, id, descendants).await.map_err(|error| match error {
        RevokeError::NotFound => not_found(),
        RevokeError::NotAllowed => ApiError::forbidden(
            "Another member made this key: they, or an admin or owner of the organisation, can revoke it.",
        ),
        RevokeError::Store(error) => error.into(),
    })?;
    tracing::info!(key = %key.id, organisation = %key.organisation, "a key was revoked");
    Ok(Revoked { success: true })
}
