//! Authorisation as types: a handler that takes one of these cannot be reached without it.

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

/// Somebody who is signed in, by cookie or Bearer token.
#[derive(Debug, Clone)]
pub struct SignedIn(pub Person);

/// Somebody or, where the operator allows it, a key, that may manage keys.
#[derive(Debug, Clone)]
pub struct Manager(pub Caller);

/// A key that is good, and whose request is counted.
#[derive(Debug, Clone)]
pub struct KeyCaller(pub Pass);

/// A key that has not ended, whatever keeps it from being used otherwise: it may end itself. The request is not counted.
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

/// For pages that everybody sees: a bad credential is none.
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

/// Whose session the request presents, if it is one.
async fn person(parts: &Parts, services: &Services) -> Result<Option<Person>, ApiError> {
    let Some((session, id)) = parts.extensions.get::<Session>().and_then(|session| Some((session, session.id()?)))
    else {
        return Ok(None);
    };
    let person = services.accounts.sessions.person(id, ClientAddress::of(parts, &services.site).tenant()).await?;
    if person.is_some() {
        authenticated();
    } else {
        // tower-sessions removes the cookie of a session that it has looked for in vain.
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
        // All about it, which a check has no need of.
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

    /// On native paths every Bearer token is a key.
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

/// No key was presented where one is needed.
pub fn no_key() -> ApiError {
    ApiError::unauthenticated("Present an API key in the header `X-API-Key`.")
}

/// A key that is presented to a management endpoint: good or bad, but not counted.
async fn identify(parts: &Parts, services: &Services, presented: &str) -> Result<Pass, ApiError> {
    let address = ClientAddress::of(parts, &services.site);
    let ask = address.ask();
    admit(services, presented, &ask, Purpose::Identify, address).await
}

/// Lets a key in that is good for what is asked.
///
/// # Errors
/// 401 for a bad key, 403 for one that may not do this, 429 for one that did too much.
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

/// Why a key was not let in.
pub fn refusal(services: &Services, verdict: &Verdict<'_>, ask: &Ask<'_>, address: ClientAddress) -> ApiError {
    if !matches!(verdict.code, Code::NotFound | Code::Revoked | Code::Disabled | Code::Expired | Code::Forbidden) {
        // It is a good key, which may not do this, or did too much.
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
        // A good key is not refused.
        Code::Valid => ApiError::internal(),
    }
}

/// Too many requests of a key.
pub fn limited(limited: Option<Limited>) -> ApiError {
    match limited {
        Some(Limited::Quota(seconds)) => {
            ApiError::too_many("The API key has used up its quota for this month.", seconds)
        }
        Some(Limited::Rate(seconds)) => ApiError::too_many("The API key sends requests faster than it may.", seconds),
        None => ApiError::internal(),
    }
}
