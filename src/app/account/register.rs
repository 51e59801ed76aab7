//! The registration page.

use axum::extract::State;
use axum::http::request::Parts;
use leptos::prelude::*;

use super::fields::{EmailField, PasswordField};
use crate::accounts::Password;
use crate::app::kit::{Auth, ErrorText, Notice, registration_closed};
use crate::app::links::{HOME, REGISTER, SET_UP, SIGN_IN};
use crate::app::shell::{Answer, Document};
use crate::model::ApiError;
use crate::web::Services;
use crate::web::auth::SignedIn;
use crate::web::local::set_up_right;

/// The message of the email field for a taken address; the page shows a sentence of its own for it.
pub const EMAIL_TAKEN: &str = "already has an account";

/// The state of the form.
#[derive(Debug, Clone, Default)]
pub struct RegisterForm {
    /// The submitted email address.
    pub email: String,
    /// The host name in the address bar, if the server refuses forms under that name.
    pub unknown_host: Option<String>,
    /// The error. Mistakes of single fields are in its `errors`.
    pub error: Option<ApiError>,
}

impl RegisterForm {
    fn error_of(&self, field: &str) -> Option<String> {
        let errors = self.error.iter().flat_map(|error| &error.errors);
        let mut of_field = errors.filter(|error| error.field == field);
        of_field.next().map(|error| match error.message.as_str() {
            EMAIL_TAKEN => "This email already has an account. Sign in instead.".to_owned(),
            message => format!("It {message}."),
        })
    }

    /// The error of the form as a whole.
    fn general(&self) -> Option<String> {
        self.error.as_ref().filter(|error| error.errors.is_empty()).map(|error| error.detail.clone())
    }
}

/// `GET /register`, `GET /setup`: the page is `/setup` while the server has no account.
///
/// # Errors
/// 503 when the database fails.
pub async fn register(
    State(services): State<Services>,
    signed_in: Option<SignedIn>,
    parts: Parts,
) -> Result<Answer, ApiError> {
    if signed_in.is_some() {
        return Ok(Answer::SeeOther(HOME.to_owned()));
    }
    let other = match (services.accounts.has_none().await?, parts.uri.path() == SET_UP) {
        (true, false) => Some(SET_UP),
        (false, true) => Some(SIGN_IN),
        _ => None,
    };
    if let Some(other) = other {
        return Ok(Answer::SeeOther(other.to_owned()));
    }
    let unknown_host = services.site.unknown_host(&parts.headers).map(str::to_owned);
    register_page(&services, &parts, RegisterForm { unknown_host, ..RegisterForm::default() }).await
}

/// Renders the page with a form in this state.
///
/// # Errors
/// 503 when the database fails.
pub async fn register_page(services: &Services, parts: &Parts, form: RegisterForm) -> Result<Answer, ApiError> {
    if !services.accounts.registration_is_open().await? {
        return Ok(registration_closed().into());
    }
    let is_first = services.accounts.has_none().await?;
    let needs_token = services.accounts.lacks_set_up_token(set_up_right(parts, &services.site, None));
    let error = form.error.clone();
    let title = if is_first { "Set up" } else { "Create an account" };
    let document = Document::new(title, move || view! { <RegisterPage form is_first needs_token/> });
    Ok(document.with_error(error.as_ref()).into())
}

#[component]
fn RegisterPage(form: RegisterForm, is_first: bool, needs_token: bool) -> AnyView {
    let (title, action) = if is_first {
        ("Welcome. Create the owner account of this server.", SET_UP)
    } else {
        ("Create an account", REGISTER)
    };
    let lead = "You get an organisation with a live and a test environment.";
    let beside = move || {
        (!is_first).then(|| view! { <p class="auth-alt">"Already have an account? " <a href=SIGN_IN>"Sign in"</a></p> })
    };
    let (email_error, password_error, token_error) =
        (form.error_of("email"), form.error_of("password"), form.error_of("set_up_token"));
    view! {
        <Auth title lead unknown_host=form.unknown_host.clone() beside>
            {form.general().map(|text| view! { <Notice id="form-error" text/> })}
            <form class="form" method="post" action=action>
                <EmailField value=form.email invalid=email_error.is_some() described_by=Some("email-error")>
                    <ErrorText id="email-error" text=email_error/>
                </EmailField>
                <PasswordField
                    autocomplete="new-password"
                    invalid=password_error.is_some()
                    described_by=Some("password-hint password-error")
                >
                    <p class="hint" id="password-hint">
                        {format!("{} to {} characters. A sentence is fine.", Password::MIN_CHARS, Password::MAX_CHARS)}
                    </p>
                    <ErrorText id="password-error" text=password_error/>
                </PasswordField>
                {needs_token.then(|| view! { <TokenField error=token_error/> })}
                <button class="button primary wide" type="submit">"Create account"</button>
            </form>
        </Auth>
    }
    .into_any()
}

#[component]
fn TokenField(#[prop(optional_no_strip)] error: Option<String>) -> AnyView {
    view! {
        <div class="field">
            <label for="set-up-token">"Set-up token"</label>
            <input
                class="input mono"
                id="set-up-token"
                name="set_up_token"
                type="text"
                autocomplete="off"
                autocapitalize="none"
                spellcheck="false"
                required
                aria-invalid=error.as_ref().map(|_| "true")
                aria-describedby="set-up-hint set-up-error"
            />
            <p class="hint" id="set-up-hint">
                "Latchkey printed it to standard output when it started. Look in its terminal, in "
                <code>"docker logs"</code> " or in " <code>"journalctl"</code> "."
            </p>
            <ErrorText id="set-up-error" text=error/>
        </div>
    }
    .into_any()
}
