//! Who calls, and for which tenant.

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

/// Somebody with an access token, or a key that may manage keys, and the tenant that it is for.
#[derive(Debug)]
pub struct TenantCaller {
    /// Who.
    pub caller: Caller,
    /// The tenant.
    pub tenant: OrganisationId,
}

/// A tenant to somebody who belongs to it. A key, whatever keys it may manage, reads nothing of it.
#[derive(Debug)]
pub struct TenantReader(pub OrganisationId);

/// Somebody with an access token.
#[derive(Debug)]
pub struct Bearer {
    /// Who, for which tenant.
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
            // Says what is wrong with it.
            SignedIn::from_request_parts(parts, services).await?;
        }
        Ok(Self(TenantCaller::from_request_parts(parts, services).await?.inside()?.tenant))
    }
}

impl TenantCaller {
    /// The caller, if they still belong to the tenant: who left it sees nothing of it.
    ///
    /// # Errors
    /// 401.
    pub fn inside(self) -> Result<Self, Error> {
        match &self.caller {
            Caller::Person(person) if person.in_organisation(self.tenant).is_none() => Err(unauthenticated()),
            _ => Ok(self),
        }
    }
}
