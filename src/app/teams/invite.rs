//! The pages of an invitation's link.
//!
//! The link `/invite/{token}` stores the token in a cookie and redirects to `/invite`, the page that shows the
//! invitation. No address that follows contains the token, nor does any page or form.

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, REFERRER_POLICY, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect};
use leptos::prelude::*;

use super::words;
use crate::accounts::{Password, begin_session};
use crate::app::account::fields::PasswordField;
use crate::app::islands::icons::{ALERT, icon};
use crate::app::kit::{Auth, Bare, ErrorText, Flash, Form, Notice, session};
use crate::app::links::invited::OpenedInvitation;
use crate::app::links::organisation::OrganisationLink;
use crate::app::links::{INVITE, SIGN_IN, SIGN_OUT};
use crate::app::shell::{Answer, Document};
use crate::domain::Person;
use crate::model::ApiError;
use crate::teams::{AcceptError, Invited};
use crate::web::auth::SignedIn;
use crate::web::client_address::ClientAddress;
use crate::web::{Services, Site};

/// The policy of answers to an address with a token: no request that follows names it.
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

/// The state of the form.
#[derive(Default)]
struct Typed {
    /// The mistake of the password.
    password_error: Option<String>,
    /// The error of the form as a whole.
    failed: Option<ApiError>,
    /// Whether the form was for another invitation, which this browser opened before.
    is_other: bool,
}

/// `GET /invite/{token}`: redirects to the page of the invitation. A token without an invitation is a 404 page.
///
/// # Errors
/// 429 after too many attempts, 503 when the database fails.
pub async fn open(
    State(services): State<Services>,
    Path(token): Path<String>,
    parts: Parts,
) -> Result<Answer, ApiError> {
    let from = ClientAddress::of(&parts, &services.site).for_throttle();
    match services.teams.show_invitation(&token, from).await {
        Ok(_) => {}
        Err(AcceptError::NotFound) => return Ok(dead().with_header(REFERRER_POLICY, NO_REFERRER).into()),
        Err(error) => return Err(error.into()),
    }
    let mut response = Redirect::to(INVITE).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(REFERRER_POLICY, NO_REFERRER);
    let cookie = OpenedInvitation::set(&token, &services.site).ok_or_else(ApiError::internal)?;
    response.headers_mut().append(SET_COOKIE, cookie);
    Ok(Answer::Other(response))
}

/// `GET /invite`: the invitation that this browser opened. Without one, or when it is over, a 404 page.
///
/// # Errors
/// As [`open`].
pub async fn invite(
    State(services): State<Services>,
    signed_in: Option<SignedIn>,
    parts: Parts,
) -> Result<Answer, ApiError> {
    let from = ClientAddress::of(&parts, &services.site).for_throttle();
    let opened = opened(&parts);
    let Some(token) = opened.token() else { return Ok(dead().into()) };
    match services.teams.show_invitation(token, from).await {
        Ok(invited) => Ok(page(&services, &parts, invited, person(signed_in), Typed::default())),
        Err(AcceptError::NotFound) => Ok(gone(&services.site).into()),
        Err(error) => Err(error.into()),
    }
}

