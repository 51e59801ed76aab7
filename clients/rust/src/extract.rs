//! The axum extractor of an [`Identity`].

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::identity::Identity;

/// The rejection of a handler with an [`Identity`] on a route without [`LatchkeyLayer`](crate::LatchkeyLayer). The
/// response is a 500, because the mistake is the application's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no LatchkeyLayer is around this route")]
pub struct NoIdentity;

impl IntoResponse for NoIdentity {
    fn into_response(self) -> Response {
        tracing::error!("{self}");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    }
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = NoIdentity;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoIdentity> {
        parts.extensions.get().cloned().ok_or(NoIdentity)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Identity {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get().cloned())
    }
}

/// Returns the peer address of the connection, for [`LatchkeyLayer::address`](crate::LatchkeyLayer::address). Needs
/// `into_make_service_with_connect_info::<SocketAddr>()`, and no proxy in front of the application.
pub fn peer_address(parts: &Parts) -> Option<IpAddr> {
    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    // A dual-stack socket shows IPv4 addresses as IPv6; convert them back.
    Some(peer.ip().to_canonical())
}
