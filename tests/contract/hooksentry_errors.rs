//! Any request to HookSentry's paths gets an answer in a documented form.

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request};

use crate::app::{TestApp, on_both_engines};
use crate::hooksentry::{call, create, get, ingest, log_in, tenant};
use crate::story::Answer;

const ID: &str = "1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d";

/// Returns every path, and the methods that it answers.
fn paths(tenant: &str) -> Vec<(String, &'static [&'static str])> {
    vec![
        ("/api/v1/auth/login".to_owned(), &["POST"]),
        ("/api/v1/auth/refresh".to_owned(), &["POST"]),
        ("/api/v1/auth/logout".to_owned(), &["POST"]),
        ("/api/v1/apikeys".to_owned(), &["GET", "HEAD", "POST"]),
        (format!("/api/v1/apikeys/{ID}"), &["DELETE"]),
        (format!("/api/v1/ingest/{tenant}/source"), &["POST"]),
        ("/api/v1/events".to_owned(), &["GET", "HEAD"]),
        (format!("/api/v1/events/{ID}"), &["GET", "HEAD"]),
    ]
}

const METHODS: [&str; 11] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PURGE", "get"];

/// Asserts the properties of every answer.
#[track_caller]
fn is_sound(answer: &Answer, method: &str, what: &str) {
    let status = answer.status.as_u16();
    assert!(status < 500, "{what}: {status} {}", answer.text());
    assert_eq!(answer.header("x-request-id").len(), 16, "{what}");
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    assert!(!answer.headers.contains_key("set-cookie"), "{what}");
    if !answer.status.is_client_error() {
        assert!([200, 201, 202, 204].contains(&status), "{what}: {status}");
        return;
    }
    if method == "HEAD" {
        assert!(answer.body.is_empty(), "{what}");
        return;
    }
    for leak in ["struct ", "panicked", "sqlx", "src/", "SELECT", "Error("] {
        assert!(!answer.text().contains(leak), "{what} reveals internals: {}", answer.text());
    }
    let code = match status {
        400 => {
            let sentence = answer.is_sentence();
            assert!(sentence.len() < 2000, "{what}: {sentence}");
            return;
        }
        401 => "unauthenticated",
        403 => "forbidden",
        404 => "not_found",
        405 => "method_not_allowed",
        413 => "payload_too_large",
        415 => "unsupported_media_type",
        429 => "too_many_requests",
        other => panic!("{what}: {other} is not a documented status"),
    };
    answer.is_problem(status, code);
    assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401, "{what}");
}

