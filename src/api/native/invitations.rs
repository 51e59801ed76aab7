//! Invitations to an organisation.

use axum::Json as Answer;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::members::role;
use super::organisations::organisation;
use super::paging;
use crate::accounts::EmailAddress;
use crate::model::ApiError;
use crate::store;
use crate::teams::{NewInvitation, TeamError};
use crate::web::auth::InSession;
use crate::web::fields::Fields;
use crate::web::json::Json;
use crate::web::openapi::Problem;
use crate::web::time::seconds;
use crate::web::{Services, Site};

/// An open invitation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Invitation {
    #[schema(pattern = "^inv_[0-9a-f]{16}$")]
    id: String,
    email: String,
    /// `owner`, `admin`, `member` or `viewer`.
    #[schema(pattern = "^(owner|admin|member|viewer)$")]
    role: &'static str,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

impl From<store::Invitation> for Invitation {
    fn from(invitation: store::Invitation) -> Self {
        Self {
            id: invitation.id.to_string(),
            email: invitation.email,
            role: invitation.role.as_str(),
            created_at: seconds(invitation.created_at),
            expires_at: seconds(invitation.expires_at),
        }
    }
}

/// A new invitation. Nothing else shows its link.
#[derive(Serialize, ToSchema)]
pub(super) struct CreatedInvitation {
    #[serde(flatten)]
    invitation: Invitation,
    /// The link for the invited person. Whoever has it can accept the invitation.
    url: String,
}

impl CreatedInvitation {
    fn new(new: NewInvitation, site: &Site) -> Self {
        let url = site.link(&format!("/invite/{}", new.token.reveal()));
        Self { invitation: new.invitation.into(), url }
    }
}

/// The person to invite.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Invite {
    #[schema(required, value_type = String, format = Email, max_length = 254, examples("bob@example.com"))]
    email: Option<String>,
    /// `owner`, `admin`, `member` or `viewer`.
    #[schema(required, value_type = String, pattern = "^(owner|admin|member|viewer)$", examples("member"))]
    role: Option<String>,
}

/// Create invitation
///
/// Owners invite to every role, admins to those below owner. The invitation is good once and for 7 days, for the owner of
/// this address; `url` is in this answer only, and nothing is mailed. A second invitation of an address replaces the
/// first. It ends when its maker loses the right to make it. An organisation has at most 100 open invitations (409
/// `too_many_invitations`); a member is not invited (409 `already_member`).
#[utoipa::path(
    post,
    path = "/v1/organisations/{org_id}/invitations",
    operation_id = "invite",
    tag = "Members",
    params(("org_id" = String, Path, description = "The organisation.", pattern = "^org_[0-9a-f]{16}$", example = "org_5b6c7d8e9f0a1b2c")),
    request_body(content = Invite, example = json!({ "email": "bob@example.com", "role": "member" })),
    responses(
        (status = 201, description = "The invitation.", body = CreatedInvitation, example = json!({
            "id": "inv_8f3a1b2c4d5e6f7a",
            "email": "bob@example.com",
            "role": "member",
            "created_at": "2026-03-01T12:00:00Z",
            "expires_at": "2026-03-08T12:00:00Z",
            "url": "https://keys.example.com/invite/lki_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c",
        })),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>, Problem<409>, Problem<413>, Problem<415>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = [])),
)]
pub(super) async fn invite(
    State(services): State<Services>,
    InSession(person): InSession,
    path: Result<Path<String>, PathRejection>,
    Json(body): Json<Invite>,
) -> Result<(StatusCode, Answer<CreatedInvitation>), ApiError> {
    let Path(id) = path?;
    let organisation = organisation(&id)?;
    let mut fields = Fields::default();
    let email = match body.email.as_deref() {
        None => fields.take("email", Err("is required")),
        Some(email) => fields.take("email", EmailAddress::parse(email)),
    };
    let (Some(email), Some(role)) = (email, fields.take("role", role(body.role.as_deref()))) else {
        return Err(fields.error());
    };
    let new = services.teams.invite(&person, organisation, &email, role).await?;
    Ok((StatusCode::CREATED, Answer(CreatedInvitation::new(new, &services.site))))
}

/// The open invitations of an organisation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InvitationList {
    /// Oldest first.
    invitations: Vec<Invitation>,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
}

/// List invitations
///
/// Owners and admins. Only invitations that are open.
#[utoipa::path(
    get,
    path = "/v1/organisations/{org_id}/invitations",
    operation_id = "listInvitations",
    tag = "Members",
    params(
        ("org_id" = String, Path, description = "The organisation.", pattern = "^org_[0-9a-f]{16}$", example = "org_5b6c7d8e9f0a1b2c"),
        ("limit" = Option<u32>, Query, description = "Maximum number of rows.", minimum = 1, maximum = 100, nullable = false),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the previous page.", pattern = "^[0-9a-f]{32}$", nullable = false),
    ),
    responses(
        (status = 200, description = "A page.", body = InvitationList),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = [])),
)]
pub(super) async fn list(
    State(services): State<Services>,
    InSession(person): InSession,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Answer<InvitationList>, ApiError> {
    let Path(id) = path?;
    let organisation = organisation(&id)?;
    let (start, limit) = paging::read(query.as_deref())?;
    let page = services.teams.invitations(&person, organisation, start, limit).await?;
    Ok(Answer(InvitationList {
        invitations: page.rows.into_iter().map(Invitation::from).collect(),
        next_cursor: page.next.map(|next| next.to_string()),
    }))
}

/// Revoke invitation
///
/// Owners, and admins for roles below owner.
#[utoipa::path(
    delete,
    path = "/v1/organisations/{org_id}/invitations/{invitation_id}",
    operation_id = "withdrawInvitation",
    tag = "Members",
    params(
        ("org_id" = String, Path, description = "The organisation.", pattern = "^org_[0-9a-f]{16}$", example = "org_5b6c7d8e9f0a1b2c"),
        ("invitation_id" = String, Path, description = "The invitation.", pattern = "^inv_[0-9a-f]{16}$", example = "inv_8f3a1b2c4d5e6f7a"),
    ),
    responses(
        (status = 204, description = "The link is worth nothing any more."),
        Problem<401>, Problem<403>, Problem<404>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = [])),
)]
pub(super) async fn withdraw(
    State(services): State<Services>,
    InSession(person): InSession,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let Path((organisation_id, id)) = path?;
    let organisation = organisation(&organisation_id)?;
    let id = id.parse().map_err(|_| TeamError::NoInvitation)?;
    services.teams.withdraw(&person, organisation, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
