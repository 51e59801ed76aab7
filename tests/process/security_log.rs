//! The log of a server under a flood of unauthenticated requests: these are summarised, and security events stay
//! visible.

use std::net::Ipv4Addr;

use serde_json::Value;

use crate::program::{PASSWORD, call, latchkey, log, server_with_account};
use crate::served::Connection;

/// Requests to each route.
const REQUESTS: u64 = 1000;

#[tokio::test]
async fn a_flood_of_unauthenticated_requests_is_summarised_and_hides_no_security_event() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = latchkey(folder.path());
    command.args(["--listen", "127.0.0.1:0"]).env("LATCHKEY_LOG_FORMAT", "json");
    let (server, mut connection, account) = server_with_account(folder.path(), &mut command).await;
    let mut stranger =
        Connection::open_from(Ipv4Addr::new(127, 0, 0, 9), server.address).await.expect("the server listens");
    let flood = [
        ("GET", "/v1/auth/me", "Cookie: session=AAAAAAAAAAAAAAAAAAAAAA"),
        ("GET", "/api/v1/events", "Authorization: Bearer a-junk-token"),
        ("GET", "/v1/whoami", "X-API-Key: a-junk-key"),
        ("POST", "/v1/keys/verify", "X-API-Key: a-junk-key"),
        ("GET", "/v1/forward-auth/org_0000000000000001/any/any", "X-API-Key: a-junk-key"),
        ("GET", "/v1/nowhere/a-junk-path", ""),
    ];
    for _ in 0..REQUESTS {
        for (method, path, header) in flood {
            let headers: &[&str] = if header.is_empty() { &[] } else { &[header] };
            let answer = stranger.call(method, path, headers, "").await.expect("an answer");
            assert!(matches!(answer.status, 401 | 404), "{path}: {}", answer.status);
        }
    }
    let mut other =
        Connection::open_from(Ipv4Addr::new(127, 0, 0, 8), server.address).await.expect("the server listens");
    let wrong = r#"{"email": "me@example.com", "password": "a wrong password"}"#;
    assert_eq!(other.call("POST", "/v1/auth/login", &[], wrong).await.expect("an answer").status, 401);
    let key = call(&mut stranger, &account, "POST", "/v1/auth/api-keys", r#"{"name":"key"}"#).await.json(201);
    let me = call(&mut connection, &account, "GET", "/v1/auth/me", "").await.json(200);
    for _ in 0..20 {
        assert_eq!(call(&mut stranger, &account, "GET", "/v1/keys/ak_0000000000000001", "").await.status, 404);
    }
    server.stop();

    let log = log(folder.path());
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let strangers = |line: &&Value| line["network"] == "127.0.0.9" || line["client"] == "127.0.0.9";
    let requests = |route: &str, field: &str| {
        let of_route =
            |line: &&Value| line["route"] == route || line["path"] == route || line["span"]["route"] == route;
        let lines = lines.iter().filter(strangers).filter(of_route).filter(|line| line["event"].is_null());
        lines.map(|line| line[field].as_u64()).collect::<Vec<_>>()
    };
    for route in ["/v1/auth/me", "/api/v1/events", "/v1/whoami", "/v1/keys/verify", "/v1/forward-auth", "-"] {
        let counts = requests(route, "count");
        assert!(counts.len() < 100, "{route}: {} lines", counts.len());
        let all: u64 = counts.iter().map(|count| count.unwrap_or(1)).sum();
        assert_eq!(all, REQUESTS, "{route}: each request has a line or is counted when the server stops");
    }
    assert_eq!(requests("/v1/keys/{id}", "count").len(), 20, "each authenticated request has a line");
    assert!(log.len() < 100_000, "{} bytes", log.len());

    let event = |name: &str, client: &str| {
        let found = lines.iter().filter(|line| line["event"] == name && line["client"] == client);
        let found: Vec<_> = found.collect();
        assert_eq!(found.len(), 1, "{name} of {client}: {found:?}");
        assert_eq!(found[0]["target"], "latchkey::security");
        assert_eq!(found[0]["request_id"].as_str().map(str::len), Some(16));
        ["outcome", "actor", "target_id"].map(|field| found[0][field].as_str().unwrap_or_default().to_owned())
    };
    let user = me["user"]["id"].as_str().expect("an id");
    assert_eq!(event("account.first_created", "127.0.0.1"), ["succeeded", user, user]);
    assert_eq!(event("sign_in", "127.0.0.1"), ["succeeded", user, user]);
    assert_eq!(event("sign_in", "127.0.0.8"), ["failed", "none", user]);
    assert_eq!(event("key.created", "127.0.0.9"), ["succeeded", user, key["id"].as_str().expect("an id")]);
    let secrets = [
        "AAAAAAAAAAAAAAAAAAAAAA",
        "a-junk-token",
        "a-junk-key",
        "a-junk-path",
        "a wrong password",
        "me@example.com",
        PASSWORD,
    ];
    for secret in
        secrets.into_iter().chain([key["key"].as_str().expect("a key"), &account.session, &account.access_token])
    {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
