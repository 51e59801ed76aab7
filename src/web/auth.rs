//! Authorisation as extractors: a handler with one of these arguments runs only for an authorised request.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use tower_sessions::Session;

use super::Services;
use super::client_address::ClientAddress;
use super::credential::Credential;
use crate::accounts::has_user;
use crate::domain::{Ask, Caller, Code, Person};
use crate::keys::{Limited, Pass, Purpose, Verdict};
use crate::model::{ApiError, MANAGE_KEYS};
use crate::security_log::authenticated;

/// A signed-in person, by cookie or Bearer token.
#[derive(Debug, Clone)]
pub struct SignedIn(pub Person);

/// A person who is signed in by a session, and not by an access token, which is bound to one organisation.
#[derive(Debug, Clone)]
pub struct InSession(pub Person);

/// A caller that may manage keys: a signed-in person or, if the operator allows it, a key.
#[derive(Debug, Clone)]
pub struct Manager(pub Caller);

/// A valid key. The request is counted.
#[derive(Debug, Clone)]
pub struct KeyCaller(pub Pass);

/// A key that is neither revoked nor expired, and may revoke itself although it is paused or restricted. The request is
/// not counted.
#[derive(Debug, Clone)]
pub struct OwnKey(pub Pass);

fn not_signed_in() -> ApiError {
    ApiError::unauthenticated("Sign in first: no valid session was presented.")
}

fn bad_key() -> ApiError {
    ApiError::unauthenticated("The API key is unknown, revoked, disabled or expired.")
}

fn credential(parts: &Parts) -> Credential {
    parts.extensions.get().cloned().unwrap_or(Credential::None)
}

impl FromRequestParts<Services> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        match credential(parts) {
            Credential::Key(key) => {
                identify(parts, services, &key).await?;
                Err(ApiError::forbidden("This needs a session, not an API key: sign in with e-mail and password."))
            }
            Credential::AccessToken(token) => {
                let holder = services.accounts.token_holder(&token).await?.ok_or_else(not_signed_in)?;
                authenticated();
                Ok(Self(holder.person))
            }
            Credential::Unreadable | Credential::None => Err(not_signed_in()),
            Credential::BearerSession(_) | Credential::CookieSession(_) => {
                person(parts, services).await?.map(Self).ok_or_else(not_signed_in)
            }
        }
    }
}

impl FromRequestParts<Services> for InSession {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        let SignedIn(person) = <SignedIn as FromRequestParts<Services>>::from_request_parts(parts, services).await?;
        if person.bound_to.is_some() {
            return Err(ApiError::forbidden(
                "This needs a session: an access token is good for the keys and events of one organisation only.",
            )
            .with_code("session_required"));
        }
        Ok(Self(person))
    }
}

/// For public pages: a bad credential counts as no credential.
impl OptionalFromRequestParts<Services> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Option<Self>, ApiError> {
        match <Self as FromRequestParts<Services>>::from_request_parts(parts, services).await {
            Ok(signed_in) => Ok(Some(signed_in)),
            Err(error) if error.status < StatusCode::INTERNAL_SERVER_ERROR.as_u16() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Returns the person of the session that the request presents; `None` if the session is missing or over.
async fn person(parts: &Parts, services: &Services) -> Result<Option<Person>, ApiError> {
    let Some((session, id)) = parts.extensions.get::<Session>().and_then(|session| Some((session, session.id()?)))
    else {
        return Ok(None);
    };
    let person = services.accounts.sessions.person(id, ClientAddress::of(parts, &services.site).tenant()).await?;
    if person.is_some() {
        authenticated();
    } else {
        // Loads the session, so that tower-sessions finds it missing and removes its cookie.
        has_user(session).await?;
    }
    Ok(person)
}

impl FromRequestParts<Services> for Manager {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        let Credential::Key(presented) = credential(parts) else {
            let SignedIn(person) =
                <SignedIn as FromRequestParts<Services>>::from_request_parts(parts, services).await?;
            return Ok(Self(Caller::Person(person)));
        };
        let pass = identify(parts, services, &presented).await?;
        if !services.keys.policy().keys_may_manage_keys {
            return Err(ApiError::forbidden(
                "API keys cannot create, list or revoke API keys. Sign in and use the session.",
            ));
        }
        // The whole key: the cached record of a check lacks some of the fields.
        let key = services.keys.get(pass.id).await?.ok_or_else(bad_key)?;
        if !key.scopes.name_explicitly(MANAGE_KEYS) {
            return Err(ApiError::forbidden(format!(
                "This API key cannot manage keys: its scopes must name `{MANAGE_KEYS}` (`*` does not count)."
            )));
        }
        Ok(Self(Caller::Key(Box::new(key))))
    }
}

impl FromRequestParts<Services> for OwnKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        match credential(parts) {
            Credential::Key(presented) => {
                let now = services.clock.now();
                let holder = services
                    .checks
                    .verify(&presented, &Ask::default(), Purpose::Identify, |verdict| verdict.not_ended(now))
                    .await?;
                let holder = holder.ok_or_else(bad_key)?;
                authenticated();
                Ok(Self(holder))
            }
            Credential::Unreadable => Err(bad_key()),
            _ => Err(ApiError::unauthenticated("Present the API key itself, in the header `X-API-Key`.")),
        }
    }
}

