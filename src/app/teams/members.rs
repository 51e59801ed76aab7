//! The page of an organisation's members.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use leptos::prelude::*;

use super::members_table::{MembersTable, RemoveQuestion};
use super::parts::{Warning, may_change, parameter};
use super::words;
use crate::app::islands::icons::{PLUS, icon};
use crate::app::kit::{Flash, InOrganisation, Page, Section, Toasts, take_flash};
use crate::app::shell::{Answer, Document};
use crate::domain::Action;
use crate::model::{ApiError, Role, Timestamp, UserId};
use crate::teams::{Member, PageStart};
use crate::web::Services;

/// Members of a page.
const PAGE: u32 = 100;

/// The state of the forms after a request that was not accepted.
#[derive(Default)]
pub struct Typed {
    /// A role that was chosen for a member whose role was changed elsewhere, or that was refused.
    pub role: Option<(UserId, Role)>,
    /// The member to remove, with whom the dialog opens.
    pub remove: Option<UserId>,
    /// Whether the fate of the keys was not chosen.
    pub is_undecided: bool,
    /// The notice above the page.
    pub failed: Option<String>,
}

/// `GET /o/{organisation}/settings/members`.
///
/// # Errors
/// 401 without a session, 404 for an organisation that the person is no member of, 503 when the database fails.
pub async fn members(State(services): State<Services>, at: InOrganisation, parts: Parts) -> Result<Answer, ApiError> {
    let remove = parameter(&parts, "remove").and_then(|id| id.parse().ok());
    members_page(&services, &parts, at, Typed { remove, ..Typed::default() }, StatusCode::OK).await
}

/// The data of the page.
struct List {
    at: InOrganisation,
    members: Vec<Member>,
    /// The member of the dialog.
    asked: Option<Member>,
    owners: i64,
    /// The start of this page, if it is not the first.
    after: Option<PageStart>,
    next: Option<PageStart>,
    typed: Typed,
    flash: Option<Flash>,
    now: Timestamp,
}

/// Renders the page with forms in this state.
///
/// # Errors
/// As [`members`].
pub async fn members_page(
    services: &Services,
    parts: &Parts,
    at: InOrganisation,
    typed: Typed,
    status: StatusCode,
) -> Result<Answer, ApiError> {
    let after: Option<PageStart> = parameter(parts, "after").and_then(|after| after.parse().ok());
    let page = services.teams.members(&at.person, at.id(), after.unwrap_or(PageStart::FIRST), PAGE).await?;
    let (_, owners) = services.teams.member(&at.person, at.id(), at.person.id).await?;
    let is_last = |member: &Member| owners <= 1 && member.role == Role::Owner;
    let asked = match typed.remove {
        Some(user) => services.teams.member(&at.person, at.id(), user).await.ok().map(|(member, _)| member),
        None => None,
    };
    let is_self = |member: &Member| member.user == at.person.id;
    let asked = asked.filter(|asked| !is_last(asked) && (is_self(asked) || may_change(&at.membership, asked.role)));
    let list = List {
        members: page.rows,
        asked,
        owners,
        after,
        next: page.next,
        typed,
        flash: take_flash(parts).await?,
        now: services.clock.now(),
        at,
    };
    let title = list.at.title(words::MEMBERS);
    Ok(Document::new(title, move || view! { <MembersView list/> }).with_status(status).into())
}

#[component]
fn MembersView(list: List) -> AnyView {
    let List { at, members, asked, owners, after, next, typed, flash, now } = list;
    let (frame, link) = (at.frame(), at.link());
    let here = after.map_or_else(|| link.members(), |after| format!("{}?after={after}", link.members()));
    let invite = at.membership.may(Action::ManageMembers).then(|| {
        view! { <a class="button primary" href=link.invitations()>{icon(PLUS)} {words::INVITE_PEOPLE}</a> }
    });
    let pages = (after.is_some() || next.is_some()).then(|| {
        let first = after.map(|_| view! { <a class="button" href=link.members()>{words::FIRST_MEMBERS}</a> });
        let more = next.map(|next| {
            view! { <a class="button" href=format!("{}?after={next}", link.members())>{words::MORE_MEMBERS}</a> }
        });
        view! { <nav class="pager" aria-label=words::MEMBERS><span></span><span class="pages">{first} {more}</span></nav> }
    });
    let note = (owners <= 1).then(|| view! { <p class="table-note">{words::LAST_OWNER_NOTE}</p> });
    let is_undecided = typed.is_undecided;
    let dialog = asked.map(|member| {
        view! { <RemoveQuestion at=at.clone() member back=here.clone() after is_undecided/> }
    });
    view! {
        <Page frame section=Section::Members inert=dialog.is_some()>
            <div class="page-head">
                <div><h1>{words::MEMBERS}</h1><p class="lead">{words::MEMBERS_LEAD}</p></div>
                {invite}
            </div>
            {typed.failed.map(|text| view! { <Warning text/> })}
            <MembersTable at members owners typed=typed.role after now/>
            {note}
            {pages}
        </Page>
        {dialog}
        <Toasts flash here/>
    }
    .into_any()
}
