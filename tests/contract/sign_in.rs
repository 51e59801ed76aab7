//! `POST /v1/auth/login`: its answers and its throttling (docs/CONTRACTS.md, "Signing in").

use latchkey::web::Site;

use crate::app::{Settings, TestApp, Tidy, on_both_engines};
use crate::story::{Answer, Call, Story, read, register};

const ADA: &str = r#"{"email": "ada@example.com", "password": "correct horse battery"}"#;

/// Hashes the bytes without normalization, with the cheapest parameters.
fn argon2_of(password: &str) -> String {
    use argon2::PasswordHasher;
    let argon2 = argon2::Argon2::from(argon2::Params::new(8, 1, 1, None).unwrap());
    argon2.hash_password_with_salt(password.as_bytes(), b"some salt").unwrap().to_string()
}

async fn log_in(app: &TestApp, email: &str, password: &str) -> Answer {
    log_in_from(app, "192.0.2.10:50000", email, password).await
}

async fn log_in_from(app: &TestApp, peer: &'static str, email: &str, password: &str) -> Answer {
    let body = format!(r#"{{"email": "{email}", "password": "{password}"}}"#);
    Call::new(app, "POST", "/v1/auth/login").json(&body).from(peer).send().await
}

fn behind_a_proxy() -> Settings {
    let site = Site { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Site::default() };
    Settings { site, ..Settings::default() }
}

/// Returns an answer as the client sees it, without its request id.
fn bytes(answer: &Answer) -> (u16, Vec<String>, Vec<u8>) {
    let headers = answer.headers.iter().filter(|(name, _)| name.as_str() != "x-request-id");
    let mut headers: Vec<String> = headers.map(|(name, value)| format!("{name}: {value:?}")).collect();
    headers.sort();
    (answer.status.as_u16(), headers, answer.body.clone())
}

on_both_engines! {
    async fn right_wrong_and_malformed_credentials(app) {
        let mut story = Story::new();
        register(&app, "ada@example.com").await;
        for body in [
            r#"{"email": " ADA@example.com ", "password": "correct horse battery"}"#,
            r#"{"email": "ada@example.com", "password": "correct horse batterY"}"#,
            r#"{"email": "ada@example.com", "password": ""}"#,
            "{}",
            r#"{"email": "ada@example.com", "password": "correct horse battery", "remember": true}"#,
            r#"{"email": "ada@example.com", "password": "correct horse battery", "set_up_token": "x"}"#,
        ] {
            Call::new(&app, "POST", "/v1/auth/login").json(body).tell(&mut story).await;
        }
        story.is("right_wrong_and_malformed_credentials");
    }

    async fn an_unknown_account_is_answered_like_a_wrong_password(app) {
        register(&app, "ada@example.com").await;
        let wrong = log_in(&app, "ada@example.com", "not the password").await;
        wrong.is_problem(401, "unauthenticated");
        for (email, password) in [
            ("nobody@example.com", "correct horse battery"),
            ("no address at all", "correct horse battery"),
            ("", ""),
            ("ada@example.com", &"x".repeat(5_000)),
            (r"ada\u0000@example.com", "correct horse battery"),
        ] {
            assert_eq!(bytes(&log_in(&app, email, password).await), bytes(&wrong), "{email}");
        }
    }

    async fn password_guesses_are_throttled_and_the_owner_is_not_locked_out(app) {
        let mut story = Story::new();
        register(&app, "ada@example.com").await;
        app.clock.advance(3_600_000);
        let guess = r#"{"email": "ada@example.com", "password": "a guess"}"#;
        let attacker = "198.51.100.9:40000";
        for _ in 0..10 {
            let answer = Call::new(&app, "POST", "/v1/auth/login").json(guess).from(attacker).send().await;
            answer.is_problem(401, "unauthenticated");
        }
        story.say("the eleventh attempt, from another port");
        Call::new(&app, "POST", "/v1/auth/login").json(guess).from("198.51.100.9:40001").tell(&mut story).await;
        story.say("the address in another case, and the right password, are throttled too");
        let right = r#"{"email": "ADA@example.com", "password": "correct horse battery"}"#;
        Call::new(&app, "POST", "/v1/auth/login").json(right).from(attacker).tell(&mut story).await;
        story.is("password_guesses_are_throttled_and_the_owner_is_not_locked_out");

        assert_eq!(log_in(&app, "ada@example.com", "correct horse battery").await.status, 200);
        log_in_from(&app, attacker, "bob@example.com", "a guess").await.is_problem(401, "unauthenticated");
        app.clock.advance(29_999);
        assert_eq!(log_in_from(&app, attacker, "ada@example.com", "a guess").await.header("retry-after"), "1");
        app.clock.advance(1);
        log_in_from(&app, attacker, "ada@example.com", "a guess").await.is_problem(401, "unauthenticated");
        log_in_from(&app, attacker, "ada@example.com", "a guess").await.is_problem(429, "too_many_requests");
    }

    async fn a_right_password_does_not_count_towards_the_limit(app) {
        register(&app, "ada@example.com").await;
        for _ in 0..70 {
            assert_eq!(log_in(&app, "ada@example.com", "correct horse battery").await.status, 200);
            let token = Call::new(&app, "POST", "/api/v1/auth/login").json(ADA).send().await;
            assert_eq!(token.status, 200, "{}", token.text());
        }
    }

    /// 100 networks together guess no faster than one, and delay only clients from unknown networks.
    async fn password_guesses_are_throttled_across_networks(app) {
        register(&app, "ada@example.com").await;
        let guess = async |network: usize, path: &str, password: &str| {
            let body = format!(r#"{{"email": "ada@example.com", "password": "{password}"}}"#);
            let request = axum::http::Request::builder()
                .method("POST")
                .uri(path)
                .header("content-type", "application/json")
                .body(axum::body::Body::from(body))
                .unwrap();
            read(app.send_from(&format!("[2001:db8:{network:x}::1]:4000"), request).await).await
        };
        let mut taken = 0;
        for n in 0..1000 {
            let path = if n % 2 == 0 { "/v1/auth/login" } else { "/api/v1/auth/login" };
            let answer = guess(n % 100, path, "a guess").await;
            if answer.status == 401 {
                taken += 1;
            } else {
                answer.is_problem(429, "too_many_requests");
                assert_eq!(answer.header("retry-after"), "36");
            }
        }
        assert_eq!(taken, 100);
        for _ in 0..3 {
            assert_eq!(log_in(&app, "ada@example.com", "correct horse battery").await.status, 200, "a known network");
        }
        guess(500, "/v1/auth/login", "correct horse battery").await.is_problem(429, "too_many_requests");
        guess(500, "/v1/auth/login", "another guess").await.is_problem(429, "too_many_requests");
        app.clock.advance(36_000);
        assert_eq!(guess(500, "/v1/auth/login", "correct horse battery").await.status, 200);
        assert_eq!(app.number("SELECT count(*) FROM known_networks").await, 2);
        // Network 500 is known now, and has its own limit.
        guess(501, "/v1/auth/login", "a guess").await.is_problem(401, "unauthenticated");
        guess(501, "/v1/auth/login", "a guess").await.is_problem(429, "too_many_requests");
        assert_eq!(guess(500, "/v1/auth/login", "correct horse battery").await.status, 200);
    }

    async fn a_network_is_known_for_thirty_days_and_ten_are_kept(app) {
        register(&app, "ada@example.com").await;
        for n in 0..12 {
            app.clock.advance(1000);
            let peer: &'static str = format!("198.51.100.{n}:4000").leak();
            assert_eq!(log_in_from(&app, peer, "ada@example.com", "correct horse battery").await.status, 200);
        }
        assert_eq!(app.number("SELECT count(*) FROM known_networks").await, 10);
        assert_eq!(app.number("SELECT count(*) FROM known_networks WHERE network = '198.51.100.11'").await, 1);
        app.clock.advance(30 * 24 * 3600 * 1000);
        app.services.accounts.tidy().await.unwrap();
        assert_eq!(app.number("SELECT count(*) FROM known_networks").await, 0);
    }

    /// macOS and Linux encode typed letters differently.
    async fn composed_and_decomposed_passwords_are_equal(app) {
        let with = |password: &str| serde_json::json!({ "email": "ada@example.com", "password": password }).to_string();
        let (nfc, nfd) = ("passw\u{f6}rd of J\u{f6}rg", "passwo\u{308}rd of Jo\u{308}rg");
        let made = Call::new(&app, "POST", "/v1/auth/register").json(&with(nfd)).send().await;
        assert_eq!(made.status, 201);
        for password in [nfc, nfd] {
            for path in ["/v1/auth/login", "/api/v1/auth/login"] {
                let answer = Call::new(&app, "POST", path).json(&with(password)).send().await;
                assert_eq!(answer.status, 200, "{path} {password}");
            }
        }
        // A hash from before normalization accepts the form typed at that time, and after a sign-in either form.
        let old = argon2_of(nfd);
        app.execute(&format!("UPDATE users SET password_hash = '{old}'")).await;
        Call::new(&app, "POST", "/v1/auth/login").json(&with(nfc)).send().await.is_problem(401, "unauthenticated");
        let body = with(nfd);
        let log_in = || Call::new(&app, "POST", "/v1/auth/login").json(&body).send();
        let (one, other) = futures::future::join(log_in(), log_in()).await;
        assert_eq!((one.status.as_u16(), other.status.as_u16()), (200, 200));
        let left = format!("SELECT count(*) FROM users WHERE password_hash = '{old}'");
        assert_eq!(app.number(left.leak()).await, 0);
        assert_eq!(Call::new(&app, "POST", "/v1/auth/login").json(&with(nfc)).send().await.status, 200);
    }

    async fn a_domain_in_unicode_and_in_punycode_is_one_account(app) {
        let with = |email: &str| serde_json::json!({ "email": email, "password": "correct horse battery" }).to_string();
        let made = Call::new(&app, "POST", "/v1/auth/register").json(&with("j\u{f6}rg@xn--bcher-kva.example")).send().await;
        assert_eq!((made.status.as_u16(), made.field("/user/email")), (201, "j\u{f6}rg@b\u{fc}cher.example".into()));
        for email in ["j\u{f6}rg@b\u{fc}cher.example", "Jo\u{308}rg@BU\u{308}CHER.example", "j\u{f6}rg@xn--bcher-kva.example"] {
            let again = Call::new(&app, "POST", "/v1/auth/register").json(&with(email)).send().await;
            assert_eq!(again.wrong_fields(), ["email"], "{email}");
            for path in ["/v1/auth/login", "/api/v1/auth/login"] {
                let answer = Call::new(&app, "POST", path).json(&with(email)).send().await;
                assert_eq!(answer.status, 200, "{path} {email}");
            }
            let form = form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("email", email), ("password", "correct horse battery")])
                .finish();
            let page = Call::new(&app, "POST", "/sign-in")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(form)
                .send()
                .await;
            assert_eq!(page.status, 303, "{email}");
        }
    }

    /// `type=email` and `maxlength` are rules of the browser, which differ from the server's.
    async fn the_forms_accept_and_refuse_the_same_input_as_the_api(app) {
        register(&app, "first@example.com").await;
        for path in ["/sign-in", "/register"] {
            let page = Call::new(&app, "GET", path).send().await.text();
            assert!(page.contains(r#"inputmode="email""#) && page.contains(r#"autocomplete="username""#), "{path}");
            for rule in ["type=\"email\"", "minlength", "maxlength"] {
                assert!(!page.contains(rule), "{path}: {rule}");
            }
        }
        let (email, password) = ("ada@exa mple.com", "short");
        let body = serde_json::json!({ "email": email, "password": password }).to_string();
        let api = Call::new(&app, "POST", "/v1/auth/register").json(&body).send().await;
        let page = Call::new(&app, "POST", "/register")
            .header("content-type", "application/x-www-form-urlencoded")
            .body("email=ada%40exa+mple.com&password=short")
            .send()
            .await;
        assert_eq!((api.status, page.status), (page.status, api.status));
        for error in api.json()["errors"].as_array().unwrap() {
            let message = error["message"].as_str().unwrap();
            assert!(page.text().contains(message), "{message}");
        }
    }

    async fn a_client_address_is_throttled_after_sixty_accounts(app) {
        for n in 0..60 {
            let answer = log_in_from(&app, "198.51.100.9:40000", &format!("user{n}@example.com"), "a guess").await;
            answer.is_problem(401, "unauthenticated");
        }
        let answer = log_in_from(&app, "198.51.100.9:40000", "user60@example.com", "a guess").await;
        answer.is_problem(429, "too_many_requests");
        assert_eq!(answer.header("retry-after"), "10");
        log_in_from(&app, "198.51.100.8:40000", "user60@example.com", "a guess").await.is_problem(401, "unauthenticated");
        app.clock.advance(10_000);
        log_in_from(&app, "198.51.100.9:40000", "user60@example.com", "a guess").await.is_problem(401, "unauthenticated");
    }

    async fn invalid_email_addresses_count_towards_the_limit(app) {
        for n in 0..60 {
            log_in(&app, &format!("nonsense {n}"), "a guess").await.is_problem(401, "unauthenticated");
        }
        log_in(&app, "nonsense", "a guess").await.is_problem(429, "too_many_requests");
    }

    /// A header that any client can send must not reset the limit.
    async fn a_forwarded_address_from_an_untrusted_peer_is_ignored(app) {
        for n in 0..11 {
            let answer = Call::new(&app, "POST", "/v1/auth/login")
                .header("x-forwarded-for", &format!("203.0.113.{n}"))
                .json(r#"{"email": "ada@example.com", "password": "a guess"}"#)
                .send()
                .await;
            answer.is_problem(if n < 10 { 401 } else { 429 }, if n < 10 { "unauthenticated" } else { "too_many_requests" });
        }
    }

    async fn behind_a_trusted_proxy_each_client_has_its_own_allowance(app, behind_a_proxy()) {
        let from = async |client: &str| {
            Call::new(&app, "POST", "/v1/auth/login")
                .header("x-forwarded-for", &format!("192.0.2.77, {client}"))
                .json(r#"{"email": "ada@example.com", "password": "a guess"}"#)
                .from("10.0.0.1:443")
                .send()
                .await
        };
        for _ in 0..10 {
            from("203.0.113.1").await.is_problem(401, "unauthenticated");
        }
        from("203.0.113.1").await.is_problem(429, "too_many_requests");
        from("203.0.113.2").await.is_problem(401, "unauthenticated");
    }

    async fn registration_is_throttled_too(app) {
        for _ in 0..10 {
            let body = r#"{"email": "ada@example.com", "password": "correct horse battery"}"#;
            Call::new(&app, "POST", "/v1/auth/register").json(body).send().await;
        }
        let body = r#"{"email": "ada@example.com", "password": "correct horse battery"}"#;
        let answer = Call::new(&app, "POST", "/v1/auth/register").json(body).send().await;
        answer.is_problem(429, "too_many_requests");
        assert_eq!(answer.header("retry-after"), "30");
    }

    /// The clean-up must not reset a limit that is in use.
    async fn the_clean_up_lifts_no_limit_early(app) {
        for _ in 0..10 {
            log_in(&app, "ada@example.com", "a guess").await.is_problem(401, "unauthenticated");
        }
        app.services.accounts.tidy().await.unwrap();
        log_in(&app, "ada@example.com", "a guess").await.is_problem(429, "too_many_requests");
    }
}
