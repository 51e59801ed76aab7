//! `POST /v1/auth/register`, and the permission to call it (docs/CONTRACTS.md, "Signing in").

use futures::future::join_all;
use latchkey::accounts::Registration;

use crate::app::{Settings, on_both_engines};
use crate::story::{Answer, Call, Story, register};

const ADA: &str = r#"{"email": "ada@example.com", "password": "correct horse battery"}"#;
const BOB: &str = r#"{"email": "bob@example.com", "password": "correct horse battery"}"#;

fn only(registration: Registration) -> Settings {
    Settings { registration, ..Settings::default() }
}

fn with_set_up_token() -> Settings {
    Settings { needs_set_up_token: true, ..only(Registration::First) }
}

on_both_engines! {
    async fn the_first_account_registers_itself_and_no_other(app, only(Registration::First)) {
        let mut story = Story::new();
        Call::new(&app, "POST", "/v1/auth/register").json(ADA).tell(&mut story).await;
        Call::new(&app, "POST", "/v1/auth/register").json(BOB).tell(&mut story).await;
        story.say("also refused for the existing account");
        Call::new(&app, "POST", "/v1/auth/register").json(ADA).tell(&mut story).await;
        story.is("the_first_account_registers_itself_and_no_other");
    }

    async fn one_of_several_concurrent_first_accounts_is_created(app, only(Registration::First)) {
        let bodies: Vec<String> = (0..8)
            .map(|n| format!(r#"{{"email": "user{n}@example.com", "password": "correct horse battery"}}"#))
            .collect();
        let calls = bodies.iter().map(|body| Call::new(&app, "POST", "/v1/auth/register").json(body).send());
        let answers = join_all(calls).await;
        let (won, lost): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(|answer| answer.status == 201);
        assert_eq!((won.len(), lost.len()), (1, 7));
        for answer in &lost {
            answer.is_problem(403, "forbidden");
        }
        assert_eq!(app.number("SELECT count(*) FROM users").await, 1);
        assert_eq!(app.number("SELECT count(*) FROM organisations").await, 1);
        assert_eq!(app.number("SELECT count(*) FROM environments").await, 2);
    }

    async fn an_account_added_by_the_operator_counts_as_the_first(app, only(Registration::First)) {
        let email = latchkey::accounts::EmailAddress::parse("root@example.com").unwrap();
        let password = latchkey::accounts::Password::new("correct horse battery".to_owned()).unwrap();
        app.services.accounts.add(&email, password).await.unwrap();
        Call::new(&app, "POST", "/v1/auth/register").json(ADA).send().await.is_problem(403, "forbidden");
    }

    async fn the_first_account_of_a_reachable_server_needs_the_set_up_token(app, with_set_up_token()) {
        let mut story = Story::new();
        let token = app.set_up_token.as_ref().expect("a token").reveal().to_owned();
        let with = |token: &str, email: &str| {
            format!(r#"{{"email": "{email}", "password": "correct horse battery", "set_up_token": "{token}"}}"#)
        };
        Call::new(&app, "POST", "/v1/auth/register").json(ADA).tell(&mut story).await;
        let wrong = with("00000000000000000000000000000000", "ada@example.com");
        Call::new(&app, "POST", "/v1/auth/register").json(&wrong).tell(&mut story).await;
        assert_eq!(app.number("SELECT count(*) FROM users").await, 0);
        Call::new(&app, "POST", "/v1/auth/register").json(&with(&token, "ada@example.com")).tell(&mut story).await;
        story.say("the set-up token works once");
        Call::new(&app, "POST", "/v1/auth/register").json(&with(&token, "bob@example.com")).tell(&mut story).await;
        story.is("the_first_account_of_a_reachable_server_needs_the_set_up_token");
    }

    /// A proxy that is missing in Latchkey's settings may connect from this machine.
    async fn the_set_up_token_is_needed_unless_the_request_is_certainly_local(app, with_set_up_token()) {
        let host = ("host", "127.0.0.1:3000");
        let from = |peer: &'static str, path: &str, headers: &[(&str, &str)]| {
            let call = Call::new(&app, if path == "/setup" { "GET" } else { "POST" }, path).from(peer);
            headers.iter().fold(call, |call, (name, value)| call.header(name, value))
        };
        let home = "127.0.0.1:50000";
        for (peer, headers) in [
            ("192.0.2.10:50000", &[host][..]),
            (home, &[("host", "keys.example.com")]),
            (home, &[("host", "keys.example.com"), ("x-forwarded-for", "203.0.113.9")]),
            (home, &[host, ("x-forwarded-for", "203.0.113.9")]),
            (home, &[host, ("forwarded", "for=203.0.113.9")]),
            (home, &[host, ("via", "1.1 proxy")]),
            (home, &[host, ("x-real-ip", "127.0.0.1")]),
            (home, &[host, ("cf-connecting-ip", "203.0.113.9")]),
            (home, &[]),
        ] {
            let answer = from(peer, "/v1/auth/register", headers).json(ADA).send().await;
            answer.is_problem(403, "forbidden");
            let page = from(peer, "/setup", headers).send().await.text();
            assert!(page.contains("id=\"set-up-token\"") && page.contains("standard output"), "{headers:?}");
        }
        assert_eq!(app.number("SELECT count(*) FROM users").await, 0);
        assert!(!from(home, "/setup", &[host]).send().await.text().contains("set-up-token"));
        assert_eq!(from(home, "/v1/auth/register", &[host]).json(ADA).send().await.status, 201);
    }

    async fn an_open_server_registers_each_email_once(app) {
        let mut story = Story::new();
        Call::new(&app, "POST", "/v1/auth/register").json(ADA).tell(&mut story).await;
        Call::new(&app, "POST", "/v1/auth/register").json(BOB).tell(&mut story).await;
        story.say("an address in another case is the same account");
        let again = r#"{"email": " ADA@Example.com ", "password": "another password"}"#;
        Call::new(&app, "POST", "/v1/auth/register").json(again).tell(&mut story).await;
        story.is("an_open_server_registers_each_email_once");
        assert_eq!(app.number("SELECT count(*) FROM users").await, 2);
    }

    async fn one_of_several_equal_concurrent_registrations_succeeds(app) {
        let calls = (0..6).map(|_| Call::new(&app, "POST", "/v1/auth/register").json(ADA).send());
        let answers = join_all(calls).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            assert_eq!(answer.wrong_fields(), ["email"]);
        }
        assert_eq!(app.number("SELECT count(*) FROM organisations").await, 1);
    }

    async fn a_closed_server_refuses_registration(app, only(Registration::Closed)) {
        let mut story = Story::new();
        Call::new(&app, "POST", "/v1/auth/register").json(ADA).tell(&mut story).await;
        story.is("a_closed_server_refuses_registration");
        assert_eq!(app.number("SELECT count(*) FROM users").await, 0);
    }

    async fn every_wrong_field_of_a_registration_is_named(app) {
        let mut story = Story::new();
        let long = format!(r#"{{"email": "ada@example.com", "password": "{}"}}"#, "x".repeat(257));
        for body in [
            "{}",
            r#"{"email": null, "password": null}"#,
            r#"{"email": "ada", "password": "short"}"#,
            &long,
            r#"{"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"}"#,
            r#"{"email": 7, "password": "correct horse battery"}"#,
            r#"{"email": "ada@example.com", "password": ["correct horse battery"]}"#,
        ] {
            Call::new(&app, "POST", "/v1/auth/register").json(body).tell(&mut story).await;
        }
        story.is("every_wrong_field_of_a_registration_is_named");
        assert_eq!(app.number("SELECT count(*) FROM users").await, 0);
    }

    /// Both databases would fail on a zero byte or a lone surrogate.
    async fn strange_addresses_are_refused_and_not_stored(app) {
        for email in [r"a\u0000b@example.com", r#"\"a\u0000b\"@example.com"#, r#"\"a\nb\"@example.com"#, r"a@b\u0000.com"] {
            let body = format!(r#"{{"email": "{email}", "password": "correct horse battery"}}"#);
            let answer = Call::new(&app, "POST", "/v1/auth/register").json(&body).send().await;
            assert_eq!(answer.wrong_fields(), ["email"], "{email}");
        }
        let surrogate = r#"{"email": "\ud800@example.com", "password": "correct horse battery"}"#;
        Call::new(&app, "POST", "/v1/auth/register").json(surrogate).send().await.is_problem(400, "invalid_request");
        assert_eq!(app.number("SELECT count(*) FROM users").await, 0);
    }

    /// Registering while signed in switches to the new account, under a new token.
    async fn registering_signs_in_under_a_new_token(app) {
        let ada = register(&app, "ada@example.com").await;
        let answer = Call::new(&app, "POST", "/v1/auth/register").cookie(&ada).json(BOB).send().await;
        assert_ne!(answer.cookie(), ada);
        let me = Call::new(&app, "GET", "/v1/auth/me").cookie(&answer.cookie()).send().await;
        assert_eq!(me.field("/user/email"), "bob@example.com");
        Call::new(&app, "GET", "/v1/auth/me").cookie(&ada).send().await.is_problem(401, "unauthenticated");
    }
}
