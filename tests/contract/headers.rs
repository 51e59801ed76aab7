//! Headers that every answer has, and some that no answer may have.

use std::collections::BTreeSet;

use latchkey::web::Site;

use crate::app::{Settings, on_both_engines};
use crate::story::{Call, create, someone};

fn https() -> Settings {
    let site = Site { public_url: Some("https://keys.example.com".to_owned()), ..Site::default() };
    Settings { site, ..Settings::default() }
}

const ALWAYS: [(&str, &str); 7] = [
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];

const LOGIN: &str = r#"{"email": "ada@example.com", "password": "correct horse battery"}"#;

on_both_engines! {
    async fn every_answer_has_the_security_headers_and_a_unique_id(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/key");
        let mut ids = BTreeSet::new();
        for (call, status, stored) in [
            (Call::new(&app, "POST", "/v1/auth/login").json(LOGIN), 200, false),
            (Call::new(&app, "GET", "/v1/auth/me").cookie(&ada.cookie), 200, false),
            (Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie).json(r#"{"name": "key"}"#), 201, false),
            (Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.cookie), 200, false),
            (Call::new(&app, "HEAD", "/v1/auth/api-keys").cookie(&ada.cookie), 200, false),
            (Call::new(&app, "DELETE", "/v1/auth/api-keys/ak_0123456789abcdef").cookie(&ada.cookie), 404, false),
            (Call::new(&app, "DELETE", "/v1/auth/api-keys/%ff").cookie(&ada.cookie), 400, false),
            (Call::new(&app, "PATCH", "/v1/auth/api-keys").cookie(&ada.cookie), 405, false),
            (Call::new(&app, "POST", "/v1/auth/api-keys").header("sec-fetch-site", "cross-site"), 403, false),
            (Call::new(&app, "GET", "/v1/whoami").key(&key), 200, false),
            (Call::new(&app, "GET", "/v1/whoami"), 401, false),
            (Call::new(&app, "GET", "/v1/nowhere"), 404, false),
            (Call::new(&app, "POST", "/v1/auth/logout"), 204, false),
            (Call::new(&app, "GET", "/healthz"), 200, true),
            (Call::new(&app, "GET", "/readyz"), 200, true),
        ] {
            let answer = call.header("x-request-id", "chosen by the client").send().await;
            assert_eq!(answer.status, status, "{}", answer.text());
            for (name, value) in ALWAYS {
                assert_eq!(answer.header(name), value, "{status} {}", answer.text());
            }
            assert_eq!(answer.header("strict-transport-security"), "", "not over http");
            if !stored {
                assert_eq!(answer.header("cache-control"), "no-store", "{status} {}", answer.text());
            }
            let id = answer.header("x-request-id").to_owned();
            assert!(id.len() == 16 && ids.insert(id.clone()), "{id}");
            for name in ["serverfnerror", "server", "x-powered-by", "location"] {
                assert_eq!(answer.header(name), "", "{name}");
            }
        }
    }

    async fn under_https_every_answer_has_hsts(app, https()) {
        for (method, path) in [("GET", "/v1/whoami"), ("GET", "/healthz"), ("POST", "/v1/auth/logout"), ("DELETE", "/v1/auth/api-keys/%ff")] {
            let answer = Call::new(&app, method, path).send().await;
            assert_eq!(answer.header("strict-transport-security"), "max-age=31536000", "{path}");
        }
    }

    /// Leptos treats a call with these headers as a form post, and would redirect.
    async fn an_api_call_is_never_treated_as_a_form(app) {
        let ada = someone(&app, "ada@example.com").await;
        for (method, path, body, status) in [
            ("POST", "/v1/auth/api-keys", r#"{"name": "key"}"#, 201),
            ("POST", "/v1/auth/api-keys", "{}", 400),
            ("GET", "/v1/auth/api-keys", "", 200),
            ("GET", "/v1/auth/api-keys?limit=0", "", 400),
            ("DELETE", "/v1/auth/api-keys/ak_0123456789abcdef", "", 404),
        ] {
            let answer = Call::new(&app, method, path)
                .cookie(&ada.cookie)
                .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
                .header("referer", "http://127.0.0.1:3000/keys")
                .json(body)
                .send()
                .await;
            assert_eq!(answer.status, status, "{}", answer.text());
            assert_eq!((answer.header("location"), answer.header("serverfnerror")), ("", ""));
            let kind = if status < 400 { "application/json" } else { "application/problem+json" };
            assert_eq!(answer.header("content-type"), kind);
        }
    }

    async fn the_log_has_each_request_with_the_id_of_its_answer(app) {
        let answer = Call::new(&app, "GET", "/v1/auth/me?secret=in-the-address").send().await;
        let id = answer.header("x-request-id");
        let log = crate::app::log();
        let line = log.lines().find(|line| line.contains(id) && line.contains("answered") && line.contains("/v1/auth/me"));
        assert!(line.is_some_and(|line| line.contains("status=401") && line.contains("method=GET")), "{line:?}");
        assert!(!log.contains("in-the-address"));
    }

    async fn health_and_readiness(app) {
        let mut story = crate::story::Story::new();
        for (method, path) in [("GET", "/healthz"), ("HEAD", "/healthz"), ("GET", "/readyz"), ("POST", "/healthz")] {
            Call::new(&app, method, path).tell(&mut story).await;
        }
        story.is("health_and_readiness");
    }

    async fn a_compressed_request_body_is_a_415(app) {
        let ada = someone(&app, "ada@example.com").await;
        let caller = create(&app, &ada.cookie, r#"{"name": "caller"}"#).await.field("/key");
        let ask = format!(r#"{{"key": "{caller}"}}"#);
        for (codings, status) in
            [(&["gzip"][..], 415), (&["identity", "gzip"], 415), (&["identity, gzip"], 415), (&["identity"], 200), (&[], 200)]
        {
            let mut verify = Call::new(&app, "POST", "/v1/keys/verify").key(&caller).json(&ask);
            let mut create = Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie).json(r#"{"name": "key"}"#);
            for coding in codings {
                verify = verify.header("content-encoding", coding);
                create = create.header("content-encoding", coding);
            }
            let (verified, created) = (verify.send().await, create.send().await);
            assert_eq!(verified.status, status, "{codings:?}");
            if status == 415 {
                created.is_problem(415, "unsupported_media_type");
            }
        }
    }
}
