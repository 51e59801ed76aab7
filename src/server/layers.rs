//! The layer around every handler: request id, log line, deadline, cross-site check, error form and response headers.

use std::pin::pin;
use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, ORIGIN, REFERRER_POLICY, USER_AGENT, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use crate::api::hooksentry;
use crate::domain::RequestOrigin;
use crate::model::ApiError;
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::security_log::Origin;
use crate::security_log::limit::LogLimit;
use crate::web::Site;
use crate::web::body::{self, BodyMemory};
use crate::web::client_address::ClientAddress;
use crate::web::observe::{self, REQUEST_ID, RequestId};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The state of the layer.
#[derive(Debug, Clone)]
pub struct LayerState {
    /// The public URL and the trusted proxies.
    pub site: Arc<Site>,
    /// The memory for request bodies.
    pub bodies: Arc<BodyMemory>,
    /// Limits the log lines that unauthenticated clients cause.
    pub log_limit: Arc<LogLimit>,
    /// Measures the duration of requests.
    pub clock: Clock,
    /// The source of request ids.
    pub entropy: Entropy,
}

/// Whether a path belongs to a contract. Errors of contracts are for programs.
pub fn is_api(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/api/")
}

/// The form of an error that does not come from a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorForm {
    /// HTML.
    Page,
    /// Problem details.
    Problem,
    /// Problem details, and for a 400 a JSON string.
    HookSentry,
}

impl ErrorForm {
    /// Returns the form of errors on a path.
    pub fn of(path: &str) -> Self {
        if path.starts_with("/api/v1/") {
            Self::HookSentry
        } else if is_api(path) {
            Self::Problem
        } else {
            Self::Page
        }
    }
}

/// The layer. Does everything in one layer, because each layer copies all that is inside of it, for every request.
///
/// Logs each request, with the route's pattern and never with the requested URL: a secret that a client puts there by
/// mistake stays out of the log. When there are many requests without a valid credential, they are only counted.
pub async fn surround(State(state): State<LayerState>, mut request: Request, next: Next) -> Response {
    let began = state.clock.now();
    let id = RequestId::new(&state.entropy);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("-", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", id = id.as_str(), %method, route);
    let form = ErrorForm::of(request.uri().path());
    let client = ClientAddress::of_request(request.extensions(), request.headers(), &state.site).for_throttle();
    let user_agent = request.headers().get(USER_AGENT).map(HeaderValue::as_bytes);
    let origin = RequestOrigin::new(client, user_agent, id.as_str().to_owned());
    let origin = Origin::new(origin, Arc::clone(&state.log_limit));
    // Overwrites the client's value, because the error page shows this id.
    request.headers_mut().insert(REQUEST_ID, id.header());
    let work = async {
        let mut response = match observe::bounded(pin!(check_and_run(&state, request, next))).await {
            Ok(response) => explain_axum_error(response, form),
            Err(error) => failed(error, form),
        };
        observe::set_common_headers(&mut response, id, &state.site);
        set_browser_headers(&mut response);
        let status = response.status();
        if observe::has_own_line(status, |kind| origin.has_own_line(kind, status.as_str(), &route)) {
            let milliseconds = state.clock.now().since(began);
            let client = client.map(tracing::field::display);
            tracing::info!(status = status.as_u16(), milliseconds, client, "answered");
        }
        response
    };
    origin.clone().scope(work).instrument(span).await
}

/// Returns the response to a request that fails outside of its handler.
pub fn failed(error: ApiError, form: ErrorForm) -> Response {
    match form {
        ErrorForm::HookSentry => hooksentry::Error::from(error).into_response(),
        ErrorForm::Problem => error.into_response(),
        ErrorForm::Page => {
            // Without the dashboard's frame, which may have caused the failure. No escaping: all texts are our own.
            let body = format!(
                "<!doctype html><html lang=en><meta charset=utf-8><title>{0} · Latchkey</title>\
                 <h1>{0}</h1><p>{1}<p><a href=/keys>Back to the keys</a>",
                error.title, error.detail
            );
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, axum::response::Html(body)).into_response()
        }
    }
}

