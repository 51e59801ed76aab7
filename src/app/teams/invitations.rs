//! The page of an organisation's invitations. A new link is in the answer to its form, and nowhere else.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use leptos::prelude::*;

use super::parts::{parameter, refusal, refused, roles_to_give};
use super::words;
use crate::accounts::EmailAddress;
use crate::app::islands::icons::{ONCE, icon};
use crate::app::kit::{
    CopyButton, CopyStatus, ErrorText, Flash, Form, InOrganisation, Moment, Notice, Page, Section, Sentence, Toasts,
    ago_or_date, date, take_flash,
};
use crate::app::shell::{Answer, Document};
use crate::domain::Action;
use crate::model::{ApiError, InvitationId, Role, Timestamp};
use crate::teams::{Invitation, MAX_INVITATIONS, PageStart, TeamError};
use crate::web::Services;

/// The state of the form.
#[derive(Default)]
struct Typed {
    email: String,
    role: Option<Role>,
    /// The mistake of the address.
    error: Option<String>,
    /// The mistake of the role.
    role_error: Option<String>,
    /// The error of the form as a whole.
    failed: Option<String>,
}

/// A new invitation, and its link.
struct Created {
    invitation: Invitation,
    url: String,
}

/// `GET /o/{organisation}/settings/invitations`.
///
/// # Errors
/// 401 without a session, 404 for an organisation that the person is no member of, 403 without the right to invite, 503
/// when the database fails.
pub async fn invitations(
    State(services): State<Services>,
    at: InOrganisation,
    parts: Parts,
) -> Result<Answer, ApiError> {
    at.require(Action::ManageMembers, words::NO_INVITATIONS)?;
    let typed = Typed { email: parameter(&parts, "email").unwrap_or_default(), ..Typed::default() };
    page(&services, &parts, at, typed, None, StatusCode::OK).await
}

/// `POST /o/{organisation}/settings/invitations`: the page with the link of the new invitation.
///
/// # Errors
/// As [`invitations`], and 403 for a role that the person may not give. Mistakes (400), a member's address and an
/// invitation too many (409) are shown on the page.
pub async fn create(
    State(services): State<Services>,
    at: InOrganisation,
    parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    at.require(Action::ManageMembers, words::NO_INVITATIONS)?;
    let text = form.take("email");
    let role = Role::parse(&form.take("role"));
    let email = EmailAddress::parse(&text);
    let mut typed = Typed { email: text, role, ..Typed::default() };
    let (Ok(email), Some(role)) = (&email, role) else {
        typed.error = email.err().map(|error| format!("It {error}."));
        typed.role_error = role.is_none().then(|| words::ROLE_MISSING.to_owned());
        return page(&services, &parts, at, typed, None, StatusCode::BAD_REQUEST).await;
    };
    match services.teams.invite(&at.person, at.id(), email, role).await {
        Ok(new) => {
            let url = services.site.link(&format!("/invite/{}", new.token.reveal()));
            let created = Created { invitation: new.invitation, url };
            page(&services, &parts, at, Typed::default(), Some(created), StatusCode::CREATED).await
        }
        Err(TeamError::AlreadyMember) => {
            typed.error = Some(words::ALREADY_MEMBER.to_owned());
            page(&services, &parts, at, typed, None, StatusCode::CONFLICT).await
        }
        Err(error) => {
            typed.failed = Some(refusal(error)?);
            page(&services, &parts, at, typed, None, StatusCode::CONFLICT).await
        }
    }
}

/// `POST /o/{organisation}/settings/invitations/{id}/delete`.
///
/// # Errors
/// As [`invitations`], and 404 for an invitation that is not open.
pub async fn delete(
    State(services): State<Services>,
    at: InOrganisation,
    Path((_, id)): Path<(String, String)>,
    parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    at.require(Action::ManageMembers, words::NO_INVITATIONS)?;
    let id: InvitationId = id.parse().map_err(|_| TeamError::NoInvitation)?;
    let email = form.take("email");
    let flash = match services.teams.withdraw(&at.person, at.id(), id).await {
        Ok(()) => Flash::success(words::invitation_deleted(&email), words::INVITATION_DELETED_DETAIL),
        Err(error) => refused(error)?,
    };
    flash.on_page(&parts, at.link().invitations()).await
}

async fn page(
    services: &Services,
    parts: &Parts,
    at: InOrganisation,
    typed: Typed,
    created: Option<Created>,
    status: StatusCode,
) -> Result<Answer, ApiError> {
    let limit = u32::try_from(MAX_INVITATIONS).unwrap_or(u32::MAX);
    let open = services.teams.invitations(&at.person, at.id(), PageStart::FIRST, limit).await?.rows;
    let flash = take_flash(parts).await?;
    let now = services.clock.now();
    let title = at.title(words::INVITATIONS);
    let view = move || view! { <InvitationsView at open typed created flash now/> };
    Ok(Document::new(title, view).with_status(status).into())
}

