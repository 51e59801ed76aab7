//! The list of errors (docs/CONTRACTS.md, "Errors"), and hostile requests.

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request};

use crate::app::{TestApp, on_both_engines};
use crate::story::{Answer, Call, Story, someone};

/// The paths of the API, with the methods that each answers.
const ENDPOINTS: [(&str, &[&str]); 9] = [
    ("/v1/auth/register", &["POST"]),
    ("/v1/auth/login", &["POST"]),
    ("/v1/auth/logout", &["POST"]),
    ("/v1/auth/me", &["GET", "HEAD"]),
    ("/v1/auth/api-keys", &["GET", "HEAD", "POST", "DELETE"]),
    ("/v1/auth/api-keys/ak_0123456789abcdef", &["DELETE"]),
    ("/v1/auth/api-keys/current", &["DELETE"]),
    ("/v1/whoami", &["GET", "HEAD"]),
    ("/v1/nowhere", &[]),
];

const METHODS: [&str; 11] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PURGE", "get"];

/// Asserts the properties of every answer, to any request.
#[track_caller]
fn is_sound(answer: &Answer, method: &str, what: &str) {
    assert!(answer.status.as_u16() < 500, "{what}: {} {}", answer.status, answer.text());
    assert!(!answer.headers.contains_key("serverfnerror"), "{what}");
    assert_eq!(answer.header("x-request-id").len(), 16, "{what}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}: {}", answer.status);
    if !answer.status.is_client_error() {
        assert!(answer.status.is_success(), "{what}: {}", answer.status);
        return;
    }
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    if method == "HEAD" {
        assert!(answer.body.is_empty(), "{what}");
        return;
    }
    assert_eq!(answer.header("content-type"), "application/problem+json", "{what}: {}", answer.text());
    let code = match answer.status.as_u16() {
        400 => "invalid_request",
        401 => "unauthenticated",
        403 => "forbidden",
        404 => "not_found",
        405 => "method_not_allowed",
        413 => "payload_too_large",
        415 => "unsupported_media_type",
        429 => "too_many_requests",
        other => panic!("{what}: {other} is not a documented status"),
    };
    let json = answer.json();
    assert_eq!(json["code"], code, "{what}");
    assert_eq!(json["status"].as_u64(), Some(answer.status.as_u16().into()), "{what}");
    assert_eq!(json["title"].as_str(), answer.status.canonical_reason(), "{what}");
    assert!(json["detail"].as_str().is_some_and(|text| text.len() > 5), "{what}: {json}");
    for leak in ["struct ", "panicked", "sqlx", "src/", "SELECT", "Error("] {
        assert!(!answer.text().contains(leak), "{what} reveals internals: {json}");
    }
}

