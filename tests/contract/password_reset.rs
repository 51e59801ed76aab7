//! A password reset ends every session and token of its account, including sign-ins in progress.

use std::time::Duration;

use futures::future::join_all;
use latchkey::accounts::{Accounts, EmailAddress, Password, Passwords, Registration};
use latchkey::runtime::clock::Clock;
use latchkey::runtime::entropy::Entropy;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use crate::app::{Engine, TestApp, on_both_engines};
use crate::hooksentry::{PASSWORD, log_in, opens, refresh, tenant};
use crate::story::{Answer, Call, read, register};

/// A password reset in another process, begun and not yet committed.
enum Reset {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Reset {
    async fn begin(app: &TestApp) -> Self {
        let begin = match app.engine {
            Engine::Sqlite => "BEGIN IMMEDIATE",
            Engine::Postgres => "BEGIN",
        };
        let mut reset = match app.engine {
            Engine::Sqlite => Self::Sqlite(SqliteConnection::connect(&app.url).await.expect("the file opens")),
            Engine::Postgres => Self::Postgres(PgConnection::connect(&app.url).await.expect("the server answers")),
        };
        for statement in [
            begin,
            "UPDATE users SET password_hash = 'another'",
            "DELETE FROM sessions",
            "UPDATE token_families SET ended_at = 1 WHERE ended_at IS NULL",
            "DELETE FROM known_networks",
        ] {
            reset.execute(statement).await;
        }
        reset
    }

