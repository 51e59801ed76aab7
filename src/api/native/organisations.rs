//! Organisations: created, listed, renamed, deleted.

use axum::Json as Answer;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::paging;
use crate::domain::Membership;
use crate::model::{ApiError, KeyName, OrganisationId};
use crate::runtime::clock::Clock;
use crate::teams::{Ended, TeamError};
use crate::web::Services;
use crate::web::auth::InSession;
use crate::web::fields::Fields;
use crate::web::json::{Json, not_null};
use crate::web::me::Organisation;
use crate::web::openapi::Problem;

/// The name of an organisation or an environment: the rule is that of the names of keys.
#[derive(ToSchema)]
#[schema(
    value_type = String,
    min_length = 1,
    max_length = 100,
    pattern = "^[^\\u0000-\\u001F\\u007F-\\u009F\\u2028-\\u202E\\u2066-\\u2069]*[^\\s\\u0000-\\u001F\\u007F-\\u009F\\u2028-\\u202E\\u2066-\\u2069\\u00AD\\u034F\\u061C\\u115F\\u1160\\u17B4\\u17B5\\u180B-\\u180F\\u200B-\\u200F\\u2060-\\u206F\\u2800\\u3164\\uFE00-\\uFE0F\\uFEFF\\uFFA0\\uFFF0-\\uFFF8\u{1BCA0}-\u{1BCA3}\u{1D173}-\u{1D17A}\u{E0000}-\u{E0FFF}][^\\u0000-\\u001F\\u007F-\\u009F\\u2028-\\u202E\\u2066-\\u2069]*$"
)]
#[expect(dead_code, reason = "describes the texts of requests")]
pub(super) struct TeamName(String);

/// Reads a name that has to be given.
pub(super) fn name(name: Option<&str>, fields: &mut Fields) -> Option<KeyName> {
    match name {
        None => fields.take("name", Err("is required")),
        Some(name) => fields.take("name", KeyName::parse(name)),
    }
}

/// Reads the id of an organisation. An id of another form is an id that does not exist.
pub(super) fn organisation(id: &str) -> Result<OrganisationId, TeamError> {
    id.parse().map_err(|_| TeamError::NotFound)
}

/// Keys that were revoked, and the servers that have dropped them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeysEnded {
    /// Keys that this call revoked.
    keys: u64,
    /// Servers that might have accepted one of them.
    nodes: u32,
    /// Those of them that have dropped all.
    acknowledged: u32,
    /// Those that did not answer, and whose lease has ended.
    waited_out: Vec<String>,
    /// The time that it took.
    milliseconds: i64,
}

impl KeysEnded {
    /// The answer to a request that began at this monotonic time.
    pub(super) fn new(ended: Ended, clock: &Clock, began: u64) -> Self {
        let nanoseconds = clock.monotonic().saturating_sub(began);
        Self {
            keys: ended.keys,
            nodes: ended.proof.nodes,
            acknowledged: ended.proof.acknowledged,
            waited_out: ended.proof.waited_out,
            milliseconds: i64::try_from(nanoseconds.div_ceil(1_000_000)).unwrap_or(i64::MAX),
        }
    }
}

/// A new organisation.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct CreateOrganisation {
    #[schema(required, value_type = TeamName, examples("Example Ltd"))]
    name: Option<String>,
}

/// Create organisation
///
/// Made with the environments Production (live) and Development (test). Whoever creates it is its owner. A person owns at
/// most 100 organisations (409 `too_many_organisations`).
#[utoipa::path(
    post,
    path = "/v1/organisations",
    operation_id = "createOrganisation",
    tag = "Organisations",
    request_body(content = CreateOrganisation, example = json!({ "name": "Example Ltd" })),
    responses(
        (status = 201, description = "The organisation.", body = Organisation, example = json!({
            "id": "org_5b6c7d8e9f0a1b2c",
            "tenant_id": "9b2f7c1e-4a3d-4e5f-8a6b-7c8d9e0f1a2b",
            "name": "Example Ltd",
            "role": "owner",
            "environments": [
                { "id": "env_1a2b3c4d5e6f7a8b", "name": "Production", "mode": "live" },
                { "id": "env_2b3c4d5e6f7a8b9c", "name": "Development", "mode": "test" },
            ],
        })),
        Problem<400>, Problem<401>, Problem<403>, Problem<409>, Problem<413>, Problem<415>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = [])),
)]
pub(super) async fn create(
    State(services): State<Services>,
    InSession(person): InSession,
    Json(body): Json<CreateOrganisation>,
) -> Result<(StatusCode, Answer<Organisation>), ApiError> {
    let mut fields = Fields::default();
    let Some(name) = name(body.name.as_deref(), &mut fields) else {
        return Err(fields.error());
    };
    let membership = services.teams.create(&person, &name).await?;
    Ok((StatusCode::CREATED, Answer(membership.into())))
}

