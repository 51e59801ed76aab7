//! The table of members, and the dialog that removes one.
//!
//! Narrow screens show the rows as cards; the ARIA roles keep the table for screen readers.

use leptos::prelude::*;

use super::parts::{Question, may_change, roles_to_give};
use super::words;
use crate::app::kit::{ErrorText, InOrganisation, Moment, ago_or_date, thousands};
use crate::model::{Role, Timestamp, UserId};
use crate::teams::{Member, PageStart};

/// Appends the page of the list to the address of a form or a dialog.
fn with_page(path: String, after: Option<PageStart>) -> String {
    match after {
        Some(after) if path.contains('?') => format!("{path}&after={after}"),
        Some(after) => format!("{path}?after={after}"),
        None => path,
    }
}

/// The members of a page, with the actions that the viewer may take.
#[component]
pub fn MembersTable(
    at: InOrganisation,
    members: Vec<Member>,
    owners: i64,
    /// A role that was chosen and not saved.
    typed: Option<(UserId, Role)>,
    after: Option<PageStart>,
    now: Timestamp,
) -> AnyView {
    let row = |member: Member| {
        let typed = typed.filter(|(user, _)| *user == member.user).map(|(_, role)| role);
        view! { <Row at=at.clone() is_last={owners <= 1 && member.role == Role::Owner} member typed after now/> }
    };
    let rows = members.into_iter().map(row).collect_view();
    view! {
        <table class="keys-table people-table" role="table" aria-label=words::MEMBERS>
            <thead role="rowgroup">
                <tr role="row">
                    <th role="columnheader" scope="col" class="name">{words::PERSON}</th>
                    <th role="columnheader" scope="col">{words::ROLE}</th>
                    <th role="columnheader" scope="col">{words::JOINED}</th>
                    <th role="columnheader" scope="col">{words::LAST_SEEN}</th>
                    <th role="columnheader" scope="col" class="requests">{words::ACTIVE_KEYS}</th>
                    <th role="columnheader" scope="col"><span class="visually-hidden">{words::ACTIONS}</span></th>
                </tr>
            </thead>
            <tbody role="rowgroup">{rows}</tbody>
        </table>
    }
    .into_any()
}

#[component]
fn Row(
    at: InOrganisation,
    member: Member,
    /// Whether this is the only owner.
    is_last: bool,
    typed: Option<Role>,
    after: Option<PageStart>,
    now: Timestamp,
) -> AnyView {
    let link = at.link();
    let is_self = member.user == at.person.id;
    let may_change = may_change(&at.membership, member.role);
    let role = if may_change && !is_last {
        view! { <RoleForm at=at.clone() member=member.clone() typed after/> }.into_any()
    } else {
        words::role(member.role).into_any()
    };
    let act = (!is_last && (is_self || may_change)).then(|| {
        let href = with_page(format!("{}?remove={}", link.members(), member.user), after);
        let words = if is_self { words::LEAVE } else { words::REMOVE };
        view! {
            <a class="button quiet danger small" href=href>
                {words} <span class="visually-hidden">" " <bdi>{member.email.clone()}</bdi></span>
            </a>
        }
    });
    let seen = match member.last_seen_at {
        Some(at) => view! { <Moment at words=ago_or_date(now, at)/> }.into_any(),
        None => view! { <span class="never">{words::NEVER}</span> }.into_any(),
    };
    view! {
        <tr role="row" id=member.user.to_string()>
            <th role="rowheader" scope="row" class="name">
                <span class="title" title=member.email.clone()><bdi>{member.email.clone()}</bdi> {is_self.then_some(words::YOU)}</span>
            </th>
            <td role="cell" class="role" data-label=words::ROLE>{role}</td>
            <td role="cell" class="created" data-label=words::JOINED>
                <Moment at=member.joined_at words=ago_or_date(now, member.joined_at)/>
            </td>
            <td role="cell" class="used" data-label=words::LAST_SEEN>{seen}</td>
            <td role="cell" class="requests" data-label=words::ACTIVE_KEYS>{thousands(member.active_keys)}</td>
            <td role="cell" class="act">{act}</td>
        </tr>
    }
    .into_any()
}

/// The choice of a role, with its version: the role that it was rendered with.
#[component]
fn RoleForm(at: InOrganisation, member: Member, typed: Option<Role>, after: Option<PageStart>) -> AnyView {
    let chosen = typed.unwrap_or(member.role);
    let option = |role: Role| {
        view! { <option value=role.as_str() selected={role == chosen}>{words::role(role)}</option> }
    };
    let options = roles_to_give(&at.membership).into_iter().map(option).collect_view();
    let label = words::role_of(&member.email);
    view! {
        <form class="in-row" method="post" action=with_page(at.link().member(member.user, "role"), after)>
            <input type="hidden" name="version" value=member.role.as_str() autocomplete="off"/>
            <select class="select small" name="role" aria-label=label autocomplete="off">{options}</select>
            <button class="button small" type="submit">
                {words::SAVE} <span class="visually-hidden">" " <bdi>{member.email.clone()}</bdi></span>
            </button>
        </form>
    }
    .into_any()
}

/// The dialog that removes a member, or lets the viewer leave. It asks what happens to the keys that the leaver made.
#[component]
pub fn RemoveQuestion(
    at: InOrganisation,
    member: Member,
    back: String,
    after: Option<PageStart>,
    is_undecided: bool,
) -> AnyView {
    let is_self = member.user == at.person.id;
    let (title, button, effect) = if is_self {
        (words::leave_question(&at.membership.name), words::LEAVE_ACTION, words::LEAVE_EFFECT)
    } else {
        (words::remove_question(&member.email), words::REMOVE_MEMBER, words::REMOVE_EFFECT)
    };
    let choice = |value: &'static str, words: &'static str, what: &'static str| {
        view! {
            <label class="radio">
                <input type="radio" name="keys" value=value required autocomplete="off" aria-describedby="keys-error"/>
                <span><strong>{words}</strong> <small>{what}</small></span>
            </label>
        }
    };
    let keys = (member.active_keys > 0).then(|| {
        view! {
            <fieldset class="field">
                <legend>{words::keys_question(member.active_keys, is_self)}</legend>
                <div class="choices one">
                    {choice("keep", words::KEEP_KEYS, words::KEEP_WHAT)}
                    {choice("revoke", words::REVOKE_KEYS, words::REVOKE_WHAT)}
                </div>
                <ErrorText id="keys-error" text=is_undecided.then(|| words::KEYS_UNDECIDED.to_owned())/>
            </fieldset>
        }
    });
    view! {
        <Question
            action=with_page(at.link().member(member.user, "remove"), after)
            back=back
            title=title
            button=button.to_owned()
        >
            <p>{effect}</p>
            {keys}
        </Question>
    }
    .into_any()
}