/// Returns bodies that are invalid on every path, except that some are valid events.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("nothing", Vec::new()),
        ("no JSON", b"name=key".to_vec()),
        ("half", br#"{"name": "key"#.to_vec()),
        ("two", br#"{"name": "key"} {}"#.to_vec()),
        ("null", b"null".to_vec()),
        ("a text", br#""name""#.to_vec()),
        ("an array", br#"["a@example.com", "correct horse battery"]"#.to_vec()),
        (
            "wrong types",
            br#"{"name": {"a": []}, "email": [1], "password": 1e9, "tenantId": 1, "refreshToken": {}}"#.to_vec(),
        ),
        ("nulls", br#"{"name": null, "email": null, "password": null, "refreshToken": null}"#.to_vec()),
        (
            "twice",
            br#"{"name": "a", "name": "b", "email": "a", "email": "b", "refreshToken": "a", "refreshToken": "b"}"#
                .to_vec(),
        ),
        ("unknown fields", br#"{"nam": 1, "\u0000": 2, "": 3, "__proto__": 4}"#.to_vec()),
        ("snake case", br#"{"refresh_token": "a", "tenant_id": "b", "Name": "c"}"#.to_vec()),
        ("no UTF-8", b"{\"name\": \"\xff\xfe\", \"email\": \"\xc3\x28\", \"refreshToken\": \"\xff\"}".to_vec()),
        ("a lone surrogate", br#"{"name": "\ud800", "email": "\udfff", "refreshToken": "\ud800"}"#.to_vec()),
        ("a BOM", b"\xef\xbb\xbf{}".to_vec()),
        ("zeros", vec![0; 1_000]),
        ("deep", "[".repeat(60_000).into_bytes()),
        (
            "deep, in a known field",
            format!(r#"{{"name": {}, "email": {}"#, "[".repeat(20_000), "[".repeat(20_000)).into_bytes(),
        ),
        ("deep, in an unknown field", format!(r#"{{"x": {}{}}}"#, "[".repeat(30_000), "]".repeat(30_000)).into_bytes()),
        ("deep objects", r#"{"name":"#.repeat(8_000).into_bytes()),
        ("a long name", format!(r#"{{"name": "{}"}}"#, "x".repeat(60_000)).into_bytes()),
        (
            "many fields",
            format!("{{{}}}", (0..5_000).map(|n| format!("\"f{n}\":0")).collect::<Vec<_>>().join(",")).into_bytes(),
        ),
        ("more than 64 KiB", vec![b' '; 64 * 1024 + 1]),
        ("more than 1 MiB", vec![b'1'; 1024 * 1024 + 1]),
    ]
}

async fn send(app: &TestApp, method: &str, path: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Answer {
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    crate::story::read(app.send(request.body(Body::from(body.to_vec())).unwrap()).await).await
}

on_both_engines! {
    async fn every_path_of_hooksentry_answers_its_methods_and_no_others(app) {
        let ada = tenant(&app, "ada@example.com").await;
        for (path, methods) in paths(&ada.id) {
            for method in METHODS {
                let answer = send(&app, method, &path, &[], b"").await;
                let what = format!("{method} {path}");
                is_sound(&answer, method, &what);
                assert_eq!(answer.status == 405, !methods.contains(&method), "{what}: {}", answer.status);
                if answer.status == 405 {
                    let mut allow: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
                    allow.sort_unstable();
                    assert_eq!(allow, methods, "{what}");
                }
            }
        }
        for path in ["/api/", "/api/v1", "/api/v1/", "/api/v1/apikeys/", "/api/v1/apikeys/a/b", "/api/v1/ingest", "/api/v1/ingest/a", "/api/v1/ingest/a/b/c", "/api/v1/ingest//", "/api/v2/apikeys", "/API/v1/apikeys"] {
            for method in ["GET", "POST", "DELETE"] {
                let answer = send(&app, method, path, &[], b"").await;
                assert_eq!(answer.status, 404, "{method} {path}");
                if path.starts_with("/api") {
                    is_sound(&answer, method, path);
                }
            }
        }
    }

    async fn no_body_causes_a_server_error_in_hooksentry(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let key = create(&app, &ada.access, "key").await.field("/key");
        let bearer = format!("Bearer {}", ada.access);
        for (path, methods) in paths(&ada.id) {
            for method in methods.iter().filter(|method| **method != "HEAD") {
                for (name, body) in bodies() {
                    for kind in ["application/json", "Application/JSON; charset=utf-8", "text/plain", "application/x-www-form-urlencoded", "\u{ff}"] {
                        for credential in [("authorization", bearer.as_str()), ("x-api-key", &key), ("x-none", "")] {
                            if kind != "application/json" && (credential.0 == "x-none" || body.len() > 10_000) {
                                continue;
                            }
                            if path.ends_with("logout") && name == "more than 64 KiB" && credential.0 == "x-none" {
                                continue;
                            }
                            let what = format!("{method} {path} with {name} as {kind} by {}", credential.0);
                            let headers = [("content-type", kind.as_bytes()), (credential.0, credential.1.as_bytes())];
                            let answer = send(&app, method, &path, &headers, &body).await;
                            is_sound(&answer, method, &what);
                            if *method == "POST" && !path.contains("ingest") {
                                assert!(answer.status.is_client_error(), "{what}");
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 1);
        assert_eq!(app.number("SELECT count(*) FROM keys WHERE revoked_at IS NOT NULL").await, 0);
        assert_eq!(get(&app, &ada.access, "/api/v1/apikeys").await.total(), 1, "the sign-in stays valid");
        assert_eq!(app.number("SELECT count(*) FROM users").await, 1);
    }

    async fn no_header_query_or_path_causes_a_server_error_in_hooksentry(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let bearer = format!("Bearer {}", ada.access);
        let key = create(&app, &ada.access, "key").await.field("/key");
        let long = "x".repeat(20_000).into_bytes();
        let strange: [&[u8]; 8] = [b"", b" ", b"\xff\xfe", b"\t", b"Bearer", b"Bearer \xff", b"a=b; session; =;", &long];
        let names = ["cookie", "authorization", "x-api-key", "x-idempotency-key", "content-type", "origin", "sec-fetch-site", "host", "accept", "x-forwarded-for", "content-length", "expect", "range", "if-none-match"];
        let queries = ["?", "?=", "?&&&", "?%", "?%zz=%", "?%ff=%fe", "?Qt[]=1", "?Qt=%00", "?Pg=%ff", "?Qt=1&Qt=1", "?;", "?CpOrd=%F0%9F%94%91", "?From=%00", "?From=+262143-01-01T00:00:00Z", "?KeyId=%00", "?Source=%00", "?Source=%ff"];
        for (path, methods) in paths(&ada.id) {
            for method in methods {
                let credential = if path.contains("ingest") { ("x-api-key", key.as_bytes()) } else { ("authorization", bearer.as_bytes()) };
                for name in names {
                    for value in strange {
                        let what = format!("{method} {path} with {name}: {:?}", &value[..value.len().min(9)]);
                        is_sound(&send(&app, method, &path, &[credential, (name, value)], b"{}").await, method, &what);
                    }
                }
                for query in queries {
                    is_sound(&send(&app, method, &format!("{path}{query}"), &[credential], b"{}").await, method, &format!("{method} {path}{query}"));
                }
            }
        }
        let deep = "a".repeat(20_000);
        for part in ["%ff", "%00", "%2F", "a%20b", "..", "%2e%2e", "%e2%80%ae", &deep] {
            for (method, path, credential) in [
                ("DELETE", format!("/api/v1/apikeys/{part}"), bearer.as_bytes()), ("GET", format!("/api/v1/events/{part}"), bearer.as_bytes()),
                ("DELETE", format!("/api/v1/apikeys/{part}"), b""), ("GET", format!("/api/v1/events/{part}"), b""),
            ] {
                let answer = send(&app, method, &path, &[("authorization", credential)], b"").await;
                is_sound(&answer, method, &path);
                let expected = if credential.is_empty() { 401 } else { 404 };
                assert!(part.contains("..") || answer.status == expected, "{method} {path:.60}: {}", answer.status);
            }
            for path in [format!("/api/v1/ingest/{part}/s"), format!("/api/v1/ingest/{}/{part}", ada.id), format!("/api/v1/ingest/{part}/{part}")] {
                let answer = send(&app, "POST", &path, &[("x-api-key", key.as_bytes())], b"1").await;
                is_sound(&answer, "POST", &path);
                assert!([400, 403].contains(&answer.status.as_u16()), "{path:.60}: {}", answer.status);
            }
        }
        assert_eq!(log_in(&app, &ada.email, None).await.status, 200);
    }

    /// A failure of the server itself is a 503 without details.
    async fn an_unavailable_database_is_a_503_in_hooksentry(app) {
        let mut story = crate::story::Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        let key = create(&app, &ada.access, "key").await.field("/key");
        app.db.close().await;
        let login = r#"{"email": "ada@example.com", "password": "correct horse battery"}"#;
        let token = r#"{"refreshToken": "lkr_0"}"#;
        for call in [
            crate::story::Call::new(&app, "POST", "/api/v1/auth/login").json(login),
            crate::story::Call::new(&app, "POST", "/api/v1/auth/refresh").json(token),
            call(&app, &ada.access, "POST", "/api/v1/auth/logout").json(token),
            call(&app, &ada.access, "GET", "/api/v1/apikeys"),
            call(&app, &ada.access, "POST", "/api/v1/apikeys").json(r#"{"name": "a"}"#),
            call(&app, &ada.access, "DELETE", &format!("/api/v1/apikeys/{ID}")),
            ingest(&app, &ada.id, "s", &key).json("1"),
            call(&app, &ada.access, "GET", "/api/v1/events"),
            call(&app, &ada.access, "GET", &format!("/api/v1/events/{ID}")),
        ] {
            call.tell(&mut story).await.is_problem(503, "unavailable");
        }
        story.is("an_unavailable_database_is_a_503_in_hooksentry");
    }
}
