//! Handlers of the forms for signing in, signing out and registering.

use axum::extract::State;
use axum::http::request::Parts;

use super::register::{EMAIL_TAKEN, RegisterForm, register_page};
use super::sign_in::{SignInForm, next_path, sign_in_page};
use crate::accounts::{EmailAddress, Password, RegisterError, SignIn, SignInError, begin_session};
use crate::app::kit::{Form, HeldForm, session};
use crate::app::links::{HOME, SIGN_IN};
use crate::app::shell::Answer;
use crate::model::{ApiError, FieldError};
use crate::web::Services;
use crate::web::client_address::ClientAddress;
use crate::web::credential::{Credential, end_sessions};
use crate::web::local::set_up_right;
use crate::web::problem::busy;

/// `POST /sign-in`.
///
/// # Errors
/// 503 when the database fails. Mistakes in the form are shown on its page.
pub async fn sign_in(State(services): State<Services>, parts: Parts, mut form: Form) -> Result<Answer, ApiError> {
    let (email, password, next) = (form.take("email"), form.take("password"), form.take_path("next"));
    let held = HeldForm::read(&form.take("held_action"), &form.take("held_body"));
    let from = ClientAddress::of(&parts, &services.site).for_throttle();
    let session = session(&parts)?;
    let signed_in = async {
        let step = services.accounts.authenticator.sign_in(&email, password, from).await?;
        if let SignIn::Done(verified) = &step {
            begin_session(&session, verified).await?;
        }
        Ok(step)
    };
    let error = match signed_in.await {
        Ok(SignIn::Done(_)) => {
            return Ok(match held {
                Some(held) => held.page().into(),
                None => Answer::SeeOther(next.unwrap_or_else(|| HOME.to_owned())),
            });
        }
        Ok(SignIn::SecondStep(_)) => {
            ApiError::unauthenticated("This account needs a second factor, which this page cannot ask for.")
        }
        Err(SignInError::Wrong) => ApiError::unauthenticated("Email or password is wrong."),
        Err(SignInError::Disabled) => {
            ApiError::unauthenticated("This account is disabled. Ask an operator of this server to enable it.")
        }
        Err(error @ (SignInError::Throttled(_) | SignInError::Busy(_))) => error.into(),
        Err(error @ (SignInError::Store(_) | SignInError::Session(_))) => return Err(error.into()),
    };
    sign_in_page(&services, SignInForm { email, next, held, error: Some(error), ..SignInForm::default() }).await
}

/// `POST /setup`: creates the first account. With an account, it redirects to the sign-in page.
///
/// # Errors
/// 503 when the database fails; what is wrong with the form is said on its page.
pub async fn set_up(services: State<Services>, parts: Parts, form: Form) -> Result<Answer, ApiError> {
    if services.accounts.has_none().await? {
        register(services, parts, form).await
    } else {
        Ok(Answer::SeeOther(SIGN_IN.to_owned()))
    }
}

/// `POST /register`.
///
/// # Errors
/// 503 when the database fails. Mistakes in the form are shown on its page.
pub async fn register(State(services): State<Services>, parts: Parts, mut form: Form) -> Result<Answer, ApiError> {
    let (typed, password, token) = (form.take("email"), form.take("password"), form.take("set_up_token"));
    let mut errors = Vec::new();
    let email = EmailAddress::parse(&typed).map_err(|error| errors.push(FieldError::new("email", error)));
    let password = Password::new(password).map_err(|error| errors.push(FieldError::new("password", error)));
    let error = if let (Ok(email), Ok(password)) = (email, password) {
        let from = ClientAddress::of(&parts, &services.site).for_throttle();
        let token = Some(token.as_str()).filter(|token| !token.is_empty());
        match services.accounts.register(&email, password, set_up_right(&parts, &services.site, token), from).await {
            Ok(verified) => {
                begin_session(&session(&parts)?, &verified).await?;
                return Ok(Answer::SeeOther(HOME.to_owned()));
            }
            // `register_page` shows a page of its own for closed registration.
            Err(RegisterError::Closed) => ApiError::forbidden("Registration is closed."),
            Err(RegisterError::SetUpToken) => {
                ApiError::invalid_field("set_up_token", "is not the one that the server printed when it started")
            }
            Err(RegisterError::EmailTaken) => ApiError::invalid_field("email", EMAIL_TAKEN),
            Err(RegisterError::Throttled(seconds)) => ApiError::too_many_requests(seconds),
            Err(RegisterError::Busy(_)) => busy(),
            Err(RegisterError::Store(error)) => return Err(error.into()),
        }
    } else {
        ApiError::invalid_fields(errors)
    };
    register_page(&services, &parts, RegisterForm { email: typed, error: Some(error), ..RegisterForm::default() }).await
}

/// `POST /sign-out`: redirects to the path in the parameter `next`, or to the sign-in page.
///
/// # Errors
/// 503 when the database fails.
pub async fn sign_out(State(services): State<Services>, parts: Parts) -> Result<Answer, ApiError> {
    let credential = parts.extensions.get().unwrap_or(&Credential::None);
    end_sessions(&services, credential, &session(&parts)?).await?;
    Ok(Answer::SeeOther(next_path(&parts).unwrap_or_else(|| SIGN_IN.to_owned())))
}