/// Converts an error that axum itself returned, as plain text or with an empty body, to the contract's form.
fn explain_axum_error(response: Response, form: ErrorForm) -> Response {
    let status = response.status();
    let plain = response
        .headers()
        .get(CONTENT_TYPE)
        .is_none_or(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("text/plain")));
    if form == ErrorForm::Page || !plain || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let error = match status {
        StatusCode::NOT_FOUND => ApiError::not_found("There is nothing at this address."),
        StatusCode::METHOD_NOT_ALLOWED => ApiError::method_not_allowed(),
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(crate::web::json::BODY_LIMIT),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiError::not_json(),
        status if status.is_server_error() => ApiError::internal(),
        _ => ApiError::invalid("The request cannot be read."),
    };
    let allow = response.headers().get(axum::http::header::ALLOW).cloned();
    let mut explained = failed(error, form);
    if let Some(allow) = allow {
        explained.headers_mut().insert(axum::http::header::ALLOW, allow);
    }
    explained
}

/// Runs the handler after the cross-site check, and once the body has arrived: the handler then notices that a session
/// or a key ended while the body arrived.
async fn check_and_run(state: &LayerState, request: Request, next: Next) -> Response {
    let form = ErrorForm::of(request.uri().path());
    if let Err(error) = refuse_cross_site(&state.site, &request) {
        return failed(error, form);
    }
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let sender = ClientAddress::of_request(request.extensions(), request.headers(), &state.site).tenant();
    let (parts, body) = request.into_parts();
    match body::await_small(body, &state.bodies, sender).await {
        Ok(body) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => failed(error, form),
    }
}

/// Refuses cross-site requests of browsers with an unsafe method, by `Origin` and `Sec-Fetch-Site` (docs/CONTRACTS.md,
/// "Requests from other sites"). Accepts requests of programs, which send neither header.
fn refuse_cross_site(site: &Site, request: &Request) -> Result<(), ApiError> {
    let headers = request.headers();
    for name in [ORIGIN, SEC_FETCH_SITE] {
        if headers.get_all(&name).iter().nth(1).is_some() {
            // A repeated header: a proxy in front may have checked the other value.
            return Err(ApiError::invalid(format!("The header `{name}` must be given once at most.")));
        }
    }
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    match cross_site(headers, site) {
        Some(reason) if !safe => Err(ApiError::forbidden(reason)),
        _ => Ok(()),
    }
}

fn cross_site(headers: &HeaderMap, site: &Site) -> Option<&'static str> {
    const OTHER_SITE: &str = "Another site sent this request; only pages of this server may.";
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let fetch_site = headers.get(&SEC_FETCH_SITE).map(|value| value.to_str().unwrap_or("?"));
    let origin = text(&ORIGIN);
    if fetch_site.is_none() && origin.is_none() {
        return None;
    }
    if fetch_site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Some(OTHER_SITE);
    }
    let host = text(&HOST).unwrap_or_default();
    if let Some(origin) = origin {
        let own = match &site.public_url {
            Some(url) => origin.eq_ignore_ascii_case(url),
            None => origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)),
        };
        if !own {
            return Some(OTHER_SITE);
        }
    }
    // An attacker's DNS name that resolves to this server (DNS rebinding) would pass as a same-origin request.
    let is_unknown = site.unknown_host(headers).is_some() || (site.public_url.is_none() && host.is_empty());
    is_unknown.then_some("This host name is not known here: start the server with --public-url.")
}

