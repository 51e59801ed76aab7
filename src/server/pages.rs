//! The addresses of the dashboard's pages and forms, and how what they come to is answered.

use std::pin::Pin;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use super::health::Draining;
use super::{api_docs, assets};
use crate::app;
use crate::app::events::stream;
use crate::app::kit::Form;
use crate::app::links::key_in_address::address_without_key;
use crate::app::shell::Answer;
use crate::model::ApiError;
use crate::web::Services;

/// All pages and forms. Streams end when `draining` begins.
pub fn routes(draining: Draining) -> Router<Services> {
    // Leptos renders as tasks of the runtime that serves. Whoever was first to say so was right.
    let _already_said = any_spawner::Executor::init_tokio();
    let live = async move |State(services): State<Services>, mut parts: Parts| {
        // Not with a page: no person reads the answer.
        stream::live(&services, &mut parts, draining.begun()).await
    };
    Router::new()
        .route("/", get(async || Redirect::to("/keys")))
        .route("/keys", get(keys))
        .route("/keys/search", post(search))
        .route("/keys/{id}", get(key).post(edit_key))
        .route("/keys/{id}/enabled", post(enable_key))
        .route("/keys/{id}/revoke", post(revoke))
        .route("/cluster", get(cluster))
        .route("/events", get(events))
        .route("/events/live", get(live))
        .route("/events/retention", post(retention))
        .route("/events/search", post(search_events))
        .route("/events/{id}", get(event))
        .route("/events/{id}/body", get(event_body))
        .route("/sign-in", get(sign_in).post(post_sign_in))
        .route("/register", get(register).post(post_register))
        .route("/sign-out", post(sign_out))
        .route("/docs/api", get(docs))
}

/// Answers a request whose address contains a key string by a redirect to an address without it.
pub async fn without_keys(State(services): State<Services>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match address_without_key(&services, &mut parts).await {
        Ok(None) => next.run(Request::from_parts(parts, body)).await,
        Ok(Some(address)) => answer(&services, parts, Ok(Answer::SeeOther(address))).await,
        Err(error) => answer(&services, parts, Err(error)).await,
    }
}

/// What a form comes to. (Of an `AsyncFnOnce`, nothing says that its future is `Send`.)
type Handled<'a> = Pin<Box<dyn Future<Output = Result<Answer, ApiError>> + Send + 'a>>;

/// Answers a form. One that was sent when the session was over, or while the database is away, is held and can be sent
/// again.
async fn form(
    services: Services,
    request: Request,
    handle: impl for<'a> FnOnce(&'a Services, &'a mut Parts, Form) -> Handled<'a>,
) -> Response {
    let (form, mut parts) = match Form::read(request).await {
        Ok(read) => read,
        Err((error, parts)) => return answer(&services, parts, Err(error)).await,
    };
    let sent = form.clone();
    let outcome = match handle(&services, &mut parts, form).await {
        Err(error) if error.status == StatusCode::UNAUTHORIZED.as_u16() => {
            app::account::sign_in::sign_in_again(&services, sent.held(&parts)).await
        }
        Err(error) if error.status == StatusCode::SERVICE_UNAVAILABLE.as_u16() => {
            // The page of the error sends the form again: what was typed is not lost.
            if let Some(held) = sent.held(&parts) {
                parts.extensions.insert(held);
            }
            Err(error)
        }
        outcome => outcome,
    };
    answer(&services, parts, outcome).await
}

async fn search(State(services): State<Services>, request: Request) -> Response {
    form(services, request, |services, parts, form| Box::pin(app::keys::search::search(services, parts, "/keys", form)))
        .await
}

async fn search_events(State(services): State<Services>, request: Request) -> Response {
    form(services, request, |services, parts, form| {
        Box::pin(app::keys::search::search(services, parts, "/events", form))
    })
    .await
}

/// The page for an address that there is not.
pub async fn not_found(services: Services, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    if let Ok(Some(address)) = address_without_key(&services, &mut parts).await {
        return answer(&services, parts, Ok(Answer::SeeOther(address))).await;
    }
    answer(&services, parts, Err(ApiError::not_found("There is nothing at this address."))).await
}

async fn keys(State(services): State<Services>, mut parts: Parts) -> Response {
    let outcome = app::keys::list_page::keys(&services, &mut parts).await;
    answer(&services, parts, outcome).await
}

async fn key(State(services): State<Services>, Path(id): Path<String>, mut parts: Parts) -> Response {
    let outcome = app::keys::key_page::key(&services, &mut parts, &id).await;
    answer(&services, parts, outcome).await
}

