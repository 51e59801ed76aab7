//! What the dashboard's plain forms post: signing in and out, registering, changing and revoking a key, how long
//! events are kept. They need no WASM, and call the same domain as the API does.

mod key;

pub use key::{edit_key, enable_key, revoke};

use axum::extract::{FromRequestParts, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use tower_sessions::Session;

use super::held_form::HeldForm;
use super::islands::ToastKind;
use super::key_in_address::{contains_key, key_in, page_of};
use super::pages::{EventsLink, RegisterForm, SignInForm, events_page, local_path, register_page, sign_in_page};
use super::parts::{Flash, RetentionForm, isolate, leave_flash, thousands};
use super::shell::Answer;
use crate::accounts::{EmailAddress, Password, RegisterError, SignInError, begin_session};
use crate::api::Services;
use crate::api::auth::SignedIn;
use crate::api::client_address::ClientAddress;
use crate::api::credential::{Credential, end_sessions};
use crate::api::local::set_up_right;
use crate::api::problem::busy;
use crate::events::Retention;
use crate::keys::KeyHash;
use crate::model::{ApiError, EnvironmentId, FieldError, OrganisationId};
use crate::security_log::{Actor, SecurityEvent, Target};

/// A form as it was sent.
#[derive(Clone)]
pub struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// Reads it; the request's head is given back for what follows.
    ///
    /// # Errors
    /// 413 for more than 64 KiB, 415 for anything but a form.
    pub async fn read(request: Request) -> Result<(Self, Parts), (ApiError, Parts)> {
        let (parts, body) = request.into_parts();
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_form = kind
            .split(';')
            .next()
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"));
        if !is_form {
            let error = ApiError {
                detail: "This address takes the dashboard's own forms only.".into(),
                ..ApiError::not_json()
            };
            return Err((error, parts));
        }
        match crate::api::json::read(body, crate::api::json::BODY_LIMIT).await {
            Ok(body) => Ok((Self { fields: form_urlencoded::parse(&body).into_owned().collect() }, parts)),
            Err(error) => Err((error, parts)),
        }
    }

    /// The form, to be held while its sender signs in again; `None` when it is not held.
    pub fn held(self, parts: &Parts) -> Option<HeldForm> {
        HeldForm::of(parts, self.fields)
    }

    /// A field; empty when it was not sent.
    fn take(&mut self, name: &str) -> String {
        let found = self.fields.iter_mut().find(|(field, _)| field == name);
        found.map(|(_, value)| std::mem::take(value)).unwrap_or_default()
    }

    /// Hands every field on to `take`, which says whether it knows it.
    ///
    /// # Errors
    /// 400 for the first that it does not know, or that was sent twice.
    fn hand_on(self, mut take: impl FnMut(&str, String) -> bool) -> Result<(), ApiError> {
        let mut known: Vec<String> = Vec::new();
        for (name, text) in self.fields {
            let shown = || name.chars().take(60).collect::<String>();
            if known.contains(&name) {
                return Err(ApiError::invalid_field(shown(), "is given twice"));
            }
            if !take(&name, text) {
                return Err(ApiError::invalid_field(shown(), "is not a known field"));
            }
            known.push(name);
        }
        Ok(())
    }

    /// The address of the `list` that a search leads to, and the key that was pasted.
    fn as_search(&self, list: &str) -> (String, Option<Pasted>) {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let mut pasted = None;
        for (name, text) in &self.fields {
            if name == "hash" || contains_key(text) || contains_key(name) {
                // The script of the page sends the hash of a key that it recognised.
                let hash = hex::decode(text).ok().and_then(|hash| hash.try_into().ok()).map(KeyHash::stored);
                let hash = hash.filter(|_| name == "hash").or_else(|| key_in(text)).or_else(|| key_in(name));
                if !matches!(pasted, Some(Pasted::Key(_))) {
                    pasted = Some(hash.map_or(Pasted::Part, Pasted::Key));
                }
            } else if SEARCH_FIELDS.contains(&name.as_str()) && !text.trim().is_empty() {
                query.append_pair(name, &text.trim().chars().take(SEARCH_LENGTH).collect::<String>());
            }
        }
        let query = query.finish();
        let list = if query.is_empty() { list.to_owned() } else { format!("{list}?{query}") };
        (list, pasted)
    }

    /// A field that says where to go on.
    fn take_path(&mut self, name: &str) -> Option<String> {
        let text = self.take(name);
        local_path(&text).map(str::to_owned)
    }
}

