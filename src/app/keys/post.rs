//! Handlers of the forms that edit, pause, resume and revoke a key.

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;

use super::form::KeyForm;
use super::key_page::{Found, Typed, key_page, stale_switch_page};
use crate::app::kit::{Flash, Form, Here, isolate, revoked_everywhere};
use crate::app::links::keys::KeysLink;
use crate::app::links::place::EnvironmentPath;
use crate::app::shell::Answer;
use crate::domain::{Caller, Key};
use crate::keys::{Edit, EditError, RevokeError};
use crate::model::{ApiError, KeyId, Timestamp};
use crate::web::Services;

/// `POST /o/…/keys/{id}`: edits a key.
///
/// # Errors
/// 401 without a session, 404 for a key that the person may not see, 403 for a key that the person may not change,
/// 503 when the database fails. Invalid fields (400), and fields that were changed elsewhere after the form was
/// rendered (409), are shown on the page.
pub async fn edit_key(
    State(services): State<Services>,
    found: Found,
    mut parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    if let Err(error) = found.editable() {
        return not_in_effect(&parts, &found, error).await;
    }
    let version = KeyForm::from_version(&form.take("version"));
    let mut shown = version.clone().unwrap_or_else(|| KeyForm::of(&found.key));
    let mut typed = shown.clone();
    let mut descendants = true;
    form.take_all(|field, text| {
        field == "version" || read_descendants(field, &text, &mut descendants) || typed.set(field, text)
    })?;
    let now = services.clock.now();
    let edit = match typed.read(&shown, now) {
        Ok(edit) => edit,
        Err(errors) => {
            typed.rebase(&mut shown, &KeyForm::of(&found.key));
            return key_page(&services, &parts, found, Typed { form: KeyForm { errors, ..typed }, shown }).await;
        }
    };
    let checked = version.clone();
    let allow = move |stored: &Key, edited: &Key| KeyForm::conflicts(checked.as_ref(), stored, edited).is_empty();
    match change(&services, &found, edit.clone(), descendants, allow, Done::SAVED).await {
        Err(EditError::Changed(stored)) => {
            let found = Found::from_request_parts(&mut parts, &services).await?;
            let mut edited = Key::clone(&stored);
            edit.apply(&mut edited, now);
            typed.conflicts = KeyForm::conflicts(version.as_ref(), &stored, &edited);
            typed.rebase(&mut shown, &KeyForm::of(&stored));
            key_page(&services, &parts, found, Typed { form: typed, shown }).await
        }
        changed => answer(&parts, &found, changed, "#edit").await,
    }
}

/// `POST /o/…/keys/{id}/enabled`: pauses or resumes a key.
///
/// # Errors
/// As [`edit_key`]; 400 when `enabled` is neither `true` nor `false`.
pub async fn enable_key(
    State(services): State<Services>,
    found: Found,
    mut parts: Parts,
    form: Form,
) -> Result<Answer, ApiError> {
    if let Err(error) = found.editable() {
        return not_in_effect(&parts, &found, error).await;
    }
    let (mut typed, mut version, mut descendants) = (String::new(), None, true);
    form.take_all(|field, text| {
        match field {
            "enabled" => typed = text,
            "version" => version = switch_version(&text),
            _ => return read_descendants(field, &text, &mut descendants),
        }
        true
    })?;
    let enabled: bool = typed.parse().map_err(|_| ApiError::invalid_field("enabled", "must be `true` or `false`"))?;
    let allow = move |stored: &Key, edited: &Key| {
        stored.disabled_at == edited.disabled_at || version == Some(stored.disabled_at)
    };
    let edit = Edit { enabled: Some(enabled), ..Edit::default() };
    let done = if enabled { Done::RESUMED } else { Done::PAUSED };
    match change(&services, &found, edit, descendants, allow, done).await {
        Err(EditError::Changed(_)) => {
            let found = Found::from_request_parts(&mut parts, &services).await?;
            stale_switch_page(&services, &parts, found, enabled).await
        }
        // Not `answer`, which advises to save again: the page now has only the opposite button.
        Err(EditError::Unavailable(_)) => {
            let what = if enabled { "resumed" } else { "paused" };
            let page = found.here.key_href(found.key.id);
            unconfirmed(&parts, &format!("Key “{}” {what}", isolate(&found.key.name)), page).await
        }
        changed => answer(&parts, &found, changed, "").await,
    }
}

