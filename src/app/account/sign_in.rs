//! The sign-in page.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use leptos::prelude::*;

use super::fields::{EmailField, PasswordField};
use crate::app::islands::icons::{ALERT, icon};
use crate::app::kit::{Auth, HeldForm, Notice};
use crate::app::links::{HOME, REGISTER, SET_UP, SIGN_IN, local_path};
use crate::app::shell::{Answer, Document};
use crate::model::ApiError;
use crate::web::Services;
use crate::web::auth::SignedIn;

/// The state of the form.
#[derive(Debug, Clone, Default)]
pub struct SignInForm {
    /// The submitted email address.
    pub email: String,
    /// The path to open after sign-in.
    pub next: Option<String>,
    /// A form that was sent after the session had ended.
    pub held: Option<HeldForm>,
    /// The host name in the address bar, if the server refuses forms under that name.
    pub unknown_host: Option<String>,
    /// The error of the last attempt.
    pub error: Option<ApiError>,
}

/// `GET /sign-in`.
///
/// # Errors
/// 503 when the database fails.
pub async fn sign_in(
    State(services): State<Services>,
    signed_in: Option<SignedIn>,
    parts: Parts,
) -> Result<Answer, ApiError> {
    if signed_in.is_some() {
        return Ok(Answer::SeeOther(HOME.to_owned()));
    }
    if services.accounts.has_none().await? {
        return Ok(Answer::SeeOther(SET_UP.to_owned()));
    }
    let next = next_path(&parts);
    let unknown_host = services.site.unknown_host(&parts.headers).map(str::to_owned);
    sign_in_page(&services, SignInForm { next, unknown_host, ..SignInForm::default() }).await
}

/// Returns the path of this server in the parameter `next`.
pub fn next_path(parts: &Parts) -> Option<String> {
    form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .find(|(name, _)| name == "next")
        .and_then(|(_, value)| local_path(&value).map(str::to_owned))
}

/// Answers a form that was sent after the session had ended: the sign-in page with the held form. Without a form,
/// redirects to the sign-in page.
///
/// # Errors
/// 503 when the database fails.
pub async fn sign_in_again(services: &Services, held: Option<HeldForm>) -> Result<Answer, ApiError> {
    if held.is_none() {
        return Ok(Answer::SeeOther(SIGN_IN.to_owned()));
    }
    let page = sign_in_page(services, SignInForm { held, ..SignInForm::default() }).await?;
    Ok(match page {
        Answer::Page(document) => document.with_status(StatusCode::UNAUTHORIZED).into(),
        other => other,
    })
}

/// Renders the page with a form in this state.
///
/// # Errors
/// 503 when the database fails.
pub async fn sign_in_page(services: &Services, form: SignInForm) -> Result<Answer, ApiError> {
    let may_register = services.accounts.registration_is_open().await?;
    let error = form.error.clone();
    let document = Document::new("Sign in", move || view! { <SignInPage form may_register/> });
    Ok(document.with_error(error.as_ref()).into())
}

#[component]
fn SignInPage(form: SignInForm, may_register: bool) -> AnyView {
    let invalid = form.error.is_some();
    let described_by = invalid.then_some("form-error");
    let first = if form.held.is_some() {
        Some("Your session is over, and nothing was changed. Sign in: then you can send your form again.")
    } else {
        form.next.is_some().then_some("Sign in to open the page that you asked for.")
    };
    let beside = move || {
        may_register.then(|| view! { <p class="auth-alt">"New here? " <a href=REGISTER>"Create an account"</a></p> })
    };
    view! {
        <Auth title="Sign in" lead="To create, watch and revoke API keys." unknown_host=form.unknown_host beside>
            {form.error.map(|error| view! { <Notice id="form-error" text=error.detail/> })}
            {first.map(|text| view! { <p class="notice plain" role="status">{icon(ALERT)} <span>{text}</span></p> })}
            <form class="form" method="post" action=SIGN_IN>
                {form.held.map(|held| held.as_fields())}
                {form.next.map(|next| view! { <input type="hidden" name="next" value=next/> })}
                <EmailField value=form.email invalid described_by/>
                <PasswordField autocomplete="current-password" invalid described_by/>
                <button class="button primary wide" type="submit">"Sign in"</button>
            </form>
        </Auth>
    }
    .into_any()
}
