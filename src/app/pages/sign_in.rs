//! Signing in.

use axum::http::request::Parts;
use leptos::prelude::*;

use super::{is_signed_in, local_path};
use crate::api::Services;
use crate::app::parts::{Auth, EmailField, Notice, PasswordField};
use crate::app::shell::{Answer, Document};
use crate::model::ApiError;

/// What the form holds.
#[derive(Debug, Clone, Default)]
pub struct SignInForm {
    /// The address that was typed.
    pub email: String,
    /// Where to go from here.
    pub next: Option<String>,
    /// Why it did not work.
    pub error: Option<ApiError>,
}

/// `GET /sign-in`.
///
/// # Errors
/// 503 when the database fails.
pub async fn sign_in(services: &Services, parts: &mut Parts) -> Result<Answer, ApiError> {
    if is_signed_in(services, parts).await? {
        return Ok(super::start());
    }
    let next = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .find(|(name, _)| name == "next")
        .and_then(|(_, value)| local_path(&value).map(str::to_owned));
    sign_in_page(services, SignInForm { next, ..SignInForm::default() }).await
}

/// The page with a form in this state.
///
/// # Errors
/// 503 when the database fails.
pub async fn sign_in_page(services: &Services, form: SignInForm) -> Result<Answer, ApiError> {
    let register = if services.accounts.has_none().await? {
        Register::First
    } else if services.accounts.registration_is_open().await? {
        Register::Open
    } else {
        Register::Closed
    };
    let error = form.error.clone();
    let document = Document::new("Sign in", move || view! { <SignInPage form register/> });
    Ok(document.with_error(error.as_ref()).into())
}

/// Whether there is a way to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Register {
    /// Nobody has one yet.
    First,
    Open,
    Closed,
}

#[component]
fn SignInPage(form: SignInForm, register: Register) -> AnyView {
    let invalid = form.error.is_some();
    let described_by = invalid.then_some("form-error");
    let beside = move || match register {
        Register::Closed | Register::First => ().into_any(),
        Register::Open => {
            view! { <p class="auth-alt">"New here? " <a href="/register">"Create an account"</a></p> }.into_any()
        }
    };
    view! {
        <Auth title="Sign in" lead="To create, watch and revoke API keys." beside>
            {form.error.map(|error| view! { <Notice id="form-error" text=error.detail/> })}
            {(register == Register::First).then(|| view! { <Fresh/> })}
            <form class="form" method="post" action="/sign-in">
                {form.next.map(|next| view! { <input type="hidden" name="next" value=next/> })}
                <EmailField value=form.email invalid described_by/>
                <PasswordField autocomplete="current-password" invalid described_by/>
                <button class="button primary wide" type="submit">"Sign in"</button>
            </form>
        </Auth>
    }
    .into_any()
}

/// A server that was just started has nobody to sign in.
#[component]
fn Fresh() -> AnyView {
    view! {
        <p class="notice plain">
            <span>
                <strong>"This Latchkey has no account yet. "</strong>
                <a href="/register">"Create the first one"</a>
            </span>
        </p>
    }
    .into_any()
}
