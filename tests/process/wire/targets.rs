//! Tests every method with every form of a request target.

use super::raw::Raw;
use crate::served::{Account, Server};

const METHODS: [&str; 11] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "!"];

/// Targets in origin form (pages, forms, each contract, files, unknown paths), and in absolute, authority and asterisk
/// form.
const TARGETS: [&str; 43] = [
    "/",
    "/keys",
    "/keys/ak_0123456789abcdef",
    "/keys/%ff",
    "/o/org_0123456789abcdef/env_0123456789abcdef/keys",
    "/o/org_0123456789abcdef/env_0123456789abcdef/keys/ak_0123456789abcdef/revoke",
    "/o/%ff/x",
    "/setup",
    "/sign-in",
    "/register",
    "/sign-out",
    "/docs/api",
    "/events?org=x",
    "/nothing",
    "/nothing/%00/%2e%2e/",
    "//",
    "/?",
    "/../..",
    "/pkg/1/x.js",
    "/favicon.svg",
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/v1/nothing",
    "/v1/whoami",
    "/v1/cluster",
    "/v1/keys/verify",
    "/v1/keys/usage",
    "/v1/keys/%ff",
    "/v1/forward-auth/",
    "/v1/forward-auth/org_0123456789abcdef/any/any",
    "/v1/auth/me",
    "/v1/auth/login",
    "/v1/auth/api-keys",
    "/v1/auth/api-keys/current",
    "/api/v1/apikeys",
    "/api/v1/ingest/%ff/%ff",
    "http://localhost",
    "http://localhost/keys",
    "http://localhost/v1/whoami",
    "x:1",
    "localhost",
    "*",
];

#[tokio::test]
async fn no_request_line_makes_the_server_fail() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &[], &[("LATCHKEY_LOG", "info")]);
    let account = Account::register(&mut server.connect().await.expect("the server listens")).await;
    let session = format!("Cookie: session={}\r\n", account.session);
    let bearer = format!("{}\r\n", account.bearer());
    let mut raw = Raw::open(server.address).await;
    for method in METHODS {
        for target in TARGETS {
            for credential in ["", &session, &bearer] {
                if !credential.is_empty() && target == "/sign-out" && method == "POST" {
                    continue;
                }
                for body in
                    ["Content-Length: 0\r\n\r\n", "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"]
                {
                    let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{credential}{body}");
                    assert!(raw.send(request.as_bytes()).await, "{request}");
                    let answer = raw.answer_to(method).await.unwrap_or_else(|error| panic!("{error}: {request}"));
                    assert!((200..500).contains(&answer.status), "{}{}\nto {request}", answer.head, answer.text());
                    if answer.header("connection") == Some("close") {
                        assert!(raw.is_closed().await, "{request}");
                        raw = Raw::open(server.address).await;
                    }
                }
            }
        }
    }
    raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 200);
    let log = crate::program::log(folder.path());
    assert!(!log.contains("panicked") && !log.contains("panic"), "{log}");
}

#[tokio::test]
async fn a_target_that_is_not_a_path_is_a_400() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &[], &[]);
    for line in ["CONNECT x:1", "CONNECT /keys", "GET x:1", "POST localhost", "GET *"] {
        let mut raw = Raw::open(server.address).await;
        raw.send(format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await;
        let problem = raw.answer().await.json(400);
        assert_eq!(problem["code"], "invalid_request", "{line}");
        assert!(problem["detail"].as_str().expect("a text").contains("must be a path"), "{problem}");
        assert!(raw.is_closed().await, "{line}");
    }
}
