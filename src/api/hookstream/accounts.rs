//! Registration and sign-in (docs/CONTRACTS.md, "Signing in").

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tower_sessions::Session;
use utoipa::ToSchema;

use crate::accounts::{EmailAddress, Password, RegisterError, SecondFactor, SecondStep, SignIn};
use crate::model::{ApiError, FieldError};
use crate::web::Services;
use crate::web::auth::SignedIn;
use crate::web::client_address::ClientAddress;
use crate::web::credential::{Credential, end_sessions};
use crate::web::json::Json;
use crate::web::local::set_up_right;
use crate::web::me::{Me, signed_in};
use crate::web::openapi::Problem;
use crate::web::problem::busy;

/// The body of `register`.
#[derive(Deserialize, ToSchema)]
pub struct Registration {
    #[schema(required, value_type = String, format = Email, max_length = 254, examples("ada@example.com"))]
    email: Option<String>,
    #[schema(required, value_type = String, min_length = 10, max_length = 256, examples("correct horse battery"))]
    password: Option<String>,
    /// Required for the first account, unless it is created on the server's own machine. The server prints the token to
    /// standard output at start.
    set_up_token: Option<String>,
}

/// The body of `login`.
#[derive(Deserialize, ToSchema)]
pub struct Credentials {
    #[schema(required, value_type = String, examples("ada@example.com"))]
    email: Option<String>,
    #[schema(required, value_type = String, examples("correct horse battery"))]
    password: Option<String>,
}

/// The response to the correct password of an account with a second factor.
#[derive(Serialize)]
struct NeedsSecondStep {
    second_step: Vec<&'static str>,
    token: String,
}

impl From<SecondStep> for NeedsSecondStep {
    fn from(step: SecondStep) -> Self {
        let second_step = step.factors.into_iter().map(SecondFactor::as_str).collect();
        Self { second_step, token: step.token.reveal() }
    }
}

/// Register
///
/// Creates a user, an organisation that the user owns, and its environments Production (live) and Development (test),
/// and signs in. 400 on `email` for an address that already has an account. 403 if registration is closed, or the
/// set-up token is missing or wrong.
#[utoipa::path(
    post,
    path = "/v1/auth/register",
    operation_id = "register",
    tag = "Accounts",
    request_body = Registration,
    responses(
        (status = 201, description = "Registered and signed in.", body = Me, headers(("Set-Cookie" = String, description = "The session.")), example = json!({
            "user": { "id": "usr_0f1e2d3c4b5a6978", "email": "ada@example.com" },
            "organisations": [{
                "id": "org_5b6c7d8e9f0a1b2c",
                "tenant_id": "9b2f7c1e-4a3d-4e5f-8a6b-7c8d9e0f1a2b",
                "name": "ada",
                "role": "owner",
                "environments": [
                    { "id": "env_1a2b3c4d5e6f7a8b", "name": "Production", "mode": "live" },
                    { "id": "env_2b3c4d5e6f7a8b9c", "name": "Development", "mode": "test" },
                ],
            }],
        })),
        Problem<400>, Problem<403>, Problem<413>, Problem<415>, Problem<429>,
    ),
)]
pub async fn register(
    State(services): State<Services>,
    session: Session,
    parts: Parts,
    Json(body): Json<Registration>,
) -> Result<impl IntoResponse, ApiError> {
    let mut errors = Vec::new();
    let email =
        required("email", body.email, &mut errors, |text| EmailAddress::parse(&text).map_err(|e| e.to_string()));
    let password =
        required("password", body.password, &mut errors, |text| Password::new(text).map_err(|e| e.to_string()));
    let (Some(email), Some(password)) = (email, password) else {
        return Err(ApiError::invalid_fields(errors));
    };
    let from = ClientAddress::of(&parts, &services.site).for_throttle();
    let right = set_up_right(&parts, &services.site, body.set_up_token.as_deref());
    let verified = services.accounts.register(&email, password, right, from).await.map_err(|error| match error {
        RegisterError::Closed => {
            ApiError::forbidden("Registration is closed here. The operator adds accounts with `latchkey user add`.")
        }
        RegisterError::SetUpToken => ApiError::forbidden(
            "The first account needs the set-up token that the server printed to its standard output when it started: \
             send it as `set_up_token`.",
        ),
        RegisterError::EmailTaken => ApiError::invalid_field("email", "has an account already: sign in"),
        RegisterError::Throttled(seconds) => ApiError::too_many_requests(seconds),
        RegisterError::Busy(_) => busy(),
        RegisterError::Store(error) => error.into(),
    })?;
    signed_in(&services, &session, &verified, StatusCode::CREATED).await
}

