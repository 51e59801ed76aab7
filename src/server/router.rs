//! All routes, and the layers around them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Extensions, HeaderMap, StatusCode, Version};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use time::Duration;
use tower_http::compression::CompressionLayer;
use tower_sessions::cookie::SameSite;
use tower_sessions::{Expiry, SessionManagerLayer};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::health::{self, Readiness};
use super::layers::{self, LayerState};
use super::{api_docs, assets, page_handler, pages, server_function};
use crate::accounts::{ABSOLUTE_TIME_OUT, DatabaseSessions};
use crate::api::document::Head;
use crate::api::{hooksentry, hookstream, native};
use crate::model::ApiError;
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::store::Db;
use crate::web::{Services, Site, credential, fast_path};

/// Returns the router of the whole application.
pub fn router(services: Services, db: Db, clock: Clock, entropy: Entropy) -> Router {
    let layer_state = LayerState {
        site: Arc::clone(&services.site),
        bodies: Arc::clone(&services.bodies),
        log_limit: Arc::clone(&services.log_limit),
        clock: clock.clone(),
        entropy: entropy.clone(),
    };
    let max_sessions = services.accounts.max_sessions();
    let sessions = sessions(&services.site, DatabaseSessions::new(db.clone(), clock, entropy, max_sessions));

    let with_sessions = Router::new()
        .merge(hookstream().merge(native::routes()).merge(hooksentry::routes()).layer(from_fn(no_store)))
        .merge(
            pages::routes()
                .layer(from_fn_with_state(services.clone(), page_handler::without_keys))
                .layer(CompressionLayer::new().compress_when(is_page)),
        )
        .fallback(not_found)
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(sessions)
        .layer(from_fn_with_state(services.clone(), credential::find))
        .layer(from_fn_with_state(services.clone(), page_handler::read_cookies));

    let without_sessions = Router::from(service().layer(Extension(Readiness::new(db))))
        .route("/pkg/{version}/{file}", get(assets::versioned))
        .route("/favicon.svg", get(async |headers: HeaderMap| assets::public("favicon.svg", headers)))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed());

    // Outside of all layers.
    let fast_path_routes = native::fast_path_routes().merge(hooksentry::fast_path_routes());
    without_sessions
        .merge(with_sessions)
        .layer(from_fn_with_state(layer_state, layers::surround))
        .merge(Router::from(fast_path_routes).method_not_allowed_fallback(fast_path::wrong_method))
        .with_state(services)
}

/// Returns the OpenAPI document of all operations of the contracts and of the server itself.
pub fn operations() -> Document {
    [
        hookstream(),
        native::fast_path_routes(),
        native::routes(),
        hooksentry::fast_path_routes(),
        hooksentry::routes(),
        service(),
    ]
    .into_iter()
    .fold(Head::openapi(), |document, routes| document.merge_from(routes.into_openapi()))
}

fn hookstream() -> OpenApiRouter<Services> {
    hookstream::routes().merge(server_function::routes())
}

/// The operations of the server itself.
fn service() -> OpenApiRouter<Services> {
    OpenApiRouter::default()
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(api_docs::document))
}

/// Forbids caches on the way to store responses about accounts and keys.
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
        // Lax: a link to the dashboard in a chat must open with the reader's session.
        .with_same_site(SameSite::Lax)
        .with_path("/")
        // The lifetime of the cookie in the browser; the store enforces the timeouts of the session.
        .with_expiry(Expiry::OnInactivity(Duration::milliseconds(ABSOLUTE_TIME_OUT)))
}

/// Whether to compress a response: only pages. API responses are short, and some contain a secret next to the client's
/// input: their compressed length would reveal the secret (BREACH).
fn is_page(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"))
}

async fn not_found(State(services): State<Services>, request: Request) -> Response {
    if layers::is_api(request.uri().path()) {
        ApiError::not_found("There is nothing at this address.").into_response()
    } else {
        page_handler::not_found(services, request).await
    }
}
