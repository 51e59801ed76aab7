//! The native contract: for services and gateways that check keys, and for operators.

mod cluster;
mod forward_auth;
mod hot;
mod keys;
mod limits;
mod report;
mod revocations;
mod verify;
mod whoami;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get, post};
use utoipa::OpenApi;

use super::Services;

pub use revocations::stream as revocations;

/// The paths that are asked with every request of somebody else: nothing stands before them but the
/// router.
pub fn hot_routes<S: Clone + Send + Sync + 'static>(services: Services) -> Router<S> {
    Router::new()
        .route("/v1/keys/verify", post(verify::verify))
        .route("/v1/forward-auth/{*demand}", any(forward_auth::forward_auth))
        .method_not_allowed_fallback(hot::wrong_method)
        .with_state(Arc::new(services))
}

/// The others, but for the stream of revocations, which has to know when the server stops.
pub fn routes() -> Router<Services> {
    Router::new()
        .route("/v1/whoami", get(whoami::who_am_i))
        .route("/v1/cluster", get(cluster::show))
        .route("/v1/keys/usage", post(report::report))
        .route("/v1/keys/{id}", get(keys::show).patch(keys::edit))
        .route("/v1/keys/{id}/revoke", post(keys::revoke))
}

#[derive(OpenApi)]
#[openapi(paths(
    verify::verify,
    forward_auth::described,
    whoami::who_am_i,
    report::report,
    revocations::described,
    keys::show,
    keys::edit,
    keys::revoke,
    cluster::show,
))]
struct Operations;

/// The contract's part of the document.
pub fn document() -> utoipa::openapi::OpenApi {
    Operations::openapi()
}