/// The organisations of a person.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrganisationList {
    /// In the order in which the person joined them.
    organisations: Vec<Organisation>,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

/// List organisations
///
/// Those that the person is a member of.
#[utoipa::path(
    get,
    path = "/v1/organisations",
    operation_id = "listOrganisations",
    tag = "Organisations",
    params(
        ("limit" = Option<u32>, Query, description = "Maximum number of rows.", minimum = 1, maximum = 100, nullable = false),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page.", pattern = "^[0-9a-f]{32}$", nullable = false),
    ),
    responses(
        (status = 200, description = "A page.", body = OrganisationList),
        Problem<400>, Problem<401>, Problem<403>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = [])),
)]
pub(super) async fn list(
    State(services): State<Services>,
    InSession(person): InSession,
    RawQuery(query): RawQuery,
) -> Result<Answer<OrganisationList>, ApiError> {
    let (start, limit) = paging::read(query.as_deref())?;
    let page = services.teams.organisations(person, start, limit);
    Ok(Answer(OrganisationList {
        organisations: page.rows.into_iter().map(Organisation::from).collect(),
        next_cursor: page.next.map(|next| next.to_string()),
    }))
}

/// The fields of an organisation to change. Absent fields stay.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct EditOrganisation {
    #[serde(default, deserialize_with = "not_null")]
    #[schema(nullable = false, value_type = Option<TeamName>, examples("Example Ltd"))]
    name: Option<String>,
}

/// Update organisation
///
/// Owners and admins.
#[utoipa::path(
    patch,
    path = "/v1/organisations/{org_id}",
    operation_id = "editOrganisation",
    tag = "Organisations",
    params(("org_id" = String, Path, description = "The organisation.", pattern = "^org_[0-9a-f]{16}$", example = "org_5b6c7d8e9f0a1b2c")),
    request_body(content = EditOrganisation, example = json!({ "name": "Example Ltd" })),
    responses(
        (status = 200, description = "The organisation as it is now.", body = Organisation),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>, Problem<413>, Problem<415>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = [])),
)]
pub(super) async fn edit(
    State(services): State<Services>,
    InSession(person): InSession,
    path: Result<Path<String>, PathRejection>,
    Json(body): Json<EditOrganisation>,
) -> Result<Answer<Organisation>, ApiError> {
    let Path(id) = path?;
    let id = organisation(&id)?;
    let mut fields = Fields::default();
    let name = body.name.as_deref().map(|name| fields.take("name", KeyName::parse(name)));
    let membership: Membership = match name {
        Some(None) => return Err(fields.error()),
        Some(Some(name)) => services.teams.rename(&person, id, &name).await?,
        None => services.teams.settings(&person, id)?,
    };
    Ok(Answer(membership.into()))
}

/// The confirmation of a deletion.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct DeleteOrganisation {
    /// The name of the organisation.
    #[schema(required, value_type = String, examples("Example Ltd"))]
    confirm: Option<String>,
}

/// Delete organisation
///
/// Owners. Revokes every key of the organisation, with proof; then its members, invitations and tokens are gone, and the
/// organisation is a 404 for everybody. Its events and the rows of its keys are erased within minutes; the hashes of the
/// keys and the audit log stay. Repeat the call after a 503: it goes on.
#[utoipa::path(
    delete,
    path = "/v1/organisations/{org_id}",
    operation_id = "deleteOrganisation",
    tag = "Organisations",
    params(("org_id" = String, Path, description = "The organisation.", pattern = "^org_[0-9a-f]{16}$", example = "org_5b6c7d8e9f0a1b2c")),
    request_body(content = DeleteOrganisation, example = json!({ "confirm": "Example Ltd" })),
    responses(
        (status = 200, description = "No check that begins after this answer accepts one of its keys.", body = KeysEnded, example = json!({
            "keys": 12, "nodes": 1, "acknowledged": 1, "waited_out": [], "milliseconds": 8,
        })),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>, Problem<413>, Problem<415>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = [])),
)]
pub(super) async fn delete(
    State(services): State<Services>,
    InSession(person): InSession,
    path: Result<Path<String>, PathRejection>,
    Json(body): Json<DeleteOrganisation>,
) -> Result<Answer<KeysEnded>, ApiError> {
    let Path(id) = path?;
    let id = organisation(&id)?;
    let confirm = body.confirm.ok_or_else(|| ApiError::invalid_field("confirm", "is required"))?;
    let began = services.clock.monotonic();
    let ended = services.teams.delete(&person, id, &confirm).await?;
    Ok(Answer(KeysEnded::new(ended, &services.clock, began)))
}
