//! Errors of the HookSentry contract: a 400 is a JSON string with the message, all other errors are problem details
//! (docs/CONTRACTS.md, "HookSentry").

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::{self, Content, Object, RefOr, ResponseBuilder};

use crate::accounts::SignInError;
use crate::domain::Unavailable;
use crate::keys::{IssueError, RevokeOnceError};
use crate::model::ApiError;
use crate::runtime::lists::Busy;
use crate::store::StoreError;

/// The 400 for `responses(…)` of an operation: a JSON string.
pub struct Invalid;

impl utoipa::IntoResponses for Invalid {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        let content = Content::new(Some(Object::with_type(openapi::Type::String)));
        let response = ResponseBuilder::new()
            .description("Invalid JSON, or an invalid field or parameter. The body is a string with the error message.")
            .content("application/json", content);
        BTreeMap::from([("400".to_owned(), response.build().into())])
    }
}

/// An error response.
#[derive(Debug)]
pub enum Error {
    /// A 400 with its message.
    Invalid(String),
    /// Any other error.
    Problem(ApiError),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid(message) => {
                (StatusCode::BAD_REQUEST, [(CACHE_CONTROL, "no-store")], axum::Json(message)).into_response()
            }
            Self::Problem(problem) => problem.into_response(),
        }
    }
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        if error.status == StatusCode::BAD_REQUEST.as_u16() {
            Self::Invalid(error.detail)
        } else {
            Self::Problem(error)
        }
    }
}

impl From<Unavailable> for Error {
    fn from(error: Unavailable) -> Self {
        Self::Problem(error.into())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Problem(error.into())
    }
}

impl From<Busy> for Error {
    fn from(error: Busy) -> Self {
        Self::Problem(error.into())
    }
}

impl From<SignInError> for Error {
    fn from(error: SignInError) -> Self {
        Self::Problem(error.into())
    }
}

impl From<IssueError> for Error {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::OrganisationFull(max) => Self::Problem(ApiError::forbidden(format!(
                "The tenant has {max} keys, the maximum. Revoke unused keys."
            ))),
            IssueError::TooManyRevoked(max) => Self::Problem(ApiError::forbidden(format!(
                "The tenant has {max} revoked keys, the maximum. Wait until old ones are deleted."
            ))),
            error => ApiError::from(error).into(),
        }
    }
}

impl From<RevokeOnceError> for Error {
    fn from(error: RevokeOnceError) -> Self {
        Self::Problem(match error {
            RevokeOnceError::NotFound => ApiError::not_found("There is no such key, or it is revoked already."),
            RevokeOnceError::OtherTenant => ApiError::forbidden("The key belongs to another tenant."),
            RevokeOnceError::NotAllowed => ApiError::forbidden(
                "Only the member who made this key, or an admin or owner of the tenant, can revoke it.",
            ),
            RevokeOnceError::Unavailable(error) => error.into(),
            RevokeOnceError::Store(error) => error.into(),
        })
    }
}
