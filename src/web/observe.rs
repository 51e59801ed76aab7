//! Request handling that the layers and the fast path share: the request id, the deadline, the 500 after a panic, the
//! rule for log lines, and the headers of every response.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use axum::http::header::{STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use futures::FutureExt;

use super::Site;
use crate::model::ApiError;
use crate::runtime::entropy::Entropy;
use crate::security_log::limit::Kind;

/// The response header with the request id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The time from the head of a request to its response; a request that takes longer gets 503.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The id of a request: 16 hex digits.
#[derive(Debug, Clone, Copy)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// Returns a new random id.
    pub fn new(entropy: &Entropy) -> Self {
        let mut text = [0; 16];
        // Cannot fail: 8 bytes are exactly 16 digits.
        let _ = hex::encode_to_slice(entropy.bytes::<8>(), &mut text);
        Self(text)
    }

    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Returns the value of [`REQUEST_ID`].
    pub fn header(&self) -> HeaderValue {
        // Cannot fail: hex digits are visible ASCII.
        HeaderValue::from_bytes(&self.0).unwrap_or(HeaderValue::from_static("-"))
    }
}

/// Runs the work of a request, with the deadline.
///
/// # Errors
/// 503 after the deadline; 500 after a panic, which the panic hook has logged.
pub async fn bounded<W: Future>(work: Pin<&mut W>) -> Result<W::Output, ApiError> {
    match with_timeout(REQUEST_TIMEOUT, pin!(AssertUnwindSafe(work).catch_unwind())).await {
        Some(Ok(output)) => Ok(output),
        Some(Err(_)) => Err(ApiError::internal()),
        None => {
            Err(ApiError::unavailable("The request took too long. A requested change may take effect nevertheless."))
        }
    }
}

/// Runs work with a timeout; `None` when it expires. Work that is ready at the first poll, as most is, gets no timer.
async fn with_timeout<W: Future>(limit: Duration, mut work: Pin<&mut W>) -> Option<W::Output> {
    match futures::poll!(work.as_mut()) {
        Poll::Ready(done) => Some(done),
        // Boxed: few requests wait, and the future of a request, which the connection stores, should be small.
        Poll::Pending => Box::pin(tokio::time::timeout(limit, work)).await.ok(),
    }
}

/// Whether a request gets its own log line. Server errors always do, except 503s, which unauthenticated clients can
/// cause: `admit` decides about these and about all other requests.
pub fn has_own_line(status: StatusCode, admit: impl FnOnce(Kind) -> bool) -> bool {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => admit(Kind::Unavailable),
        status if status.is_server_error() => true,
        _ => admit(Kind::Request),
    }
}

/// Sets the headers of every response, for programs and browsers alike.
pub fn set_common_headers(response: &mut Response, id: RequestId, site: &Site) {
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id.header());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(strict) = site.strict_transport() {
        headers.insert(STRICT_TRANSPORT_SECURITY, strict);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_deadline_covers_all_waits_of_a_request() {
        let began = Instant::now();
        let steps = async {
            // The caller's key, the body, and the checked key.
            for _ in 0..3 {
                sleep(Duration::from_secs(11)).await;
            }
        };
        assert_eq!(bounded(pin!(steps)).await.map_err(|error| error.status), Err(503));
        assert_eq!(began.elapsed(), REQUEST_TIMEOUT);
        assert_eq!(bounded(pin!(async { 7 })).await.ok(), Some(7));
        assert_eq!(bounded(pin!(sleep(Duration::from_secs(29)))).await.ok(), Some(()));
    }

    #[test]
    fn internal_errors_are_always_logged_and_503s_only_if_admitted() {
        let line = |status| has_own_line(status, |_| false);
        assert!(line(StatusCode::INTERNAL_SERVER_ERROR));
        for status in [StatusCode::OK, StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE] {
            assert!(!line(status), "{status}");
        }
    }
}
