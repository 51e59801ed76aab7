//! The callers of the HookSentry contract, and their tenant.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::error::Error;
use crate::accounts::TokenHolder;
use crate::domain::Caller;
use crate::model::{ApiError, OrganisationId};
use crate::security_log::authenticated;
use crate::web::Services;
use crate::web::auth::{Manager, SignedIn};
use crate::web::credential::Credential;

/// A caller that may manage keys, by access token or key, and the tenant of that credential.
#[derive(Debug)]
pub struct TenantCaller {
    /// The person or the key.
    pub caller: Caller,
    /// The tenant.
    pub tenant: OrganisationId,
}

/// The tenant of a person, after a check of the membership. Keys are refused, even if they may manage keys.
#[derive(Debug)]
pub struct TenantReader(pub OrganisationId);

/// A caller with an access token.
#[derive(Debug)]
pub struct Bearer {
    /// The person and the tenant of the token.
    pub holder: TokenHolder,
    /// The token.
    pub token: std::sync::Arc<zeroize::Zeroizing<String>>,
}

fn unauthenticated() -> Error {
    Error::Problem(ApiError::unauthenticated(
        "The access token is missing, wrong or over: get one from /api/v1/auth/login.",
    ))
}

impl FromRequestParts<Services> for Bearer {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, Error> {
        let Some(Credential::AccessToken(token)) = parts.extensions.get::<Credential>().cloned() else {
            return Err(unauthenticated());
        };
        let holder = services.accounts.token_holder(&token).await?.ok_or_else(unauthenticated)?;
        authenticated();
        Ok(Self { holder, token })
    }
}

impl FromRequestParts<Services> for TenantCaller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, Error> {
        if let Some(Credential::Key(_)) = parts.extensions.get() {
            let Manager(caller) = Manager::from_request_parts(parts, services).await?;
            let tenant = caller.key().map(|key| key.organisation).ok_or_else(unauthenticated)?;
            return Ok(Self { caller, tenant });
        }
        let Bearer { holder, .. } = Bearer::from_request_parts(parts, services).await?;
        Ok(Self { caller: Caller::Person(holder.person), tenant: holder.tenant })
    }
}

impl FromRequestParts<Services> for TenantReader {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, Error> {
        if let Some(Credential::Key(_)) = parts.extensions.get() {
            // Fails with the error for keys.
            SignedIn::from_request_parts(parts, services).await?;
        }
        Ok(Self(TenantCaller::from_request_parts(parts, services).await?.inside()?.tenant))
    }
}

impl TenantCaller {
    /// Returns the caller if it still belongs to the tenant.
    ///
    /// # Errors
    /// 401 for a person that has left the tenant.
    pub fn inside(self) -> Result<Self, Error> {
        match &self.caller {
            Caller::Person(person) if person.in_organisation(self.tenant).is_none() => Err(unauthenticated()),
            _ => Ok(self),
        }
    }
}
