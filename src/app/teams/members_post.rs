//! Handlers of the forms that change a member's role, and that remove a member.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::members::{Typed, members_page};
use super::parts::{may_change, parameter, proof, refused};
use super::words;
use crate::app::kit::{Flash, Form, InOrganisation};
use crate::app::links::HOME;
use crate::app::shell::Answer;
use crate::domain::Action;
use crate::model::{ApiError, Role, UserId};
use crate::teams::{LeaversKeys, TeamError};
use crate::web::Services;

fn user(id: &str) -> Result<UserId, ApiError> {
    id.parse().map_err(|_| TeamError::NoMember.into())
}

/// Returns the address of the page of the list that the form is on.
fn list(at: &InOrganisation, parts: &Parts) -> String {
    match parameter(parts, "after") {
        Some(after) if after.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            format!("{}?after={after}", at.link().members())
        }
        _ => at.link().members(),
    }
}

/// `POST /o/{organisation}/settings/members/{user}/role`.
///
/// # Errors
/// 401 without a session; 404 for an organisation that the person is no member of, and for another than one of its
/// members; 403 without the right; 503 when the database fails. A role that was changed elsewhere (409) is shown on the
/// page.
pub async fn change_role(
    State(services): State<Services>,
    at: InOrganisation,
    Path((_, id)): Path<(String, String)>,
    parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    at.require(Action::ManageMembers, words::NO_MEMBERS)?;
    let user = user(&id)?;
    let wrong = || ApiError::invalid_field("role", "must be `owner`, `admin`, `member` or `viewer`");
    let role = Role::parse(&form.take("role")).ok_or_else(wrong)?;
    let version = Role::parse(&form.take("version"));
    let (member, _) = services.teams.member(&at.person, at.id(), user).await?;
    let is_allowed = may_change(&at.membership, member.role) && may_change(&at.membership, role);
    if is_allowed && version != Some(member.role) && role != member.role {
        let failed = Some(words::role_stale(&member.email, member.role));
        let typed = Typed { role: Some((user, role)), failed, ..Typed::default() };
        return members_page(&services, &parts, at, typed, StatusCode::CONFLICT).await;
    }
    let back = list(&at, &parts);
    let flash = match services.teams.change_role(&at.person, at.id(), user, role).await {
        Ok(member) => Flash::success(words::role_changed(&member.email, member.role), words::ROLE_CHANGED_DETAIL),
        Err(error) => refused(error)?,
    };
    // A person who gives up the right to see the page still sees it: every role does.
    flash.on_page(&parts, back).await
}

/// `POST /o/{organisation}/settings/members/{user}/remove`: removes a member, or lets the person leave.
///
/// # Errors
/// As [`change_role`]. When it is not said what happens to the keys (400), the page asks again.
pub async fn remove(
    State(services): State<Services>,
    at: InOrganisation,
    Path((_, id)): Path<(String, String)>,
    parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    let user = user(&id)?;
    let is_self = user == at.person.id;
    if !is_self {
        at.require(Action::ManageMembers, words::NO_MEMBERS)?;
    }
    let keys = match form.take("keys").as_str() {
        "" => None,
        "keep" => Some(LeaversKeys::Keep),
        "revoke" => Some(LeaversKeys::Revoke),
        _ => return Err(ApiError::invalid_field("keys", "must be `keep` or `revoke`")),
    };
    let (member, _) = services.teams.member(&at.person, at.id(), user).await?;
    let back = if is_self { HOME.to_owned() } else { list(&at, &parts) };
    match services.teams.remove_member(&at.person, at.id(), user, keys).await {
        Ok(ended) => {
            let text = if is_self { words::left(&at.membership.name) } else { words::removed(&member.email) };
            Flash::success(text, proof(&ended, words::REMOVED_KEPT)).on_page(&parts, back).await
        }
        Err(TeamError::LeaverHasKeys(_)) => {
            let typed = Typed { remove: Some(user), is_undecided: true, ..Typed::default() };
            members_page(&services, &parts, at, typed, StatusCode::BAD_REQUEST).await
        }
        Err(error) => {
            let is_stored = matches!(error, TeamError::Unavailable(_));
            let back = if is_self && is_stored { HOME.to_owned() } else { list(&at, &parts) };
            refused(error)?.on_page(&parts, back).await
        }
    }
}
