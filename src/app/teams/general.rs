//! The general settings of an organisation: its name, and its deletion.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use leptos::prelude::*;

use super::parts::{NameForm, Question, RenameForm, name, parameter, proof, refusal, refused};
use super::words;
use crate::app::kit::{ErrorText, Flash, Form, InOrganisation, Page, Section, Toasts, take_flash};
use crate::app::links::HOME;
use crate::app::shell::{Answer, Document};
use crate::domain::Action;
use crate::model::ApiError;
use crate::teams::TeamError;
use crate::web::Services;

/// The state of the forms.
#[derive(Default)]
struct Typed {
    name: NameForm,
    /// The dialog that confirms the deletion: the typed name, and its mistake.
    delete: Option<(String, Option<String>)>,
}

/// `GET /o/{organisation}/settings`.
///
/// # Errors
/// 401 without a session, 404 for an organisation that the person is no member of, 503 when the database fails.
pub async fn general(State(services): State<Services>, at: InOrganisation, parts: Parts) -> Result<Answer, ApiError> {
    let asks = parameter(&parts, "delete").is_some() && at.membership.may(Action::ManageOwnership);
    let typed = Typed { delete: asks.then(Default::default), ..Typed::default() };
    page(&services, &parts, at, typed, StatusCode::OK).await
}

/// `POST /o/{organisation}/settings`: renames the organisation.
///
/// # Errors
/// 401, 404 and 503 as [`general`]; 403 without the right. A mistake (400) and a name that was changed elsewhere (409) are
/// shown on the page.
pub async fn rename(
    State(services): State<Services>,
    at: InOrganisation,
    parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    at.require(Action::ManageSettings, words::NO_GENERAL)?;
    let (text, version) = (form.take("name"), form.take("version"));
    let typed = |error: Option<String>, is_stale| Typed {
        name: NameForm { typed: Some(text.clone()), error, is_stale },
        ..Typed::default()
    };
    let new = match name(&text) {
        Ok(new) => new,
        Err(error) => return page(&services, &parts, at, typed(Some(error), false), StatusCode::BAD_REQUEST).await,
    };
    if version != at.membership.name && new.as_str() != at.membership.name {
        return page(&services, &parts, at, typed(None, true), StatusCode::CONFLICT).await;
    }
    let renamed = services.teams.rename(&at.person, at.id(), &new).await?;
    let flash = Flash::success(words::renamed(&renamed.name), words::RENAMED_DETAIL);
    flash.on_page(&parts, at.link().general()).await
}

/// `POST /o/{organisation}/settings/delete`: deletes the organisation, whose name has to be typed.
///
/// # Errors
/// 401, 404 and 503 as [`general`]; 403 for all but owners. Another name (400) is shown on the page.
pub async fn delete(
    State(services): State<Services>,
    at: InOrganisation,
    parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    at.require(Action::ManageOwnership, words::NO_DELETE)?;
    let text = form.take("confirm");
    match services.teams.delete(&at.person, at.id(), &text).await {
        Ok(ended) => {
            let flash = Flash::success(words::deleted(&at.membership.name), proof(&ended, words::NO_KEYS_REVOKED));
            flash.on_page(&parts, HOME.to_owned()).await
        }
        Err(TeamError::OtherName) => {
            let typed = Typed { delete: Some((text, Some(words::DELETE_OTHER_NAME.to_owned()))), ..Typed::default() };
            page(&services, &parts, at, typed, StatusCode::BAD_REQUEST).await
        }
        Err(error @ TeamError::Unavailable(_)) => refused(error)?.on_page(&parts, HOME.to_owned()).await,
        Err(error) => Flash::error(words::NOT_CHANGED, refusal(error)?).on_page(&parts, at.link().general()).await,
    }
}

async fn page(
    services: &Services,
    parts: &Parts,
    at: InOrganisation,
    typed: Typed,
    status: StatusCode,
) -> Result<Answer, ApiError> {
    let keys = services.teams.active_keys(&at.person, at.id()).await?.into_iter().map(|(_, keys)| keys).sum();
    let flash = take_flash(parts).await?;
    let title = at.title(words::GENERAL);
    Ok(Document::new(title, move || view! { <General at keys typed flash/> }).with_status(status).into())
}

#[component]
fn General(at: InOrganisation, keys: i64, typed: Typed, flash: Option<Flash>) -> AnyView {
    let (frame, link) = (at.frame(), at.link());
    let membership = at.membership;
    let stored = membership.name.clone();
    let name = if membership.may(Action::ManageSettings) {
        view! { <RenameForm action=link.general() stored=stored.clone() form=typed.name/> }.into_any()
    } else {
        view! { <p class="value"><bdi>{stored.clone()}</bdi></p><p class="hint">{words::NO_GENERAL}</p> }.into_any()
    };
    let deletion = if membership.may(Action::ManageOwnership) {
        view! {
            <p class="lead">{words::delete_what(keys)} " " {words::DELETE_KEPT}</p>
            <a class="button quiet danger framed" href=format!("{}?delete=1", link.general())>{words::DELETE_ACTION} "…"</a>
        }
        .into_any()
    } else {
        view! { <p class="hint">{words::NO_DELETE}</p> }.into_any()
    };
    let dialog = typed.delete.map(|(text, error)| {
        let has_focus = error.is_some();
        view! {
            <Question
                action=link.delete()
                back=link.general()
                title=words::delete_question(&stored)
                button=words::DELETE_ACTION.to_owned()
                has_focus
            >
                <p><strong>{words::delete_what(keys)}</strong> " " {words::DELETE_KEPT}</p>
                <div class="field">
                    <label for="confirm">{words::DELETE_CONFIRM}</label>
                    <input
                        class="input"
                        id="confirm"
                        name="confirm"
                        type="text"
                        autocomplete="off"
                        spellcheck="false"
                        required
                        value=text
                        autofocus=has_focus
                        aria-invalid=has_focus.then_some("true")
                        aria-describedby="confirm-name confirm-error"
                    />
                    <p class="hint" id="confirm-name"><bdi>{stored.clone()}</bdi></p>
                    <ErrorText id="confirm-error" text=error/>
                </div>
            </Question>
        }
    });
    view! {
        <Page frame section=Section::General inert=dialog.is_some()>
            <div class="page-head">
                <div><h1>{words::GENERAL}</h1><p class="lead">{words::GENERAL_LEAD}</p></div>
            </div>
            <div class="settings">
                <section class="card" aria-labelledby="name-title">
                    <h2 id="name-title">{words::ORGANISATION}</h2>
                    {name}
                    <dl class="facts">
                        <dt>{words::ID}</dt>
                        <dd><code>{membership.organisation.to_string()}</code></dd>
                        <dt>{words::YOUR_ROLE}</dt>
                        <dd>{words::role(membership.role)}</dd>
                    </dl>
                </section>
                <section class="card" aria-labelledby="delete-title">
                    <h2 id="delete-title">{words::DELETE_TITLE}</h2>
                    {deletion}
                </section>
            </div>
        </Page>
        {dialog}
        <Toasts flash here=link.general()/>
    }
    .into_any()
}