/// A key string that was pasted into a search.
enum Pasted {
    /// All of it.
    Key(KeyHash),
    /// Its beginning, which leads to no key.
    Part,
}

fn session(parts: &Parts) -> Result<Session, ApiError> {
    parts.extensions.get::<Session>().cloned().ok_or_else(ApiError::internal)
}

/// `POST /sign-in`.
///
/// # Errors
/// 503 when the database fails; what is wrong with the form is said on its page.
pub async fn sign_in(services: &Services, parts: &Parts, mut form: Form) -> Result<Answer, ApiError> {
    let (email, password, next) = (form.take("email"), form.take("password"), form.take_path("next"));
    let held = HeldForm::read(&form.take("held_action"), &form.take("held_body"));
    let from = ClientAddress::of(parts, &services.site).for_throttle();
    let session = session(parts)?;
    let signed_in = async {
        let verified = services.accounts.sign_in(&email, password, from).await?;
        begin_session(&session, &verified).await?;
        Ok(())
    };
    let error = match signed_in.await {
        Ok(()) => {
            return Ok(match held {
                Some(held) => held.page().into(),
                None => Answer::SeeOther(next.unwrap_or_else(|| "/keys".to_owned())),
            });
        }
        Err(SignInError::Wrong) => ApiError::unauthenticated("Email or password is wrong."),
        Err(error @ (SignInError::Throttled(_) | SignInError::Busy(_))) => error.into(),
        Err(error @ (SignInError::Store(_) | SignInError::Session(_))) => return Err(error.into()),
    };
    sign_in_page(services, SignInForm { email, next, held, error: Some(error), ..SignInForm::default() }).await
}

/// `POST /register`.
///
/// # Errors
/// 503 when the database fails; what is wrong with the form is said on its page.
pub async fn register(services: &Services, parts: &Parts, mut form: Form) -> Result<Answer, ApiError> {
    let (typed, password, token) = (form.take("email"), form.take("password"), form.take("set_up_token"));
    let mut errors = Vec::new();
    let email = EmailAddress::parse(&typed).map_err(|error| errors.push(FieldError::new("email", error)));
    let password = Password::new(password).map_err(|error| errors.push(FieldError::new("password", error)));
    let error = if let (Ok(email), Ok(password)) = (email, password) {
        let from = ClientAddress::of(parts, &services.site).for_throttle();
        let token = Some(token.as_str()).filter(|token| !token.is_empty());
        match services.accounts.register(&email, password, set_up_right(parts, &services.site, token), from).await {
            Ok(verified) => {
                begin_session(&session(parts)?, &verified).await?;
                return Ok(Answer::SeeOther("/keys".to_owned()));
            }
            // The page says so itself.
            Err(RegisterError::Closed) => ApiError::forbidden("Registration is closed."),
            Err(RegisterError::SetUpToken) => {
                ApiError::invalid_field("set_up_token", "is not the one that the server printed when it started")
            }
            Err(RegisterError::EmailTaken) => ApiError::invalid_field("email", "has an account already: sign in"),
            Err(RegisterError::Throttled(seconds)) => ApiError::too_many_requests(seconds),
            Err(RegisterError::Busy(_)) => busy(),
            Err(RegisterError::Store(error)) => return Err(error.into()),
        }
    } else {
        ApiError::invalid_fields(errors)
    };
    register_page(services, parts, RegisterForm { email: typed, error: Some(error), ..RegisterForm::default() }).await
}

/// `POST /sign-out`.
///
/// # Errors
/// 503 when the database fails.
pub async fn sign_out(services: &Services, parts: &Parts) -> Result<Answer, ApiError> {
    let credential = parts.extensions.get().unwrap_or(&Credential::None);
    end_sessions(services, credential, &session(parts)?).await?;
    Ok(Answer::SeeOther("/sign-in".to_owned()))
}

/// The fields of the search forms that go on into the address of the list.
const SEARCH_FIELDS: [&str; 8] = ["org", "env", "state", "q", "source", "key", "from", "to"];
/// Characters of a field that go on. The longest search is shorter; the rest would only make the address long.
const SEARCH_LENGTH: usize = 300;

