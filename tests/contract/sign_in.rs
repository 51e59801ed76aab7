//! `POST /v1/auth/login`: what it tells, and how often it may be asked (CONTRACTS, "Signing in").

use latchkey::api::Site;

use crate::app::{Settings, TestApp, on_both_engines};
use crate::story::{Answer, Call, Story, register};

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

/// All of an answer that a client sees, its request id apart.
fn bytes(answer: &Answer) -> (u16, Vec<String>, Vec<u8>) {
    let headers = answer.headers.iter().filter(|(name, _)| name.as_str() != "x-request-id");
    let mut headers: Vec<String> = headers.map(|(name, value)| format!("{name}: {value:?}")).collect();
    headers.sort();
    (answer.status.as_u16(), headers, answer.body.clone())
}

on_both_engines! {
    async fn right_wrong_and_unusable(app) {
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
        story.is("right_wrong_and_unusable");
    }

    async fn unknown_and_wrong_answer_alike(app) {
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

    async fn an_account_is_guessed_slowly_and_its_owner_not_locked_out(app) {
        let mut story = Story::new();
        register(&app, "ada@example.com").await;
        app.clock.advance(3_600_000);
        let guess = r#"{"email": "ada@example.com", "password": "a guess"}"#;
        let attacker = "198.51.100.9:40000";
        for _ in 0..10 {
            let answer = Call::new(&app, "POST", "/v1/auth/login").json(guess).from(attacker).send().await;
            answer.is_problem(401, "unauthenticated");
        }
        story.say("the eleventh guess, from another port");
        Call::new(&app, "POST", "/v1/auth/login").json(guess).from("198.51.100.9:40001").tell(&mut story).await;
        story.say("in another case it is the same account, and a right guess is not heard either");
        let right = r#"{"email": "ADA@example.com", "password": "correct horse battery"}"#;
        Call::new(&app, "POST", "/v1/auth/login").json(right).from(attacker).tell(&mut story).await;
        story.is("an_account_is_guessed_slowly_and_its_owner_not_locked_out");

        assert_eq!(log_in(&app, "ada@example.com", "correct horse battery").await.status, 200);
        log_in_from(&app, attacker, "bob@example.com", "a guess").await.is_problem(401, "unauthenticated");
        app.clock.advance(29_999);
        assert_eq!(log_in_from(&app, attacker, "ada@example.com", "a guess").await.header("retry-after"), "1");
        app.clock.advance(1);
        log_in_from(&app, attacker, "ada@example.com", "a guess").await.is_problem(401, "unauthenticated");
        log_in_from(&app, attacker, "ada@example.com", "a guess").await.is_problem(429, "too_many_requests");
    }

    async fn an_address_tries_sixty_accounts_and_then_waits(app) {
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

    async fn texts_that_are_no_addresses_count_as_well(app) {
        for n in 0..60 {
            log_in(&app, &format!("nonsense {n}"), "a guess").await.is_problem(401, "unauthenticated");
        }
        log_in(&app, "nonsense", "a guess").await.is_problem(429, "too_many_requests");
    }

    /// A header that anybody can send must not buy a fresh allowance.
    async fn a_forwarded_address_of_a_stranger_changes_nothing(app) {
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

    /// What is idle for long is forgotten, what is not stays.
    async fn tidying_up_frees_nobody_early(app) {
        for _ in 0..10 {
            log_in(&app, "ada@example.com", "a guess").await.is_problem(401, "unauthenticated");
        }
        app.services.accounts.tidy().await.unwrap();
        log_in(&app, "ada@example.com", "a guess").await.is_problem(429, "too_many_requests");
    }
}
