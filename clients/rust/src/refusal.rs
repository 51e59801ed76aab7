//! The responses to refused requests: `application/problem+json` (RFC 9457).

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::outcome::{Code, Outcome};

#[derive(Serialize)]
struct Problem<'a> {
    status: u16,
    title: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    missing_scopes: &'a [String],
}

/// The response without a valid key. Equal for all reasons, which a caller without a valid key must not learn.
pub(crate) fn unauthenticated() -> Response<Full<Bytes>> {
    let mut response = problem(StatusCode::UNAUTHORIZED, "unauthenticated", &[]);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// The response when Latchkey gives no outcome.
pub(crate) fn unavailable() -> Response<Full<Bytes>> {
    later(problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &[]), 1)
}

/// The response to an outcome that is not valid.
pub(crate) fn refused(outcome: &Outcome) -> Response<Full<Bytes>> {
    match outcome.code {
        Code::NotFound | Code::Revoked | Code::Disabled | Code::Expired => unauthenticated(),
        Code::RateLimited | Code::QuotaExceeded => {
            let response = problem(StatusCode::TOO_MANY_REQUESTS, code(outcome), &[]);
            later(response, outcome.retry_after.unwrap_or(1))
        }
        // A valid outcome without an identity, which the parser rejects, would be refused too.
        Code::WrongEnvironment | Code::Forbidden | Code::InsufficientScopes | Code::Valid | Code::Other => {
            problem(StatusCode::FORBIDDEN, code(outcome), &outcome.missing_scopes)
        }
    }
}

fn code(outcome: &Outcome) -> &'static str {
    match outcome.code {
        Code::RateLimited => "rate_limited",
        Code::QuotaExceeded => "quota_exceeded",
        Code::WrongEnvironment => "wrong_environment",
        Code::InsufficientScopes => "insufficient_scopes",
        _ => "forbidden",
    }
}

fn later(mut response: Response<Full<Bytes>>, seconds: u64) -> Response<Full<Bytes>> {
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn problem(status: StatusCode, code: &str, missing_scopes: &[String]) -> Response<Full<Bytes>> {
    let title = status.canonical_reason().unwrap_or_default();
    let problem = Problem { status: status.as_u16(), title, code, missing_scopes };
    // Serialising texts and numbers cannot fail.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::valid;

    #[test]
    fn each_code_has_its_status_and_headers() {
        for (code, status) in [
            (Code::NotFound, 401),
            (Code::Revoked, 401),
            (Code::Disabled, 401),
            (Code::Expired, 401),
            (Code::WrongEnvironment, 403),
            (Code::Forbidden, 403),
            (Code::InsufficientScopes, 403),
            (Code::Other, 403),
            (Code::RateLimited, 429),
            (Code::QuotaExceeded, 429),
        ] {
            let response = refused(&Outcome { code, retry_after: Some(7), ..valid() });
            assert_eq!(response.status(), status, "{code}");
            let has = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
            assert_eq!(has(WWW_AUTHENTICATE), (status == 401).then_some("Bearer"));
            assert_eq!(has(RETRY_AFTER), (status == 429).then_some("7"));
            assert_eq!(has(CONTENT_TYPE), Some("application/problem+json"));
        }
        assert_eq!(unavailable().headers().get(RETRY_AFTER), Some(&HeaderValue::from_static("1")));
    }
}
