//! Sign-in with Bearer tokens.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::caller::Bearer;
use super::error::{Error, Invalid};
use super::wire::{LogIn, RefreshToken, Tokens};
use crate::accounts::{SignIn, SignInError};
use crate::model::{ApiError, FieldError};
use crate::web::Services;
use crate::web::client_address::ClientAddress;
use crate::web::json::Json;
use crate::web::openapi::Problem;

/// Get tokens
///
/// Returns tokens for one tenant: `tenantId`, or else the user's first tenant. 404 for a tenant that the user does not
/// belong to.
#[utoipa::path(
    post,
    path = "/api/v1/auth/login",
    operation_id = "tokenLogIn",
    tag = "Access tokens",
    request_body = LogIn,
    responses(
        (status = 200, description = "A pair of tokens.", body = Tokens),
        Invalid, Problem<401>, Problem<403>, Problem<404>, Problem<413>, Problem<415>, Problem<429>,
    ),
)]
pub async fn log_in(
    State(services): State<Services>,
    parts: Parts,
    body: Result<Json<LogIn>, ApiError>,
) -> Result<Answer<Tokens>, Error> {
    let Json(body) = body?;
    let mut missing = Vec::new();
    for (field, given) in [("email", body.email.is_some()), ("password", body.password.is_some())] {
        if !given {
            missing.push(FieldError::new(field, "is required"));
        }
    }
    let (Some(email), Some(password)) = (body.email, body.password) else {
        return Err(ApiError::invalid_fields(missing).into());
    };
    let from = ClientAddress::of(&parts, &services.site).for_throttle();
    let verified = match services.accounts.authenticator.sign_in(&email, password, from).await? {
        SignIn::Done(verified) => verified,
        // This contract has no second step, so the response is the documented 401.
        SignIn::SecondStep(_) => return Err(SignInError::Wrong.into()),
    };
    let user = verified.user();
    let person = services.accounts.person(user).await?.ok_or_else(ApiError::internal)?;
    let membership = match body.tenant_id {
        Some(tenant) => person.memberships.iter().find(|membership| membership.uuid == tenant),
        None => person.memberships.first(),
    };
    let tenant = membership.ok_or_else(|| ApiError::not_found("Tenant not found"))?.organisation;
    let tokens = services.accounts.begin_tokens(&verified, tenant).await?;
    Ok(Answer(tokens.into()))
}

fn refresh_token(body: RefreshToken) -> Result<String, Error> {
    body.refresh_token.ok_or_else(|| Error::Invalid("`refreshToken` is required".to_owned()))
}

/// Refresh tokens
///
/// Exchanges a refresh token for a new pair. A refresh token is valid once: its second use gets 401 and ends all tokens
/// of that sign-in.
#[utoipa::path(
    post,
    path = "/api/v1/auth/refresh",
    operation_id = "tokenRefresh",
    tag = "Access tokens",
    request_body = RefreshToken,
    responses(
        (status = 200, description = "A new pair of tokens.", body = Tokens),
        Invalid, Problem<401>, Problem<403>, Problem<413>, Problem<415>,
    ),
)]
pub async fn refresh(
    State(services): State<Services>,
    body: Result<Json<RefreshToken>, ApiError>,
) -> Result<Answer<Tokens>, Error> {
    let Json(body) = body?;
    let pair = services.accounts.refresh_tokens(&refresh_token(body)?).await?;
    let over = || ApiError::unauthenticated("The refresh token is wrong, used or over: sign in again.");
    Ok(Answer(pair.ok_or_else(over)?.into()))
}

/// Revoke tokens
///
/// Ends the tokens of the sign-in. 204 even if the refresh token is invalid.
#[utoipa::path(
    post,
    path = "/api/v1/auth/logout",
    operation_id = "tokenLogOut",
    tag = "Access tokens",
    request_body = RefreshToken,
    responses(
        (status = 204, description = "The tokens have ended."),
        Invalid, Problem<401>, Problem<403>, Problem<413>, Problem<415>,
    ),
    security(("access_token" = [])),
)]
pub async fn log_out(
    State(services): State<Services>,
    Bearer { holder, token }: Bearer,
    body: Result<Json<RefreshToken>, ApiError>,
) -> Result<StatusCode, Error> {
    let Json(body) = body?;
    services.accounts.end_tokens(&token, &refresh_token(body)?, &holder.person).await?;
    Ok(StatusCode::NO_CONTENT)
}
