//! Environments of an organisation.

use axum::Json as Answer;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::organisations::{TeamName, name, organisation};
use crate::model::{ApiError, KeyName, Mode};
use crate::teams::{EnvironmentChange, TeamError};
use crate::web::Services;
use crate::web::auth::InSession;
use crate::web::fields::Fields;
use crate::web::json::{self, Json, not_null};
use crate::web::me::Environment;
use crate::web::openapi::Problem;

/// A new environment.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct CreateEnvironment {
    #[schema(required, value_type = TeamName, examples("Staging"))]
    name: Option<String>,
    /// `live` or `test`: it shows in the strings of keys, and does not change.
    #[schema(required, value_type = String, pattern = "^(live|test)$", examples("test"))]
    mode: Option<String>,
}

/// Create environment
///
/// Owners and admins. An organisation has at most 50 environments, archived ones included (409 `too_many_environments`).
#[utoipa::path(
    post,
    path = "/v1/organisations/{org_id}/environments",
    operation_id = "createEnvironment",
    tag = "Organisations",
    params(("org_id" = String, Path, description = "The organisation.", pattern = "^org_[0-9a-f]{16}$", example = "org_5b6c7d8e9f0a1b2c")),
    request_body(content = CreateEnvironment, example = json!({ "name": "Staging", "mode": "test" })),
    responses(
        (status = 201, description = "The environment.", body = Environment, example = json!({
            "id": "env_2b3c4d5e6f7a8b9c", "name": "Staging", "mode": "test",
        })),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>, Problem<409>, Problem<413>, Problem<415>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = [])),
)]
pub(super) async fn create(
    State(services): State<Services>,
    InSession(person): InSession,
    path: Result<Path<String>, PathRejection>,
    Json(body): Json<CreateEnvironment>,
) -> Result<(StatusCode, Answer<Environment>), ApiError> {
    let Path(id) = path?;
    let id = organisation(&id)?;
    let mut fields = Fields::default();
    let name = name(body.name.as_deref(), &mut fields);
    let mode = match body.mode.as_deref() {
        None => Err("is required"),
        Some(mode) => Mode::parse(mode).ok_or("must be `live` or `test`"),
    };
    let (Some(name), Some(mode)) = (name, fields.take("mode", mode)) else {
        return Err(fields.error());
    };
    let created = services.teams.create_environment(&person, id, &name, mode).await?;
    Ok((StatusCode::CREATED, Answer(created.into())))
}

/// The fields of an environment to change. Absent fields stay.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct EditEnvironment {
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, value_type = Option<TeamName>)]
    name: Option<String>,
    /// An archived environment gets no key; `false` opens it again.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false)]
    archived: Option<bool>,
}

#[derive(Deserialize)]
struct Query {
    revoke_keys: Option<bool>,
}

/// Update environment
///
/// Owners and admins. An environment with keys that are not revoked is archived with `revoke_keys=true` only, which
/// revokes them first, on every node (otherwise 409 `environment_has_keys`, with their number in `keys`). One environment
/// at least is not archived (409 `last_environment`). The keys and events of an archived environment stay visible.
#[utoipa::path(
    patch,
    path = "/v1/organisations/{org_id}/environments/{env_id}",
    operation_id = "editEnvironment",
    tag = "Organisations",
    params(
        ("org_id" = String, Path, description = "The organisation.", pattern = "^org_[0-9a-f]{16}$", example = "org_5b6c7d8e9f0a1b2c"),
        ("env_id" = String, Path, description = "The environment.", pattern = "^env_[0-9a-f]{16}$", example = "env_2b3c4d5e6f7a8b9c"),
        ("revoke_keys" = Option<bool>, Query, description = "Whether its keys are revoked when it is archived.", nullable = false),
    ),
    request_body(content = EditEnvironment, example = json!({ "archived": true })),
    responses(
        (status = 200, description = "The environment as it is now.", body = Environment, example = json!({
            "id": "env_2b3c4d5e6f7a8b9c", "name": "Staging", "mode": "test", "archived_at": "2026-03-01T12:00:00Z",
        })),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>, Problem<409>, Problem<413>, Problem<415>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = [])),
)]
pub(super) async fn edit(
    State(services): State<Services>,
    InSession(person): InSession,
    path: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
    Json(body): Json<EditEnvironment>,
) -> Result<Answer<Environment>, ApiError> {
    let Path((organisation_id, id)) = path?;
    let organisation = organisation(&organisation_id)?;
    let query: Query = json::from_query(query.as_deref())?;
    let mut fields = Fields::default();
    let name = match body.name.as_deref().map(|name| fields.take("name", KeyName::parse(name))) {
        Some(None) => return Err(fields.error()),
        name => name.flatten(),
    };
    let change = EnvironmentChange { name, archived: body.archived, revoke_keys: query.revoke_keys.unwrap_or(false) };
    let id = id.parse().map_err(|_| TeamError::NoEnvironment);
    let changed = match id {
        Ok(id) => services.teams.change_environment(&person, organisation, id, &change).await?,
        // An id of another form is an id that does not exist, for those who may look.
        Err(error) => return Err(services.teams.settings(&person, organisation).err().unwrap_or(error).into()),
    };
    Ok(Answer(changed.into()))
}
