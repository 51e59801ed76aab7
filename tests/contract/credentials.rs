//! The forms of a session credential, and the precedence of several credentials (docs/CONTRACTS.md, "Signing in").

use latchkey::web::Site;

use crate::app::{Settings, TestApp, on_both_engines};
use crate::story::{Answer, Call, Story, create, read, register};

fn https() -> Settings {
    let site = Site { public_url: Some("https://keys.example.com".to_owned()), ..Site::default() };
    Settings { site, ..Settings::default() }
}

/// Sends a call with a `Cookie` header of any bytes.
async fn with_cookie(app: &TestApp, method: &str, path: &str, cookie: &[u8]) -> Answer {
    let request = axum::http::Request::builder()
        .method(method)
        .uri(path)
        .header("cookie", axum::http::HeaderValue::from_bytes(cookie).unwrap())
        .body(axum::body::Body::empty())
        .unwrap();
    read(app.send(request).await).await
}

on_both_engines! {
    async fn a_session_is_accepted_in_every_documented_form(app) {
        let cookie = register(&app, "ada@example.com").await;
        let token = cookie.strip_prefix("session=").expect("the name under http");
        for (name, value) in [
            ("cookie", format!("session={token}")),
            ("cookie", format!("theme=dark; session={token}; lang=en")),
            ("cookie", format!("better-auth.session_token={token}")),
            ("cookie", format!("__Secure-better-auth.session_token={token}")),
            ("authorization", format!("Bearer {token}")),
            ("authorization", format!("bearer {token}")),
        ] {
            let answer = Call::new(&app, "GET", "/v1/auth/me").header(name, &value).send().await;
            assert_eq!((answer.status.as_u16(), answer.field("/user/email")), (200, "ada@example.com".into()), "{value}");
        }
        for (name, value) in [
            ("cookie", format!("token={token}")),
            ("cookie", format!("Session={token}")),
            ("cookie", format!("__Host-session={token}")),
            ("authorization", format!("Basic {token}")),
            ("authorization", token.to_owned()),
            ("authorization", format!("Bearer {token}x")),
            ("x-session", token.to_owned()),
        ] {
            let answer = Call::new(&app, "GET", "/v1/auth/me").header(name, &value).send().await;
            answer.is_problem(401, "unauthenticated");
        }
    }

    /// The key endpoints are server functions and must accept the same forms.
    async fn the_key_endpoints_accept_every_form_of_session(app) {
        let cookie = register(&app, "ada@example.com").await;
        let token = cookie.strip_prefix("session=").expect("the name under http");
        let body = r#"{"name": "key"}"#;
        for (name, value) in [
            ("cookie", format!("better-auth.session_token={token}")),
            ("authorization", format!("Bearer {token}")),
        ] {
            let created = Call::new(&app, "POST", "/v1/auth/api-keys").header(name, &value).json(body).send().await;
            assert_eq!(created.status, 201, "{value}");
            let listed = Call::new(&app, "GET", "/v1/auth/api-keys").header(name, &value).send().await;
            assert_eq!(listed.field("/api_keys/0/id").len(), 19);
            let path = format!("/v1/auth/api-keys/{}", created.field("/id"));
            assert_eq!(Call::new(&app, "DELETE", &path).header(name, &value).send().await.status, 200);
        }
        for (method, path) in
            [("POST", "/v1/auth/api-keys"), ("GET", "/v1/auth/api-keys"), ("DELETE", "/v1/auth/api-keys/ak_0000000000000000")]
        {
            Call::new(&app, method, path).json(body).send().await.is_problem(401, "unauthenticated");
        }
    }

    async fn under_https_the_cookie_is_bound_to_its_host(app, https()) {
        let mut story = Story::with_all_headers();
        let body = r#"{"email": "ada@example.com", "password": "correct horse battery"}"#;
        let cookie = Call::new(&app, "POST", "/v1/auth/register").json(body).tell(&mut story).await.cookie();
        assert!(cookie.starts_with("__Host-session="), "{cookie}");
        Call::new(&app, "GET", "/v1/auth/me").cookie(&cookie).header("sec-fetch-site", "same-origin").tell(&mut story).await;
        Call::new(&app, "POST", "/v1/auth/logout").cookie(&cookie).tell(&mut story).await;
        story.is("under_https_the_cookie_is_bound_to_its_host");
    }

    /// A neighbouring subdomain can plant any cookie except a `__Host-` one.
    async fn under_https_a_browser_is_accepted_only_with_the_host_cookie(app, https()) {
        let cookie = register(&app, "ada@example.com").await;
        let token = cookie.strip_prefix("__Host-session=").expect("the name under https");
        for name in ["session", "better-auth.session_token", "__Secure-better-auth.session_token"] {
            let other = format!("{name}={token}");
            let curl = Call::new(&app, "GET", "/v1/auth/me").cookie(&other).send().await;
            assert_eq!(curl.status, 200, "{name} from a program");
            for (header, value) in [
                ("origin", "https://keys.example.com"),
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-site", "none"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
                ("sec-fetch-user", "?1"),
            ] {
                let browser = Call::new(&app, "GET", "/v1/auth/me").cookie(&other).header(header, value).send().await;
                browser.is_problem(401, "unauthenticated");
                let planted = format!("{other}; {cookie}");
                let both = Call::new(&app, "GET", "/v1/auth/me").cookie(&planted).header(header, value).send().await;
                assert_eq!(both.status, 200, "the server's own cookie beside a planted one");
            }
        }
        let bearer = format!("Bearer {token}");
        let browser = Call::new(&app, "GET", "/v1/auth/me")
            .header("authorization", &bearer)
            .header("sec-fetch-site", "same-origin")
            .send()
            .await;
        assert_eq!(browser.status, 200);
    }

    async fn a_key_precedes_bearer_and_bearer_precedes_the_cookie_without_fallback(app) {
        let cookie = register(&app, "ada@example.com").await;
        let token = cookie.strip_prefix("session=").unwrap();
        let key = create(&app, &cookie, r#"{"name": "key"}"#).await.field("/key");
        let unknown = format!("hs_live_{}1c637e5a", format_args!("{}01234567", "0123456789abcdef".repeat(3)));
        let (session, bad) = (format!("Bearer {token}"), "Bearer AAAAAAAAAAAAAAAAAAAAAA".to_owned());
        let bearer_key = format!("Bearer {key}");
        let me = async |headers: &[(&str, &str)]| {
            let mut call = Call::new(&app, "GET", "/v1/auth/me");
            for (name, value) in headers {
                call = call.header(name, value);
            }
            call.send().await
        };
        let fine = ("cookie", cookie.as_str());
        me(&[("x-api-key", &key), ("authorization", &session), fine]).await.is_problem(403, "forbidden");
        me(&[("authorization", &bearer_key), fine]).await.is_problem(403, "forbidden");
        for presented in [
            &[("x-api-key", unknown.as_str()), ("authorization", &session), fine][..],
            &[("x-api-key", ""), fine],
            &[("x-api-key", token), fine],
            &[("x-api-key", &key), ("x-api-key", &unknown), fine],
            &[("authorization", &bad), fine],
            &[("authorization", "Bearer"), fine],
            &[("authorization", "Bearer "), fine],
            &[("authorization", "Basic YTpi"), fine],
            &[("authorization", &session), ("authorization", &bad), fine],
            &[("authorization", &bad), ("authorization", &session), fine],
        ] {
            me(presented).await.is_problem(401, "unauthenticated");
        }
        assert_eq!(me(&[("authorization", &session), ("cookie", "session=AAAAAAAAAAAAAAAAAAAAAA")]).await.status, 200);
        assert_eq!(me(&[("cookie", "theme=dark"), fine]).await.status, 200, "HTTP allows several Cookie lines");
    }

    async fn cookies_of_other_programs_hide_no_session(app) {
        let cookie = register(&app, "ada@example.com").await;
        for (before, after) in [
            (&b"name=J\xc3\xb6rg; "[..], &b""[..]),
            (b"name=J\xf6rg; ", b""),
            (b"", b"; \xff\xfe\xfd"),
            (b"a=\"b; ", b"; c=\"d\""),
            (b"junk; =; ;;", b";"),
            (b"session=eyJhIjoxfQ.aFlask.Signature; ", b""),
        ] {
            let me = with_cookie(&app, "GET", "/v1/auth/me", &[before, cookie.as_bytes(), after].concat()).await;
            assert_eq!(me.status, 200, "{}", before.escape_ascii());
            let page = with_cookie(&app, "GET", "/server", &[before, cookie.as_bytes(), after].concat()).await;
            assert_eq!((page.status.as_u16(), page.header("set-cookie")), (200, ""), "{}", before.escape_ascii());
        }
        let out = with_cookie(&app, "POST", "/v1/auth/logout", &[b"name=J\xf6rg; ", cookie.as_bytes()].concat()).await;
        assert_eq!(out.status, 204);
        assert!(out.header("set-cookie").contains("Max-Age=0"));
        assert_eq!(app.number("SELECT count(*) FROM sessions").await, 0);
    }

    async fn cookies_of_other_programs_hide_no_session_under_https(app, https()) {
        let cookie = register(&app, "ada@example.com").await;
        let all = [b"name=J\xc3\xb6rg; ", cookie.as_bytes()].concat();
        assert_eq!(with_cookie(&app, "GET", "/v1/auth/me", &all).await.status, 200);
        assert_eq!(with_cookie(&app, "GET", "/server", &all).await.status, 200);
        let out = with_cookie(&app, "POST", "/sign-out", &all).await;
        assert!(out.header("set-cookie").starts_with("__Host-session=;"));
        assert_eq!(app.number("SELECT count(*) FROM sessions").await, 0);
    }

    async fn the_first_good_session_cookie_counts_and_signing_out_ends_all(app) {
        let ada = register(&app, "ada@example.com").await;
        let bob = register(&app, "bob@example.com").await;
        let stale = "session=AAAAAAAAAAAAAAAAAAAAAA";
        let email = async |cookies: &[&str]| {
            let answer = with_cookie(&app, "GET", "/v1/auth/me", cookies.join("; ").as_bytes()).await;
            assert_eq!((answer.status.as_u16(), answer.header("set-cookie")), (200, ""), "{cookies:?}");
            answer.field("/user/email")
        };
        assert_eq!(email(&[stale, &ada]).await, "ada@example.com");
        assert_eq!(email(&[&ada, stale]).await, "ada@example.com");
        assert_eq!(email(&[stale, &bob, &ada]).await, "bob@example.com");
        let better = bob.replace("session=", "better-auth.session_token=");
        assert_eq!(email(&[&better, stale]).await, "bob@example.com");
        let seven: Vec<String> = ('B'..='H').map(|letter| format!("session={letter}AAAAAAAAAAAAAAAAAAAAA")).collect();
        let mut many: Vec<&str> = seven.iter().map(String::as_str).collect();
        assert_eq!(email(&[&many[..], &[&ada]].concat()).await, "ada@example.com", "the eighth");
        many.push(stale);
        let ninth = [&many[..], &[&ada]].concat().join("; ");
        let refused = with_cookie(&app, "GET", "/v1/auth/me", ninth.as_bytes()).await;
        refused.is_problem(401, "unauthenticated");

        let out = with_cookie(&app, "POST", "/sign-out", [stale, &bob, &ada].join("; ").as_bytes()).await;
        assert_eq!(out.status, 303);
        assert_eq!(app.number("SELECT count(*) FROM sessions").await, 0);
    }

    /// Flask's cookie is also called `session`.
    async fn only_our_own_cookie_is_removed(app) {
        let flask = "session=eyJhIjoxfQ.aFlask.Signature";
        let stale = "session=AAAAAAAAAAAAAAAAAAAAAA";
        for (cookie, removed) in [
            (flask.to_owned(), false),
            (format!("{flask}; {stale}"), false),
            ("better-auth.session_token=AAAAAAAAAAAAAAAAAAAAAA".to_owned(), false),
            (stale.to_owned(), true),
        ] {
            for (method, path) in [("GET", "/keys"), ("GET", "/v1/auth/me"), ("POST", "/v1/auth/logout")] {
                let answer = with_cookie(&app, method, path, cookie.as_bytes()).await;
                assert_eq!(answer.header("set-cookie").starts_with("session=;"), removed, "{method} {path} {cookie}");
            }
        }
    }

    async fn a_header_that_is_not_utf8_is_no_credential(app) {
        let cookie = register(&app, "ada@example.com").await;
        for name in ["x-api-key", "authorization"] {
            let request = axum::http::Request::builder()
                .uri("/v1/auth/me")
                .header(name, axum::http::HeaderValue::from_bytes(b"Bearer \xff\xfe").unwrap())
                .header("cookie", &cookie)
                .body(axum::body::Body::empty())
                .unwrap();
            assert_eq!(app.send(request).await.status(), 401);
        }
    }
}
