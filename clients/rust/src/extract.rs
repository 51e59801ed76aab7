//! For axum: who it is as an argument of a handler.

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::identity::Identity;

/// A handler wants to know who it is, and nobody has checked: there is no
/// [`LatchkeyLayer`](crate::LatchkeyLayer) around its route. Answered with 500, for the caller cannot help it.
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

/// The address of whoever has opened the connection, for [`LatchkeyLayer::address`](crate::LatchkeyLayer::address):
/// where axum serves with `into_make_service_with_connect_info::<SocketAddr>()`, and nothing is in between.
pub fn peer_address(parts: &Parts) -> Option<IpAddr> {
    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    // An IPv4 address also where the socket takes both kinds.
    Some(peer.ip().to_canonical())
}
