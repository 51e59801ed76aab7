//! Heads that RFC 9112 does not allow, and the maximum length of a head.

use std::fmt::Write;
use std::net::SocketAddr;

use super::raw::Raw;
use crate::served::{self, Answer, Server};

/// A process that is killed on drop.
struct KillOnDrop(std::process::Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn ask(server: SocketAddr, request: &str) -> Answer {
    let mut raw = Raw::open(server).await;
    raw.send(request.as_bytes()).await;
    raw.answer().await
}

/// Asserts that a request gets an error in the usual form and that the connection ends. Under `/api/v1/` a 400 is a
/// JSON string.
async fn refused(server: &Server, request: &str, status: u16) {
    let mut raw = Raw::open(server.address).await;
    raw.send(request.as_bytes()).await;
    let answer = raw.answer().await;
    let is_string = status == 400 && request.contains(" /api/v1/");
    let kind = if is_string { "application/json" } else { "application/problem+json" };
    assert_eq!(answer.header("content-type"), Some(kind), "{request}");
    let body = answer.json(status);
    let said = if is_string { &body } else { &body["detail"] };
    assert!(said.as_str().is_some_and(|said| !said.is_empty()), "{body}");
    assert_eq!(answer.header("x-request-id").map(str::len), Some(16), "{request}");
    assert_eq!(answer.header("connection"), Some("close"), "{request}");
    assert_eq!(answer.head.matches("content-length").count(), 1, "{}", answer.head);
    assert!(raw.is_closed().await, "{request}");
}

#[tokio::test]
async fn a_request_needs_exactly_one_valid_host() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &[], &[]);
    for path in
        ["/healthz", "/v1/keys/verify", "/v1/forward-auth/org_0123456789abcdef/any/any", "/keys", "/api/v1/apikeys"]
    {
        for method in ["GET", "POST"] {
            for hosts in [
                "",
                "Host: localhost\r\nHost: localhost\r\n",
                "Host: a\r\nhost: b\r\n",
                "Host: user@localhost\r\n",
                "Host: local host\r\n",
                "Host: localhost/keys\r\n",
                "Host: \u{e9}\r\n",
            ] {
                refused(&server, &format!("{method} {path} HTTP/1.1\r\n{hosts}\r\n"), 400).await;
            }
        }
    }
    for right in [
        "GET /healthz HTTP/1.0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: [::1]:3000\r\n\r\n",
        "GET http://localhost/healthz HTTP/1.1\r\nHost: LOCALHOST:80\r\n\r\n",
    ] {
        assert_eq!(ask(server.address, right).await.status, 200, "{right}");
    }
    for wrong in ["http://localhost/healthz", "http://localhost:81/healthz", "http://u@other/healthz"] {
        refused(&server, &format!("GET {wrong} HTTP/1.1\r\nHost: other\r\n\r\n"), 400).await;
    }
}

#[tokio::test]
async fn repeated_origin_headers_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &[], &[]);
    let host = server.address;
    for method in ["GET", "POST"] {
        for twice in [
            format!("Origin: http://{host}\r\nOrigin: https://evil.example\r\n"),
            "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n".to_owned(),
        ] {
            let request =
                format!("{method} /v1/auth/api-keys HTTP/1.1\r\nHost: {host}\r\n{twice}Content-Length: 0\r\n\r\n");
            let problem = ask(server.address, &request).await.json(400);
            assert_eq!(problem["code"], "invalid_request", "{request}");
            let hooksentry = request.replace("/v1/auth/api-keys", "/api/v1/apikeys");
            assert!(ask(server.address, &hooksentry).await.json(400).is_string(), "{hooksentry}");
        }
    }
}

/// RFC 9112, section 2.2: a recipient may accept a single LF as the end of a line. An LF is then never part of a value,
/// and a single CR is an error.
#[tokio::test]
async fn every_line_feed_ends_a_line_and_a_lone_carriage_return_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &[], &[]);
    assert_eq!(ask(server.address, "GET /healthz HTTP/1.1\nHost: localhost\n\n").await.status, 200);
    refused(&server, "GET /healthz HTTP/1.1\r\nHost: a\nHost: b\r\n\r\n", 400).await;
    refused(&server, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\rHost: b\r\n\r\n", 400).await;
}

#[tokio::test]
async fn a_malformed_head_is_a_400_with_a_problem_body() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &[], &[]);
    for wrong in [
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "G\u{0}T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n",
        "POST /v1/keys/verify HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        "POST /v1/keys/verify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST /v1/keys/verify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        refused(&server, wrong, 400).await;
    }
    // A malformed head after an answered request on the same connection.
    let mut raw = Raw::open(server.address).await;
    raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 200);
    raw.send(b"nonsense\r\n\r\n").await;
    assert_eq!(raw.answer().await.json(400)["code"], "invalid_request");
}

/// A request with a head of exactly this length in bytes.
fn of_length(path: &str, length: usize) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nx-long: ");
    let long = "a".repeat(length - head.len() - 4);
    format!("{head}{long}\r\n\r\n")
}

#[tokio::test]
async fn a_head_of_32_kib_is_read_and_a_longer_one_is_a_431() {
    const MAX_HEAD_BYTES: usize = 32 * 1024;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path(), &[], &[]);
    for path in ["/healthz", "/v1/whoami", "/v1/forward-auth/org_0123456789abcdef/any/any"] {
        for length in [MAX_HEAD_BYTES - 1, MAX_HEAD_BYTES] {
            let status = ask(server.address, &of_length(path, length)).await.status;
            assert!([200, 401].contains(&status), "{path} {length}: {status}");
        }
        for length in [MAX_HEAD_BYTES + 1, 45 * 1024, 64 * 1024 - 1, 64 * 1024 + 1, 200 * 1024] {
            let mut raw = Raw::open(server.address).await;
            // The server does not read beyond the limit, so no more than 70 KiB are sent.
            raw.send(&of_length(path, length).as_bytes()[..length.min(70 * 1024)]).await;
            let answer = raw.answer().await;
            assert_eq!(answer.json(431)["code"], "headers_too_large", "{path} {length}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        }
    }
    let mut many = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n".to_owned();
    for n in 0..100 {
        let _ = write!(many, "x-{n}: a\r\n");
    }
    refused(&server, &format!("{many}\r\n"), 431).await;
}

#[tokio::test]
async fn every_response_has_hsts_with_an_https_public_url() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = served::free_port();
    let mut command = std::process::Command::new(served::program());
    command
        .current_dir(folder.path())
        .args(["--listen", &format!("127.0.0.1:{port}"), "--public-url", "https://keys.example.com"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let _server = KillOnDrop(command.spawn().expect("the program starts"));
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let listens = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), listens).await.expect("the server listens");
    for request in [
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /sign-in HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /v1/keys/verify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        "GET /v1/keys/verify HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /v1/forward-auth/org_0123456789abcdef/any/any HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /api/v1/ingest/a/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        "POST /api/v1/ingest/%61/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        "PUT /api/v1/ingest/a/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
        "CONNECT x:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /healthz HTTP/1.1\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let answer = ask(address, request).await;
        assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"), "{request}{}", answer.head);
    }
}
