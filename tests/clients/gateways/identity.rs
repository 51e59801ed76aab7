//! The headers that tell the service the identity of the caller, and attempts to forge them.

use serde_json::json;

use super::gateway::{Gateway, Kind};
use super::service::{Request, Service};
use super::{CLIENT, IDENTITY, NEIGHBOUR, Scene, ask, ok};

/// A judge who lets every key pass and says nothing of it but its id.
fn taciturn(request: &Request) -> String {
    match request.header("x-api-key") {
        Some(_) => "HTTP/1.1 200 OK\r\nX-Auth-Key-Id: ak_0123456789abcdef\r\nContent-Length: 0\r\n\r\n",
        None => "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
    }
    .to_owned()
}

pub async fn a_valid_key_passes_and_the_service_learns_whose_it_is(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    let key = scene.key(json!({"scopes": "orders:read orders:write"})).await;
    let (organisation, environment) = (scene.account.organisation.clone(), scene.account.environment.clone());
    let bearer = key.header.replace("X-API-Key: ", "Authorization: Bearer ");
    // A page of another site may send it: what Latchkey makes of that for its own pages is not the
    // service's business.
    let foreign = ["Origin: https://elsewhere.example", "Sec-Fetch-Site: cross-site"];
    for credential in [&key.header, &bearer] {
        for (method, body) in [("GET", ""), ("POST", r#"{"item":"tea"}"#), ("DELETE", "")] {
            let headers = [credential.as_str(), foreign[0], foreign[1]];
            let answer = scene.call(method, "/orders/7?page=2&q=%2F", &headers, body).await;
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{}", answer.head);
            let arrived = scene.arrived();
            assert_eq!(arrived.line, format!("{method} /orders/7?page=2&q=%2F"));
            assert_eq!(arrived.body, body);
            assert_eq!(
                IDENTITY.map(|name| arrived.header(name)),
                [&*key.id, &*organisation, &*environment, "orders:read orders:write"].map(Some)
            );
            // The service does not need the key.
            assert_eq!((arrived.header("x-api-key"), arrived.header("authorization")), (None, None));
        }
    }
}

pub async fn headers_that_a_client_makes_up_never_reach_the_service(kind: Kind) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (judge, service) = (Service::start(taciturn).await, Service::start(ok).await);
    let gateway = Gateway::start(kind, folder.path(), judge.address, service.address, "org_fedcba9876543210").await;
    judge.seen();
    let mut headers = vec!["X-API-Key: any".to_owned()];
    for name in IDENTITY {
        // Servers that hand headers on as variables take all of these for the same name (CGI, WSGI; PHP
        // the dot as well).
        for spelling in [
            name.to_owned(),
            name.to_lowercase(),
            name.replace('-', "_"),
            name.replacen('-', "_", 1),
            name.replace('-', "."),
        ] {
            headers.push(format!("{spelling}: forged"));
        }
        headers.push(format!("{}: forged as well", name.to_uppercase()));
    }
    // nginx knows no patterns: it replaces those that there are, and only those.
    if kind != Kind::Nginx {
        headers.push("X-Auth-Whatever: forged".to_owned());
    }
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let answer = ask(gateway.address, CLIENT, "GET", "/", &headers, "").await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    let arrived = service.seen().pop().expect("a request");
    assert!(arrived.headers.iter().all(|(_, value)| !value.contains("forged")), "{arrived:?}");
    assert_eq!(arrived.header(IDENTITY[0]), Some("ak_0123456789abcdef"));
    for name in &IDENTITY[1..] {
        assert!(arrived.header(name).is_none_or(str::is_empty), "{arrived:?}");
    }
    // The judge has no use for them either, and did not get the client's word for where it is.
    let asked = judge.seen().pop().expect("a question");
    assert!(asked.headers.iter().all(|(_, value)| !value.contains("forged")), "{asked:?}");
}

/// A header that `Connection` names is taken off by the next proxy.
pub async fn a_client_cannot_take_the_identity_away(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    let key = scene.key(json!({"scopes": "orders:read"})).await;
    for names in ["X-Auth-Scopes", "keep-alive, x-auth-scopes, X-Auth-Org", "close, X-Auth-Key-Id"] {
        let answer = scene.get("/orders", &[&key.header, &format!("Connection: {names}")]).await;
        if answer.status == 400 {
            scene.refused(&answer, 400);
            continue;
        }
        assert_eq!(answer.status, 200, "{}", answer.head);
        let arrived = scene.arrived();
        assert!(IDENTITY.iter().all(|name| arrived.header(name).is_some()), "{arrived:?}");
        assert!(!arrived.header("connection").is_some_and(|value| value.to_lowercase().contains("x-auth")));
    }
}

pub async fn an_allowlist_sees_the_client_that_the_gateway_sees(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    let key = scene.key(json!({"scopes": "orders:read", "ip_allowlist": [format!("{CLIENT}/32")]})).await;
    let said = [
        format!("X-Forwarded-For: {CLIENT}"),
        format!("X-Forwarded-For: 192.0.2.1, {CLIENT}"),
        format!("X-Real-IP: {CLIENT}"),
        format!("Forwarded: for={CLIENT}"),
        format!("X-Envoy-External-Address: {CLIENT}"),
        "X-Forwarded-For: unknown".to_owned(),
    ];
    let mut headers = vec![key.header.as_str()];
    headers.extend(said.iter().map(String::as_str));
    for headers in [&headers[..1], &headers] {
        let answer = scene.call_from(NEIGHBOUR, "GET", "/orders", headers, "").await;
        scene.refused(&answer, 403);
    }
    // Nor does it shut anybody out to name somebody else.
    for said in [&[][..], &["X-Forwarded-For: 192.0.2.1"]] {
        let headers = [&[key.header.as_str()], said].concat();
        let answer = scene.get("/orders", &headers).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        // The last hop is what the service may believe.
        let arrived = scene.arrived();
        let forwarded = arrived.header("x-forwarded-for").expect("X-Forwarded-For");
        assert_eq!(forwarded.rsplit(',').next().map(str::trim), Some(CLIENT.to_string().as_str()));
    }
}

pub async fn a_key_with_the_most_scopes_passes(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    let mut scopes = vec!["orders:read".to_owned()];
    scopes.extend((1..50).map(|n| format!("{}:{n:02}", "resource".repeat(12))));
    let scopes = scopes.join(" ");
    assert!(scopes.len() > 4900, "{}", scopes.len());
    let key = scene.key(json!({"scopes": scopes})).await;
    let cookie = format!("Cookie: large={}", "x".repeat(6000));
    for headers in [&[key.header.as_str()][..], &[&key.header, &cookie]] {
        let answer = scene.get("/orders", headers).await;
        assert_eq!(answer.status, 200, "{}{}", answer.head, answer.text());
        assert_eq!(scene.arrived().header("x-auth-scopes"), Some(scopes.as_str()));
    }
}
