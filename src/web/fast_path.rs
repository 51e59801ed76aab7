//! What the hot paths have instead of the layers that all others go through: an id for the request, the
//! headers that matter to programs, and a clean answer to whatever goes wrong. No log line for a request
//! that went well: the counts of the keys say more.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::auth::{no_key, refusal};
use super::client_address::ClientAddress;
use super::{Services, credential};
use crate::domain::{Ask, Code};
use crate::keys::{Purpose, Verdict};
use crate::model::{ApiError, OrganisationId, ScopeList};
use crate::security_log::limit::{Kind, Repeated};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The scope that lets a key check others.
pub(crate) const VERIFY: &str = "keys:verify";
/// A request that takes longer, from its head to its answer, is given up: 503. Without the database no check takes a
/// thousandth of it.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// An answer that is being made. Boxed: it is kept beside its connection, where the futures of all kinds of requests
/// would need as much room as the largest one, and is moved there twice.
pub type Answering<'a> = BoxFuture<'a, Result<Response, Infallible>>;

/// The id of a request: 16 hex digits.
#[derive(Clone, Copy)]
pub(crate) struct RequestId([u8; 16]);

impl RequestId {
    fn new(services: &Services) -> Self {
        let mut text = [0; 16];
        // Of twice as many bytes: it fits.
        let _ = hex::encode_to_slice(services.entropy.bytes::<8>(), &mut text);
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Answers a request of a hot path.
pub(crate) async fn answer<E: IntoResponse>(
    services: &Services,
    path: &'static str,
    address: ClientAddress,
    work: impl AsyncFnOnce(RequestId) -> Result<Response, E>,
) -> Result<Response, Infallible> {
    let id = RequestId::new(services);
    // Pinned where it is made: moved into another future, it would need its room twice.
    let work = pin!(AssertUnwindSafe(work(id)).catch_unwind());
    let mut response = match within(TIME_LIMIT, work).await {
        Some(Ok(Ok(response))) => response,
        Some(Ok(Err(error))) => error.into_response(),
        Some(Err(_)) => ApiError::internal().into_response(),
        None => ApiError::unavailable("The request took too long.").into_response(),
    };
    let status = response.status();
    if status.is_server_error() {
        tracing::error!(id = id.as_str(), path, status = status.as_u16(), "a request failed");
    } else if status == StatusCode::UNAUTHORIZED {
        log_stranger(services, path, address, id);
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_bytes(&id.0) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(strict) = services.site.strict_transport() {
        headers.insert(STRICT_TRANSPORT_SECURITY, strict);
    }
    Ok(response)
}

/// Logs a request without a valid key, or counts it when its network sends many. Other requests take no lock for it.
#[cold]
fn log_stranger(services: &Services, path: &'static str, address: ClientAddress, id: RequestId) {
    let repeated = Repeated { event: "request", code: "401", subject: path };
    if services.log_limit.admit(Kind::Request, address.for_throttle(), repeated, id.as_str()) {
        let client = address.for_throttle().map(tracing::field::display);
        tracing::info!(id = id.as_str(), path, status = 401, client, "a request without a valid key was refused");
    }
}

/// Bounds the time from the head of a request to its answer. Work that never waits, as most, gets no timer.
async fn within<W: Future>(limit: Duration, mut work: Pin<&mut W>) -> Option<W::Output> {
    match futures::poll!(work.as_mut()) {
        Poll::Ready(done) => Some(done),
        // Boxed, because few have to wait, and the future of a request is kept beside its connection: it should be small.
        Poll::Pending => Box::pin(tokio::time::timeout(limit, work)).await.ok(),
    }
}

/// Checks a presented key: at once, unless the database or Redis has to be asked.
///
/// # Errors
/// 503 when the database does not answer.
pub(crate) async fn check<R>(
    services: &Services,
    presented: &str,
    ask: &Ask<'_>,
    purpose: Purpose,
    mut told: impl FnMut(Verdict<'_>) -> R,
) -> Result<R, ApiError> {
    if let Some(told) = services.checks.verify_cached(presented, ask, purpose, &mut told) {
        return Ok(told);
    }
    // Boxed: few have to wait.
    Ok(Box::pin(services.checks.verify(presented, ask, purpose, told)).await?)
}

/// Answers a method that a path does not know.
pub(crate) async fn wrong_method(State(services): State<Services>) -> Result<Response, Infallible> {
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
    check(services, presented, &ask, purpose, told).await?
}

/// An empty answer.
pub(crate) fn empty(status: StatusCode) -> Response {
    status.into_response()
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_has_one_deadline_for_everything_that_it_waits_for() {
        let began = Instant::now();
        let steps = async {
            // The caller's key, the body, and the key that is checked.
            for _ in 0..3 {
                sleep(Duration::from_secs(11)).await;
            }
        };
        assert_eq!(within(TIME_LIMIT, pin!(steps)).await, None);
        assert_eq!(began.elapsed(), TIME_LIMIT);
        assert_eq!(within(TIME_LIMIT, pin!(async { 7 })).await, Some(7));
        assert_eq!(within(TIME_LIMIT, pin!(sleep(Duration::from_secs(29)))).await, Some(()));
    }
}
