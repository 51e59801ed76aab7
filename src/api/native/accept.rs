//! `POST /v1/invitations/accept`.

use axum::Extension;
use axum::Json as Answer;
use axum::extract::{FromRequestParts, OptionalFromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tower_sessions::Session;
use utoipa::ToSchema;

use crate::accounts::Password;
use crate::domain::Person;
use crate::model::ApiError;
use crate::teams::AcceptError;
use crate::web::Services;
use crate::web::auth::{InSession, SignedIn};
use crate::web::client_address::ClientAddress;
use crate::web::credential::Credential;
use crate::web::json::Json;
use crate::web::me::{Me, signed_in};
use crate::web::openapi::Problem;

/// An invitation to accept.
#[derive(Deserialize, ToSchema)]
pub(super) struct AcceptInvitation {
    /// The last part of the link.
    #[schema(required, value_type = String, examples("lki_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c"))]
    token: Option<String>,
    /// The password of the new account, for a person who is not signed in and has none.
    #[schema(nullable = false, min_length = 10, max_length = 256, examples("correct horse battery"))]
    password: Option<String>,
}

/// Accept invitation
///
/// A person who is signed in becomes a member if the invitation is for their address (403 `other_address` otherwise).
/// Without a session, an account is made for an address that has none, whatever `--registration` says, and a session
/// begins; an address that has one is a 401, and `password` is not looked at. 404 before all that, for a token that is
/// unknown, used, replaced or over. Attempts are counted as those to sign in.
#[utoipa::path(
    post,
    path = "/v1/invitations/accept",
    operation_id = "acceptInvitation",
    tag = "Members",
    request_body(content = AcceptInvitation, example = json!({
        "token": "lki_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c",
        "password": "correct horse battery",
    })),
    responses(
        (status = 200, description = "A member, and signed in.", body = Me, headers(("Set-Cookie" = String, description = "The session, where one began."))),
        Problem<400>, Problem<401>, Problem<403>, Problem<404>, Problem<413>, Problem<415>, Problem<429>,
    ),
    security((), ("session" = []), ("better_auth_session" = []), ("session_token" = [])),
)]
pub(super) async fn accept(
    State(services): State<Services>,
    Extension(credential): Extension<Credential>,
    session: Session,
    mut parts: Parts,
    Json(body): Json<AcceptInvitation>,
) -> Result<Response, ApiError> {
    let token = body.token.ok_or_else(|| ApiError::invalid_field("token", "is required"))?;
    let from = ClientAddress::of(&parts, &services.site).for_throttle();
    let invited = services.teams.find_invitation(&token, from).await?;
    if let Some(person) = person(&credential, &mut parts, &services).await? {
        services.teams.accept_as(&person, &invited, &token, from).await?;
        let person = services.accounts.person(person.id).await?.ok_or_else(ApiError::internal)?;
        return Ok(Answer(Me::from(person)).into_response());
    }
    if invited.account.is_some() {
        return Err(AcceptError::HasAccount.into());
    }
    let password = match body.password {
        None => Err("is required".to_owned()),
        Some(text) => Password::new(text).map_err(|error| error.to_string()),
    };
    let password = password.map_err(|error| ApiError::invalid_field("password", error))?;
    let verified = services.teams.accept_with_password(&invited, &token, password, from).await?;
    Ok(signed_in(&services, &session, &verified, StatusCode::OK).await?.into_response())
}

/// The person who is signed in. A session cookie that is over is none: the browser has kept it.
async fn person(credential: &Credential, parts: &mut Parts, services: &Services) -> Result<Option<Person>, ApiError> {
    match credential {
        Credential::None => Ok(None),
        Credential::CookieSession(_) => {
            let signed_in = <SignedIn as OptionalFromRequestParts<_>>::from_request_parts(parts, services).await?;
            Ok(signed_in.map(|SignedIn(person)| person))
        }
        _ => {
            let InSession(person) = InSession::from_request_parts(parts, services).await?;
            Ok(Some(person))
        }
    }
}
