//! Refused requests never reach the service.

use serde_json::json;

use super::gateway::Kind;
use super::{CLIENT, Scene};
use crate::served::{self, Connection};

pub async fn refused_requests_never_reach_the_service(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    let other_scope = scene.key(json!({"scopes": "orders:write"})).await;
    let me = scene.call_owner("GET", "/v1/auth/me", "").await.json(200);
    let environments = me["organisations"][0]["environments"].as_array().expect("environments");
    let test = environments.iter().find(|environment| environment["mode"] == "test").expect("Development");
    let test_key = scene.key_in(test["id"].as_str().expect("an id"), json!({"scopes": "orders:read"})).await;
    let unknown = format!("X-API-Key: hs_live_{}", "0".repeat(64));
    let session = format!("Cookie: session={}", scene.account.session);
    let refused: [(&[&str], u16); 6] = [
        (&[], 401),
        (&["X-API-Key: nonsense"], 401),
        (&[&unknown], 401),
        // A dashboard session is not a key.
        (&[&session], 401),
        (&[&other_scope.header], 403),
        (&[&test_key.header], 403),
    ];
    for (headers, status) in refused {
        for (method, body) in [("GET", ""), ("POST", r#"{"item":"tea"}"#)] {
            let answer = scene.call(method, "/orders", headers, body).await;
            scene.refused(&answer, status);
        }
    }
}

pub async fn a_revoked_key_is_refused_at_once(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    for _ in 0..5 {
        let key = scene.key(json!({"scopes": "orders:read"})).await;
        // Both requests use one connection, so that only the state of the key differs.
        let mut connection = Connection::open_from(CLIENT, scene.gateway.address).await.expect("the server listens");
        let request = served::request("GET", "/orders", &[&key.header], "");
        assert_eq!(connection.send(&request).await.expect("an answer").status, 200);
        scene.arrived();
        scene.call_owner("DELETE", &format!("/v1/auth/api-keys/{}", key.id), "").await.json(200);
        let answer = connection.send(&request).await.expect("an answer");
        scene.refused(&answer, 401);
    }
}

pub async fn a_limited_key_gets_retry_after(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    let rate = json!({"scopes": "orders:read", "rate_limit": {"limit": 2, "window_seconds": 600}});
    let quota = json!({"scopes": "orders:read", "quota": {"limit": 2}});
    for (wish, max_seconds) in [(rate, 600), (quota, 31 * 24 * 3600)] {
        let key = scene.key(wish).await;
        for _ in 0..2 {
            assert_eq!(scene.get("/orders", &[&key.header]).await.status, 200);
            scene.arrived();
        }
        // Only nginx's own request sets `compat=nginx`; a client that sets it gets the usual headers.
        for path in ["/orders", "/orders?compat=nginx"] {
            let answer = scene.get(path, &[&key.header]).await;
            scene.refused(&answer, 429);
            let seconds: u32 = answer.header("retry-after").expect("Retry-After").parse().expect("seconds");
            assert!((1..=max_seconds).contains(&seconds), "{seconds}");
            assert_eq!(answer.header("ratelimit").is_some(), kind != Kind::Nginx, "{}", answer.head);
        }
    }
    // Another key has its own limit.
    let other = scene.key(json!({"scopes": "orders:read"})).await;
    assert_eq!(scene.get("/orders", &[&other.header]).await.status, 200);
}

pub async fn path_query_and_headers_do_not_change_the_required_scope(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    let other_scope = scene.key(json!({"scopes": "orders:write"})).await;
    let passing = scene.key(json!({"scopes": "orders:read"})).await;
    let forward_auth = format!("/v1/forward-auth/{}", scene.account.organisation);
    let paths = [
        format!("{forward_auth}/any/any"),
        format!("{forward_auth}/live/orders:write"),
        "/orders?scopes=any&mode=any".to_owned(),
        "/../../any/any".to_owned(),
        "/..%2f..%2fany%2fany".to_owned(),
        "/%2e%2e/%2e%2e/any/any".to_owned(),
        "/..;/..;/any/any".to_owned(),
        format!("//{forward_auth}/any/any"),
        "/+orders:write".to_owned(),
        "/%3Fscopes=any".to_owned(),
        "/_latchkey".to_owned(),
    ];
    let headers = [
        &other_scope.header,
        "X-Forwarded-Uri: /v1/forward-auth/org_0123456789abcdef/any/any",
        "X-Original-URI: /any/any",
        "X-Original-URL: /any/any",
        "X-Rewrite-URL: /any/any",
        "X-Envoy-Original-Path: /any/any",
        "X-Forwarded-Prefix: /any/any",
        "X-HTTP-Method-Override: OPTIONS",
        "X-Forwarded-Method: OPTIONS",
    ];
    for path in &paths {
        for method in ["GET", "POST", "OPTIONS"] {
            let answer = scene.call(method, path, &headers, "").await;
            // A gateway refuses a malformed path with 400, and nginx its internal location with 404.
            assert!([400, 403, 404].contains(&answer.status), "{method} {path}: {}", answer.head);
            assert!(scene.service.seen().is_empty(), "{method} {path}");
        }
    }
    // Clients cannot call the internal location of nginx's subrequest.
    if kind == Kind::Nginx {
        let answer = scene.get("/_latchkey", &[&passing.header]).await;
        scene.refused(&answer, 404);
    }
    // With the required scope, the service gets the path and query unchanged.
    let path = format!("{forward_auth}/any/any?scopes=any&compat=nginx");
    assert_eq!(scene.get(&path, &[&passing.header]).await.status, 200);
    assert_eq!(scene.arrived().line, format!("GET {path}"));
}

pub async fn no_request_passes_while_latchkey_is_down(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    let key = scene.key(json!({"scopes": "orders:read"})).await;
    assert_eq!(scene.get("/orders", &[&key.header]).await.status, 200);
    scene.arrived();
    scene.latchkey.kill();
    for _ in 0..3 {
        let answer = scene.get("/orders", &[&key.header]).await;
        assert!((500..=503).contains(&answer.status), "{}", answer.head);
        assert!(scene.service.seen().is_empty());
    }
}