/// Reads the checkbox that leaves a key's descendants out of a change; `false` for another field.
fn read_descendants(field: &str, text: &str, descendants: &mut bool) -> bool {
    let is_checkbox = field == "descendants";
    if is_checkbox {
        *descendants = text != "false";
    }
    is_checkbox
}

/// Reads the version of the form that pauses and resumes: the time at which the key was paused, in milliseconds, or
/// empty if it is not paused.
#[expect(
    clippy::option_option,
    reason = "a version that cannot be read is not the version of a key that is not paused"
)]
fn switch_version(text: &str) -> Option<Option<Timestamp>> {
    if text.is_empty() { Some(None) } else { text.parse().ok().map(|at| Some(Timestamp(at))) }
}

/// The message after a change.
struct Done {
    what: &'static str,
    detail: &'static str,
}

impl Done {
    const SAVED: Self = Self { what: "saved", detail: "In effect on every node" };
    const RESUMED: Self = Self { what: "resumed", detail: "It works again, on every node" };
    const PAUSED: Self =
        Self { what: "paused", detail: "In effect on every node: requests with it fail (401) until you resume it" };
}

async fn change(
    services: &Services,
    found: &Found,
    edit: Edit,
    descendants: bool,
    allow: impl FnOnce(&Key, &Key) -> bool + Send + 'static,
    done: Done,
) -> Result<Flash, EditError> {
    let caller = Caller::Person(found.at.person.clone());
    let key = services.keys.edit_if(&caller, found.key.id, edit, descendants, allow).await?;
    Ok(Flash::success(format!("Key “{}” {}", isolate(&key.name), done.what), done.detail))
}

/// Redirects to the page of the key, at `fragment`, with a message about the change.
async fn answer(
    parts: &Parts,
    found: &Found,
    changed: Result<Flash, EditError>,
    fragment: &str,
) -> Result<Answer, ApiError> {
    match changed {
        Ok(flash) => flash.on_page(parts, format!("{}{fragment}", found.here.key_href(found.key.id))).await,
        Err(error) => not_in_effect(parts, found, error).await,
    }
}

/// Redirects to `page` with the message that a change is stored but not confirmed by every node. The change takes
/// effect on the others when their leases end, at the latest.
async fn unconfirmed(parts: &Parts, done: &str, page: String) -> Result<Answer, ApiError> {
    let flash = Flash::error(
        format!("{done}, but not confirmed by every node"),
        "The change is stored. A node that has not followed it may use the old state until its lease ends",
    );
    flash.on_page(parts, page).await
}

/// Redirects to the page of the key with a message why the change is not in effect. Other errors get their own page.
async fn not_in_effect(parts: &Parts, found: &Found, error: EditError) -> Result<Answer, ApiError> {
    let (text, detail) = match error {
        EditError::Revoked => ("The key was not changed", "A revoked key cannot be changed"),
        EditError::Unavailable(_) => (
            "The change is not confirmed by every node",
            "The change is stored. Save again to wait until every node has confirmed it",
        ),
        error => return Err(error.into()),
    };
    Flash::error(text, detail).on_page(parts, found.here.key_href(found.key.id)).await
}

/// `POST /o/…/keys/{id}/revoke`.
///
/// # Errors
/// 401 without a session, 404 for a key that the person may not see, 503 when the database fails.
pub async fn revoke(
    State(services): State<Services>,
    at: Here,
    Path((_, _, id)): Path<(String, String, String)>,
    parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    let not_found = || ApiError::not_found("There is no such key.");
    let id: KeyId = id.parse().map_err(|_| not_found())?;
    let is_here = |key: &Key| EnvironmentPath::of(key) == at.place();
    services.keys.get(id).await?.filter(is_here).ok_or_else(not_found)?;
    let descendants = form.take("descendants") != "false";
    let return_to = form.take_path("return_to").unwrap_or_else(|| KeysLink::to(at.place()).href());
    let flash = match services.keys.revoke(&Caller::Person(at.person), id, descendants).await {
        Ok((key, proof)) => Flash::success(format!("Key “{}” revoked", isolate(&key.name)), revoked_everywhere(&proof)),
        Err(RevokeError::NotAllowed) => {
            Flash::error("The key was not revoked", "Only the member who made it, an admin or an owner can revoke it")
        }
        Err(RevokeError::NotFound) => return Err(not_found()),
        Err(RevokeError::Unavailable(_)) => return unconfirmed(&parts, "Key revoked", return_to).await,
        Err(error @ RevokeError::Store(_)) => return Err(error.into()),
    };
    flash.on_page(&parts, return_to).await
}
