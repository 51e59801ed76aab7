//! The headers that carry the caller's identity to the service, and attempts to forge or remove them.

use serde_json::json;

use super::gateway::{Gateway, Kind};
use super::service::{Request, Service};
use super::{CLIENT, IDENTITY, NEIGHBOUR, Scene, ask, ok};

/// An authorizer that accepts every key and returns only a key ID, no other identity header.
fn only_key_id(request: &Request) -> String {
    match request.header("x-api-key") {
        Some(_) => "HTTP/1.1 200 OK\r\nX-Auth-Key-Id: ak_0123456789abcdef\r\nContent-Length: 0\r\n\r\n",
        None => "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
    }
    .to_owned()
}

pub async fn a_valid_key_passes_with_its_identity(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    let key = scene.key(json!({"scopes": "orders:read orders:write"})).await;
    let (organisation, environment) = (scene.account.organisation.clone(), scene.account.environment.clone());
    let bearer = key.header.replace("X-API-Key: ", "Authorization: Bearer ");
    // A page of another site may send the request: Latchkey's cross-site rules are for its own pages, not for the
    // service.
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

pub async fn forged_identity_headers_never_reach_the_service(kind: Kind) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (authorizer, service) = (Service::start(only_key_id).await, Service::start(ok).await);
    let gateway =
        Gateway::start(kind, folder.path(), authorizer.address, service.address, "org_fedcba9876543210").await;
    authorizer.seen();
    let mut headers = vec!["X-API-Key: any".to_owned()];
    for name in IDENTITY {
        // Servers that pass headers as variables (CGI, WSGI) treat these as the same name, PHP also that with the dot.
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
    // nginx cannot match header names by pattern: its example replaces only the existing identity headers.
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
    // The authorizer gets no forged header either.
    let asked = authorizer.seen().pop().expect("a request");
    assert!(asked.headers.iter().all(|(_, value)| !value.contains("forged")), "{asked:?}");
}

/// A proxy removes the headers that `Connection` names, so a client could try to remove identity headers.
pub async fn a_client_cannot_remove_the_identity_headers(kind: Kind) {
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

pub async fn an_ip_allowlist_uses_the_address_that_the_gateway_sees(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    let key = scene.key(json!({"scopes": "orders:read", "ip_allowlist": [format!("{CLIENT}/32")]})).await;
    let forged = [
        format!("X-Forwarded-For: {CLIENT}"),
        format!("X-Forwarded-For: 192.0.2.1, {CLIENT}"),
        format!("X-Real-IP: {CLIENT}"),
        format!("Forwarded: for={CLIENT}"),
        format!("X-Envoy-External-Address: {CLIENT}"),
        "X-Forwarded-For: unknown".to_owned(),
    ];
    let mut headers = vec![key.header.as_str()];
    headers.extend(forged.iter().map(String::as_str));
    for headers in [&headers[..1], &headers] {
        let answer = scene.call_from(NEIGHBOUR, "GET", "/orders", headers, "").await;
        scene.refused(&answer, 403);
    }
    // A forged address does not exclude an allowed client.
    for forged in [&[][..], &["X-Forwarded-For: 192.0.2.1"]] {
        let headers = [&[key.header.as_str()], forged].concat();
        let answer = scene.get("/orders", &headers).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
        // The service may trust the last hop.
        let arrived = scene.arrived();
        let forwarded = arrived.header("x-forwarded-for").expect("X-Forwarded-For");
        assert_eq!(forwarded.rsplit(',').next().map(str::trim), Some(CLIENT.to_string().as_str()));
    }
}

pub async fn a_key_with_the_maximum_of_scopes_passes(kind: Kind) {
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
