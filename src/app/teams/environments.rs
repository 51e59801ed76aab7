//! The page of an organisation's environments.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use leptos::prelude::*;

use super::parts::{NameField, name, refusal};
use super::words;
use crate::app::events::table::EnvironmentBadge;
use crate::app::kit::{ErrorText, Flash, Form, InOrganisation, Notice, Page, Section, Toasts, take_flash, thousands};
use crate::app::shell::{Answer, Document};
use crate::domain::{Action, Environment};
use crate::events::Retention;
use crate::model::{ApiError, EnvironmentId, Mode};
use crate::web::Services;

/// The state of the form.
#[derive(Default)]
struct Typed {
    name: String,
    mode: Option<Mode>,
    /// The mistake of the name.
    error: Option<String>,
    /// The mistake of the mode.
    mode_error: Option<String>,
    /// The error of the form as a whole.
    failed: Option<String>,
}

/// The numbers of an environment.
struct Shown {
    environment: Environment,
    keys: i64,
    kept: Option<Retention>,
}

/// Returns the number of active keys of an environment.
pub fn keys_of(counts: &[(EnvironmentId, i64)], id: EnvironmentId) -> i64 {
    counts.iter().find(|(found, _)| *found == id).map_or(0, |(_, keys)| *keys)
}

/// `GET /o/{organisation}/settings/environments`.
///
/// # Errors
/// 401 without a session, 404 for an organisation that the person is no member of, 503 when the database fails.
pub async fn environments(
    State(services): State<Services>,
    at: InOrganisation,
    parts: Parts,
) -> Result<Answer, ApiError> {
    page(&services, &parts, at, Typed::default(), StatusCode::OK).await
}

/// `POST /o/{organisation}/settings/environments`: creates an environment.
///
/// # Errors
/// As [`environments`], and 403 without the right. Mistakes (400), and an environment too many (409), are shown on the page.
pub async fn create(
    State(services): State<Services>,
    at: InOrganisation,
    parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    at.require(Action::ManageSettings, words::NO_ENVIRONMENTS)?;
    let (text, mode) = (form.take("name"), Mode::parse(&form.take("mode")));
    let new = name(&text);
    let mut typed = Typed { name: text, mode, ..Typed::default() };
    let (Ok(new), Some(mode)) = (&new, mode) else {
        typed.error = new.err();
        typed.mode_error = mode.is_none().then(|| words::MODE_MISSING.to_owned());
        return page(&services, &parts, at, typed, StatusCode::BAD_REQUEST).await;
    };
    match services.teams.create_environment(&at.person, at.id(), new, mode).await {
        Ok(created) => {
            let flash = Flash::success(words::environment_created(&created.name), words::ENVIRONMENT_CREATED_DETAIL);
            flash.on_page(&parts, at.link().environments()).await
        }
        Err(error) => {
            typed.failed = Some(refusal(error)?);
            page(&services, &parts, at, typed, StatusCode::CONFLICT).await
        }
    }
}

async fn page(
    services: &Services,
    parts: &Parts,
    at: InOrganisation,
    typed: Typed,
    status: StatusCode,
) -> Result<Answer, ApiError> {
    let counts = services.teams.active_keys(&at.person, at.id()).await?;
    let mut shown = Vec::new();
    for environment in &at.membership.environments {
        let kept = services.events.retention(environment.id).await?;
        shown.push(Shown { environment: environment.clone(), keys: keys_of(&counts, environment.id), kept });
    }
    let flash = take_flash(parts).await?;
    let title = at.title(words::ENVIRONMENTS);
    Ok(Document::new(title, move || view! { <EnvironmentsView at shown typed flash/> }).with_status(status).into())
}