/// Sets the security headers for browsers.
pub fn set_browser_headers(response: &mut Response) {
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    // Pages set their own policy, with a nonce; all other responses load nothing.
    set(CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    set(X_FRAME_OPTIONS, "DENY");
    // Not `no-referrer`: browsers would then send `Origin: null` from our own forms.
    set(REFERRER_POLICY, "same-origin");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()");
    // An empty response has no content type.
    if response.body().size_hint().exact() == Some(0) {
        response.headers_mut().remove(CONTENT_TYPE);
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::model::Timestamp;

    const SECRET: &str = "hs_live_c0d9 was in the panic";

    async fn panics() -> StatusCode {
        panic!("{SECRET}")
    }

    async fn hangs() -> StatusCode {
        std::future::pending().await
    }

    /// Returns the status, the content type and the body of a response, and checks that it has a request id.
    async fn observed(path: &str) -> (StatusCode, String, String) {
        let state = LayerState {
            site: Arc::new(Site::default()),
            bodies: Arc::default(),
            log_limit: Arc::new(LogLimit::new(Clock::fixed(Timestamp(0)))),
            clock: Clock::fixed(Timestamp(0)),
            entropy: Entropy::seeded(1),
        };
        let router = Router::new()
            .route("/v1/panics", get(panics))
            .route("/panics", get(panics))
            .route("/v1/hangs", get(hangs))
            .route("/hangs", get(hangs))
            .layer(from_fn_with_state(state, surround));
        let response = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let text = |name: HeaderName| head.headers.get(name).expect("the header").to_str().unwrap().to_owned();
        let id = text(REQUEST_ID);
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, text(CONTENT_TYPE), String::from_utf8(body.to_vec()).unwrap())
    }

    fn is_problem(kind: &str, body: &str, code: &str) {
        assert_eq!(kind, "application/problem+json");
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).expect("JSON")["code"], code);
    }

    fn is_page(kind: &str, body: &str) {
        assert!(kind.starts_with("text/html"), "{kind}");
        assert!(body.starts_with("<!doctype html>") && body.contains("<h1>"), "{body}");
    }

    #[tokio::test]
    async fn a_panic_gets_500_without_its_message() {
        let (status, kind, body) = observed("/v1/panics").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        is_problem(&kind, &body, "internal_error");
        assert!(!body.contains("hs_live"), "{body}");

        let (status, kind, body) = observed("/panics").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        is_page(&kind, &body);
        assert!(!body.contains("hs_live"), "{body}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_hangs_gets_503_after_30_s() {
        let began = tokio::time::Instant::now();
        let (status, kind, body) = observed("/v1/hangs").await;
        assert_eq!(began.elapsed().as_secs(), 30);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        is_problem(&kind, &body, "unavailable");

        let (status, kind, body) = observed("/hangs").await;
        assert_eq!(began.elapsed().as_secs(), 60);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        is_page(&kind, &body);
    }

    fn refused(site: &Site, headers: &[(&str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        cross_site(&map, site).is_some()
    }

    #[test]
    fn requests_without_browser_headers_are_accepted() {
        assert!(!refused(&Site::default(), &[("host", "keys.internal:3000")]));
    }

    #[test]
    fn cross_site_requests_are_refused_by_either_header() {
        let site = Site::default();
        let host = ("host", "127.0.0.1:3000");
        assert!(refused(&site, &[host, ("sec-fetch-site", "cross-site")]));
        assert!(refused(&site, &[host, ("sec-fetch-site", "same-site")]));
        assert!(refused(&site, &[host, ("origin", "https://evil.example")]));
        assert!(refused(&site, &[host, ("origin", "null")]));
        assert!(refused(&site, &[host, ("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")]));
        assert!(!refused(&site, &[host, ("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:3000")]));
        assert!(!refused(&site, &[("host", "localhost:3000"), ("origin", "http://localhost:3000")]));
        assert!(!refused(&site, &[("host", "[::1]:3000"), ("origin", "http://[::1]:3000")]));
    }

    #[test]
    fn a_dns_rebinding_host_is_refused() {
        let headers = [("host", "evil.example:3000"), ("origin", "http://evil.example:3000")];
        assert!(refused(&Site::default(), &headers));
    }

    #[test]
    fn with_a_public_url_only_its_origin_counts() {
        let site = Site { public_url: Some("https://keys.example.com".into()), ..Site::default() };
        let host = ("host", "10.0.0.7:3000");
        assert!(!refused(&site, &[host, ("origin", "https://keys.example.com")]));
        assert!(refused(&site, &[host, ("origin", "http://10.0.0.7:3000")]));
        assert!(refused(&site, &[host, ("origin", "https://other.example.com")]));
    }
}
