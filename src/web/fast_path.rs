//! The fast path answers the most frequent requests without router and layers: sets the request id and the headers that
//! matter to programs, and turns every failure into an error response. Successful requests are not logged, because the
//! usage counts of the keys say more.

use std::convert::Infallible;
use std::pin::pin;

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;

use super::auth::{no_key, refusal};
use super::client_address::ClientAddress;
use super::observe::{self, RequestId};
use super::{Services, credential};
use crate::domain::{Ask, Code};
use crate::keys::{Purpose, Verdict};
use crate::model::{ApiError, OrganisationId, ScopeList};
use crate::security_log::limit::Repeated;

/// The scope that allows a key to check other keys.
pub(crate) const VERIFY: &str = "keys:verify";

/// The future of a response. Boxed: the connection stores and moves it twice, and unboxed every request would need as
/// much memory as the largest kind of future.
pub type ResponseFuture<'a> = BoxFuture<'a, Result<Response, Infallible>>;

/// Answers a request of the fast path.
pub(crate) async fn answer<E: IntoResponse>(
    services: &Services,
    path: &'static str,
    address: ClientAddress,
    work: impl AsyncFnOnce(RequestId) -> Result<Response, E>,
) -> Result<Response, Infallible> {
    let id = RequestId::new(&services.entropy);
    // Pinned in place: moving it into another future would need its memory twice.
    let mut response = match observe::bounded(pin!(work(id))).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => error.into_response(),
        Err(error) => error.into_response(),
    };
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED || status.is_server_error() {
        log(services, path, address, id, status);
    }
    observe::set_common_headers(&mut response, id, &services.site);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Logs a request that failed or has no valid key, or only counts it when its network sends many. Other requests take
/// no lock for logging.
#[cold]
fn log(services: &Services, path: &'static str, address: ClientAddress, id: RequestId, status: StatusCode) {
    let client = address.for_throttle();
    let repeated = Repeated { event: "request", code: status.as_str(), subject: path };
    if !observe::has_own_line(status, |kind| services.log_limit.admit(kind, client, repeated, id.as_str())) {
        return;
    }
    let (id, status, client) = (id.as_str(), status.as_u16(), client.map(tracing::field::display));
    if status == StatusCode::UNAUTHORIZED.as_u16() {
        tracing::info!(id, path, status, client, "a request without a valid key was refused");
    } else {
        tracing::error!(id, path, status, client, "a request failed");
    }
}

/// Answers 405 to a method that the path does not support.
///
/// # Errors
/// Never.
pub async fn wrong_method(State(services): State<Services>) -> Result<Response, Infallible> {
    answer(&services, "-", ClientAddress::Unknown, async |_| Err(ApiError::method_not_allowed())).await
}

/// Authenticates a service that checks keys, by its own key, which must hold [`VERIFY`].
///
/// # Errors
/// 401, 403 or 429, depending on that key.
pub(crate) async fn authenticate_service(
    services: &Services,
    headers: &HeaderMap,
    address: ClientAddress,
) -> Result<OrganisationId, ApiError> {
    check_service(services, headers, address, Purpose::Use).await
}

/// Checks the key of a service again, because it may have been revoked while the body arrived. Nothing is charged or
/// counted.
///
/// # Errors
/// 401 or 403, depending on that key.
pub(crate) async fn recheck_service(
    services: &Services,
    headers: &HeaderMap,
    address: ClientAddress,
) -> Result<(), ApiError> {
    check_service(services, headers, address, Purpose::Identify).await.map(drop)
}

async fn check_service(
    services: &Services,
    headers: &HeaderMap,
    address: ClientAddress,
    purpose: Purpose,
) -> Result<OrganisationId, ApiError> {
    let presented = credential::presented_key(headers).ok_or_else(no_key)?;
    let ask = Ask { scopes: ScopeList::constant(VERIFY), ..address.ask() };
    let respond = |verdict: Verdict<'_>| match verdict.record {
        Some(record) if verdict.code == Code::Valid => Ok(record.place.organisation),
        _ => Err(refusal(services, &verdict, &ask, address)),
    };
    services.checks.verify(presented, &ask, purpose, respond).await?
}

/// Returns an empty response.
pub(crate) fn empty(status: StatusCode) -> Response {
    status.into_response()
}
