//! What every request has, through the layers and on the fast path: an id, a deadline, a clean answer to a panic, a rule
//! for its line in the log, and the headers that every response has.

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

/// The header with the id of a request, in its response.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// From the head of a request to its response; a request that takes longer gets 503.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The id of a request: 16 hex digits.
#[derive(Debug, Clone, Copy)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// Returns a new one.
    pub fn new(entropy: &Entropy) -> Self {
        let mut text = [0; 16];
        // Of twice as many bytes: it fits.
        let _ = hex::encode_to_slice(entropy.bytes::<8>(), &mut text);
        Self(text)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The value of [`REQUEST_ID`].
    pub fn header(&self) -> HeaderValue {
        // Digits are visible ASCII.
        HeaderValue::from_bytes(&self.0).unwrap_or(HeaderValue::from_static("-"))
    }
}

/// Runs the work of a request to its end, unless it takes too long.
///
/// # Errors
/// 503 when it took too long; 500 when it panicked, which the panic hook has logged.
pub async fn bounded<W: Future>(work: Pin<&mut W>) -> Result<W::Output, ApiError> {
    match within(TIME_LIMIT, pin!(AssertUnwindSafe(work).catch_unwind())).await {
        Some(Ok(output)) => Ok(output),
        Some(Err(_)) => Err(ApiError::internal()),
        None => Err(ApiError::unavailable(
            "The answer took too long. A change that was asked for may be made all the same.",
        )),
    }
}

/// Bounds the time of some work. Work that never waits, which most does, gets no timer.
async fn within<W: Future>(limit: Duration, mut work: Pin<&mut W>) -> Option<W::Output> {
    match futures::poll!(work.as_mut()) {
        Poll::Ready(done) => Some(done),
        // Boxed, because few have to wait, and the future of a request is kept beside its connection: it should be small.
        Poll::Pending => Box::pin(tokio::time::timeout(limit, work)).await.ok(),
    }
}

/// Whether a request has a line of its own in the log. Failures of the server always have one, except 503s, which
/// strangers can cause: `admit` decides about these and about all other requests.
pub fn has_own_line(status: StatusCode, admit: impl FnOnce(Kind) -> bool) -> bool {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => admit(Kind::Unavailable),
        status if status.is_server_error() => true,
        _ => admit(Kind::Request),
    }
}

/// Sets the headers that every response has, whoever reads it.
pub fn mark(response: &mut Response, id: RequestId, site: &Site) {
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
    async fn a_request_has_one_deadline_for_everything_that_it_waits_for() {
        let began = Instant::now();
        let steps = async {
            // The caller's key, the body, and the key that is checked.
            for _ in 0..3 {
                sleep(Duration::from_secs(11)).await;
            }
        };
        assert_eq!(bounded(pin!(steps)).await.map_err(|error| error.status), Err(503));
        assert_eq!(began.elapsed(), TIME_LIMIT);
        assert_eq!(bounded(pin!(async { 7 })).await.ok(), Some(7));
        assert_eq!(bounded(pin!(sleep(Duration::from_secs(29)))).await.ok(), Some(()));
    }

    #[test]
    fn only_failures_that_no_stranger_causes_always_have_a_line() {
        let line = |status| has_own_line(status, |_| false);
        assert!(line(StatusCode::INTERNAL_SERVER_ERROR));
        for status in [StatusCode::OK, StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE] {
            assert!(!line(status), "{status}");
        }
    }
}
