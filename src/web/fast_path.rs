//! The hot paths have no layers around them: an id for the request, the headers that matter to programs, and a clean answer
//! to whatever goes wrong. No log line for a request that went well: the counts of the keys say more.

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

/// The scope that lets a key check others.
pub(crate) const VERIFY: &str = "keys:verify";

/// An answer that is being made. Boxed: it is kept beside its connection, where the futures of all kinds of requests
/// would need as much room as the largest one, and is moved there twice.
pub type Answering<'a> = BoxFuture<'a, Result<Response, Infallible>>;

/// Answers a request of a hot path.
pub(crate) async fn answer<E: IntoResponse>(
    services: &Services,
    path: &'static str,
    address: ClientAddress,
    work: impl AsyncFnOnce(RequestId) -> Result<Response, E>,
) -> Result<Response, Infallible> {
    let id = RequestId::new(&services.entropy);
    // Pinned where it is made: moved into another future, it would need its room twice.
    let mut response = match observe::bounded(pin!(work(id))).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => error.into_response(),
        Err(error) => error.into_response(),
    };
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED || status.is_server_error() {
        log(services, path, address, id, status);
    }
    observe::mark(&mut response, id, &services.site);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Logs a request that failed or has no valid key, or counts it when its network sends many. Other requests take no lock
/// for it.
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

/// Answers a method that a path does not know.
///
/// # Errors
/// Never.
pub async fn wrong_method(State(services): State<Services>) -> Result<Response, Infallible> {
    answer(&services, "-", ClientAddress::Unknown, async |_| Err(ApiError::method_not_allowed())).await
}

/// Lets a service in that checks keys: by a key of its own, which may.
///
/// # Errors
/// 401, 403 or 429 by what its own key is.
pub(crate) async fn service(
    services: &Services,
    headers: &HeaderMap,
    address: ClientAddress,
) -> Result<OrganisationId, ApiError> {
    service_for(services, headers, address, Purpose::Use).await
}

/// Checks the key of a service again, which may have been revoked while the body arrived. Nothing is charged or counted.
///
/// # Errors
/// 401 or 403 by what its own key is now.
pub(crate) async fn service_again(
    services: &Services,
    headers: &HeaderMap,
    address: ClientAddress,
) -> Result<(), ApiError> {
    service_for(services, headers, address, Purpose::Identify).await.map(drop)
}

async fn service_for(
    services: &Services,
    headers: &HeaderMap,
    address: ClientAddress,
    purpose: Purpose,
) -> Result<OrganisationId, ApiError> {
    let presented = credential::presented_key(headers).ok_or_else(no_key)?;
    let ask = Ask { scopes: ScopeList::constant(VERIFY), ..address.ask() };
    let told = |verdict: Verdict<'_>| match verdict.record {
        Some(record) if verdict.code == Code::Valid => Ok(record.place.organisation),
        _ => Err(refusal(services, &verdict, &ask, address)),
    };
    services.checks.verify(presented, &ask, purpose, told).await?
}

/// An empty answer.
pub(crate) fn empty(status: StatusCode) -> Response {
    status.into_response()
}
