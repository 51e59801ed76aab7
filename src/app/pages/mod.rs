//! The pages: what each of them needs to know, and how it is put together.
//!
//! A page is loaded first and rendered then, so that what goes wrong while loading is an error page
//! with its own status, and no half of a page is ever sent.

mod api_docs;
mod cluster;
mod event;
mod events;
mod events_link;
mod key;
mod keys;
mod link;
mod message;
mod register;
mod sign_in;

pub use api_docs::api_docs;
pub use cluster::cluster;
pub use event::{body, event};
pub use events::{chosen_key, events, events_page};
pub use events_link::EventsLink;
pub use key::{Found as FoundKey, Typed, find as find_key, key, key_page, stale_switch_page};
pub use keys::keys;
pub use link::{KeysLink, local_path};
pub use message::{failed, no_organisation, not_found, registration_closed};
pub use register::{RegisterForm, register, register_page};
pub use sign_in::{SignInForm, sign_in, sign_in_again, sign_in_page};

use axum::http::request::Parts;

use super::shell::Answer;
use crate::domain::Person;
use crate::model::ApiError;
use crate::web::Services;
use crate::web::auth::SignedIn;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;

/// `/`: to the keys.
pub fn start() -> Answer {
    Answer::SeeOther("/keys".to_owned())
}

/// The person who is signed in, on a page that others see as well.
///
/// # Errors
/// 503 when the database fails.
pub async fn signed_in(services: &Services, parts: &mut Parts) -> Result<Option<Person>, ApiError> {
    match SignedIn::from_request_parts(parts, services).await {
        Ok(SignedIn(person)) => Ok(Some(person)),
        Err(error) if error.status < StatusCode::INTERNAL_SERVER_ERROR.as_u16() => Ok(None),
        Err(error) => Err(error),
    }
}