/// Returns bodies that are invalid on every path.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("nothing", Vec::new()),
        ("no JSON", b"name=key".to_vec()),
        ("half", br#"{"name": "key"#.to_vec()),
        ("two", br#"{"name": "key"} {}"#.to_vec()),
        ("null", b"null".to_vec()),
        ("a number", b"7".to_vec()),
        ("a text", br#""name""#.to_vec()),
        ("an array", br#"["key", "correct horse battery"]"#.to_vec()),
        ("wrong types", br#"{"name": {"a": []}, "email": [1], "password": 1e9, "scopes": 1, "metadata": 0}"#.to_vec()),
        ("an array in an object's place", br#"{"name": "key", "rate_limit": [1, 1]}"#.to_vec()),
        ("twice", br#"{"name": "a", "name": "b", "email": "a", "email": "b"}"#.to_vec()),
        ("unknown fields", br#"{"nam": 1, "\u0000": 2, "": 3, "__proto__": 4}"#.to_vec()),
        ("a huge number", br#"{"name": "key", "quota": {"limit": 1e999}}"#.to_vec()),
        ("a long number", format!(r#"{{"name": "key", "quota": {{"limit": {}}}}}"#, "9".repeat(5_000)).into_bytes()),
        ("a negative number", br#"{"name": "key", "quota": {"limit": -1}}"#.to_vec()),
        ("no UTF-8", b"{\"name\": \"\xff\xfe\", \"email\": \"\xc3\x28\"}".to_vec()),
        ("a lone surrogate", br#"{"name": "\ud800", "email": "\udfff"}"#.to_vec()),
        ("a BOM", b"\xef\xbb\xbf{}".to_vec()),
        ("UTF-16", b"\xff\xfe{\0}\0".to_vec()),
        ("zeros", vec![0; 1_000]),
        ("deep arrays", "[".repeat(60_000).into_bytes()),
        ("deep objects", r#"{"a":"#.repeat(12_000).into_bytes()),
        ("deep, in a known field", format!(r#"{{"name": {}"#, "[".repeat(60_000)).into_bytes()),
        ("deep, in an unknown field", format!(r#"{{"x": {}{}}}"#, "[".repeat(30_000), "]".repeat(30_000)).into_bytes()),
        ("a hundred thousand deep", "[".repeat(100_000).into_bytes()),
        ("too much", vec![b' '; 64 * 1024 + 1]),
        ("a long name", format!(r#"{{"name": "{}"}}"#, "x".repeat(60_000)).into_bytes()),
        ("a long field", format!(r#"{{"{}": 1}}"#, "x".repeat(60_000)).into_bytes()),
        (
            "many fields",
            format!("{{{}}}", (0..5_000).map(|n| format!("\"f{n}\":0")).collect::<Vec<_>>().join(",")).into_bytes(),
        ),
    ]
}

/// Returns the session, or an unknown one for signing out, which would end the session that the other calls need.
fn session_for<'a>(path: &str, session: &'a str) -> &'a str {
    if path.ends_with("logout") { "session=AAAAAAAAAAAAAAAAAAAAAA" } else { session }
}

async fn send(app: &TestApp, method: &str, path: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Answer {
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    crate::story::read(app.send(request.body(Body::from(body.to_vec())).unwrap()).await).await
}

on_both_engines! {
    async fn every_path_lists_its_methods_in_a_405(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        for (path, _) in ENDPOINTS {
            Call::new(&app, "PUT", path).cookie(&ada.cookie).tell(&mut story).await;
        }
        for path in ["/v1/", "/v1/auth/api-keys/", "/v1/auth/api-keys/a/b", "/v1/auth//api-keys", "/V1/whoami", "/api/v9"] {
            Call::new(&app, "PUT", path).cookie(&ada.cookie).send().await;
        }
        story.is("every_path_lists_its_methods_in_a_405");
        for (path, methods) in ENDPOINTS {
            for method in METHODS {
                let answer = send(&app, method, path, &[], b"").await;
                let what = format!("{method} {path}");
                is_sound(&answer, method, &what);
                let expected = if methods.is_empty() { 404 } else { 405 };
                if methods.contains(&method) {
                    assert!(![404, 405].contains(&answer.status.as_u16()), "{what}: {}", answer.status);
                } else {
                    assert_eq!(answer.status, expected, "{what}");
                }
                if answer.status == 405 {
                    let mut allow: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
                    allow.sort_unstable();
                    let mut methods = methods.to_vec();
                    methods.sort_unstable();
                    assert_eq!(allow, methods, "{what}");
                }
            }
        }
    }

    async fn a_body_is_json_of_at_most_64_kib(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        for path in ["/v1/auth/api-keys", "/v1/auth/login"] {
            let post = || Call::new(&app, "POST", path).cookie(&ada.cookie);
            story.say("content types: none, text, and those of forms");
            post().body("{}").tell(&mut story).await;
            for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
                post().header("content-type", kind).body("name=key").tell(&mut story).await;
            }
            story.say("a body of 64 KiB and one byte");
            post().header("content-type", "application/json").body(vec![b' '; 64 * 1024 + 1]).tell(&mut story).await;
            story.say("bodies that are not one JSON object");
            for body in ["name=key", "{", "{} {}", "", "[1]", "null"] {
                post().json(body).tell(&mut story).await;
            }
        }
        story.is("a_body_is_json_of_at_most_64_kib");
        let body = format!(r#"{{"name": "key"{}}}"#, " ".repeat(64 * 1024 - 15));
        assert_eq!(body.len(), 64 * 1024);
        for kind in ["application/json", "Application/JSON ; charset=utf-8"] {
            let answer = Call::new(&app, "POST", "/v1/auth/api-keys")
                .cookie(&ada.cookie).header("content-type", kind).body(body.clone()).send().await;
            assert_eq!(answer.status, 201, "{}", answer.text());
        }
    }

    /// A body with an announced length above the limit is refused at once. Without a length, the bytes are counted.
    async fn a_body_without_a_length_has_the_same_limit(app) {
        let ada = someone(&app, "ada@example.com").await;
        let chunks = futures::stream::iter((0..65).map(|_| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b' '; 1024]))));
        let answer = Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie)
            .header("content-type", "application/json").body(Body::from_stream(chunks)).send().await;
        answer.is_problem(413, "payload_too_large");
        let broken = futures::stream::iter([Ok(bytes::Bytes::from("{")), Err(std::io::Error::other("gone"))]);
        let answer = Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie)
            .header("content-type", "application/json").body(Body::from_stream(broken)).send().await;
        answer.is_problem(400, "invalid_request");
    }

    /// Sends every bad body to every endpoint, with a session, with a key and without a credential.
    async fn no_body_causes_a_server_error(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = crate::story::create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/key");
        for (path, methods) in ENDPOINTS {
            for method in methods.iter().filter(|method| **method != "HEAD") {
                for (name, body) in bodies() {
                    let session = session_for(path, &ada.cookie);
                    for credential in [("cookie", session.as_bytes()), ("x-api-key", key.as_bytes()), ("x-none", b"")] {
                        let what = format!("{method} {path} with {name} by {}", credential.0);
                        if path.ends_with("current") && credential.0 == "x-api-key" {
                            continue;
                        }
                        let headers = [("content-type", b"application/json".as_slice()), credential];
                        let answer = send(&app, method, path, &headers, &body).await;
                        is_sound(&answer, method, &what);
                        if *method == "POST" && !path.ends_with("logout") && (credential.0 == "cookie" || !path.ends_with("keys")) {
                            let expected = if body.len() > 64 * 1024 { [413, 429] } else { [400, 429] };
                            assert!(expected.contains(&answer.status.as_u16()), "{what}: {} {}", answer.status, answer.text());
                        }
                    }
                }
            }
        }
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 1);
        assert_eq!(app.number("SELECT count(*) FROM keys WHERE revoked_at IS NOT NULL").await, 0);
        assert_eq!(app.number("SELECT count(*) FROM users").await, 1);
    }

    async fn no_header_or_query_causes_a_server_error(app) {
        let ada = someone(&app, "ada@example.com").await;
        let long = "x".repeat(20_000).into_bytes();
        let strange: [&[u8]; 9] =
            [b"", b" ", b"\xff\xfe", b"\t", b"Bearer", b"Bearer \xff", b"a=b; session; =; ;;=;", b"session=\"; x=\"", &long];
        let names = ["cookie", "authorization", "x-api-key", "content-type", "origin", "sec-fetch-site", "host", "accept",
            "referer", "x-forwarded-for", "x-request-id", "accept-encoding", "content-length", "expect", "range",
            "x-http-method-override", "if-none-match"];
        let queries = ["?", "?=", "?&&&", "?%", "?%zz=%", "?%ff=%fe", "?a[]=1&a[]=2", "?limit=%00", "?cursor=%00", "?id=ak_0123456789abcdef",
            "?org_id=%00&env_id=%00", "?descendants=", "?descendants=2", "?limit=1&limit=2", "?;", "?limit[]=1"];
        for (path, methods) in ENDPOINTS {
            let session = session_for(path, &ada.cookie);
            for method in methods.iter().filter(|method| **method != "HEAD") {
                for name in names {
                    for value in strange {
                        let what = format!("{method} {path} with {name}: {:?}", &value[..value.len().min(9)]);
                        let answer = send(&app, method, path, &[("cookie", session.as_bytes()), (name, value)], b"{}").await;
                        is_sound(&answer, method, &what);
                    }
                }
                for query in queries {
                    let what = format!("{method} {path}{query}");
                    let answer = send(&app, method, &format!("{path}{query}"), &[("cookie", session.as_bytes())], b"{}").await;
                    is_sound(&answer, method, &what);
                }
            }
        }
    }

    async fn no_path_causes_a_server_error(app) {
        let ada = someone(&app, "ada@example.com").await;
        let long = format!("/v1/auth/api-keys/{}", "a".repeat(20_000));
        for path in ["/v1/auth/api-keys/%ff", "/v1/auth/api-keys/%00", "/v1/auth/api-keys/%2F", "/v1/auth/api-keys/a%20b?%ff",
            "/v1/auth/api-keys/..", "/v1/auth/api-keys/%e2%80%ae", "/v1/auth/api-keys/", "/v1/%ff", "/v1/auth/api-keys//", "/api/", "/api/v1/x", &long]
        {
            for method in ["GET", "POST", "DELETE", "PUT"] {
                let answer = send(&app, method, path, &[("cookie", ada.cookie.as_bytes())], b"").await;
                is_sound(&answer, method, &format!("{method} {path:.60}"));
                assert!(answer.status.is_client_error(), "{path}");
            }
        }
    }

    /// A failure of the server itself is a 503 without details, and its log line has the request's id.
    async fn an_unavailable_database_is_a_503_without_details(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let key = crate::story::create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/key");
        app.db.close().await;
        let login = r#"{"email": "ada@example.com", "password": "correct horse battery"}"#;
        for call in [
            Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.cookie),
            Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie).json(r#"{"name": "key"}"#),
            Call::new(&app, "GET", "/v1/whoami").key(&key),
            Call::new(&app, "POST", "/v1/auth/login").json(login),
            Call::new(&app, "POST", "/v1/auth/register").json(login),
            Call::new(&app, "POST", "/v1/auth/logout").cookie(&ada.cookie),
            Call::new(&app, "GET", "/readyz"),
        ] {
            let answer = call.tell(&mut story).await;
            answer.is_problem(503, "unavailable");
            let id = answer.header("x-request-id");
            assert!(crate::app::log().lines().any(|line| line.contains("ERROR") && line.contains(id)), "{id}");
        }
        assert_eq!(Call::new(&app, "GET", "/healthz").send().await.status, 200, "the process runs");
        story.is("an_unavailable_database_is_a_503_without_details");
    }
}
