//! Members of an organisation.

use axum::Json as Answer;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::organisations::{KeysEnded, organisation};
use super::paging;
use crate::model::{ApiError, Role};
use crate::store;
use crate::teams::{LeaversKeys, TeamError};
use crate::web::Services;
use crate::web::auth::InSession;
use crate::web::json::{self, Json};
use crate::web::me::User;
use crate::web::openapi::Problem;
use crate::web::time::seconds;

/// A member of an organisation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Member {
    user: User,
    /// `owner`, `admin`, `member` or `viewer`.
    #[schema(pattern = "^(owner|admin|member|viewer)$")]
    role: &'static str,
    #[schema(format = DateTime)]
    joined_at: String,
    /// The last use of a session or a token, to the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    last_seen_at: Option<String>,
    /// Whether the account has a second factor.
    two_factor: bool,
    /// Keys of the organisation that they made and that are not revoked.
    active_keys: i64,
}

impl From<store::Member> for Member {
    fn from(member: store::Member) -> Self {
        Self {
            user: User { id: member.user.to_string(), email: member.email },
            role: member.role.as_str(),
            joined_at: seconds(member.joined_at),
            last_seen_at: member.last_seen_at.map(seconds),
            // No account can have one yet.
            two_factor: false,
            active_keys: member.active_keys,
        }
    }
}

/// The members of an organisation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberList {
    /// In the order in which they joined.
    members: Vec<Member>,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

/// List members
///
/// For every member.
#[utoipa::path(
    get,
    path = "/v1/organisations/{org_id}/members",
    operation_id = "listMembers",
    tag = "Members",
    params(
        ("org_id" = String, Path, description = "The organisation.", pattern = "^org_[0-9a-f]{16}$", example = "org_5b6c7d8e9f0a1b2c"),
        ("limit" = Option<u32>, Query, description = "Maximum number of rows.", minimum = 1, maximum = 100, nullable = false),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page.", pattern = "^[0-9a-f]{32}$", nullable = false),
    ),
    responses(
        (status = 200, description = "A page.", body = MemberList, example = json!({ "members": [{
            "user": { "id": "usr_0f1e2d3c4b5a6978", "email": "ada@example.com" },
            "role": "owner",
            "joined_at": "2026-03-01T12:00:00Z",
            "last_seen_at": "2026-03-01T14:30:00Z",
            "two_factor": false,
            "active_keys": 3,
        }] })),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = [])),
)]
pub(super) async fn list(
    State(services): State<Services>,
    InSession(person): InSession,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Answer<MemberList>, ApiError> {
    let Path(id) = path?;
    let organisation = organisation(&id)?;
    let (start, limit) = paging::read(query.as_deref())?;
    let page = services.teams.members(&person, organisation, start, limit).await?;
    Ok(Answer(MemberList {
        members: page.rows.into_iter().map(Member::from).collect(),
        next_cursor: page.next.map(|next| next.to_string()),
    }))
}

/// Another role for a member.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ChangeRole {
    /// `owner`, `admin`, `member` or `viewer`.
    #[schema(required, value_type = String, pattern = "^(owner|admin|member|viewer)$", examples("admin"))]
    role: Option<String>,
}

/// Reads a role that has to be given.
pub(super) fn role(role: Option<&str>) -> Result<Role, &'static str> {
    Role::parse(role.ok_or("is required")?).ok_or("must be `owner`, `admin`, `member` or `viewer`")
}

/// Update member
///
/// Owners change every role, admins those below owner. The last owner cannot step down (409 `last_owner`). Open
/// invitations that the member could not make with the new role end.
#[utoipa::path(
    patch,
    path = "/v1/organisations/{org_id}/members/{user_id}",
    operation_id = "changeRole",
    tag = "Members",
    params(
        ("org_id" = String, Path, description = "The organisation.", pattern = "^org_[0-9a-f]{16}$", example = "org_5b6c7d8e9f0a1b2c"),
        ("user_id" = String, Path, description = "The person.", pattern = "^usr_[0-9a-f]{16}$", example = "usr_0f1e2d3c4b5a6978"),
    ),
    request_body(content = ChangeRole, example = json!({ "role": "admin" })),
    responses(
        (status = 200, description = "The member as they are now.", body = Member),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>, Problem<409>, Problem<413>, Problem<415>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = [])),
)]
pub(super) async fn change_role(
    State(services): State<Services>,
    InSession(person): InSession,
    path: Result<Path<(String, String)>, PathRejection>,
    Json(body): Json<ChangeRole>,
) -> Result<Answer<Member>, ApiError> {
    let Path((organisation_id, user)) = path?;
    let organisation = organisation(&organisation_id)?;
    let role = role(body.role.as_deref()).map_err(|error| ApiError::invalid_field("role", error))?;
    let user = user.parse().map_err(|_| TeamError::NoMember)?;
    Ok(Answer(services.teams.change_role(&person, organisation, user, role).await?.into()))
}

#[derive(Deserialize)]
struct Query {
    keys: Option<String>,
}

/// Remove member
///
/// Owners remove every member, admins those below owner, and everybody may leave; the last owner may not (409
/// `last_owner`). Requests of the leaver that begin after the answer find no organisation, on any node, and their access
/// tokens for it have ended. `keys` says what becomes of the keys that they made: they are kept with their maker, or
/// revoked before the membership ends. It may be left out if there is no such key (400 otherwise, with their number in
/// `keys`). A kept key makes no further keys.
#[utoipa::path(
    delete,
    path = "/v1/organisations/{org_id}/members/{user_id}",
    operation_id = "removeMember",
    tag = "Members",
    params(
        ("org_id" = String, Path, description = "The organisation.", pattern = "^org_[0-9a-f]{16}$", example = "org_5b6c7d8e9f0a1b2c"),
        ("user_id" = String, Path, description = "The person.", pattern = "^usr_[0-9a-f]{16}$", example = "usr_0f1e2d3c4b5a6978"),
        ("keys" = Option<String>, Query, description = "`keep` or `revoke`.", pattern = "^(keep|revoke)$", nullable = false),
    ),
    responses(
        (status = 200, description = "The person is no member, and keys that were to be revoked are, on every node.", body = KeysEnded, example = json!({
            "keys": 3, "nodes": 1, "acknowledged": 1, "waited_out": [], "milliseconds": 5,
        })),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>, Problem<409>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = [])),
)]
pub(super) async fn remove(
    State(services): State<Services>,
    InSession(person): InSession,
    path: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Answer<KeysEnded>, ApiError> {
    let Path((organisation_id, user)) = path?;
    let organisation = organisation(&organisation_id)?;
    let query: Query = json::from_query(query.as_deref())?;
    let keys = match query.keys.as_deref() {
        None => None,
        Some("keep") => Some(LeaversKeys::Keep),
        Some("revoke") => Some(LeaversKeys::Revoke),
        Some(_) => return Err(ApiError::invalid_field("keys", "must be `keep` or `revoke`")),
    };
    let user = user.parse().map_err(|_| TeamError::NoMember)?;
    let began = services.clock.monotonic();
    let ended = services.teams.remove_member(&person, organisation, user, keys).await?;
    Ok(Answer(KeysEnded::new(ended, &services.clock, began)))
}
