//! Message pages: not found, errors, registration closed.

use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{Method, StatusCode};
use leptos::prelude::*;

use super::{Bare, Exact, Frame, Framed, HeldForm};
use crate::app::links::{HOME, SIGN_IN, local_path};
use crate::app::shell::Document;
use crate::model::{ApiError, Timestamp};
use crate::web::observe::REQUEST_ID;

/// The 404 page, in the frame of the signed-in person if there is one.
pub fn not_found(frame: Option<Frame>, parts: &Parts, now: Timestamp) -> Document {
    let facts = facts(parts, now);
    let view = move || {
        view! {
            <Framed frame>
                <div class="message-page">
                    <p class="code">"404"</p>
                    <h1>"This page does not exist"</h1>
                    <div class="bitting" aria-hidden="true"></div>
                    <p>"The address may be mistyped, or it belongs to an organisation that you are not a member of."</p>
                    {facts}
                    <div class="actions"><a class="button primary" href=HOME>"Go to API keys"</a></div>
                </div>
            </Framed>
        }
    };
    Document::new("Not found", view).with_status(StatusCode::NOT_FOUND)
}

/// The id of the request, which is in the log, and the time.
fn facts(parts: &Parts, now: Timestamp) -> AnyView {
    let id = parts.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    view! {
        <dl class="facts">
            {id.map(|id| view! { <dt>"Request"</dt><dd><code>{id}</code></dd> })}
            <dt>"Time"</dt>
            <dd><Exact at=now/></dd>
        </dl>
    }
    .into_any()
}

/// The page of any other error. A held form can be sent again.
pub fn failed(error: &ApiError, frame: Option<Frame>, parts: &Parts, now: Timestamp) -> Document {
    let facts = facts(parts, now);
    let status = crate::web::problem::status(error);
    let is_read = parts.method == Method::GET;
    let held = parts.extensions.get::<HeldForm>().cloned();
    let (title, text) = match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            let text = if is_read {
                "The server does not reach its database. Nothing was changed. Try again in a moment.".to_owned()
            } else {
                // The change may have been stored in spite of the error.
                let kept = if held.is_some() { " What you entered is kept on this page: send it again." } else { "" };
                format!("{}{kept}", error.detail)
            };
            ("Latchkey cannot answer right now", text)
        }
        status if status.is_server_error() => (
            "Something went wrong",
            "Try again in a moment. If the error stays, give this request id to the operator of this server, whose log \
             has the details."
                .to_owned(),
        ),
        StatusCode::FORBIDDEN => ("This is not allowed", error.detail.clone()),
        _ => ("This request cannot be used", error.detail.clone()),
    };
    let address = parts.uri.path_and_query().map(PathAndQuery::as_str).and_then(local_path);
    let again = address.filter(|_| is_read).map(str::to_owned);
    let view = move || {
        view! {
            <Framed frame>
                <div class="message-page">
                    <p class="code">{status.as_u16()}</p>
                    <h1>{title}</h1>
                    <div class="bitting" aria-hidden="true"></div>
                    <p>{text}</p>
                    {facts}
                    <div class="actions">
                        {held.map(HeldForm::button)}
                        {again.map(|path| view! { <a class="button primary" href=path>"Try again"</a> })}
                        <a class="button" href=HOME>"Go to API keys"</a>
                    </div>
                </div>
            </Framed>
        }
    };
    Document::new(title, view).with_error(Some(error))
}

/// The page for a server with closed registration.
pub fn registration_closed() -> Document {
    let view = || {
        view! {
            <Bare>
                <div class="message-page">
                    <div class="bitting" aria-hidden="true"></div>
                    <h1>"Registration is closed"</h1>
                    <p>
                        "The operator of this server adds accounts with " <code>"latchkey user add"</code>
                        ". With an account, sign in."
                    </p>
                    <div class="actions"><a class="button primary" href=SIGN_IN>"Sign in"</a></div>
                </div>
            </Bare>
        }
    };
    Document::new("Registration is closed", view).with_status(StatusCode::FORBIDDEN)
}