#[component]
fn InvitationsView(
    at: InOrganisation,
    open: Vec<Invitation>,
    typed: Typed,
    created: Option<Created>,
    flash: Option<Flash>,
    now: Timestamp,
) -> AnyView {
    let (frame, here) = (at.frame(), at.link().invitations());
    view! {
        <Page frame section=Section::Invitations>
            <div class="page-head">
                <div><h1>{words::INVITATIONS}</h1><p class="lead">{words::INVITATIONS_LEAD}</p></div>
            </div>
            <div class="settings">
                {created.map(|created| view! { <NewLink created/> })}
                <section class="card" aria-labelledby="invite-title">
                    <h2 id="invite-title">{words::INVITE_TITLE}</h2>
                    <InviteForm at=at.clone() typed/>
                </section>
            </div>
            <h2 class="table-title" id="open-title">{words::OPEN_INVITATIONS}</h2>
            <OpenInvitations at open now/>
        </Page>
        <Toasts flash here/>
    }
    .into_any()
}

/// The link of a new invitation, shown once.
#[component]
fn NewLink(created: Created) -> AnyView {
    let Created { invitation, url } = created;
    view! {
        <section class="card new-link" aria-labelledby="link-title">
            <h2 id="link-title" tabindex="-1" autofocus><Sentence text=words::link_for(&invitation.email)/></h2>
            <p class="once">
                {icon(ONCE)}
                <span>
                    <strong>{words::LINK_ONCE}</strong> {words::LINK_WHO} " "
                    {words::EXPIRES} " " <Moment at=invitation.expires_at words=date(invitation.expires_at)/> "."
                </span>
            </p>
            <div class="reveal-key" data-copyable>
                <code class="link-text" id="invitation-link" translate="no">{url}</code>
                <CopyButton what="Link"/>
            </div>
            <CopyStatus/>
        </section>
    }
    .into_any()
}

#[component]
fn InviteForm(at: InOrganisation, typed: Typed) -> AnyView {
    let chosen = typed.role.unwrap_or(Role::Member);
    let option = |role: Role| {
        view! {
            <option value=role.as_str() selected={role == chosen}>{words::role(role)} ": " {words::role_what(role)}</option>
        }
    };
    let options = roles_to_give(&at.membership).into_iter().map(option).collect_view();
    view! {
        {typed.failed.map(|text| view! { <Notice id="form-error" text/> })}
        <form class="form" method="post" action=at.link().invitations() data-guard="">
            <div class="row">
                <div class="field">
                    <label for="email">{words::EMAIL}</label>
                    <input
                        class="input"
                        id="email"
                        name="email"
                        type="text"
                        inputmode="email"
                        autocomplete="off"
                        autocapitalize="none"
                        spellcheck="false"
                        required
                        value=typed.email
                        autofocus=typed.error.is_some()
                        aria-invalid=typed.error.is_some().then_some("true")
                        aria-describedby="email-hint email-error"
                    />
                    <p class="hint" id="email-hint">{words::INVITE_HINT}</p>
                    <ErrorText id="email-error" text=typed.error/>
                </div>
                <div class="field">
                    <label for="role">{words::ROLE}</label>
                    <select class="select" id="role" name="role" autocomplete="off" aria-describedby="role-error">{options}</select>
                    <ErrorText id="role-error" text=typed.role_error/>
                </div>
            </div>
            <div class="buttons"><button class="button primary" type="submit">{words::INVITE}</button></div>
        </form>
    }
    .into_any()
}

#[component]
fn OpenInvitations(at: InOrganisation, open: Vec<Invitation>, now: Timestamp) -> AnyView {
    if open.is_empty() {
        return view! { <p class="table-note">{words::NO_OPEN}</p> }.into_any();
    }
    let row = |invitation: Invitation| view! { <Row at=at.clone() invitation now/> };
    view! {
        <table class="keys-table people-table" role="table" aria-labelledby="open-title">
            <thead role="rowgroup">
                <tr role="row">
                    <th role="columnheader" scope="col" class="name">{words::EMAIL}</th>
                    <th role="columnheader" scope="col">{words::ROLE}</th>
                    <th role="columnheader" scope="col">{words::CREATED}</th>
                    <th role="columnheader" scope="col">{words::EXPIRES}</th>
                    <th role="columnheader" scope="col"><span class="visually-hidden">{words::ACTIONS}</span></th>
                </tr>
            </thead>
            <tbody role="rowgroup">{open.into_iter().map(row).collect_view()}</tbody>
        </table>
    }
    .into_any()
}

#[component]
fn Row(at: InOrganisation, invitation: Invitation, now: Timestamp) -> AnyView {
    let email = invitation.email;
    let act = at.membership.may(Action::on_members(invitation.role)).then(|| {
        view! {
            <form method="post" action=at.link().invitation_delete(invitation.id)>
                <input type="hidden" name="email" value=email.clone() autocomplete="off"/>
                <button class="button quiet danger small" type="submit">
                    {words::DELETE} <span class="visually-hidden">" " <bdi>{email.clone()}</bdi></span>
                </button>
            </form>
        }
    });
    view! {
        <tr role="row" id=invitation.id.to_string()>
            <th role="rowheader" scope="row" class="name">
                <span class="title" title=email.clone()><bdi>{email.clone()}</bdi></span>
            </th>
            <td role="cell" class="role" data-label=words::ROLE>{words::role(invitation.role)}</td>
            <td role="cell" class="created" data-label=words::CREATED>
                <Moment at=invitation.created_at words=ago_or_date(now, invitation.created_at)/>
            </td>
            <td role="cell" class="used" data-label=words::EXPIRES>
                <Moment at=invitation.expires_at words=date(invitation.expires_at)/>
            </td>
            <td role="cell" class="act">{act}</td>
        </tr>
    }
    .into_any()
}