    async fn execute(&mut self, statement: &'static str) {
        match self {
            Self::Sqlite(connection) => connection.execute(statement).await.map(drop).expect("a statement"),
            Self::Postgres(connection) => connection.execute(statement).await.map(drop).expect("a statement"),
        }
    }
}

/// Posts a body of a content type from a client address.
async fn post(app: &TestApp, peer: &str, path: &str, kind: &str, body: &str) -> Answer {
    let request = axum::http::Request::builder()
        .method("POST")
        .uri(path)
        .header("content-type", kind)
        .body(axum::body::Body::from(body.to_owned()))
        .expect("a request");
    read(app.send_from(peer, request).await).await
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

on_both_engines! {
    /// Each sign-in has verified the old password and is about to store its session when the reset commits.
    async fn a_sign_in_overtaken_by_a_reset_is_answered_like_a_wrong_password(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let json = format!(r#"{{"email": "ada@example.com", "password": "{PASSWORD}"}}"#);
        let form = "email=ada%40example.com&password=correct+horse+battery";
        let renew = format!(r#"{{"refreshToken": "{}"}}"#, ada.refresh);
        let mut reset = Reset::begin(&app).await;
        // From a network that is not known yet.
        let peer = "198.51.100.7:50000";
        let mut sign_ins = Box::pin(join_all([
            Box::pin(post(&app, peer, "/v1/auth/login", JSON, &json)),
            Box::pin(post(&app, peer, "/api/v1/auth/login", JSON, &json)),
            Box::pin(post(&app, peer, "/api/v1/auth/refresh", JSON, &renew)),
            Box::pin(post(&app, peer, "/sign-in", FORM, form)),
        ]));
        let early = tokio::time::timeout(Duration::from_secs(1), &mut sign_ins).await;
        reset.execute("COMMIT").await;
        let answers = match early {
            Ok(answers) => answers,
            Err(_) => sign_ins.await,
        };
        for answer in &answers[..3] {
            answer.is_problem(401, "unauthenticated");
        }
        assert_eq!((answers[3].status.as_u16(), answers[3].header("set-cookie")), (401, ""));
        assert_eq!(app.number("SELECT count(*) FROM sessions").await, 0);
        assert_eq!(app.number("SELECT count(*) FROM token_families WHERE ended_at IS NULL").await, 0);
        assert_eq!(app.number("SELECT count(*) FROM known_networks").await, 0, "no network is known any more");
        assert_eq!(app.number("SELECT count(*) FROM tokens").await, 2, "a refresh that was refused leaves no token");
        let wrong = post(&app, peer, "/v1/auth/login", JSON, &json).await;
        assert_eq!((wrong.status, wrong.json()), (answers[0].status, answers[0].json()));
    }

    /// Sign-ins before, during and after the reset: a session that one of them got is void once the reset is answered.
    async fn no_sign_in_in_flight_survives_a_reset(app) {
        register(&app, "ada@example.com").await;
        // As `latchkey user reset-password` does it: with its own password hashing, which waits for no sign-in.
        let entropy = Entropy::System;
        let passwords = Passwords::cheap(entropy.clone());
        let operator =
            Accounts::new(app.db.clone(), Clock::System, entropy, passwords, Registration::Closed, None);
        let ada = EmailAddress::parse("ada@example.com").expect("an address");
        let mut old = PASSWORD.to_owned();
        for round in 0..4 {
            let json = format!(r#"{{"email": "ada@example.com", "password": "{old}"}}"#);
            let sign_ins = (0..24).map(|n| {
                let (app, json) = (&app, &json);
                async move {
                    let path = if n % 2 == 0 { "/v1/auth/login" } else { "/api/v1/auth/login" };
                    let peer = format!("198.{round}.{n}.7:50000");
                    post(app, &peer, path, JSON, json).await
                }
            });
            let new = format!("another password {round}");
            let reset = async {
                tokio::time::sleep(Duration::from_millis(2 * round)).await;
                let password = Password::new(new.clone()).expect("a password");
                assert!(operator.reset_password(&ada, password).await.expect("an answer"));
            };
            let (answers, ()) = tokio::join!(join_all(sign_ins), reset);
            assert_eq!(app.number("SELECT count(*) FROM known_networks").await, 0);
            for answer in answers {
                if answer.status != 200 {
                    answer.is_problem(401, "unauthenticated");
                } else if let Some(token) = answer.json()["accessToken"].as_str() {
                    assert!(!opens(&app, token).await);
                    refresh(&app, &answer.field("/refreshToken")).await.is_problem(401, "unauthenticated");
                } else {
                    let me = Call::new(&app, "GET", "/v1/auth/me").cookie(&answer.cookie()).send().await;
                    me.is_problem(401, "unauthenticated");
                }
            }
            old = new;
        }
    }

    /// Signing out waits for a running refresh, and ends the tokens that it issued.
    async fn no_refresh_in_flight_survives_signing_out(app) {
        let ada = tenant(&app, "ada@example.com").await;
        for _ in 0..6 {
            let tokens = log_in(&app, &ada.email, None).await;
            let (access, renew) = (tokens.field("/accessToken"), tokens.field("/refreshToken"));
            let (out, renewed) =
                tokio::join!(crate::hooksentry::log_out(&app, &access, &renew), refresh(&app, &renew));
            assert!(out.status == 204, "{}", out.text());
            if renewed.status == 200 {
                assert!(!opens(&app, &renewed.field("/accessToken")).await);
                refresh(&app, &renewed.field("/refreshToken")).await.is_problem(401, "unauthenticated");
            } else {
                renewed.is_problem(401, "unauthenticated");
            }
        }
    }
}

/// The session is deleted after the request is accepted, and before it stores its message for the next page.
#[tokio::test]
async fn a_request_whose_session_ends_meanwhile_succeeds_and_stores_no_session() {
    let app = TestApp::new(Engine::Sqlite, crate::app::Settings::default()).await;
    let ada = crate::story::someone(&app, "ada@example.com").await;
    app.execute("CREATE TRIGGER ends AFTER UPDATE ON environments BEGIN DELETE FROM sessions; END").await;
    let body = "version=7+1000000&event_days=3&event_limit=100";
    let answer = Call::new(&app, "POST", &ada.retention())
        .header("content-type", FORM)
        .cookie(&ada.cookie)
        .body(body)
        .send()
        .await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!(app.number("SELECT count(*) FROM sessions").await, 0);
}
