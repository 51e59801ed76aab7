//! Behaviour that only real connections show: limits of heads, malformed bytes, slow bodies, and secrets in logs.

use std::io::{Read, Write};

use super::{PASSWORD, Server, database, key_of, read, request, text, whoami};

#[test]
fn headers_are_limited_and_malformed_bytes_do_no_harm() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&database(folder.path()), folder.path(), &[]);
    let large = format!("x-large: {}\r\n", "x".repeat(64 * 1024));
    assert_eq!(server.call("GET", "/healthz", &large, "").status, 431);
    let many = "x: y\r\n".repeat(200);
    assert_eq!(server.call("GET", "/healthz", &many, "").status, 431);
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"POST /v1/auth/login HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\nzzzz",
        b"GET /healthz HTTP/1.1\r\nhost: a\r\n: b\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(bytes).expect("the server reads");
        stream.shutdown(std::net::Shutdown::Write).expect("half closed");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = text(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(server.call("GET", "/healthz", "", "").status, 200);
}

#[test]
fn a_slow_body_is_accepted_and_delays_no_other_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&database(folder.path()), folder.path(), &[]);
    let cookie = server.register("ada@example.com").cookie();
    let whole = request("POST", "/v1/auth/api-keys", &format!("cookie: {cookie}\r\n"), r#"{"name": "slow"}"#);
    let mut slow = server.connect();
    let mut silent = server.connect();
    let (first, rest) = whole.split_at(whole.len() - 6);
    slow.write_all(first.as_bytes()).expect("the server reads");
    silent.write_all(b"POST /v1/auth/login HTTP/1.1\r\n").expect("the server reads");
    assert_eq!(server.call("GET", "/readyz", "", "").status, 200);
    for byte in rest.bytes() {
        slow.write_all(&[byte]).expect("the server reads");
        assert_eq!(server.call("GET", "/healthz", "", "").status, 200);
    }
    assert_eq!(read(&mut slow).status, 201);
    // A request that breaks off creates no key.
    let mut broken = server.connect();
    broken.write_all(first.as_bytes()).expect("the server reads");
    broken.shutdown(std::net::Shutdown::Both).expect("closed");
    let list = server.call("GET", "/v1/auth/api-keys", &format!("cookie: {cookie}\r\n"), "");
    assert_eq!(list.json()["api_keys"].as_array().map(Vec::len), Some(1));
}

/// Logs at `trace`, which includes every crate that handles a connection.
#[test]
fn no_secret_reaches_the_log_or_the_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(&database(folder.path()), folder.path(), &[]);
    let cookie = server.register("ada@example.com").cookie();
    let key = key_of(&server, &cookie);
    assert_eq!(whoami(&server, &key), 200);
    assert_eq!(server.call("GET", &format!("/v1/whoami?key={key}"), "", "").status, 401);
    assert_eq!(server.call("GET", &format!("/v1/{key}"), &format!("authorization: Bearer {key}\r\n"), "").status, 404);
    assert_eq!(server.log_in("ada@example.com", &format!("{PASSWORD}!")).status, 401);
    assert_eq!(server.log_in("ada@example.com", PASSWORD).status, 200);
    server.signal("TERM");
    assert_eq!(server.child.wait().expect("the process ends").code(), Some(0));
    let mut output = String::new();
    server.output.read_to_string(&mut output).expect("text");
    let log = std::fs::read_to_string(&server.log).expect("the log");
    assert!(log.contains("TRACE") && log.contains("key.created"), "the log has the lines of level trace");
    let token = cookie.trim_start_matches("session=");
    for (name, secret) in
        [("key", key.as_str()), ("key's digits", &key[8..]), ("session", token), ("password", PASSWORD)]
    {
        assert!(!log.contains(secret), "the {name} is in the log");
        assert!(!output.contains(secret), "the {name} is in the output");
    }
    for entry in std::fs::read_dir(folder.path()).expect("the folder") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a file");
        for secret in [key.as_str(), &key[8..], token, PASSWORD] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{}", path.display());
        }
    }
}
