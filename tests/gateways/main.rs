//! The gateways of `examples/gateways/`, run as they stand there, in front of a small service and with
//! the built program as the judge. Clients come from 127.0.0.2, so that they are nobody's trusted proxy.

mod gateway;
#[path = "../served/mod.rs"]
mod served;
mod service;

use std::net::{Ipv4Addr, SocketAddr};

use gateway::{Gateway, Kind};
use serde_json::{Value, json};
use served::{Account, Answer, Connection, Server};
use service::{Request, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const IDENTITY: [&str; 4] = ["X-Auth-Key-Id", "X-Auth-Org", "X-Auth-Env", "X-Auth-Scopes"];

/// Each of the stories is a test with each of the gateways.
macro_rules! through_every_gateway {
    ($($story:ident)*) => {$(
        mod $story {
            use super::Kind;

            #[tokio::test]
            async fn nginx() {
                super::$story(Kind::Nginx).await;
            }

            #[tokio::test]
            async fn caddy() {
                super::$story(Kind::Caddy).await;
            }

            #[tokio::test]
            async fn haproxy() {
                super::$story(Kind::Haproxy).await;
            }

            #[tokio::test]
            async fn traefik() {
                super::$story(Kind::Traefik).await;
            }

            #[tokio::test]
            async fn envoy() {
                super::$story(Kind::Envoy).await;
            }
        }
    )*};
}

through_every_gateway! {
    a_valid_key_passes_and_the_service_learns_whose_it_is
    what_is_refused_never_reaches_the_service
    a_revoked_key_stops_at_once
    a_limit_says_when_to_come_back
    headers_that_a_client_makes_up_never_reach_the_service
    a_client_cannot_take_the_identity_away
    neither_path_nor_query_nor_headers_change_what_is_demanded
    an_allowlist_sees_the_client_that_the_gateway_sees
    a_key_with_the_most_scopes_passes
    a_websocket_is_opened_with_a_key_and_only_with_one
    without_the_judge_nobody_passes
}

#[tokio::test]
async fn an_older_envoy_sends_the_path_along_and_it_changes_nothing() {
    neither_path_nor_query_nor_headers_change_what_is_demanded(Kind::OlderEnvoy).await;
}

struct Scene {
    gateway: Gateway,
    latchkey: Server,
    service: Service,
    owner: Connection,
    account: Account,
    _folder: tempfile::TempDir,
}

struct Key {
    id: String,
    header: String,
}

impl Scene {
    async fn new(kind: Kind) -> Self {
        Self::before(kind, ok).await
    }

    /// With a service that answers in this way.
    async fn before(kind: Kind, answer: service::Answer) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let latchkey = Server::start(folder.path(), &["--trusted-proxies", "127.0.0.1/32"], &[]);
        let mut owner = latchkey.connect().await.expect("it listens");
        let account = Account::register(&mut owner).await;
        let service = Service::start(answer).await;
        let gateway =
            Gateway::start(kind, folder.path(), latchkey.address, service.address, &account.organisation).await;
        assert!(service.seen().is_empty());
        Self { gateway, latchkey, service, owner, account, _folder: folder }
    }

    /// Makes a live key; what it is to have besides its name is given.
    async fn key(&mut self, wish: Value) -> Key {
        let environment = self.account.environment.clone();
        self.key_in(&environment, wish).await
    }

    async fn key_in(&mut self, environment: &str, mut wish: Value) -> Key {
        wish["name"] = "behind a gateway".into();
        wish["org_id"] = self.account.organisation.as_str().into();
        wish["env_id"] = environment.into();
        let made = self.call_owner("POST", "/v1/auth/api-keys", &wish.to_string()).await.json(201);
        let text = |field: &str| made[field].as_str().expect("text").to_owned();
        Key { id: text("id"), header: format!("X-API-Key: {}", text("key")) }
    }

    async fn call_owner(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let cookie = format!("Cookie: session={}", self.account.session);
        self.owner.call(method, path, &[&cookie], body).await.expect("an answer")
    }

    async fn get(&self, path: &str, headers: &[&str]) -> Answer {
        self.call("GET", path, headers, "").await
    }

    async fn call(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        self.call_from(CLIENT, method, path, headers, body).await
    }

    async fn call_from(&self, client: Ipv4Addr, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        ask(self.gateway.address, client, method, path, headers, body).await
    }

    /// The one request that the service got.
    #[track_caller]
    fn arrived(&self) -> Request {
        let mut seen = self.service.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    /// Refused with this status, and the service got nothing.
    #[track_caller]
    fn refused(&self, answer: &Answer, status: u16) {
        assert_eq!(answer.status, status, "{}{}", answer.head, answer.text());
        assert!(self.service.seen().is_empty());
    }
}

async fn ask(gateway: SocketAddr, client: Ipv4Addr, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let mut connection = Connection::open_from(client, gateway).await.expect("it listens");
    connection.call(method, path, headers, body).await.expect("an answer")
}

/// The service's answer to everything.
fn ok(_: &Request) -> String {
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned()
}

/// A judge who lets every key pass and says nothing of it but its id.
fn taciturn(request: &Request) -> String {
    match request.header("x-api-key") {
        Some(_) => "HTTP/1.1 200 OK\r\nX-Auth-Key-Id: ak_0123456789abcdef\r\nContent-Length: 0\r\n\r\n",
        None => "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
    }
    .to_owned()
}

async fn a_valid_key_passes_and_the_service_learns_whose_it_is(kind: Kind) {
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

async fn what_is_refused_never_reaches_the_service(kind: Kind) {
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
        // Whoever is signed in at the dashboard is not let in by that.
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

async fn a_revoked_key_stops_at_once(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    for _ in 0..5 {
        let key = scene.key(json!({"scopes": "orders:read"})).await;
        // One connection, so that nothing but the key is other than before.
        let mut connection = Connection::open_from(CLIENT, scene.gateway.address).await.expect("it listens");
        let request = served::request("GET", "/orders", &[&key.header], "");
        assert_eq!(connection.send(&request).await.expect("an answer").status, 200);
        scene.arrived();
        scene.call_owner("DELETE", &format!("/v1/auth/api-keys/{}", key.id), "").await.json(200);
        let answer = connection.send(&request).await.expect("an answer");
        scene.refused(&answer, 401);
    }
}

async fn a_limit_says_when_to_come_back(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    let rate = json!({"scopes": "orders:read", "rate_limit": {"limit": 2, "window_seconds": 600}});
    let quota = json!({"scopes": "orders:read", "quota": {"limit": 2}});
    for (wish, longest) in [(rate, 600), (quota, 31 * 24 * 3600)] {
        let key = scene.key(wish).await;
        for _ in 0..2 {
            assert_eq!(scene.get("/orders", &[&key.header]).await.status, 200);
            scene.arrived();
        }
        // What nginx alone asks for, nobody gets by asking for it himself.
        for path in ["/orders", "/orders?compat=nginx"] {
            let answer = scene.get(path, &[&key.header]).await;
            scene.refused(&answer, 429);
            let seconds: u32 = answer.header("retry-after").expect("Retry-After").parse().expect("seconds");
            assert!((1..=longest).contains(&seconds), "{seconds}");
            assert_eq!(answer.header("ratelimit").is_some(), kind != Kind::Nginx, "{}", answer.head);
        }
    }
    // A limit is the key's own.
    let other = scene.key(json!({"scopes": "orders:read"})).await;
    assert_eq!(scene.get("/orders", &[&other.header]).await.status, 200);
}

async fn headers_that_a_client_makes_up_never_reach_the_service(kind: Kind) {
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
async fn a_client_cannot_take_the_identity_away(kind: Kind) {
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

async fn neither_path_nor_query_nor_headers_change_what_is_demanded(kind: Kind) {
    let mut scene = Scene::new(kind).await;
    let other_scope = scene.key(json!({"scopes": "orders:write"})).await;
    let passing = scene.key(json!({"scopes": "orders:read"})).await;
    let door = format!("/v1/forward-auth/{}", scene.account.organisation);
    let paths = [
        format!("{door}/any/any"),
        format!("{door}/live/orders:write"),
        "/orders?scopes=any&mode=any".to_owned(),
        "/../../any/any".to_owned(),
        "/..%2f..%2fany%2fany".to_owned(),
        "/%2e%2e/%2e%2e/any/any".to_owned(),
        "/..;/..;/any/any".to_owned(),
        format!("//{door}/any/any"),
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
            // What a gateway does not take for a path at all is a 400, and nginx's own place a 404.
            assert!([400, 403, 404].contains(&answer.status), "{method} {path}: {}", answer.head);
            assert!(scene.service.seen().is_empty(), "{method} {path}");
        }
    }
    // The place from which nginx asks is not one to call.
    if kind == Kind::Nginx {
        let answer = scene.get("/_latchkey", &[&passing.header]).await;
        scene.refused(&answer, 404);
    }
    // The same for who may: the service gets it as it was sent.
    let path = format!("{door}/any/any?scopes=any&compat=nginx");
    assert_eq!(scene.get(&path, &[&passing.header]).await.status, 200);
    assert_eq!(scene.arrived().line, format!("GET {path}"));
}

async fn an_allowlist_sees_the_client_that_the_gateway_sees(kind: Kind) {
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

async fn a_key_with_the_most_scopes_passes(kind: Kind) {
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

/// The service's answer to an upgrade, after which it sends back what comes (RFC 6455, section 1.3).
fn upgraded(request: &Request) -> String {
    match request.header("upgrade") {
        Some("websocket") => "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            .to_owned(),
        _ => ok(request),
    }
}

async fn a_websocket_is_opened_with_a_key_and_only_with_one(kind: Kind) {
    let mut scene = Scene::before(kind, upgraded).await;
    let key = scene.key(json!({"scopes": "orders:read"})).await;
    let other_scope = scene.key(json!({"scopes": "orders:write"})).await;
    let upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    let nonce = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for (header, status) in [("X-Nothing: x", 401), (&other_scope.header, 403)] {
        let answer = scene.get("/live", &[header, upgrade[0], upgrade[1], upgrade[2], nonce]).await;
        scene.refused(&answer, status);
    }

    let head = format!(
        "GET /live HTTP/1.1\r\nHost: localhost\r\n{}\r\n{}\r\n{nonce}\r\n\r\n",
        key.header,
        upgrade.join("\r\n")
    );
    let mut stream = TcpStream::connect(scene.gateway.address).await.expect("it listens");
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut read).await.expect("an answer"), 0, "{}", String::from_utf8_lossy(&read));
    }
    assert!(read.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&read));
    let arrived = scene.arrived();
    assert_eq!((arrived.header("x-auth-key-id"), arrived.header("x-api-key")), (Some(key.id.as_str()), None));
    // A frame, masked as a client's must be.
    let frame = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    for _ in 0..3 {
        stream.write_all(&frame).await.expect("it is open");
        let mut back = [0; 11];
        stream.read_exact(&mut back).await.expect("it comes back");
        assert_eq!(back, frame);
    }

    // Another upgrade does not reach the service: what follows it would not be checked.
    // Traefik takes off this one only.
    let others = if kind == Kind::Traefik { &["h2c"][..] } else { &["h2c", "HTTP/2.0", "websocket, h2c", "TLS/1.0"] };
    for other in others {
        let headers = [
            key.header.as_str(),
            "Connection: Upgrade, HTTP2-Settings",
            &format!("Upgrade: {other}"),
            "HTTP2-Settings: AAMAAABk",
        ];
        let answer = scene.get("/live", &headers).await;
        assert_ne!(answer.status, 101, "{other}");
        for arrived in scene.service.seen() {
            assert_eq!(arrived.header("upgrade"), None, "{other}: {arrived:?}");
        }
    }
}

async fn without_the_judge_nobody_passes(kind: Kind) {
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
