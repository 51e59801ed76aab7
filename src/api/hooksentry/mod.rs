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

use axum::BoxError;
use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::Method;
use bytes::Bytes;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::web::Services;
use crate::web::client_address::Peer;
use crate::web::fast_path::ResponseFuture;
use ingest::Destination;

/// Answers ingest requests without the router and its layers.
///
/// # Errors
/// Returns any other request.
pub fn fast_path<B>(services: &Services, peer: Peer, request: Request<B>) -> Result<ResponseFuture<'_>, Request<B>>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    match Destination::from_plain_path(request.uri().path()) {
        Some(destination) if request.method() == Method::POST => {
            Ok(ingest::handle(services, Some(peer), destination, request))
        }
        _ => Err(request),
    }
}

/// Returns the route of the ingest endpoint, for requests that [`fast_path`] passes on (paths with escapes) and for
/// tests without a listener.
pub fn fast_path_routes() -> OpenApiRouter<Services> {
    OpenApiRouter::default().routes(routes!(ingest::ingest))
}

/// Returns all other routes of the contract.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::default()
        .routes(routes!(tokens::log_in))
        .routes(routes!(tokens::refresh))
        .routes(routes!(tokens::log_out))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(events::list))
        .routes(routes!(events::one))
}
