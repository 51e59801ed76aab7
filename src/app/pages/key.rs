//! The page of one key: what it is, how it is used, and the form by which it is changed.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use leptos::prelude::*;

use super::KeysLink;
use crate::accounts::{Access, Caller, Environment, Person};
use crate::api::Services;
use crate::api::auth::SignedIn;
use crate::app::islands::RevokeKey;
use crate::app::islands::icons::{ALERT, BACK, icon};
use crate::app::parts::{
    Addresses, EnvironmentBadge, Flash, HOURS_OF_USE, KeyFacts, KeyFields, KeyForm, LeaveDescendants, Mask, Moment,
    Page, RevokeLink, State, Toasts, UsageSection, ago, take_flash,
};
use crate::app::shell::{Answer, Document};
use crate::keys::{EditError, Key, KeyState, KeyUsage};
use crate::model::{ApiError, KeyId, Timestamp};

/// A key that was asked for, and who asked.
pub struct Found {
    /// Who.
    pub person: Person,
    /// What they may do with it.
    pub access: Access,
    /// The list that the page leads back to.
    pub here: KeysLink,
    /// The key.
    pub key: Key,
    /// How many keys below it are not revoked.
    pub made: i64,
}

impl Found {
    /// Whether they may change it.
    ///
    /// # Errors
    /// Why they may not.
    pub fn editable(&self) -> Result<(), EditError> {
        if self.access != Access::Manage {
            Err(EditError::NotAllowed)
        } else if self.key.revoked_at.is_some() {
            Err(EditError::Revoked)
        } else {
            Ok(())
        }
    }
}

/// The key of that id, if who asks may see it, and it is where the address says.
///
/// # Errors
/// 401 when nobody is signed in, 404 for a key that is not theirs to see, 503 when the database fails.
pub async fn find(services: &Services, parts: &mut Parts, id: &str) -> Result<Found, ApiError> {
    let SignedIn(person) = SignedIn::from_request_parts(parts, services).await?;
    let not_found = || ApiError::not_found("There is no such key.");
    let mut here = KeysLink::read(parts.uri.query()).map_err(|_| not_found())?;
    let id: KeyId = id.parse().map_err(|_| not_found())?;
    let (key, made) = services.keys.get(id).await?.ok_or_else(not_found)?;
    let access = Caller::Person(person.clone()).access_to(&key);
    let is_here = here.organisation.is_none_or(|asked| asked == key.organisation)
        && here.environment.is_none_or(|asked| asked == key.environment);
    if access == Access::Hidden || !is_here {
        return Err(not_found());
    }
    here.organisation = Some(key.organisation);
    here.environment = Some(key.environment);
    Ok(Found { person, access, here, key, made })
}

/// `GET /keys/{id}`.
///
/// # Errors
/// As [`find`].
pub async fn key(services: &Services, parts: &mut Parts, id: &str) -> Result<Answer, ApiError> {
    let found = find(services, parts, id).await?;
    let form = KeyForm::of(&found.key);
    key_page(services, parts, found, form).await
}

/// The page, with what was typed into its form.
///
/// # Errors
/// 503 when the database fails.
pub async fn key_page(services: &Services, parts: &Parts, found: Found, form: KeyForm) -> Result<Answer, ApiError> {
    let usage = services.keys.usage_of(&found.key, HOURS_OF_USE).await?;
    let flash = take_flash(parts).await?;
    let now = services.keys.clock().now();
    let status = if form.errors.is_empty() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let title = found.key.name.clone();
    let shown = Shown { found, usage, form, flash, now };
    Ok(Document::new(title, move || view! { <KeyView shown/> }).with_islands().with_status(status).into())
}

/// What the page shows.
struct Shown {
    found: Found,
    usage: KeyUsage,
    form: KeyForm,
    flash: Option<Flash>,
    now: Timestamp,
}

#[component]
fn KeyView(shown: Shown) -> AnyView {
    let Shown { found, usage, form, flash, now } = shown;
    let is_editable = found.editable().is_ok();
    let Found { person, here, key, made, .. } = found;
    let environment = person
        .in_organisation(key.organisation)
        .and_then(|membership| membership.environment(key.environment))
        .cloned();
    let page = here.key_href(key.id);
    let change = if is_editable {
        view! { <KeyFields form page=page.clone() made/> }.into_any()
    } else if key.revoked_at.is_some() {
        view! { <p class="none">"A revoked key cannot be changed."</p> }.into_any()
    } else {
        view! { <p class="none">"Who made it, an admin or an owner of the organisation can change this key."</p> }
            .into_any()
    };
    view! {
        <Page person=person.clone() organisation=Some(key.organisation)>
            <a class="back" href=here.href()>{icon(BACK)} "Back to the list"</a>
            <Head key=key.clone() made environment here=here.clone() is_editable now/>
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

/// What the key is called, and what can be done with it as a whole.
#[component]
fn Head(
    key: Key,
    made: i64,
    environment: Option<Environment>,
    here: KeysLink,
    is_editable: bool,
    now: Timestamp,
) -> AnyView {
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
                    {environment.map(|environment| {
                        view! { <span><bdi>{environment.name.clone()}</bdi> " " <EnvironmentBadge environment/></span> }
                    })}
                </p>
            </div>
            {actions}
        </div>
    }
    .into_any()
}

/// Why the key does not work, if it does not.
#[component]
fn Standing(key: Key, is_editable: bool, now: Timestamp) -> AnyView {
    let (words, since, what) = match (key.state(now), key.revoked_at, key.disabled_at, key.limits.expires_at) {
        (KeyState::Revoked, Some(at), ..) => ("Revoked", at, "Requests get 401, and nothing brings it back."),
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