/// Sign in
///
/// An unknown account and a wrong password get the same 401.
#[utoipa::path(
    post,
    path = "/v1/auth/login",
    operation_id = "logIn",
    tag = "Accounts",
    request_body = Credentials,
    responses(
        (status = 200, description = "Signed in.", body = Me, headers(("Set-Cookie" = String, description = "The session."))),
        Problem<400>, Problem<401>, Problem<403>, Problem<413>, Problem<415>, Problem<429>,
    ),
)]
pub async fn log_in(
    State(services): State<Services>,
    session: Session,
    parts: Parts,
    Json(body): Json<Credentials>,
) -> Result<Response, ApiError> {
    let mut errors = Vec::new();
    let email = required("email", body.email, &mut errors, Ok);
    let password = required("password", body.password, &mut errors, Ok);
    let (Some(email), Some(password)) = (email, password) else {
        return Err(ApiError::invalid_fields(errors));
    };
    let from = ClientAddress::of(&parts, &services.site).for_throttle();
    Ok(match services.accounts.authenticator.sign_in(&email, password, from).await? {
        SignIn::Done(verified) => signed_in(&services, &session, &verified, StatusCode::OK).await?.into_response(),
        SignIn::SecondStep(step) => (StatusCode::ACCEPTED, axum::Json(NeedsSecondStep::from(step))).into_response(),
    })
}

fn required<T>(
    field: &str,
    value: Option<String>,
    errors: &mut Vec<FieldError>,
    parse: impl Fn(String) -> Result<T, String>,
) -> Option<T> {
    value
        .ok_or_else(|| "is required".to_owned())
        .and_then(parse)
        .map_err(|message| errors.push(FieldError::new(field, message)))
        .ok()
}

/// Sign out
///
/// Ends the session, if there is one, and removes the cookie. If the request has several session cookies, all their
/// sessions end. With another credential (an API key, an access token) nothing ends, and the response is an error.
#[utoipa::path(
    post,
    path = "/v1/auth/logout",
    operation_id = "logOut",
    tag = "Accounts",
    responses(
        (status = 204, description = "The session has ended."),
        Problem<401>, Problem<403>,
    ),
    security((), ("session" = []), ("better_auth_session" = []), ("session_token" = [])),
)]
pub async fn log_out(
    State(services): State<Services>,
    Extension(credential): Extension<Credential>,
    session: Session,
) -> Result<StatusCode, ApiError> {
    match credential {
        Credential::CookieSession(_) | Credential::BearerSession(_) | Credential::None => {
            end_sessions(&services, &credential, &session).await?;
            Ok(StatusCode::NO_CONTENT)
        }
        Credential::AccessToken(_) => Err(ApiError::forbidden("Access tokens end at /api/v1/auth/logout.")),
        Credential::Key(_) => Err(ApiError::forbidden("An API key has no session to end.")),
        Credential::Unreadable => Err(ApiError::unauthenticated("The credential that was presented cannot be read.")),
    }
}

/// Current user
///
/// Returns the signed-in user, their organisations, and the environments of these.
#[utoipa::path(
    get,
    path = "/v1/auth/me",
    operation_id = "me",
    tag = "Accounts",
    responses(
        (status = 200, description = "The user and their organisations.", body = Me),
        Problem<401>, Problem<403>,
    ),
    security(("session" = []), ("better_auth_session" = []), ("session_token" = []), ("access_token" = [])),
)]
pub async fn me(SignedIn(person): SignedIn) -> impl IntoResponse {
    axum::Json(Me::from(person))
}
