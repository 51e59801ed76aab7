//! The routes of the dashboard's pages and forms.

use axum::Router;
use axum::extract::State;
use axum::http::request::Parts;
use axum::routing::{MethodFilter, get};

use super::api_docs;
use super::page_handler::{form, page, page_on};
use crate::app::kit::Frame;
use crate::app::links::accounts::ACCOUNTS;
use crate::app::links::{INVITE, NEW_ORGANISATION, REFERENCE, REGISTER, SERVER, SET_UP, SIGN_IN, SIGN_OUT, moved};
use crate::app::shell::Answer;
use crate::app::{account, events, keys, reference, server, teams};
use crate::model::ApiError;
use crate::web::Services;
use crate::web::auth::SignedIn;

/// Returns the routes of all pages and forms.
pub fn routes() -> Router<Services> {
    // Leptos renders as tasks of this runtime. The first call sets the runtime, and further calls fail.
    let _already_set = any_spawner::Executor::init_tokio();
    Router::new()
        .route("/", page(moved::home))
        .route("/o/{organisation}", page(moved::beginning))
        .merge(of_environment())
        .merge(of_organisation())
        .merge(of_earlier_releases())
        .route(SERVER, page(server::cluster_page::server))
        .route(ACCOUNTS, page(server::accounts_page::accounts).merge(form(server::post::change_account)))
        .route(SIGN_IN, page(account::sign_in::sign_in).merge(form(account::post::sign_in)))
        .route(SET_UP, page(account::register::register).merge(form(account::post::set_up)))
        .route(REGISTER, page(account::register::register).merge(form(account::post::register)))
        .route(NEW_ORGANISATION, page(teams::new::new).merge(form(teams::new::create)))
        .route(INVITE, page(teams::invite::invite).merge(form(teams::invite::accept)))
        .route("/invite/{token}", page(teams::invite::open))
        .route(SIGN_OUT, page_on(MethodFilter::POST, account::post::sign_out))
        .route(REFERENCE, page(docs))
}

/// Returns the routes of an environment. Settings belong to the organisation: `/o/{organisation}/settings/…`.
fn of_environment() -> Router<Services> {
    // `nest` would remove the place from the path that handlers read.
    let at = |page: &str| format!("/o/{{organisation}}/{{environment}}{page}");
    Router::new()
        .route(&at(""), page(moved::beginning))
        .route(&at("/"), page(moved::beginning))
        .route(&at("/keys"), page(keys::list_page::keys))
        .route(&at("/keys/search"), form(keys::search::search))
        .route(&at("/keys/{id}"), page(keys::key_page::key).merge(form(keys::post::edit_key)))
        .route(&at("/keys/{id}/enabled"), form(keys::post::enable_key))
        .route(&at("/keys/{id}/revoke"), form(keys::post::revoke))
        .route(&at("/events"), page(events::list_page::events))
        // A plain handler: only a script reads its errors.
        .route(&at("/events/live"), get(events::stream::live))
        .route(&at("/events/search"), form(keys::search::search))
        .route(&at("/events/{id}"), page(events::event_page::event))
        .route(&at("/events/{id}/body"), page(events::event_page::body))
}

/// Returns the routes of an organisation's settings.
fn of_organisation() -> Router<Services> {
    let at = |page: &str| format!("/o/{{organisation}}/settings{page}");
    Router::new()
        .route(&at(""), page(teams::general::general).merge(form(teams::general::rename)))
        .route(&at("/delete"), form(teams::general::delete))
        .route(&at("/members"), page(teams::members::members))
        .route(&at("/members/{user}/role"), form(teams::members_post::change_role))
        .route(&at("/members/{user}/remove"), form(teams::members_post::remove))
        .route(&at("/invitations"), page(teams::invitations::invitations).merge(form(teams::invitations::create)))
        .route(&at("/invitations/{id}/delete"), form(teams::invitations::delete))
        .route(&at("/environments"), page(teams::environments::environments).merge(form(teams::environments::create)))
        .route(&at("/environments/{id}"), page(teams::environment::environment).merge(form(teams::environment::rename)))
        .route(&at("/environments/{id}/archive"), form(teams::environment::archive))
        .route(&at("/environments/{id}/retention"), form(teams::retention_post::retention))
}

/// Returns the redirects from the addresses of earlier releases. Forms have new addresses only.
fn of_earlier_releases() -> Router<Services> {
    Router::new()
        .route("/keys", page(moved::list))
        .route("/keys/{id}", page(moved::key))
        .route("/events", page(moved::list))
        .route("/events/{id}", page(moved::event))
        .route("/events/{id}/body", page(moved::event))
        .route("/cluster", page(moved::cluster))
}

/// `GET /docs/api`: works without the database, and then has no frame.
async fn docs(
    State(services): State<Services>,
    signed_in: Result<Option<SignedIn>, ApiError>,
    parts: Parts,
) -> Result<Answer, ApiError> {
    let frame = signed_in.unwrap_or_default().map(|SignedIn(person)| Frame::of(person, &parts));
    let origin = keys::list_page::origin(&services, &parts);
    Ok(reference::page::api_docs(api_docs::json(), frame, parts.uri.query(), origin).into())
}