/// `POST /keys/search`, `POST /events/search`: leads to the filtered `list`, or, when a whole key was pasted, to the page
/// of that key. The key string stands in no answer.
///
/// # Errors
/// 503 when the database fails.
pub async fn search(services: &Services, parts: &mut Parts, list: &str, form: Form) -> Result<Answer, ApiError> {
    let (list, pasted) = form.as_search(list);
    let (Some(pasted), Ok(SignedIn(person))) = (pasted, SignedIn::from_request_parts(parts, services).await) else {
        return Ok(Answer::SeeOther(list));
    };
    let (text, detail) = match pasted {
        Pasted::Key(hash) => {
            if let Some(page) = page_of(services, person, &hash).await? {
                return Ok(Answer::SeeOther(page));
            }
            let text = "No key found for the string that you pasted";
            (text, "It belongs to no organisation of yours. The string was not kept")
        }
        Pasted::Part => {
            let text = "The string that you pasted is a part of a key";
            (text, "Paste all of it to find the key. The string was not kept")
        }
    };
    let flash = Flash { kind: ToastKind::Error, text: text.to_owned(), detail: detail.to_owned() };
    leave_flash(&session(parts)?, &flash).await?;
    Ok(Answer::SeeOther(list))
}

/// `POST /events/retention`: how long the events of an environment are kept.
///
/// # Errors
/// 401 when nobody is signed in, 404 for a place that is not theirs, 403 for a mere member, 503 when the database
/// fails. Wrong numbers (400), and numbers that were changed elsewhere since the form was filled (409), are shown on
/// the page.
pub async fn retention(services: &Services, parts: &mut Parts, mut form: Form) -> Result<Answer, ApiError> {
    let SignedIn(person) = SignedIn::from_request_parts(parts, services).await?;
    let not_found = || ApiError::not_found("There is no such organisation or environment.");
    let organisation: OrganisationId = form.take("org").parse().map_err(|_| not_found())?;
    let id: EnvironmentId = form.take("env").parse().map_err(|_| not_found())?;
    let membership = person.in_organisation(organisation).ok_or_else(not_found)?;
    let environment = membership.environment(id).ok_or_else(not_found)?;
    if !membership.may_set_retention() {
        return Err(ApiError::forbidden("An owner or an admin of the organisation says how long its events are kept."));
    }
    let return_to = form.take_path("return_to");
    // The list that the form stood below, with its filters.
    let here = return_to.as_deref().and_then(EventsLink::of_address);
    let here = here.filter(|here| here.organisation == Some(organisation));
    let here = here.unwrap_or_else(|| EventsLink::to(organisation));
    let (days, limit) = (form.take("event_days"), form.take("event_limit"));
    let shown = RetentionForm::read_version(&form.take("version"));
    let typed = RetentionForm { environment: Some(id), days, limit, shown, ..RetentionForm::default() };
    let wanted = match Retention::parse(&typed.days, &typed.limit) {
        Ok(wanted) => wanted,
        Err(errors) => {
            let typed = RetentionForm { errors, ..typed };
            return events_page(services, parts, person, here, typed).await;
        }
    };
    let changed = services.events.change_retention(id, |stored| RetentionForm::merge(shown, wanted, stored)).await?;
    let kept = match changed.ok_or_else(not_found)? {
        Ok(kept) => kept,
        Err(stored) => {
            let typed = typed.in_conflict(wanted, stored);
            return events_page(services, parts, person, here, typed).await;
        }
    };
    let entry = SecurityEvent::RetentionChanged.entry(Actor::Person(person.id), Target::Environment(id));
    entry.of(organisation).changed(format!("event_days={} event_limit={}", kept.event_days, kept.event_limit)).write();
    let days = if kept.event_days == 1 { "1 day".to_owned() } else { format!("{} days", thousands(kept.event_days)) };
    let flash = Flash {
        kind: ToastKind::Success,
        text: format!("{} keeps events for {days}", isolate(&environment.name)),
        detail: format!("At most {} of them", thousands(kept.event_limit)),
    };
    leave_flash(&session(parts)?, &flash).await?;
    Ok(Answer::SeeOther(return_to.unwrap_or_else(|| here.href())))
}
