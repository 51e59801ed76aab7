//! Parts that the pages of this area share.

use axum::http::request::Parts;
use leptos::prelude::*;

use super::words;
use crate::app::islands::icons::{ALERT, icon};
use crate::app::kit::{ErrorText, Flash, Sentence, StoredText, revoked_everywhere};
use crate::domain::{Action, Membership};
use crate::model::{ApiError, KeyName, Role};
use crate::teams::{Ended, TeamError};

/// Returns a parameter of the address.
pub fn parameter(parts: &Parts, name: &str) -> Option<String> {
    let query = parts.uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

/// Returns the message about a refused change; other errors get a page of their own.
///
/// # Errors
/// The error, if it is none of the state of the organisation.
pub fn refusal(error: TeamError) -> Result<String, ApiError> {
    Ok(match error {
        TeamError::LastOwner => words::LAST_OWNER.to_owned(),
        TeamError::LastEnvironment => words::LAST_ENVIRONMENT.to_owned(),
        TeamError::AlreadyMember => words::ALREADY_MEMBER.to_owned(),
        TeamError::KeysAreCreated => words::KEYS_ARE_CREATED.to_owned(),
        TeamError::TooManyEnvironments(_) => words::too_many_environments(),
        TeamError::TooManyInvitations(_) => words::too_many_invitations(),
        TeamError::TooManyOrganisations(_) => words::too_many_organisations(),
        error => return Err(error.into()),
    })
}

/// Returns the message about a refused or unconfirmed change, for the next page.
///
/// # Errors
/// As [`refusal`].
pub fn refused(error: TeamError) -> Result<Flash, ApiError> {
    match error {
        TeamError::Unavailable(_) => Ok(Flash::error(words::NOT_CONFIRMED, words::UNCONFIRMED)),
        error => Ok(Flash::error(words::NOT_CHANGED, refusal(error)?)),
    }
}

/// Describes the keys that a change revoked, with the proof; `otherwise` if there are none.
pub fn proof(ended: &Ended, otherwise: &str) -> String {
    match ended.keys {
        0 => otherwise.to_owned(),
        1 => format!("1 key revoked. {}", revoked_everywhere(&ended.proof)),
        keys => {
            let keys = i64::try_from(keys).unwrap_or(i64::MAX);
            let everywhere =
                revoked_everywhere(&ended.proof).replace("this key", "them").replace("dropped it", "dropped them");
            format!("{} keys revoked. {everywhere}", crate::app::kit::thousands(keys))
        }
    }
}

/// Parses a name.
///
/// # Errors
/// The sentence for its field.
pub fn name(text: &str) -> Result<KeyName, String> {
    KeyName::parse(text).map_err(|error| format!("It {error}."))
}

/// Returns the roles that a member may give.
pub fn roles_to_give(membership: &Membership) -> Vec<Role> {
    Role::ALL.into_iter().filter(|role| membership.may(Action::on_members(*role))).collect()
}

/// Whether a member may change the role of a member with this role, or remove them.
pub fn may_change(membership: &Membership, role: Role) -> bool {
    membership.may(Action::on_members(role))
}

/// The state of a form with a name: the typed text, its mistake, and the stored name if it was changed elsewhere.
#[derive(Debug, Clone, Default)]
pub struct NameForm {
    /// The typed text; `None` for the stored name.
    pub typed: Option<String>,
    /// The mistake.
    pub error: Option<String>,
    /// Whether the name was changed elsewhere after the form was rendered.
    pub is_stale: bool,
}

/// The form that renames something.
#[component]
pub fn RenameForm(action: String, stored: String, form: NameForm) -> AnyView {
    let now = form.is_stale.then(|| stored.clone());
    let is_typed = form.typed.is_some();
    let value = form.typed.unwrap_or_else(|| stored.clone());
    let failed = form.is_stale.then(|| {
        view! { <p class="notice danger" role="alert" id="name-failed">{icon(ALERT)} <span>{words::STALE}</span></p> }
    });
    view! {
        <form class="form" method="post" action=action data-guard=if is_typed { "typed" } else { "" }>
            <input type="hidden" name="version" value=stored autocomplete="off"/>
            {failed}
            <div class="field">
                <label for="name">{words::NAME}</label>
                <div class="with-button">
                    <input
                        class="input"
                        id="name"
                        name="name"
                        type="text"
                        autocomplete="off"
                        required
                        value=value
                        autofocus=is_typed
                        aria-invalid=form.error.is_some().then_some("true")
                        aria-describedby="name-now name-error"
                    />
                    <button class="button" type="submit">{words::RENAME}</button>
                </div>
                <StoredText id="name-now" value=now/>
                <ErrorText id="name-error" text=form.error/>
            </div>
        </form>
    }
    .into_any()
}

/// The field of a new name, with its mistake.
#[component]
pub fn NameField(
    typed: String,
    #[prop(optional_no_strip)] error: Option<String>,
    #[prop(default = false)] focus: bool,
) -> AnyView {
    view! {
        <div class="field">
            <label for="name">{words::NAME}</label>
            <input
                class="input"
                id="name"
                name="name"
                type="text"
                autocomplete="off"
                required
                value=typed
                autofocus=focus || error.is_some()
                aria-invalid=error.is_some().then_some("true")
                aria-describedby="name-hint name-error"
            />
            <p class="hint" id="name-hint">{words::NAME_HINT}</p>
            <ErrorText id="name-error" text=error/>
        </div>
    }
    .into_any()
}

/// A dialog that asks before a change, in front of its page. The children are its body. The focus is on Cancel.
#[component]
pub fn Question(
    /// The address of the form.
    action: String,
    /// The address of the page without the dialog.
    back: String,
    /// The question.
    title: String,
    /// The verb.
    button: String,
    /// Whether a field of the body takes the focus.
    #[prop(default = false)]
    has_focus: bool,
    children: Children,
) -> AnyView {
    view! {
        <dialog class="dialog narrow" id="question" aria-labelledby="question-title" open>
            <form method="post" action=action>
                <header class="dialog-head"><h2 id="question-title"><Sentence text=title/></h2></header>
                <div class="dialog-body">{children()}</div>
                <footer class="dialog-foot">
                    <a class="button" href=back autofocus=!has_focus>{words::CANCEL}</a>
                    <button class="button danger" type="submit">{button}</button>
                </footer>
            </form>
        </dialog>
    }
    .into_any()
}

/// A notice above a page, with names in it marked by `isolate`.
#[component]
pub fn Warning(text: String) -> AnyView {
    view! {
        <p class="notice danger standing" role="alert" id="failed" tabindex="-1">
            {icon(ALERT)} <span><Sentence text/></span>
        </p>
    }
    .into_any()
}
