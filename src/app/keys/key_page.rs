//! The page of one key: details, usage, and the edit form.

use axum::extract::{self, FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use leptos::prelude::*;

use super::facts::{Addresses, KeyFacts};
use super::form::KeyForm;
use super::form_view::KeyFields;
use super::revoke_dialog::LeaveDescendants;
use super::table::{Mask, RevokeLink, State};
use super::usage_chart::{HOURS as HOURS_OF_USE, UsageSection};
use crate::app::events::table::EnvironmentBadge;
use crate::app::islands::RevokeKey;
use crate::app::islands::icons::{ALERT, BACK, icon};
use crate::app::kit::{Flash, Here, Moment, Notice, Page, Section, Toasts, ago, take_flash};
use crate::app::links::keys::KeysLink;
use crate::app::links::place::EnvironmentPath;
use crate::app::shell::{Answer, Document};
use crate::domain::{Caller, Environment, Key, KeyState};
use crate::keys::{EditError, KeyUsage};
use crate::model::{ApiError, KeyId, Timestamp};
use crate::web::Services;

/// The requested key, and the signed-in person.
pub struct Found {
    /// The environment of the key, and the signed-in person.
    pub at: Here,
    /// Whether the person may change the key.
    pub may_manage: bool,
    /// The list that the page links back to.
    pub here: KeysLink,
    /// The key.
    pub key: Key,
    /// Number of its descendants that are not revoked.
    pub made: i64,
}

impl Found {
    /// Checks that the person may change the key.
    ///
    /// # Errors
    /// `NotAllowed`, or `Revoked`.
    pub fn editable(&self) -> Result<(), EditError> {
        if !self.may_manage {
            Err(EditError::NotAllowed)
        } else if self.key.revoked_at.is_some() {
            Err(EditError::Revoked)
        } else {
            Ok(())
        }
    }
}

impl FromRequestParts<Services> for Found {
    type Rejection = ApiError;

    /// Finds the key of the id in the path. 401 without a session, 404 for a key that the person may not see or that is
    /// not in the environment of the path, 503 when the database fails.
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        let at = Here::from_request_parts(parts, services).await?;
        let here = KeysLink::read(at.place(), parts.uri.query());
        let not_found = || ApiError::not_found("There is no such key.");
        let Path((_, _, id)) = Path::<(String, String, String)>::from_request_parts(parts, services).await?;
        let id: KeyId = id.parse().map_err(|_| not_found())?;
        let key = services.keys.get(id).await?.ok_or_else(not_found)?;
        let caller = Caller::Person(at.person.clone());
        if !caller.may_see(&key) || EnvironmentPath::of(&key) != here.place {
            return Err(not_found());
        }
        let made = services.keys.count_descendants(id).await?;
        let may_manage = caller.may_manage(&key).is_ok();
        Ok(Self { at, may_manage, here, key, made })
    }
}

/// `GET /o/…/keys/{id}`.
///
/// # Errors
/// 503 when the database fails.
pub async fn key(
    extract::State(services): extract::State<Services>,
    found: Found,
    parts: Parts,
) -> Result<Answer, ApiError> {
    let typed = Typed::nothing(&found.key);
    key_page(&services, &parts, found, typed).await
}

/// The edit form of a key.
#[derive(Debug)]
pub struct Typed {
    /// The text in its fields.
    pub form: KeyForm,
    /// The version: the values that it was rendered with.
    pub shown: KeyForm,
}

impl Typed {
    fn nothing(key: &Key) -> Self {
        let form = KeyForm::of(key);
        Self { shown: form.clone(), form }
    }
}

/// Renders the page with a form in this state.
///
/// # Errors
/// 503 when the database fails.
pub async fn key_page(services: &Services, parts: &Parts, found: Found, typed: Typed) -> Result<Answer, ApiError> {
    let status = match (&typed.form.errors[..], &typed.form.conflicts[..]) {
        ([], []) => StatusCode::OK,
        ([], _) => StatusCode::CONFLICT,
        _ => StatusCode::BAD_REQUEST,
    };
    page(services, parts, found, typed, None).await.map(|document| document.with_status(status).into())
}

/// Renders the page after a stale page asked to pause or resume (`enabled`) the key.
///
/// # Errors
/// 503 when the database fails.
pub async fn stale_switch_page(
    services: &Services,
    parts: &Parts,
    found: Found,
    enabled: bool,
) -> Result<Answer, ApiError> {
    let typed = Typed::nothing(&found.key);
    let document = page(services, parts, found, typed, Some(enabled)).await?;
    Ok(document.with_status(StatusCode::CONFLICT).into())
}

async fn page(
    services: &Services,
    parts: &Parts,
    found: Found,
    typed: Typed,
    refused: Option<bool>,
) -> Result<Document, ApiError> {
    let usage = services.usage.of(&found.key, HOURS_OF_USE).await?;
    let flash = take_flash(parts).await?;
    let now = services.clock.now();
    let title = found.at.title(&found.key.name);
    let shown = Shown { found, usage, typed, refused, flash, now };
    Ok(Document::new(title, move || view! { <KeyView shown/> }).with_islands())
}

