//! The HookSentry contract (docs/CONTRACTS.md, "HookSentry"): Bearer sign-in, keys, ingest, events.

mod caller;
mod encoding;
mod error;
mod events;
mod ingest;
mod keys;
mod params;
mod query;
mod tokens;
mod wire;

pub use error::Error;
pub use ingest::BODY_LIMIT as INGEST_LIMIT;

use axum::body::HttpBody;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Method;
use axum::routing::{delete, get, post};
use axum::{BoxError, Router};
use bytes::Bytes;
use utoipa::OpenApi;

use crate::web::Services;
use crate::web::client_address::Peer;
use crate::web::fast_path::{self, Answering};
use ingest::Place;

#[derive(OpenApi)]
#[openapi(paths(
    tokens::log_in,
    tokens::refresh,
    tokens::log_out,
    keys::create,
    keys::list,
    keys::revoke,
    ingest::take,
    events::list,
    events::one,
))]
struct Operations;

/// The contract's part of the document.
pub fn document() -> utoipa::openapi::OpenApi {
    Operations::openapi()
}

/// Answers events that come in: nothing stands before it, not even a router. Other requests are given back.
///
/// # Errors
/// The request, if it is another one.
pub fn fast_path<B>(services: &Services, peer: Peer, request: Request<B>) -> Result<Answering<'_>, Request<B>>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    match Place::plain(request.uri().path()) {
        Some(place) if request.method() == Method::POST => Ok(ingest::take(services, Some(peer), place, request)),
        _ => Err(request),
    }
}

/// The same path for who has a router only, or escapes something in it; and the methods that it does not know.
pub fn hot_routes() -> Router<Services> {
    let take = async |State(services): State<Services>,
                      path: Result<Path<(String, String)>, PathRejection>,
                      request: Request| {
        let place = if let Ok(Path((tenant, source))) = path {
            Place { tenant, source }
        } else {
            // No UTF-8: no source is called that.
            let tenant = request.uri().path().split('/').nth(4).unwrap_or_default().to_owned();
            Place { tenant, source: String::new() }
        };
        ingest::take(&services, request.extensions().get().copied(), place, request).await
    };
    Router::new()
        .route("/api/v1/ingest/{tenant_id}/{source}", post(take))
        .method_not_allowed_fallback(fast_path::wrong_method)
}

/// Every other address of the contract.
pub fn routes() -> Router<Services> {
    Router::new()
        .route("/api/v1/auth/login", post(tokens::log_in))
        .route("/api/v1/auth/refresh", post(tokens::refresh))
        .route("/api/v1/auth/logout", post(tokens::log_out))
        .route("/api/v1/apikeys", get(keys::list).post(keys::create))
        .route("/api/v1/apikeys/{id}", delete(keys::revoke))
        .route("/api/v1/events", get(events::list))
        .route("/api/v1/events/{id}", get(events::one))
}
