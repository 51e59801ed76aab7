//! The response that sign-in, `GET /v1/auth/me` and the calls about organisations share.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use tower_sessions::Session;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Services;
use super::time::seconds;
use crate::accounts::begin_session;
use crate::domain::{self, Membership, Person, Verified};
use crate::model::ApiError;

/// The signed-in person and their organisations.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    user: User,
    organisations: Vec<Organisation>,
}

/// A person.
#[derive(Debug, Serialize, ToSchema)]
pub struct User {
    /// Their id.
    #[schema(pattern = "^usr_[0-9a-f]{16}$")]
    pub id: String,
    /// Their address.
    pub email: String,
}

/// An organisation, as one of its members sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Organisation {
    #[schema(pattern = "^org_[0-9a-f]{16}$")]
    id: String,
    /// HookSentry's id of the same organisation.
    tenant_id: Uuid,
    name: String,
    /// `owner`, `admin`, `member` or `viewer`.
    #[schema(pattern = "^(owner|admin|member|viewer)$")]
    role: &'static str,
    /// Those that are not archived first, and of each kind live ones first.
    environments: Vec<Environment>,
}

/// An environment of an organisation.
#[derive(Debug, Serialize, ToSchema)]
pub struct Environment {
    #[schema(pattern = "^env_[0-9a-f]{16}$")]
    id: String,
    name: String,
    /// `live` or `test`.
    #[schema(pattern = "^(live|test)$")]
    mode: &'static str,
    /// Since when it is archived: it has no active key and gets none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    archived_at: Option<String>,
}

impl From<Person> for Me {
    fn from(person: Person) -> Self {
        Self {
            user: User { id: person.id.to_string(), email: person.email },
            organisations: person.memberships.into_iter().map(Organisation::from).collect(),
        }
    }
}

impl From<Membership> for Organisation {
    fn from(membership: Membership) -> Self {
        Self {
            id: membership.organisation.to_string(),
            tenant_id: membership.uuid,
            name: membership.name,
            role: membership.role.as_str(),
            environments: membership.environments.into_iter().map(Environment::from).collect(),
        }
    }
}

impl From<domain::Environment> for Environment {
    fn from(environment: domain::Environment) -> Self {
        Self {
            id: environment.id.to_string(),
            name: environment.name,
            mode: environment.mode.as_str(),
            archived_at: environment.archived_at.map(seconds),
        }
    }
}

/// Begins a session, and answers with its cookie and the person.
///
/// # Errors
/// 401 when the verified password is no longer the stored one, 503 when the database fails.
pub async fn signed_in(
    services: &Services,
    session: &Session,
    verified: &Verified,
    status: StatusCode,
) -> Result<impl IntoResponse + use<>, ApiError> {
    begin_session(session, verified).await?;
    let person = services.accounts.person(verified.user()).await?.ok_or_else(ApiError::internal)?;
    Ok((status, axum::Json(Me::from(person))))
}