#[component]
fn EnvironmentsView(at: InOrganisation, shown: Vec<Shown>, typed: Typed, flash: Option<Flash>) -> AnyView {
    let (frame, here) = (at.frame(), at.link().environments());
    let form = at.membership.may(Action::ManageSettings).then(|| {
        view! {
            <div class="settings">
                <section class="card" aria-labelledby="new-title">
                    <h2 id="new-title">{words::NEW_ENVIRONMENT}</h2>
                    <NewEnvironment action=here.clone() typed/>
                </section>
            </div>
        }
    });
    let row = |shown: Shown| view! { <Row at=at.clone() shown/> };
    let rows = shown.into_iter().map(row).collect_view();
    view! {
        <Page frame section=Section::Environments>
            <div class="page-head">
                <div><h1>{words::ENVIRONMENTS}</h1><p class="lead">{words::ENVIRONMENTS_LEAD}</p></div>
            </div>
            <table class="keys-table people-table" role="table" aria-label=words::ENVIRONMENTS>
                <thead role="rowgroup">
                    <tr role="row">
                        <th role="columnheader" scope="col" class="name">{words::ENVIRONMENT}</th>
                        <th role="columnheader" scope="col">{words::MODE}</th>
                        <th role="columnheader" scope="col">{words::EVENTS_KEPT}</th>
                        <th role="columnheader" scope="col">{words::STATE}</th>
                        <th role="columnheader" scope="col" class="requests">{words::ACTIVE_KEYS}</th>
                    </tr>
                </thead>
                <tbody role="rowgroup">{rows}</tbody>
            </table>
            {form}
        </Page>
        <Toasts flash here/>
    }
    .into_any()
}

#[component]
fn Row(at: InOrganisation, shown: Shown) -> AnyView {
    let Shown { environment, keys, kept } = shown;
    let is_archived = environment.archived_at.is_some();
    let (class, state) = match environment.archived_at {
        Some(_) => ("state disabled", words::ARCHIVED),
        None => ("state active", words::OPEN),
    };
    view! {
        <tr role="row" id=environment.id.to_string() class=is_archived.then_some("ended")>
            <th role="rowheader" scope="row" class="name">
                <a class="title" href=at.link().environment(environment.id) title=environment.name.clone()>
                    <bdi>{environment.name.clone()}</bdi>
                </a>
                <code class="sub">{environment.id.to_string()}</code>
            </th>
            <td role="cell" class="role" data-label=words::MODE><EnvironmentBadge environment=environment.clone()/></td>
            <td role="cell" class="created" data-label=words::EVENTS_KEPT>
                {kept.map(|kept| words::kept(kept.event_days, kept.event_limit))}
            </td>
            <td role="cell" class="used" data-label=words::STATE><span class=class>{state}</span></td>
            <td role="cell" class="requests" data-label=words::ACTIVE_KEYS>{thousands(keys)}</td>
        </tr>
    }
    .into_any()
}

#[component]
fn NewEnvironment(action: String, typed: Typed) -> AnyView {
    let choice = |mode: Mode, words: &'static str| {
        view! {
            <label class="radio">
                <input
                    type="radio"
                    name="mode"
                    value=mode.as_str()
                    required
                    autocomplete="off"
                    checked={typed.mode == Some(mode)}
                    aria-describedby="mode-hint mode-error"
                />
                <span><strong>{words}</strong></span>
            </label>
        }
    };
    let (live, test) = (choice(Mode::Live, words::MODE_LIVE), choice(Mode::Test, words::MODE_TEST));
    view! {
        {typed.failed.map(|text| view! { <Notice id="form-error" text/> })}
        <form class="form" method="post" action=action data-guard="">
            <NameField typed=typed.name error=typed.error/>
            <fieldset class="field">
                <legend>{words::MODE}</legend>
                <div class="choices">{live} {test}</div>
                <p class="hint" id="mode-hint">{words::MODE_HINT}</p>
                <ErrorText id="mode-error" text=typed.mode_error/>
            </fieldset>
            <div class="buttons"><button class="button primary" type="submit">{words::CREATE_ENVIRONMENT}</button></div>
        </form>
    }
    .into_any()
}
