//! Authorisation as types: a handler that takes one of these cannot be reached without it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tower_sessions::Session;

use super::Services;
use super::client_address::ClientAddress;
use super::credential::Credential;
use crate::accounts::{Caller, Person, session_user};
use crate::keys::{Ask, Judgement, Key, Verdict};
use crate::model::{ApiError, MANAGE_KEYS};

/// Somebody who is signed in, by cookie or Bearer token.
#[derive(Debug, Clone)]
pub struct SignedIn(pub Person);

/// Somebody or, where the operator allows it, a key, that may manage keys.
#[derive(Debug, Clone)]
pub struct Manager(pub Caller);

/// A key that is good, and whose request is counted.
#[derive(Debug, Clone)]
pub struct KeyCaller(pub Box<Key>);

/// A key that is good, for what is about the key itself: the request is not counted.
#[derive(Debug, Clone)]
pub struct OwnKey(pub Box<Key>);

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
                check(parts, services, &key).await?;
                Err(ApiError::forbidden("This needs a session, not an API key: sign in with e-mail and password."))
            }
            Credential::AccessToken(token) => {
                let holder = services.accounts.token_holder(&token).await?;
                holder.map(|holder| Self(holder.person)).ok_or_else(not_signed_in)
            }
            Credential::Unreadable | Credential::None => Err(not_signed_in()),
            Credential::BearerSession(_) | Credential::CookieSession => {
                person(parts, services).await?.map(Self).ok_or_else(not_signed_in)
            }
        }
    }
}

/// Whose session the request presents, if it is one.
async fn person(parts: &Parts, services: &Services) -> Result<Option<Person>, ApiError> {
    let Some(session) = parts.extensions.get::<Session>() else {
        return Ok(None);
    };
    match session_user(session).await? {
        Some(user) => Ok(services.accounts.person(user).await?),
        None => Ok(None),
    }
}

impl FromRequestParts<Services> for Manager {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        let Credential::Key(presented) = credential(parts) else {
            let SignedIn(person) = SignedIn::from_request_parts(parts, services).await?;
            return Ok(Self(Caller::Person(person)));
        };
        let key = check(parts, services, &presented).await?;
        if !services.keys.policy().keys_may_manage_keys {
            return Err(ApiError::forbidden(
                "API keys cannot create, list or revoke API keys. Sign in and use the session.",
            ));
        }
        if !key.scopes.name_explicitly(MANAGE_KEYS) {
            return Err(ApiError::forbidden(format!(
                "This API key cannot manage keys: its scopes must name `{MANAGE_KEYS}` (`*` does not count)."
            )));
        }
        Ok(Self(Caller::Key(key)))
    }
}

impl FromRequestParts<Services> for OwnKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        match credential(parts) {
            Credential::Key(presented) => check(parts, services, &presented).await.map(Self),
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
            Credential::CookieSession | Credential::None => {
                return Err(ApiError::unauthenticated("Present an API key in the header `X-API-Key`."));
            }
        };
        let (ask, address) = ask(parts, services);
        judge(services.keys.verify(&presented, &ask).await?, address).map(Self)
    }
}

fn ask(parts: &Parts, services: &Services) -> (Ask, ClientAddress) {
    let address = ClientAddress::of(parts, &services.site);
    (Ask { address: address.for_allowlist(), ..Ask::default() }, address)
}

/// A key that is presented to a management endpoint: good or bad, but not counted.
async fn check(parts: &Parts, services: &Services, presented: &str) -> Result<Box<Key>, ApiError> {
    let (ask, address) = ask(parts, services);
    judge(services.keys.check(presented, &ask).await?, address)
}

fn judge(verdict: Verdict, address: ClientAddress) -> Result<Box<Key>, ApiError> {
    match verdict {
        Verdict::Valid(key) => Ok(key),
        Verdict::Unknown => Err(bad_key()),
        Verdict::Refused(key, judgement) => match judgement {
            Judgement::Revoked | Judgement::Disabled | Judgement::Expired => Err(bad_key()),
            Judgement::Forbidden => {
                address.explain_refusal(&key);
                Err(ApiError::forbidden("The API key may not be used from this address."))
            }
            Judgement::WrongEnvironment => {
                Err(ApiError::forbidden("The API key belongs to another kind of environment."))
            }
            Judgement::InsufficientScopes(missing) => {
                Err(ApiError::forbidden(format!("The API key lacks these scopes: {}.", missing.join(" "))))
            }
            Judgement::Valid => Ok(key),
        },
    }
}
