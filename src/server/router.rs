//! Every address, and the layers around it.

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, StatusCode, Version};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use time::Duration;
use tower_http::compression::CompressionLayer;
use tower_sessions::cookie::SameSite;
use tower_sessions::{Expiry, SessionManagerLayer};

use super::health::{self, Draining, Readiness};
use super::layers::{self, Around};
use super::{api_docs, assets, pages, server_function};
use crate::accounts::{ABSOLUTE_TIME_OUT, DatabaseSessions};
use crate::api::hookstream::accounts;
use crate::api::{hooksentry, native};
use crate::model::ApiError;
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::store::Db;
use crate::web::{Services, Site, credential};

/// The whole application.
pub fn router(services: Services, db: Db, clock: Clock, entropy: Entropy, draining: Draining) -> Router {
    let around = Around {
        site: Arc::clone(&services.site),
        bodies: Arc::clone(&services.bodies),
        log_limit: Arc::clone(&services.log_limit),
        clock: clock.clone(),
        entropy: entropy.clone(),
    };
    let sessions =
        sessions(&services.site, DatabaseSessions::new(db.clone(), clock, entropy, services.accounts.max_sessions()));

    let with_sessions = Router::new()
        .merge(hookstream())
        .merge(hooksentry::routes().layer(from_fn(no_store)))
        .merge(native::routes().route("/v1/revocations", get(revocations(draining.clone()))).layer(from_fn(no_store)))
        .merge(
            pages::routes(draining.clone())
                .layer(from_fn_with_state(services.clone(), pages::without_keys))
                .layer(CompressionLayer::new().compress_when(is_page)),
        )
        .fallback(nowhere)
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(sessions)
        .layer(from_fn_with_state(services.clone(), credential::find));

    let readiness = Readiness::new(db);
    let without = Router::new()
        .route("/healthz", get(health::alive))
        .route("/openapi.json", get(api_docs::document))
        .route("/readyz", get(move || health::ready(readiness.clone(), draining.clone())))
        .route("/pkg/{version}/{file}", get(assets::versioned))
        .route("/favicon.svg", get(async |headers: HeaderMap| assets::public("favicon.svg", headers)))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed());

    without
        .merge(with_sessions)
        .layer(from_fn_with_state(around, layers::surround))
        // Beside all layers.
        .merge(native::hot_routes())
        .merge(hooksentry::hot_routes())
        .with_state(services)
}

fn hookstream() -> Router<Services> {
    let call = server_function::call;
    Router::new()
        .route("/v1/auth/register", post(accounts::register))
        .route("/v1/auth/login", post(accounts::log_in))
        .route("/v1/auth/logout", post(accounts::log_out))
        .route("/v1/auth/me", get(accounts::me))
        .route("/v1/auth/api-keys", get(call).post(call).delete(call))
        .route("/v1/auth/api-keys/{id}", delete(server_function::call_with_id))
        .layer(from_fn(no_store))
}

type Answering = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send>>;

/// The stream of what ends and changes, which ends when the server does.
fn revocations(draining: Draining) -> impl Fn(State<Services>, Parts) -> Answering + Clone {
    move |State(services), parts| Box::pin(native::revocations(services, parts, draining.begun()))
}

/// Nothing of signing in and of keys may be kept on the way.
async fn no_store(request: Request, next: axum::middleware::Next) -> Response {
    let mut response = next.run(request).await;
    let value = axum::http::HeaderValue::from_static("no-store");
    response.headers_mut().insert(axum::http::header::CACHE_CONTROL, value);
    response
}

fn sessions(site: &Site, store: DatabaseSessions) -> SessionManagerLayer<DatabaseSessions> {
    SessionManagerLayer::new(store)
        .with_name(site.session_cookie())
        .with_secure(site.is_secure())
        .with_http_only(true)
        // Lax: a link to the dashboard in a chat must find its reader signed in.
        .with_same_site(SameSite::Lax)
        .with_path("/")
        // How long the browser keeps the cookie; the time-outs themselves are the store's.
        .with_expiry(Expiry::OnInactivity(Duration::milliseconds(ABSOLUTE_TIME_OUT)))
}

/// Pages are compressed on the way. Answers of the API are not: they are short, and some show a secret
/// beside what the client sent, which compression would make guessable by length.
fn is_page(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
}

async fn nowhere(State(services): State<Services>, request: Request) -> Response {
    if layers::is_api(request.uri().path()) {
        ApiError::not_found("There is nothing at this address.").into_response()
    } else {
        pages::not_found(services, request).await
    }
}
