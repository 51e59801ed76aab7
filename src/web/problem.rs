//! Errors as `application/problem+json` (RFC 9457).

use std::convert::Infallible;

use axum::extract::rejection::PathRejection;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::accounts::{SIGN_IN_RETRY_AFTER, SessionError, SignInError};
use crate::domain::Unavailable;
use crate::keys::{EditError, IssueError, RevokeError};
use crate::model::ApiError;
use crate::runtime::lists::Busy;
use crate::store::StoreError;
use crate::teams::{AcceptError, TeamError};

/// The content type of problem details.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Returns the status of an error.
pub fn status(error: &ApiError) -> StatusCode {
    StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Returns the headers of an error response.
pub fn headers(error: &ApiError) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, PROBLEM_JSON);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if error.status == StatusCode::UNAUTHORIZED.as_u16() {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = error.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    headers
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (status(&self), headers(&self), body).into_response()
    }
}

// For extractors that cannot fail.
impl From<Infallible> for ApiError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

// A path segment that is not UTF-8 names nothing: 404.
impl From<PathRejection> for ApiError {
    fn from(_: PathRejection) -> Self {
        Self::not_found("There is nothing at this address.")
    }
}

// Logs the cause, under the request's id, and asks the client to retry.
impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the database failed; the request gets 503");
        Self::unavailable("The database does not answer. Try again in a moment.")
    }
}

// The cause was logged where it occurred, for all requests that share it.
impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> Self {
        Self::unavailable(match error {
            Unavailable::KeyLookup | Unavailable::Quota => {
                tracing::error!(%error, "the database failed; the request gets 503");
                "The key could not be looked up. Try again in a moment."
            }
            Unavailable::Session => {
                tracing::error!(%error, "the database failed; the request gets 503");
                "The database does not answer. Try again in a moment."
            }
            Unavailable::KeyStorage => "The key could not be stored. Nothing of it is kept: try again in a moment.",
            Unavailable::Acknowledgements => {
                "The change is stored, but not every node has confirmed it yet. Repeat the request: it succeeds \
                 once all nodes have confirmed."
            }
        })
    }
}

impl From<IssueError> for ApiError {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::OrganisationFull(max) => Self::forbidden(format!(
                "The organisation has {max} keys, the maximum. Revoke unused keys, or raise \
                 --max-keys-per-organisation."
            )),
            IssueError::TooManyRevoked(max) => Self::forbidden(format!(
                "The organisation has {max} revoked keys, the maximum. Wait until old ones are deleted \
                 (--keep-revoked-keys-days), or raise --max-revoked-keys-per-organisation."
            )),
            IssueError::MakerEnded => Self::unauthenticated("The API key was revoked or disabled meanwhile."),
            IssueError::MakerNarrowed => Self::forbidden(
                "The API key was narrowed meanwhile: it may not make this key any more. Nothing was stored.",
            ),
            IssueError::MakerIsLimited => Self::key_has_limits(),
            // The words of the hookstream contract.
            IssueError::NoPlace => Self::not_found("Environment not found"),
            IssueError::NotAllowed => Self::forbidden(
                "The person in whose name the key would be created may not create keys in this organisation any more.",
            ),
            IssueError::Archived => Self::conflict("The environment is archived. Create the key in another one.")
                .with_code("environment_archived"),
            IssueError::Broader(fields) => Self::invalid_fields(fields),
            IssueError::TooManyWaiting => {
                Self::too_many("Too many new keys of this organisation are waiting to be stored.", 1)
            }
            IssueError::Unavailable(error) => error.into(),
        }
    }
}

impl From<RevokeError> for ApiError {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::NotFound => Self::not_found("API key not found"),
            RevokeError::NotAllowed => Self::forbidden(
                "Only the member who made this key, or an admin or owner of the organisation, can revoke it.",
            ),
            RevokeError::Unavailable(error) => error.into(),
            RevokeError::Store(error) => error.into(),
        }
    }
}

