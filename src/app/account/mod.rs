//! Signing in and out, and registering.

pub(crate) mod fields;
pub(crate) mod post;
pub(crate) mod register;
pub(crate) mod sign_in;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;

use crate::domain::Person;
use crate::model::ApiError;
use crate::web::Services;
use crate::web::auth::SignedIn;

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
