//! The page that creates an organisation.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use leptos::prelude::*;

use super::parts::{NameField, name, refusal};
use super::words;
use crate::app::kit::{Flash, Form, Frame, Notice, Page, Section, Toasts, take_flash};
use crate::app::links::NEW_ORGANISATION;
use crate::app::links::organisation::OrganisationLink;
use crate::app::shell::{Answer, Document};
use crate::model::ApiError;
use crate::web::Services;
use crate::web::auth::InSession;

/// The state of the form.
#[derive(Default)]
struct Typed {
    name: String,
    /// The mistake of the name.
    error: Option<String>,
    /// The error of the form as a whole.
    failed: Option<String>,
}

/// `GET /organisations/new`.
///
/// # Errors
/// 401 without a session, 503 when the database fails.
pub async fn new(InSession(person): InSession, parts: Parts) -> Result<Answer, ApiError> {
    page(&parts, Frame::of(person, &parts), Typed::default(), StatusCode::OK).await
}

/// `POST /organisations/new`.
///
/// # Errors
/// As [`new`]; a mistake (400), and an organisation too many (409), are shown on the page.
pub async fn create(
    State(services): State<Services>,
    InSession(person): InSession,
    parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    let text = form.take("name");
    let frame = Frame::of(person.clone(), &parts);
    let new = match name(&text) {
        Ok(new) => new,
        Err(error) => {
            let typed = Typed { name: text, error: Some(error), failed: None };
            return page(&parts, frame, typed, StatusCode::BAD_REQUEST).await;
        }
    };
    match services.teams.create(&person, &new).await {
        Ok(made) => {
            let flash = Flash::success(words::organisation_created(&made.name), words::ORGANISATION_CREATED_DETAIL);
            flash.on_page(&parts, OrganisationLink(made.organisation).href()).await
        }
        Err(error) => {
            let typed = Typed { name: text, error: None, failed: Some(refusal(error)?) };
            page(&parts, frame, typed, StatusCode::CONFLICT).await
        }
    }
}

async fn page(parts: &Parts, frame: Frame, typed: Typed, status: StatusCode) -> Result<Answer, ApiError> {
    let flash = take_flash(parts).await?;
    Ok(Document::new(words::NEW_TITLE, move || view! { <New frame typed flash/> }).with_status(status).into())
}

#[component]
fn New(frame: Frame, typed: Typed, flash: Option<Flash>) -> AnyView {
    let email = frame.person.email.clone();
    let lead = if frame.person.memberships.is_empty() {
        view! { <strong>{words::NEW_NONE}</strong> {words::NEW_NONE_LEAD} <strong><bdi>{email}</bdi></strong> "." }
            .into_any()
    } else {
        words::NEW_LEAD.into_any()
    };
    view! {
        <Page frame section=Section::Elsewhere>
            <div class="page-head"><div><h1>{words::NEW_TITLE}</h1><p class="lead">{lead}</p></div></div>
            <div class="settings">
                <section class="card" aria-label=words::NEW_TITLE>
                    {typed.failed.map(|text| view! { <Notice id="form-error" text/> })}
                    <form class="form" method="post" action=NEW_ORGANISATION data-guard="">
                        <NameField typed=typed.name error=typed.error focus=true/>
                        <p class="hint">{words::NEW_ENVIRONMENTS}</p>
                        <div class="buttons"><button class="button primary" type="submit">{words::CREATE_ORGANISATION}</button></div>
                    </form>
                </section>
            </div>
        </Page>
        <Toasts flash here=NEW_ORGANISATION.to_owned()/>
    }
    .into_any()
}