impl From<EditError> for ApiError {
    fn from(error: EditError) -> Self {
        match error {
            EditError::NotFound => Self::not_found("API key not found"),
            EditError::NotAllowed => Self::forbidden(
                "Only the member who made this key, or an admin or owner of the organisation, can change it.",
            ),
            EditError::Revoked => Self::conflict("The key is revoked, which cannot be undone. Create a new key."),
            EditError::Changed(_) => Self::conflict("The key was changed meanwhile. Read it again."),
            EditError::Unavailable(error) => error.into(),
            EditError::Store(error) => error.into(),
        }
    }
}

impl From<Busy> for ApiError {
    fn from(_: Busy) -> Self {
        Self::too_many("Too many searches and lists of this organisation are running.", 1)
    }
}

/// Returns the 503 for a sign-in or a registration when the queue in front of Argon2 is full.
pub fn busy() -> ApiError {
    let text = format!("Too many people are signing in at the moment. Try again in {SIGN_IN_RETRY_AFTER} s.");
    ApiError { retry_after: Some(SIGN_IN_RETRY_AFTER), ..ApiError::unavailable(text) }
}

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Wrong | SignInError::Disabled => Self::unauthenticated("Unknown account or wrong password."),
            SignInError::Throttled(seconds) => Self::too_many_requests(seconds),
            SignInError::Busy(_) => busy(),
            SignInError::Store(error) => error.into(),
            SignInError::Session(error) => error.into(),
        }
    }
}

impl From<TeamError> for ApiError {
    fn from(error: TeamError) -> Self {
        match error {
            TeamError::NotFound => Self::not_found("There is no such organisation."),
            TeamError::NoEnvironment => Self::not_found("There is no such environment."),
            TeamError::NoMember => Self::not_found("There is no such member."),
            TeamError::NoInvitation => Self::not_found("There is no such invitation."),
            TeamError::NotAllowed => Self::forbidden("Your role in the organisation does not allow this."),
            TeamError::TooManyOrganisations(most) => {
                Self::conflict(format!("You own {most} organisations, as many as you may."))
                    .with_code("too_many_organisations")
            }
            TeamError::TooManyEnvironments(most) => Self::conflict(format!(
                "The organisation has {most} environments, as many as it may; archived ones count. Rename one, or \
                 open an archived one again."
            ))
            .with_code("too_many_environments"),
            TeamError::TooManyInvitations(most) => Self::conflict(format!(
                "The organisation has {most} open invitations, as many as it may. Withdraw some."
            ))
            .with_code("too_many_invitations"),
            TeamError::OtherName => Self::invalid_field("confirm", "must be the name of the organisation"),
            TeamError::EnvironmentHasKeys(keys) => Self::conflict(format!(
                "The environment has keys that are not revoked ({keys}). Revoke them first, or pass `revoke_keys=true`."
            ))
            .with_code("environment_has_keys")
            .with_keys(keys),
            TeamError::LastEnvironment => {
                Self::conflict("An organisation needs an environment that is not archived, and this is the last one.")
                    .with_code("last_environment")
            }
            TeamError::LastOwner => Self::conflict(
                "An organisation needs an owner, and this is the last one. Make another member an owner first.",
            )
            .with_code("last_owner"),
            TeamError::LeaverHasKeys(keys) => Self::invalid_field(
                "keys",
                format!("must be `keep` or `revoke`: the member made keys that are not revoked ({keys})"),
            )
            .with_keys(keys),
            TeamError::AlreadyMember => {
                Self::conflict("The address is that of a member already.").with_code("already_member")
            }
            TeamError::KeysAreCreated => {
                Self::unavailable("Keys are created as fast as they are revoked. Try again in a moment.")
            }
            TeamError::Unavailable(error) => error.into(),
            TeamError::Store(error) => error.into(),
        }
    }
}

impl From<AcceptError> for ApiError {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::NotFound => Self::not_found("The invitation is unknown, used, replaced or over."),
            AcceptError::OtherAddress => {
                Self::forbidden("The invitation is for another address than that of your account.")
                    .with_code("other_address")
            }
            AcceptError::HasAccount => {
                Self::unauthenticated("The invited address has an account: sign in, and accept it then.")
            }
            AcceptError::Throttled(seconds) => Self::too_many_requests(seconds),
            AcceptError::Busy(_) => busy(),
            AcceptError::Store(error) => error.into(),
        }
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        tracing::error!(%error, "the session store failed");
        Self::unavailable("The database does not answer. Try again in a moment.")
    }
}
