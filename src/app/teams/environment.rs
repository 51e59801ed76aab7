//! The settings of one environment: its name, its events' retention, and its archiving.

use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use leptos::prelude::*;

use super::environments::keys_of;
use super::parts::{NameForm, Question, RenameForm, name, parameter, refused};
use super::retention::{DeleteEvents, RetentionForm, RetentionSection};
use super::words;
use crate::app::events::table::EnvironmentBadge;
use crate::app::islands::icons::{ALERT, BACK, icon};
use crate::app::kit::{Flash, Form, InOrganisation, Page, Section, Toasts, take_flash};
use crate::app::links::keys::KeysLink;
use crate::app::links::place::EnvironmentPath;
use crate::app::shell::{Answer, Document};
use crate::domain::{Action, Environment};
use crate::events::Retention;
use crate::model::ApiError;
use crate::teams::{EnvironmentChange, TeamError};
use crate::web::Services;

/// The environment in the path of a settings page.
pub struct InEnvironment {
    /// The organisation.
    pub at: InOrganisation,
    /// The environment.
    pub environment: Environment,
}

impl FromRequestParts<Services> for InEnvironment {
    type Rejection = ApiError;

    /// As [`InOrganisation`]; 404 for an environment of another organisation.
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        let at = InOrganisation::from_request_parts(parts, services).await?;
        let Path((_, id)) = Path::<(String, String)>::from_request_parts(parts, services).await?;
        let found = id.parse().ok().and_then(|id| at.membership.environment(id).cloned());
        let environment = found.ok_or(TeamError::NoEnvironment)?;
        Ok(Self { at, environment })
    }
}

/// The state of the forms.
#[derive(Default)]
pub struct Typed {
    /// The form that renames.
    pub name: NameForm,
    /// The form of the retention.
    pub retention: RetentionForm,
    /// Events that a new retention would delete, with which the dialog opens.
    pub deletes: Option<(Retention, i64)>,
    /// Whether the dialog that archives is open.
    pub archive: bool,
}

/// `GET /o/{organisation}/settings/environments/{id}`.
///
/// # Errors
/// 401 without a session, 404 for an environment that the person may not see, 503 when the database fails.
pub async fn environment(
    State(services): State<Services>,
    here: InEnvironment,
    parts: Parts,
) -> Result<Answer, ApiError> {
    let archive = parameter(&parts, "archive").is_some();
    environment_page(&services, &parts, here, Typed { archive, ..Typed::default() }, StatusCode::OK).await
}

/// `POST /o/{organisation}/settings/environments/{id}`: renames the environment.
///
/// # Errors
/// As [`environment`], and 403 without the right. A mistake (400), and a name that was changed elsewhere (409), are shown
/// on the page.
pub async fn rename(
    State(services): State<Services>,
    here: InEnvironment,
    parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    let InEnvironment { at, environment } = &here;
    at.require(Action::ManageSettings, words::NO_ENVIRONMENTS)?;
    let (text, version) = (form.take("name"), form.take("version"));
    let typed = |error: Option<String>, is_stale| Typed {
        name: NameForm { typed: Some(text.clone()), error, is_stale },
        ..Typed::default()
    };
    let new = match name(&text) {
        Ok(new) => new,
        Err(error) => {
            return environment_page(&services, &parts, here, typed(Some(error), false), StatusCode::BAD_REQUEST).await;
        }
    };
    if version != environment.name && new.as_str() != environment.name {
        return environment_page(&services, &parts, here, typed(None, true), StatusCode::CONFLICT).await;
    }
    let change = EnvironmentChange { name: Some(new), ..EnvironmentChange::default() };
    let changed = services.teams.change_environment(&at.person, at.id(), environment.id, &change).await?;
    let flash = Flash::success(words::environment_renamed(&changed.name), words::RENAMED_DETAIL);
    flash.on_page(&parts, at.link().environment(environment.id)).await
}

/// `POST /o/{organisation}/settings/environments/{id}/archive`: archives the environment, or opens it again.
///
/// # Errors
/// As [`environment`], 403 without the right, and 400 when `archived` is neither `true` nor `false`. When keys would be
/// revoked that the dialog has not named (409), it asks again.
pub async fn archive(
    State(services): State<Services>,
    here: InEnvironment,
    parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    let InEnvironment { at, environment } = &here;
    at.require(Action::ManageSettings, words::NO_ENVIRONMENTS)?;
    let wrong = || ApiError::invalid_field("archived", "must be `true` or `false`");
    let archived: bool = form.take("archived").parse().map_err(|_| wrong())?;
    let keys: i64 = form.take("keys").parse().unwrap_or(0);
    let counts = services.teams.active_keys(&at.person, at.id()).await?;
    if archived && keys_of(&counts, environment.id) > keys {
        let typed = Typed { archive: true, ..Typed::default() };
        return environment_page(&services, &parts, here, typed, StatusCode::CONFLICT).await;
    }
    let change = EnvironmentChange { name: None, archived: Some(archived), revoke_keys: keys > 0 };
    let flash = match services.teams.change_environment(&at.person, at.id(), environment.id, &change).await {
        Ok(changed) if archived => {
            Flash::success(words::environment_archived(&changed.name), words::archived_detail(keys))
        }
        Ok(changed) => Flash::success(words::environment_opened(&changed.name), words::UNARCHIVED_DETAIL),
        Err(TeamError::EnvironmentHasKeys(_)) => {
            let typed = Typed { archive: true, ..Typed::default() };
            return environment_page(&services, &parts, here, typed, StatusCode::CONFLICT).await;
        }
        Err(error) => refused(error)?,
    };
    flash.on_page(&parts, at.link().environment(environment.id)).await
}