impl FromRequestParts<Services> for KeyCaller {
    type Rejection = ApiError;

    /// Treats every Bearer token as a key, as native paths do.
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        let presented = match credential(parts) {
            Credential::Key(text) | Credential::AccessToken(text) | Credential::BearerSession(text) => text,
            Credential::Unreadable => return Err(bad_key()),
            Credential::CookieSession(_) | Credential::None => return Err(no_key()),
        };
        let address = ClientAddress::of(parts, &services.site);
        let ask = address.ask();
        admit(services, &presented, &ask, Purpose::Use, address).await.map(Self)
    }
}

/// The 401 for a request without the key that it needs.
pub fn no_key() -> ApiError {
    ApiError::unauthenticated("Present an API key in the header `X-API-Key`.")
}

/// Checks a key that is presented to a management endpoint, without counting the request.
async fn identify(parts: &Parts, services: &Services, presented: &str) -> Result<Pass, ApiError> {
    let address = ClientAddress::of(parts, &services.site);
    let ask = address.ask();
    admit(services, presented, &ask, Purpose::Identify, address).await
}

/// Admits a key that is valid for this `ask`.
///
/// # Errors
/// 401 for a bad key, 403 for a key without permission, 429 for a key over its limits.
pub async fn admit(
    services: &Services,
    presented: &str,
    ask: &Ask<'_>,
    purpose: Purpose,
    address: ClientAddress,
) -> Result<Pass, ApiError> {
    services
        .checks
        .verify(presented, ask, purpose, |verdict| match verdict.pass() {
            Some(pass) => {
                authenticated();
                Ok(pass)
            }
            None => Err(refusal(services, &verdict, ask, address)),
        })
        .await?
}

/// Returns the error for a key that was not admitted.
pub fn refusal(services: &Services, verdict: &Verdict<'_>, ask: &Ask<'_>, address: ClientAddress) -> ApiError {
    if !matches!(verdict.code, Code::NotFound | Code::Revoked | Code::Disabled | Code::Expired | Code::Forbidden) {
        // The key itself is valid, but lacks a permission or is over its limits.
        authenticated();
    }
    match verdict.code {
        Code::NotFound | Code::Revoked | Code::Disabled | Code::Expired => bad_key(),
        Code::WrongEnvironment => ApiError::forbidden("The API key belongs to another kind of environment."),
        Code::Forbidden => {
            if let Some(record) = verdict.record {
                address.explain_refusal(record.id, &services.log_limit);
            }
            ApiError::forbidden("The API key may not be used from this address.")
        }
        Code::InsufficientScopes => {
            let missing: Vec<&str> = verdict.record.map(|record| record.missing(ask).collect()).unwrap_or_default();
            ApiError::forbidden(format!("The API key lacks these scopes: {}.", missing.join(" ")))
        }
        Code::RateLimited | Code::QuotaExceeded => limited(verdict.limited),
        // Unreachable: a valid key is not refused.
        Code::Valid => ApiError::internal(),
    }
}

/// Returns the 429 for a key over its rate limit or quota.
pub fn limited(limited: Option<Limited>) -> ApiError {
    match limited {
        Some(Limited::Quota(seconds)) => {
            ApiError::too_many("The API key has used up its quota for this month.", seconds)
        }
        Some(Limited::Rate(seconds)) => ApiError::too_many("The API key sends requests faster than it may.", seconds),
        None => ApiError::internal(),
    }
}
