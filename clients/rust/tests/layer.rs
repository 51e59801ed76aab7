//! The layer, around an axum application and around a plain service.

mod fake;

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use fake::{Fake, refused};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use latchkey_client::{Environment, Identity, LatchkeyLayer};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};

const KEY: &str = "hs_live_1";

fn request(header: &str, value: &str) -> Request<Body> {
    Request::get("/").header(header, value).header("accept", "text/plain").body(Body::empty()).expect("a request")
}

async fn json_of<B: http_body::Body<Error: std::fmt::Debug>>(response: Response<B>) -> Value {
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    serde_json::from_slice(&body).expect("JSON")
}

/// Returns the identity and the names of the headers of the request.
async fn handler(identity: Identity, headers: HeaderMap) -> String {
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let plan = identity.metadata.as_ref().and_then(|all| all.get("plan").cloned()).unwrap_or_default();
    format!("{} {} {plan} {}", identity.name, identity.environment, names.join(","))
}

#[tokio::test]
async fn a_request_with_a_valid_key_passes_without_the_key() {
    let fake = Fake::start().await;
    fake.know(KEY, true);
    let layer = LatchkeyLayer::new(fake.client())
        .scopes("reports:read")
        .environment(Environment::Live)
        .address(|parts| parts.headers.get("x-from")?.to_str().ok()?.parse().ok());
    let app = Router::new().route("/", get(handler)).layer(layer);
    for mut request in [request("x-api-key", KEY), request("authorization", &format!("Bearer {KEY}"))] {
        request.headers_mut().insert("x-from", http::HeaderValue::from_static("203.0.113.9"));
        let response = app.clone().oneshot(request).await.expect("an answer");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, format!("{KEY} live pro accept,x-from"));
    }
    let asked = fake.seen(|seen| seen.checks[0].clone());
    let expected = json!({"key": KEY, "scopes": "reports:read", "environment": "live", "ip": "203.0.113.9", "cost": 1});
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn a_refused_request_does_not_reach_the_service() {
    let fake = Fake::start().await;
    let inner = service_fn(async |_: Request<Body>| -> Result<Response<Full<Bytes>>, Infallible> {
        unreachable!("every request is refused")
    });
    let service = LatchkeyLayer::new(fake.client()).layer(inner);
    for (status, answer, expected) in [
        (200, refused("REVOKED"), 401),
        (200, json!({"valid": false, "code": "INSUFFICIENT_SCOPES", "missing_scopes": ["a:b"]}), 403),
        (200, json!({"valid": false, "code": "RATE_LIMITED", "retry_after": 7}), 429),
        (200, refused("ON_FIRE"), 403),
        (401, Value::Null, 503),
        (500, Value::Null, 503),
    ] {
        fake.say(KEY, status, answer.clone(), false);
        let response = service.clone().oneshot(request("x-api-key", KEY)).await.expect("an answer");
        assert_eq!(response.status(), expected, "{answer}");
        let has = |name| response.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        assert_eq!(has("content-type").as_deref(), Some("application/problem+json"));
        assert_eq!(has("www-authenticate").is_some(), expected == 401);
        assert_eq!(
            has("retry-after"),
            [(429, "7"), (503, "1")].into_iter().find(|(s, _)| *s == expected).map(|(_, t)| t.to_owned())
        );
        let problem = json_of(response).await;
        assert_eq!(problem["status"], expected);
        assert_eq!(
            problem.get("missing_scopes"),
            (answer["code"] == "INSUFFICIENT_SCOPES").then(|| json!(["a:b"])).as_ref()
        );
    }
    let asked = fake.checks(KEY);
    for request in [request("accept", "*/*"), request("x-api-key", ""), request("authorization", "Basic x")] {
        let response = service.clone().oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), 401);
        assert_eq!(json_of(response).await, json!({"status": 401, "title": "Unauthorized", "code": "unauthenticated"}));
    }
    assert_eq!(fake.checks(KEY), asked);
}

#[tokio::test]
async fn an_identity_without_the_layer_is_a_500() {
    let app: Router = Router::new()
        .route("/", get(handler))
        .route("/optional", get(async |identity: Option<Identity>| identity.is_none().to_string()));
    let response = app.clone().oneshot(request("x-api-key", KEY)).await.expect("an answer");
    assert_eq!(response.status(), 500);
    let optional = Request::get("/optional").body(Body::empty()).expect("a request");
    assert_eq!(app.oneshot(optional).await.expect("an answer").status(), 200);
}
