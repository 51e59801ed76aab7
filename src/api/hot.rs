//! What the hot paths have instead of the layers that all others go through: an id for the request, the
//! headers that matter to programs, and a clean answer to whatever goes wrong. No log line for a request
//! that went well: the counts of the keys say more.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::api::auth::{no_key, refusal};
use crate::api::client_address::{ClientAddress, Peer};
use crate::api::{Services, credential};
use crate::keys::{Ask, Code, Purpose, Verdict};
use crate::model::{ApiError, OrganisationId, ScopeList};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The scope that lets a key check others.
pub(super) const VERIFY: &str = "keys:verify";
/// A request that takes longer is given up. Without the database no check takes a thousandth of it.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(30);

/// An answer that is being made. Boxed: it is kept beside its connection, where the futures of all kinds of requests
/// would need as much room as the largest one, and is moved there twice.
pub type Answering<'a> = BoxFuture<'a, Result<Response, Infallible>>;

/// The id of a request: 16 hex digits.
#[derive(Clone, Copy)]
pub(super) struct RequestId([u8; 16]);

impl RequestId {
    fn new(services: &Services) -> Self {
        let mut text = [0; 16];
        // Of twice as many bytes: it fits.
        let _ = hex::encode_to_slice(services.entropy.bytes::<8>(), &mut text);
        Self(text)
    }

    pub(super) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Answers a request of a hot path.
pub(super) async fn answer<E: IntoResponse>(
    services: &Services,
    path: &'static str,
    work: impl AsyncFnOnce(RequestId) -> Result<Response, E>,
) -> Result<Response, Infallible> {
    let id = RequestId::new(services);
    let mut response = match AssertUnwindSafe(work(id)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => error.into_response(),
        Err(_) => ApiError::internal().into_response(),
    };
    let status = response.status();
    if status.is_server_error() {
        tracing::error!(id = id.as_str(), path, status = status.as_u16(), "a request failed");
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_bytes(&id.0) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// Checks a presented key: at once if nobody has to be asked, and else for a bounded time.
    if let Some(strict) = services.site.strict_transport() {
        headers.insert(STRICT_TRANSPORT_SECURITY, strict);
    }
///
/// # Errors
/// 503 when it takes too long, or the database does not answer.
pub(super) async fn check<R>(
    services: &Services,
    presented: &str,
    ask: &Ask<'_>,
    purpose: Purpose,
    mut told: impl FnMut(Verdict<'_>) -> R,
) -> Result<R, ApiError> {
    if let Some(told) = services.keys.check_at_once(presented, ask, purpose, &mut told) {
        return Ok(told);
    }
    // Boxed, because few have to wait, and the future of a request is kept beside its connection: it should be small.
    let asking = services.keys.check(presented, ask, purpose, told);
    let asked = Box::pin(tokio::time::timeout(TIME_LIMIT, asking)).await;
    Ok(asked.map_err(|_| ApiError::unavailable("The answer took too long."))??)
}

/// Answers a method that a path does not know.
pub(super) async fn wrong_method(State(services): State<Services>) -> Result<Response, Infallible> {
    answer(&services, "-", async |_| Err(ApiError::method_not_allowed())).await
}

/// Lets a service in that checks keys: by a key of its own, which may.
///
/// # Errors
/// 401, 403 or 429 by what its own key is.
pub(super) async fn service(
    services: &Services,
    headers: &HeaderMap,
    peer: Option<Peer>,
) -> Result<OrganisationId, ApiError> {
    let presented = credential::presented_key(headers).ok_or_else(no_key)?;
    let address = ClientAddress::of_peer(peer, headers, &services.site);
    let ask = Ask { scopes: ScopeList::constant(VERIFY), address: address.for_allowlist(), ..Ask::default() };
    let told = |verdict: Verdict<'_>| match verdict.record {
        Some(record) if verdict.code == Code::Valid => Ok(record.place.organisation),
        _ => Err(refusal(&verdict, &ask, address)),
    };
    check(services, presented, &ask, Purpose::Use, told).await?
}

/// An empty answer.
pub(super) fn empty(status: StatusCode) -> Response {
    status.into_response()
}
