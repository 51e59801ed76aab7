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

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::{BoxError, Router};
use bytes::Bytes;
use futures::future::Either;
use utoipa::OpenApi;

use super::Services;
use super::client_address::Peer;

pub use revocations::stream as revocations;

/// What is demanded follows.
const FORWARD_AUTH: &str = "/v1/forward-auth/";

/// Answers the paths that are asked with every request of somebody else: nothing stands before them, not
/// even a router, which costs as much as a check. Other requests are given back.
pub fn hot<B>(
    services: &Services,
    peer: Peer,
    request: Request<B>,
) -> Either<impl Future<Output = Response> + Send, Request<B>>
where
    B: HttpBody<Data = Bytes> + Send,
    B::Error: Into<BoxError>,
{
    let path = request.uri().path();
    if path == "/v1/keys/verify" && request.method() == Method::POST {
        Either::Left(Either::Left(verify::verify(services, Some(peer), request)))
    } else if path.strip_prefix(FORWARD_AUTH).is_some_and(|demand| !demand.is_empty()) {
        Either::Left(Either::Right(forward_auth::forward_auth(services, Some(peer), request)))
    } else {
        Either::Right(request)
    }
}

/// The same paths for who has a router only, and the methods that they do not know.
pub fn hot_routes() -> Router<Services> {
    let verify = async |State(services): State<Services>, request: Request| {
        verify::verify(&services, request.extensions().get().copied(), request).await
    };
    let forward_auth = async |State(services): State<Services>, request: Request| {
        forward_auth::forward_auth(&services, request.extensions().get().copied(), request).await
    };
    Router::new()
        .route("/v1/keys/verify", post(verify))
        .route("/v1/forward-auth/{*demand}", any(forward_auth))
        .method_not_allowed_fallback(hot::wrong_method)
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