/// The data of the page.
struct Shown {
    found: Found,
    usage: KeyUsage,
    typed: Typed,
    /// A refused change from a stale page: `true` to resume the key, `false` to pause it.
    refused: Option<bool>,
    flash: Option<Flash>,
    now: Timestamp,
}

#[component]
fn KeyView(shown: Shown) -> AnyView {
    let Shown { found, usage, typed, refused, flash, now } = shown;
    let is_editable = found.editable().is_ok();
    let Found { at, here, key, made, .. } = found;
    let frame = at.frame();
    let Here { person, environment, .. } = at;
    let page = here.key_href(key.id);
    let change = if is_editable {
        view! { <KeyFields form=typed.form shown=typed.shown page=page.clone() made/> }.into_any()
    } else if key.revoked_at.is_some() {
        view! { <p class="none">"A revoked key cannot be changed."</p> }.into_any()
    } else {
        view! { <p class="none">"Only the member who made it, an admin or an owner of the organisation can change this key."</p> }
            .into_any()
    };
    view! {
        <Page frame section=Section::Keys>
            <a class="back" href=here.href()>{icon(BACK)} "Back to the list"</a>
            <Head key=key.clone() made environment here=here.clone() is_editable now/>
            {refused.map(|resume| view! { <StaleSwitch key=key.clone() resume now/> })}
            <Standing key=key.clone() is_editable now/>
            <div class="key-page">
                <UsageSection usage=usage.clone() last_used_at=key.last_used_at now/>
                <KeyFacts key usage=usage.clone() person here now/>
                <Addresses usage now/>
                <section class="card edit" id="edit" aria-labelledby="edit-title">
                    <h2 id="edit-title">"Edit"</h2>
                    {change}
                </section>
            </div>
        </Page>
        {is_editable.then(|| view! { <RevokeKey return_to=page.clone()/> })}
        <Toasts flash here=page/>
    }
    .into_any()
}

/// The name and state of the key, and the actions on it.
#[component]
fn Head(key: Key, made: i64, environment: Environment, here: KeysLink, is_editable: bool, now: Timestamp) -> AnyView {
    let state = key.state(now);
    let actions = is_editable.then(|| {
        let is_paused = key.disabled_at.is_some();
        let (words, what) = if is_paused {
            ("Resume", "it works again at once.")
        } else if made > 0 {
            ("Pause", "requests get 401 until you resume it. The keys that it made are paused as well.")
        } else {
            ("Pause", "requests get 401 until you resume it.")
        };
        let used = key.last_used_at.map(|at| ago(now, at));
        let action = here.enabled_href(key.id);
        view! {
            <div class="key-actions">
                <form method="post" action=action>
                    <input type="hidden" name="enabled" value=is_paused.to_string()/>
                    <input
                        type="hidden"
                        name="version"
                        value=key.disabled_at.map(|at| at.0.to_string()).unwrap_or_default()
                        autocomplete="off"
                    />
                    <button class="button" type="submit" aria-describedby="pause-what">{words}</button>
                    {(!is_paused).then(|| view! { <LeaveDescendants made/> })}
                </form>
                <RevokeLink key=key.clone() has_made_keys={made > 0} used here=here.clone()/>
                <p class="hint" id="pause-what">{format!("{words}: {what}")}</p>
            </div>
        }
    });
    view! {
        <div class="page-head">
            <div>
                <h1><bdi>{key.name.clone()}</bdi></h1>
                <p class="lead key-lead">
                    <Mask prefix=key.prefix.clone()/>
                    <State state/>
                    <span><bdi>{environment.name.clone()}</bdi> " " <EnvironmentBadge environment/></span>
                </p>
            </div>
            {actions}
        </div>
    }
    .into_any()
}

/// The notice that a stale page did not resume or pause the key.
#[component]
fn StaleSwitch(key: Key, resume: bool, now: Timestamp) -> AnyView {
    let (asked, button) = if resume { ("resumed", "Resume") } else { ("paused", "Pause") };
    let state = match key.disabled_at {
        Some(at) => format!("It was paused {}", ago(now, at)),
        None => "It is not paused".to_owned(),
    };
    let text = format!(
        "The key was not {asked}: it was changed elsewhere after this page was opened. {state}. Select {button} again \
         if you still want to."
    );
    view! { <Notice id="switch-failed" text/> }.into_any()
}

/// The reason why the key does not work, if any.
#[component]
fn Standing(key: Key, is_editable: bool, now: Timestamp) -> AnyView {
    let (words, since, what) = match (key.state(now), key.revoked_at, key.disabled_at, key.limits.expires_at) {
        (KeyState::Revoked, Some(at), ..) => ("Revoked", at, "Requests get 401. A revoked key cannot be restored."),
        (KeyState::Disabled, _, Some(at), _) if is_editable => ("Paused", at, "Requests get 401 until you resume it."),
        (KeyState::Disabled, _, Some(at), _) => ("Paused", at, "Requests get 401 until it is resumed."),
        (KeyState::Expired, _, _, Some(at)) => ("Expired", at, "Requests get 401. A later date brings it back."),
        _ => return ().into_any(),
    };
    view! {
        <p class="notice plain standing">
            {icon(ALERT)}
            <span><strong>{words} " " <Moment at=since words=ago(now, since)/> "."</strong> " " {what}</span>
        </p>
    }
    .into_any()
}
