//! The routes of the dashboard's pages and forms.

use axum::Router;
use axum::http::request::Parts;
use axum::response::Redirect;
use axum::routing::{MethodFilter, get};

use super::api_docs;
use super::page_handler::{form, page, page_on};
use crate::app::shell::Answer;
use crate::app::{account, events, keys, reference, server};
use crate::model::ApiError;
use crate::web::Services;
use crate::web::auth::SignedIn;

/// Returns the routes of all pages and forms.
pub fn routes() -> Router<Services> {
    // Leptos renders as tasks of this runtime. The first call sets the runtime, and further calls fail.
    let _already_set = any_spawner::Executor::init_tokio();
    Router::new()
        .route("/", get(async || Redirect::to("/keys")))
        .route("/keys", page(keys::list_page::keys))
        .route("/keys/search", form(keys::search::search))
        .route("/keys/{id}", page(keys::key_page::key).merge(form(keys::post::edit_key)))
        .route("/keys/{id}/enabled", form(keys::post::enable_key))
        .route("/keys/{id}/revoke", form(keys::post::revoke))
        .route("/cluster", page(server::cluster_page::cluster))
        .route("/events", page(events::list_page::events))
        // A plain handler: only a script reads its errors.
        .route("/events/live", get(events::stream::live))
        .route("/events/retention", form(events::post::retention))
        .route("/events/search", form(keys::search::search))
        .route("/events/{id}", page(events::event_page::event))
        .route("/events/{id}/body", page(events::event_page::body))
        .route("/sign-in", page(account::sign_in::sign_in).merge(form(account::post::sign_in)))
        .route("/register", page(account::register::register).merge(form(account::post::register)))
        .route("/sign-out", page_on(MethodFilter::POST, account::post::sign_out))
        .route("/docs/api", page(docs))
}

/// `GET /docs/api`: works without the database, and then has no frame.
async fn docs(signed_in: Result<Option<SignedIn>, ApiError>, parts: Parts) -> Result<Answer, ApiError> {
    let person = signed_in.unwrap_or_default().map(|SignedIn(person)| person);
    Ok(reference::page::api_docs(api_docs::json(), person, &parts).into())
}
