//! HookSentry's contract (seed 002): Bearer sign-in, keys, ingest, events.

mod caller;
mod error;
mod events;
mod ingest;
mod keys;
mod params;
mod query;
mod tokens;
mod wire;

pub use ingest::BODY_LIMIT as INGEST_LIMIT;

use axum::Router;
use axum::routing::{delete, get, post};
use utoipa::OpenApi;

use super::{Services, hot};

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

/// Where events come in: nothing stands before it but the router.
pub fn hot_routes() -> Router<Services> {
    Router::new()
        .route("/api/v1/ingest/{tenant_id}/{source}", post(ingest::take))
        .method_not_allowed_fallback(hot::wrong_method)
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
