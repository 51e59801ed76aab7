//! The addresses of the dashboard's pages and forms, and how what they come to is answered.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use super::health::Draining;
use super::{api_docs, assets};
use crate::api::Services;
use crate::app::forms::{self, Form};
use crate::app::live;
use crate::app::pages;
use crate::app::shell::Answer;
use crate::model::ApiError;

/// All pages and forms. Streams end when `draining` begins.
pub fn routes(draining: Draining) -> Router<Services> {
    // Leptos renders as tasks of the runtime that serves. Whoever was first to say so was right.
    let _already_said = any_spawner::Executor::init_tokio();
    let live = async move |State(services): State<Services>, mut parts: Parts| {
        // Not with a page: no person reads the answer.
        live::live(&services, &mut parts, draining.begun()).await
    };
    Router::new()
        .route("/", get(async || Redirect::to("/keys")))
        .route("/keys", get(keys))
        .route("/keys/{id}", get(key).post(edit_key))
        .route("/keys/{id}/enabled", post(enable_key))
        .route("/keys/{id}/revoke", post(revoke))
        .route("/cluster", get(cluster))
        .route("/events", get(events))
        .route("/events/live", get(live))
        .route("/events/retention", post(retention))
        .route("/events/{id}", get(event))
        .route("/events/{id}/body", get(event_body))
        .route("/sign-in", get(sign_in).post(post_sign_in))
        .route("/register", get(register).post(post_register))
        .route("/sign-out", post(sign_out))
        .route("/docs/api", get(docs))
}

/// The page for an address that there is not.
pub async fn not_found(services: Services, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    answer(&services, parts, Err(ApiError::not_found("There is nothing at this address."))).await
}

async fn keys(State(services): State<Services>, mut parts: Parts) -> Response {
    let outcome = pages::keys(&services, &mut parts).await;
    answer(&services, parts, outcome).await
}

async fn key(State(services): State<Services>, Path(id): Path<String>, mut parts: Parts) -> Response {
    let outcome = pages::key(&services, &mut parts, &id).await;
    answer(&services, parts, outcome).await
}

async fn edit_key(State(services): State<Services>, Path(id): Path<String>, request: Request) -> Response {
    match Form::read(request).await {
        Ok((form, mut parts)) => {
            let outcome = forms::edit_key(&services, &mut parts, &id, form).await;
            answer(&services, parts, outcome).await
        }
        Err((error, parts)) => answer(&services, parts, Err(error)).await,
    }
}

async fn enable_key(State(services): State<Services>, Path(id): Path<String>, request: Request) -> Response {
    match Form::read(request).await {
        Ok((form, mut parts)) => {
            let outcome = forms::enable_key(&services, &mut parts, &id, form).await;
            answer(&services, parts, outcome).await
        }
        Err((error, parts)) => answer(&services, parts, Err(error)).await,
    }
}

async fn cluster(State(services): State<Services>, mut parts: Parts) -> Response {
    let outcome = pages::cluster(&services, &mut parts).await;
    answer(&services, parts, outcome).await
}

async fn events(State(services): State<Services>, mut parts: Parts) -> Response {
    let outcome = pages::events(&services, &mut parts).await;
    answer(&services, parts, outcome).await
}

async fn event(State(services): State<Services>, Path(id): Path<String>, mut parts: Parts) -> Response {
    let outcome = pages::event(&services, &mut parts, &id).await;
    answer(&services, parts, outcome).await
}

async fn event_body(State(services): State<Services>, Path(id): Path<String>, mut parts: Parts) -> Response {
    match pages::body(&services, &mut parts, &id).await {
        Ok(body) => body,
        Err(error) => answer(&services, parts, Err(error)).await,
    }
}

async fn sign_in(State(services): State<Services>, mut parts: Parts) -> Response {
    let outcome = pages::sign_in(&services, &mut parts).await;
    answer(&services, parts, outcome).await
}

async fn register(State(services): State<Services>, mut parts: Parts) -> Response {
    let outcome = pages::register(&services, &mut parts).await;
    answer(&services, parts, outcome).await
}

async fn post_sign_in(State(services): State<Services>, request: Request) -> Response {
    match Form::read(request).await {
        Ok((form, parts)) => {
            let outcome = forms::sign_in(&services, &parts, form).await;
            answer(&services, parts, outcome).await
        }
        Err((error, parts)) => answer(&services, parts, Err(error)).await,
    }
}

async fn post_register(State(services): State<Services>, request: Request) -> Response {
    match Form::read(request).await {
        Ok((form, parts)) => {
            let outcome = forms::register(&services, &parts, form).await;
            answer(&services, parts, outcome).await
        }
        Err((error, parts)) => answer(&services, parts, Err(error)).await,
    }
}

async fn sign_out(State(services): State<Services>, parts: Parts) -> Response {
    let outcome = forms::sign_out(&services, &parts).await;
    answer(&services, parts, outcome).await
}

async fn revoke(State(services): State<Services>, Path(id): Path<String>, request: Request) -> Response {
    match Form::read(request).await {
        Ok((form, mut parts)) => {
            let outcome = forms::revoke(&services, &mut parts, &id, form).await;
            answer(&services, parts, outcome).await
        }
        Err((error, parts)) => answer(&services, parts, Err(error)).await,
    }
}

async fn docs(State(services): State<Services>, parts: Parts) -> Response {
    answer(&services, parts, Ok(pages::api_docs(api_docs::json()).into())).await
}

async fn retention(State(services): State<Services>, request: Request) -> Response {
    match Form::read(request).await {
        Ok((form, mut parts)) => {
            let outcome = forms::retention(&services, &mut parts, form).await;
            answer(&services, parts, outcome).await
        }
        Err((error, parts)) => answer(&services, parts, Err(error)).await,
    }
}

/// Renders what a page or a form came to. Who is not signed in is sent to do that first.
async fn answer(services: &Services, parts: Parts, outcome: Result<Answer, ApiError>) -> Response {
    let document = match outcome {
        Ok(Answer::SeeOther(path)) => return Redirect::to(&path).into_response(),
        Ok(Answer::Page(document)) => document,
        Err(error) if error.status == StatusCode::UNAUTHORIZED.as_u16() => {
            return Redirect::to(&sign_in_first(&parts)).into_response();
        }
        Err(error) if error.status == StatusCode::NOT_FOUND.as_u16() => pages::not_found(),
        Err(error) => pages::failed(&error, &parts, services.keys.clock().now()),
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
