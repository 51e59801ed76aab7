//! Signing in (CONTRACTS, "Signing in").

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use tower_sessions::Session;
use uuid::Uuid;

use crate::accounts::{
    EmailAddress, Password, Person, RegisterError, SignInError, begin_session,
};
use crate::api::Services;
use crate::api::auth::SignedIn;
use crate::api::client_address::ClientAddress;
use crate::api::credential::Credential;
use crate::api::json::Json;
use crate::model::{ApiError, FieldError, UserId};

/// The body of `register` and `login`.
#[derive(Deserialize)]
pub struct Credentials {
    email: Option<String>,
    password: Option<String>,
    /// Only for the first account of a server that other machines can reach.
    set_up_token: Option<String>,
}

/// Who is signed in, and where they belong.
#[derive(Serialize)]
struct Me {
    user: User,
    organisations: Vec<Organisation>,
}

#[derive(Serialize)]
struct User {
    id: String,
    email: String,
}

#[derive(Serialize)]
struct Organisation {
    id: String,
    tenant_id: Uuid,
    name: String,
    role: &'static str,
    environments: Vec<Environment>,
}

#[derive(Serialize)]
struct Environment {
    id: String,
    name: String,
    mode: &'static str,
}

impl From<Person> for Me {
    fn from(person: Person) -> Self {
        Self {
            user: User { id: person.id.to_string(), email: person.email },
            organisations: person
                .memberships
                .into_iter()
                .map(|membership| Organisation {
                    id: membership.organisation.to_string(),
                    tenant_id: membership.uuid,
                    name: membership.name,
                    role: membership.role.as_str(),
                    environments: membership
                        .environments
                        .into_iter()
                        .map(|environment| Environment {
                            id: environment.id.to_string(),
                            name: environment.name,
                            mode: environment.mode.as_str(),
                        })
                        .collect(),
                })
                .collect(),
        }
    }
}

/// `POST /v1/auth/register`.
pub async fn register(
    State(services): State<Services>,
    session: Session,
    parts: Parts,
    Json(body): Json<Credentials>,
) -> Result<impl IntoResponse, ApiError> {
    let mut errors = Vec::new();
    let email = required("email", body.email, &mut errors, |text| EmailAddress::parse(&text).map_err(|e| e.to_string()));
    let password = required("password", body.password, &mut errors, |text| Password::new(text).map_err(|e| e.to_string()));
    let (Some(email), Some(password)) = (email, password) else {
        return Err(ApiError::invalid_fields(errors));
    };
    let from = ClientAddress::of(&parts, &services.site).for_throttle();
    let user = services
        .accounts
        .register(&email, password, body.set_up_token.as_deref(), from)
        .await
        .map_err(|error| match error {
            RegisterError::Closed => ApiError::forbidden(
                "Registration is closed here. The operator adds accounts with `latchkey user add`.",
            ),
            RegisterError::SetUpToken => ApiError::forbidden(
                "The first account needs the set-up token that the server's log shows: send it as `set_up_token`.",
            ),
            RegisterError::EmailTaken => ApiError::invalid_field("email", "has an account already: sign in"),
            RegisterError::Throttled(seconds) => ApiError::too_many_requests(seconds),
            RegisterError::Store(error) => error.into(),
        })?;
    signed_in(&services, &session, user, StatusCode::CREATED).await
}

/// `POST /v1/auth/login`.
pub async fn log_in(
    State(services): State<Services>,
    session: Session,
    parts: Parts,
    Json(body): Json<Credentials>,
) -> Result<impl IntoResponse, ApiError> {
    let mut errors = Vec::new();
    let email = required("email", body.email, &mut errors, Ok);
    let password = required("password", body.password, &mut errors, Ok);
    if body.set_up_token.is_some() {
        errors.push(FieldError::new("set_up_token", "is not a known field"));
    }
    let (Some(email), Some(password), true) = (email, password, errors.is_empty()) else {
        return Err(ApiError::invalid_fields(errors));
    };
    let from = ClientAddress::of(&parts, &services.site).for_throttle();
    let user = services.accounts.sign_in(&email, password, from).await.map_err(|error| match error {
        SignInError::Wrong => ApiError::unauthenticated("Unknown account or wrong password."),
        SignInError::Throttled(seconds) => ApiError::too_many_requests(seconds),
        SignInError::Store(error) => error.into(),
    })?;
    signed_in(&services, &session, user, StatusCode::OK).await
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

async fn signed_in(
    services: &Services,
    session: &Session,
    user: UserId,
    status: StatusCode,
) -> Result<impl IntoResponse + use<>, ApiError> {
    begin_session(session, user).await?;
    let person = services.accounts.person(user).await?.ok_or_else(ApiError::internal)?;
    tracing::info!(user = %person.id, "signed in");
    Ok((status, axum::Json(Me::from(person))))
}

/// `POST /v1/auth/logout`: ends the session, if there is one. Whoever presents something else as well
/// is told so, rather than that the session is over.
pub async fn log_out(Extension(credential): Extension<Credential>, session: Session) -> Result<StatusCode, ApiError> {
    match credential {
        Credential::CookieSession | Credential::BearerSession(_) | Credential::None => {
            session.flush().await?;
            Ok(StatusCode::NO_CONTENT)
        }
        Credential::AccessToken(_) => Err(ApiError::forbidden("Access tokens end at /api/v1/auth/logout.")),
        Credential::Key(_) => Err(ApiError::forbidden("An API key has no session to end.")),
        Credential::Unreadable => Err(ApiError::unauthenticated("The credential that was presented cannot be read.")),
    }
}

/// `GET /v1/auth/me`.
pub async fn me(SignedIn(person): SignedIn) -> impl IntoResponse {
    axum::Json(Me::from(person))
}
