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
use crate::web::fast_path::Answering;
use ingest::Place;

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

/// The same path for callers that have a router only, or that escape something in it.
pub fn hot_routes() -> OpenApiRouter<Services> {
    OpenApiRouter::default().routes(routes!(ingest::ingest))
}

/// Every other address of the contract.
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