/// The data of the page.
struct Shown {
    here: InEnvironment,
    keys: i64,
    kept: Option<Retention>,
    typed: Typed,
    flash: Option<Flash>,
}

/// Renders the page with forms in this state.
///
/// # Errors
/// As [`environment`].
pub async fn environment_page(
    services: &Services,
    parts: &Parts,
    here: InEnvironment,
    typed: Typed,
    status: StatusCode,
) -> Result<Answer, ApiError> {
    let counts = services.teams.active_keys(&here.at.person, here.at.id()).await?;
    let shown = Shown {
        keys: keys_of(&counts, here.environment.id),
        kept: services.events.retention(here.environment.id).await?,
        typed,
        flash: take_flash(parts).await?,
        here,
    };
    let title = shown.here.at.title(&format!("{} · {}", words::ENVIRONMENTS, shown.here.environment.name));
    Ok(Document::new(title, move || view! { <EnvironmentView shown/> }).with_status(status).into())
}

#[component]
fn EnvironmentView(shown: Shown) -> AnyView {
    let Shown { here: InEnvironment { at, environment }, keys, kept, typed, flash } = shown;
    let (frame, link) = (at.frame(), at.link());
    let here = link.environment(environment.id);
    let may_change = at.membership.may(Action::ManageSettings);
    let is_last = at.membership.open_environments().all(|open| open.id == environment.id);
    let is_archived = environment.archived_at.is_some();
    let name = if may_change {
        view! { <RenameForm action=here.clone() stored=environment.name.clone() form=typed.name/> }.into_any()
    } else {
        view! { <p class="value"><bdi>{environment.name.clone()}</bdi></p><p class="hint">{words::NO_ENVIRONMENTS}</p> }
            .into_any()
    };
    let action = link.environment_form(environment.id, "archive");
    let dialog = match typed.deletes {
        Some((wanted, events)) => {
            let (action, shown) = (link.environment_form(environment.id, "retention"), typed.retention.shown);
            let (name, back) = (environment.name.clone(), here.clone());
            Some(view! { <DeleteEvents action back name wanted shown events/> }.into_any())
        }
        None if typed.archive && may_change && !is_last && !is_archived => Some(
            view! { <ArchiveQuestion action=action.clone() back=here.clone() name=environment.name.clone() keys/> }
                .into_any(),
        ),
        None => None,
    };
    let archive = may_change.then(|| {
        let body = if is_archived {
            view! {
                <p class="lead">{words::UNARCHIVE_LEAD}</p>
                <form method="post" action=action>
                    <input type="hidden" name="archived" value="false"/>
                    <button class="button" type="submit">{words::UNARCHIVE_ACTION}</button>
                </form>
            }
            .into_any()
        } else if is_last {
            view! { <p class="lead">{words::LAST_ENVIRONMENT}</p> }.into_any()
        } else {
            view! {
                <p class="lead">{words::ARCHIVE_LEAD} " " {words::archive_what(keys)}</p>
                <a class="button quiet danger framed" href=format!("{here}?archive=1")>{words::ARCHIVE_ACTION} "…"</a>
            }
            .into_any()
        };
        view! {
            <section class="card" aria-labelledby="archive-title">
                <h2 id="archive-title">{words::ARCHIVE_TITLE}</h2>
                {body}
            </section>
        }
    });
    let place = EnvironmentPath { organisation: at.id(), environment: environment.id };
    let retention = kept.map(|kept| {
        let action = link.environment_form(environment.id, "retention");
        view! { <RetentionSection action environment=environment.clone() may_change kept form=typed.retention/> }
    });
    view! {
        <Page frame section=Section::Environments inert=dialog.is_some()>
            <a class="back" href=link.environments()>{icon(BACK)} {words::BACK_TO_ENVIRONMENTS}</a>
            <div class="page-head">
                <div>
                    <h1><bdi>{environment.name.clone()}</bdi></h1>
                    <p class="lead key-lead"><EnvironmentBadge environment=environment.clone()/> <code>{environment.id.to_string()}</code></p>
                </div>
                <a class="button" href=KeysLink::to(place).href()>{words::SEE_KEYS}</a>
            </div>
            {is_archived.then(|| view! {
                <p class="notice plain standing">{icon(ALERT)} <span>{words::UNARCHIVE_LEAD}</span></p>
            })}
            <div class="settings">
                <section class="card" aria-labelledby="name-title">
                    <h2 id="name-title">{words::NAME}</h2>
                    {name}
                </section>
                {retention}
                {archive}
            </div>
        </Page>
        {dialog}
        <Toasts flash here/>
    }
    .into_any()
}

#[component]
fn ArchiveQuestion(action: String, back: String, name: String, keys: i64) -> AnyView {
    view! {
        <Question action back title=words::archive_question(&name) button=words::archive_button(keys)>
            <input type="hidden" name="archived" value="true"/>
            <input type="hidden" name="keys" value=keys.to_string() autocomplete="off"/>
            <p><strong>{words::archive_what(keys)}</strong> " " {words::ARCHIVE_LEAD}</p>
        </Question>
    }
    .into_any()
}