/// `POST /invite`: accepts the invitation, with the account of the session or with a new one.
///
/// # Errors
/// As [`open`]. A mistake in the password (400), an invitation that is for another address (403), and another one than
/// the form was for (409) are shown on the page.
pub async fn accept(
    State(services): State<Services>,
    signed_in: Option<SignedIn>,
    parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    let (id, password) = (form.take("invitation"), form.take("password"));
    let from = ClientAddress::of(&parts, &services.site).for_throttle();
    let person = person(signed_in);
    let opened = opened(&parts);
    let Some(token) = opened.token() else { return Ok(dead().into()) };
    let invited = match services.teams.show_invitation(token, from).await {
        Ok(invited) => invited,
        Err(AcceptError::NotFound) => return Ok(gone(&services.site).into()),
        Err(error) => return Err(error.into()),
    };
    if invited.id.to_string() != id {
        let typed = Typed { is_other: true, ..Typed::default() };
        return Ok(page(&services, &parts, invited, person, typed));
    }
    let accepted = match &person {
        Some(person) => services.teams.accept_as(person, &invited, token, from).await,
        None if invited.account.is_some() => Err(AcceptError::HasAccount),
        None => match Password::new(password) {
            Ok(password) => match services.teams.accept_with_password(&invited, token, password, from).await {
                Ok(verified) => {
                    begin_session(&session(&parts)?, &verified).await?;
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Err(error) => {
                let typed = Typed { password_error: Some(format!("It {error}.")), ..Typed::default() };
                return Ok(page(&services, &parts, invited, None, typed));
            }
        },
    };
    match accepted {
        Ok(()) => {
            let flash = Flash::success(words::joined(&invited.organisation_name), words::JOINED_DETAIL);
            let answer = flash.on_page(&parts, OrganisationLink(invited.organisation).href()).await?;
            Ok(without_invitation(answer, &services.site))
        }
        Err(AcceptError::NotFound) => Ok(gone(&services.site).into()),
        Err(error @ AcceptError::Store(_)) => Err(error.into()),
        // The page says why, and what to do.
        Err(AcceptError::HasAccount) => {
            let invited = services.teams.show_invitation(token, from).await?;
            let typed = Typed { failed: Some(ApiError::unauthenticated(words::HAS_ACCOUNT)), ..Typed::default() };
            Ok(page(&services, &parts, invited, None, typed))
        }
        Err(error) => {
            let typed = Typed { failed: Some(error.into()), ..Typed::default() };
            Ok(page(&services, &parts, invited, person, typed))
        }
    }
}

fn opened(parts: &Parts) -> OpenedInvitation {
    parts.extensions.get().cloned().unwrap_or_default()
}

/// Returns the person of a session. An access token, which is bound to one organisation, joins no other.
fn person(signed_in: Option<SignedIn>) -> Option<Person> {
    signed_in.map(|SignedIn(person)| person).filter(|person| person.bound_to.is_none())
}

/// Removes the cookie with the token.
fn without_invitation(answer: Answer, site: &Site) -> Answer {
    match answer {
        Answer::SeeOther(path) => {
            let mut response = Redirect::to(&path).into_response();
            response.headers_mut().extend(OpenedInvitation::clear(site).map(|cookie| (SET_COOKIE, cookie)));
            Answer::Other(response)
        }
        other => other,
    }
}

/// The page of a token without an invitation, which the browser forgets.
fn gone(site: &Site) -> Document {
    match OpenedInvitation::clear(site) {
        Some(cookie) => dead().with_header(SET_COOKIE, cookie),
        None => dead(),
    }
}

/// The page of a link without an invitation.
fn dead() -> Document {
    let view = || {
        view! {
            <Bare>
                <div class="message-page">
                    <p class="code">"404"</p>
                    <h1>{words::DEAD_TITLE}</h1>
                    <div class="bitting" aria-hidden="true"></div>
                    <p>{words::DEAD_WHY}</p>
                    <p>{words::DEAD_NEXT}</p>
                    <div class="actions"><a class="button primary" href=SIGN_IN>{words::DEAD_HOME}</a></div>
                </div>
            </Bare>
        }
    };
    Document::new(words::DEAD_TITLE, view).with_status(StatusCode::NOT_FOUND)
}

fn page(services: &Services, parts: &Parts, invited: Invited, person: Option<Person>, typed: Typed) -> Answer {
    let unknown_host = services.site.unknown_host(&parts.headers).map(str::to_owned);
    let failed = typed.failed.clone();
    let status = match (&typed.password_error, typed.is_other) {
        (Some(_), _) => StatusCode::BAD_REQUEST,
        (None, true) => StatusCode::CONFLICT,
        _ => StatusCode::OK,
    };
    let view = move || view! { <InvitePage invited person typed unknown_host/> };
    Document::new(words::INVITED, view).with_status(status).with_error(failed.as_ref()).into()
}

#[component]
fn InvitePage(
    invited: Invited,
    #[prop(optional_no_strip)] person: Option<Person>,
    typed: Typed,
    #[prop(optional_no_strip)] unknown_host: Option<String>,
) -> AnyView {
    let is_invited = person.as_ref().is_some_and(|person| person.email == invited.email);
    let form = match person {
        Some(_) if is_invited => view! { <JoinForm id=invited.id.to_string() button=words::JOIN/> }.into_any(),
        Some(person) => view! { <OtherAddress email=person.email/> }.into_any(),
        None if invited.account.is_some() => view! {
            <p>{words::HAS_ACCOUNT}</p>
            <a class="button primary wide" href=format!("{SIGN_IN}?next={INVITE}")>{words::SIGN_IN_TO_JOIN}</a>
        }
        .into_any(),
        None => {
            let (error, email) = (typed.password_error, invited.email.clone());
            view! {
                <JoinForm id=invited.id.to_string() button=words::JOIN_AS_NEW>
                    // For password managers.
                    <input type="hidden" name="email" value=email autocomplete="username"/>
                    <PasswordField
                        autocomplete="new-password"
                        invalid=error.is_some()
                        described_by=Some("password-hint password-error")
                    >
                        <p class="hint" id="password-hint">{words::password_hint()}</p>
                        <ErrorText id="password-error" text=error/>
                    </PasswordField>
                </JoinForm>
            }
            .into_any()
        }
    };
    let failed = typed.failed.map(|error| view! { <Notice id="form-error" text=error.detail/> });
    let other = typed.is_other.then(|| view! { <Notice id="other" text=words::OTHER_INVITATION.to_owned()/> });
    view! {
        <Auth title=words::INVITED lead=words::INVITED_LEAD unknown_host beside=|| ()>
            {failed}
            {other}
            <dl class="facts invited">
                <dt>{words::ORGANISATION}</dt>
                <dd><strong><bdi>{invited.organisation_name}</bdi></strong></dd>
                <dt>{words::ROLE}</dt>
                <dd>{words::role(invited.role)} ": " {words::role_what(invited.role)}</dd>
                <dt>{words::ADDRESS}</dt>
                <dd><bdi>{invited.email}</bdi></dd>
            </dl>
            {form}
        </Auth>
    }
    .into_any()
}

/// The form that accepts. `id` is the invitation that the page shows.
#[component]
fn JoinForm(id: String, button: &'static str, #[prop(optional)] children: Option<Children>) -> AnyView {
    view! {
        <form class="form" method="post" action=INVITE>
            <input type="hidden" name="invitation" value=id autocomplete="off"/>
            {children.map(|children| children())}
            <button class="button primary wide" type="submit">{button}</button>
        </form>
    }
    .into_any()
}

#[component]
fn OtherAddress(email: String) -> AnyView {
    view! {
        <p class="notice plain" role="status">
            {icon(ALERT)}
            <span>{words::OTHER_ADDRESS} <strong><bdi>{email}</bdi></strong> {words::OTHER_ADDRESS_NEXT}</span>
        </p>
        <form method="post" action=format!("{SIGN_OUT}?next={INVITE}")>
            <button class="button primary wide" type="submit">{words::SIGN_OUT}</button>
        </form>
    }
    .into_any()
}
