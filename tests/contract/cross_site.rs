//! Requests that a browser sends for another site are refused on every unsafe method (docs/CONTRACTS.md, "Requests from
//! other sites").

use latchkey::web::Site;

use crate::app::{Settings, TestApp, on_both_engines};
use crate::story::{Answer, Call, Story, create, someone};

const UNSAFE: [(&str, &str); 6] = [
    ("POST", "/v1/auth/register"),
    ("POST", "/v1/auth/login"),
    ("POST", "/v1/auth/logout"),
    ("POST", "/v1/auth/api-keys"),
    ("DELETE", "/v1/auth/api-keys/ak_0123456789abcdef"),
    ("DELETE", "/v1/auth/api-keys/current"),
];

fn with_public_url() -> Settings {
    let site = Site { public_url: Some("https://keys.example.com".to_owned()), ..Site::default() };
    Settings { site, ..Settings::default() }
}

async fn send(app: &TestApp, (method, path): (&str, &str), host: &str, headers: &[(&str, &str)]) -> Answer {
    let mut call = Call::new(app, method, path).header("host", host);
    for (name, value) in headers {
        call = call.header(name, value);
    }
    call.send().await
}

/// Returns whether the request was refused for its origin, before any other check.
fn refused(answer: &Answer) -> bool {
    answer.status == 403
        && ["Another site", "This host name"].iter().any(|text| answer.field("/detail").starts_with(text))
}

on_both_engines! {
    async fn other_sites_are_refused(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let create = || Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie).json(r#"{"name": "key"}"#);
        create().header("host", "127.0.0.1:3000").header("sec-fetch-site", "cross-site").tell(&mut story).await;
        create().header("host", "127.0.0.1:3000").header("origin", "https://evil.example").tell(&mut story).await;
        story.say("a host name that an attacker points at this server");
        create().header("host", "evil.example").header("origin", "http://evil.example").tell(&mut story).await;
        story.is("other_sites_are_refused");
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 0);
        let host = "127.0.0.1:3000";
        for unsafe_call in UNSAFE {
            for headers in [
                &[("sec-fetch-site", "cross-site")][..],
                &[("sec-fetch-site", "same-site")],
                &[("sec-fetch-site", "anything")],
                &[("origin", "https://evil.example")],
                &[("origin", "null")],
                &[("origin", "")],
                &[("origin", "http://127.0.0.1:3001")],
                &[("origin", "http://127.0.0.1")],
                &[("origin", "http://127.0.0.1:3000.evil.example")],
                &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
                &[("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:3000")],
            ] {
                assert!(refused(&send(&app, unsafe_call, host, headers).await), "{unsafe_call:?} {headers:?}");
            }
            for headers in [
                &[][..],
                &[("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:3000")],
                &[("sec-fetch-site", "none")],
                &[("origin", "http://127.0.0.1:3000")],
            ] {
                assert!(!refused(&send(&app, unsafe_call, host, headers).await), "{unsafe_call:?} {headers:?}");
            }
            assert!(refused(&send(&app, unsafe_call, "evil.example", &[("sec-fetch-site", "same-origin")]).await));
            assert!(!refused(&send(&app, unsafe_call, "localhost:3000", &[("origin", "http://localhost:3000")]).await));
            assert!(!refused(&send(&app, unsafe_call, "keys.internal", &[]).await), "a program may use any host name");
        }
    }

    async fn with_a_public_url_only_its_origin_is_accepted(app, with_public_url()) {
        for unsafe_call in UNSAFE {
            for host in ["keys.example.com", "10.0.0.7:3000"] {
                assert!(!refused(&send(&app, unsafe_call, host, &[("origin", "https://keys.example.com")]).await));
                for origin in ["http://keys.example.com", "https://keys.example.com:444", "https://other.example.com", "http://10.0.0.7:3000"] {
                    assert!(refused(&send(&app, unsafe_call, host, &[("origin", origin)]).await), "{origin}");
                }
            }
        }
    }

    /// A proxy in front may have checked the other value. HookSentry's clients read a 400 as a JSON string.
    async fn a_doubled_header_is_refused_in_the_form_of_its_path(app) {
        for (name, value) in [("origin", "http://localhost:3000"), ("sec-fetch-site", "same-origin")] {
            for (method, path) in UNSAFE.into_iter().chain([("POST", "/api/v1/apikeys"), ("GET", "/api/v1/events")]) {
                let answer = send(&app, (method, path), "localhost:3000", &[(name, value), (name, value)]).await;
                if path.starts_with("/api/v1/") {
                    assert!(answer.is_sentence().contains(name), "{method} {path}");
                } else {
                    answer.is_problem(400, "invalid_request");
                }
            }
            let page = send(&app, ("GET", "/keys"), "localhost:3000", &[(name, value), (name, value)]).await;
            assert_eq!((page.status.as_u16(), page.header("content-type")), (400, "text/html; charset=utf-8"));
        }
        // A body above the limit gets a problem document on HookSentry's paths too.
        let long = vec![b' '; 65 * 1024];
        let call = Call::new(&app, "POST", "/api/v1/auth/login").header("content-type", "application/json");
        call.body(long).send().await.is_problem(413, "payload_too_large");
    }

    async fn reads_are_allowed_from_other_sites(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/key");
        for headers in [[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")]] {
            for (path, name, value) in
                [("/v1/auth/me", "cookie", ada.cookie.as_str()), ("/v1/auth/api-keys", "cookie", &ada.cookie), ("/v1/whoami", "x-api-key", &key)]
            {
                let mut call = Call::new(&app, "GET", path).header("host", "127.0.0.1:3000").header(name, value);
                for (name, value) in headers {
                    call = call.header(name, value);
                }
                let answer = call.send().await;
                assert_eq!(answer.status, 200, "{path}");
                assert_eq!(answer.header("access-control-allow-origin"), "", "no other site can read the answer");
                assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
            }
        }
    }
}