async fn edit_key(State(services): State<Services>, Path(id): Path<String>, request: Request) -> Response {
    form(services, request, move |services, parts, form| {
        Box::pin(async move { app::keys::post::edit_key(services, parts, &id, form).await })
    })
    .await
}

async fn enable_key(State(services): State<Services>, Path(id): Path<String>, request: Request) -> Response {
    form(services, request, move |services, parts, form| {
        Box::pin(async move { app::keys::post::enable_key(services, parts, &id, form).await })
    })
    .await
}

async fn cluster(State(services): State<Services>, mut parts: Parts) -> Response {
    let outcome = app::server::cluster_page::cluster(&services, &mut parts).await;
    answer(&services, parts, outcome).await
}

async fn events(State(services): State<Services>, mut parts: Parts) -> Response {
    let outcome = app::events::list_page::events(&services, &mut parts).await;
    answer(&services, parts, outcome).await
}

async fn event(State(services): State<Services>, Path(id): Path<String>, mut parts: Parts) -> Response {
    let outcome = app::events::event_page::event(&services, &mut parts, &id).await;
    answer(&services, parts, outcome).await
}

async fn event_body(State(services): State<Services>, Path(id): Path<String>, mut parts: Parts) -> Response {
    match app::events::event_page::body(&services, &mut parts, &id).await {
        Ok(body) => body,
        Err(error) => answer(&services, parts, Err(error)).await,
    }
}

async fn sign_in(State(services): State<Services>, mut parts: Parts) -> Response {
    let outcome = app::account::sign_in::sign_in(&services, &mut parts).await;
    answer(&services, parts, outcome).await
}

async fn register(State(services): State<Services>, mut parts: Parts) -> Response {
    let outcome = app::account::register::register(&services, &mut parts).await;
    answer(&services, parts, outcome).await
}

async fn post_sign_in(State(services): State<Services>, request: Request) -> Response {
    form(services, request, |services, parts, form| Box::pin(app::account::post::sign_in(services, parts, form))).await
}

async fn post_register(State(services): State<Services>, request: Request) -> Response {
    form(services, request, |services, parts, form| Box::pin(app::account::post::register(services, parts, form))).await
}

async fn sign_out(State(services): State<Services>, parts: Parts) -> Response {
    let outcome = app::account::post::sign_out(&services, &parts).await;
    answer(&services, parts, outcome).await
}

async fn revoke(State(services): State<Services>, Path(id): Path<String>, request: Request) -> Response {
    form(services, request, move |services, parts, form| {
        Box::pin(async move { app::keys::post::revoke(services, parts, &id, form).await })
    })
    .await
}

async fn docs(State(services): State<Services>, mut parts: Parts) -> Response {
    let person = app::account::signed_in(&services, &mut parts).await.unwrap_or_default();
    let document = app::reference::page::api_docs(api_docs::json(), person, &parts);
    answer(&services, parts, Ok(document.into())).await
}

async fn retention(State(services): State<Services>, request: Request) -> Response {
    form(services, request, |services, parts, form| Box::pin(app::events::post::retention(services, parts, form))).await
}

/// Renders what a page or a form came to. Who is not signed in is sent to do that first.
async fn answer(services: &Services, mut parts: Parts, outcome: Result<Answer, ApiError>) -> Response {
    let document = match outcome {
        Ok(Answer::SeeOther(path)) => return Redirect::to(&path).into_response(),
        Ok(Answer::Page(document)) => document,
        Err(error) if error.status == StatusCode::UNAUTHORIZED.as_u16() => {
            return Redirect::to(&sign_in_first(&parts)).into_response();
        }
        Err(error) => {
            // Without the database, there is no frame.
            let person = app::account::signed_in(services, &mut parts).await.unwrap_or_default();
            if error.status == StatusCode::NOT_FOUND.as_u16() {
                app::kit::not_found(person, &parts)
            } else {
                app::kit::failed(&error, person, &parts, services.clock.now())
            }
        }
    };
    document.render(assets::leptos_options(), parts).await
}

/// The page for signing in, which leads back to the page that was asked for.
fn sign_in_first(parts: &Parts) -> String {
    let asked = parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str).filter(|path| *path != "/keys");
    match asked {
        Some(path) if parts.method == Method::GET => {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("next", path);
            format!("/sign-in?{}", query.finish())
        }
        _ => "/sign-in".to_owned(),
    }
}
