//! Sessions: their lifetime, their stored form and their end (docs/CONTRACTS.md, "Signing in").

use sha2::{Digest, Sha256};

use crate::app::{TestApp, Tidy, on_both_engines};
use crate::story::{Call, Story, register};

const DAY: i64 = 24 * 3600 * 1000;
const ADA: &str = r#"{"email": "ada@example.com", "password": "correct horse battery"}"#;

async fn is_signed_in(app: &TestApp, cookie: &str) -> bool {
    let answer = Call::new(app, "GET", "/v1/auth/me").cookie(cookie).send().await;
    if answer.status != 200 {
        answer.is_problem(401, "unauthenticated");
    }
    answer.status == 200
}

async fn log_in(app: &TestApp, cookie: Option<&str>) -> String {
    let mut call = Call::new(app, "POST", "/v1/auth/login").json(ADA);
    if let Some(cookie) = cookie {
        call = call.cookie(cookie);
    }
    let answer = call.send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.cookie()
}

on_both_engines! {
    async fn a_session_ends_after_seven_days_without_use(app) {
        let cookie = register(&app, "ada@example.com").await;
        app.clock.advance(7 * DAY - 1);
        assert!(is_signed_in(&app, &cookie).await);
        // The use restarts the seven days.
        app.clock.advance(7 * DAY - 1);
        assert!(is_signed_in(&app, &cookie).await);
        app.clock.advance(7 * DAY);
        assert!(!is_signed_in(&app, &cookie).await);
        app.clock.advance(-DAY);
        app.services.accounts.tidy().await.unwrap();
        assert!(is_signed_in(&app, &cookie).await, "a valid session is not deleted");
        app.clock.advance(DAY);
        app.services.accounts.tidy().await.unwrap();
        assert_eq!(app.number("SELECT count(*) FROM sessions").await, 1, "a session that was just used is not deleted");
        app.clock.advance(6 * DAY);
        app.services.accounts.tidy().await.unwrap();
        assert_eq!(app.number("SELECT count(*) FROM sessions").await, 0);
    }

    async fn a_session_ends_after_thirty_days_even_if_used(app) {
        let cookie = register(&app, "ada@example.com").await;
        for _ in 0..29 {
            app.clock.advance(DAY);
            assert!(is_signed_in(&app, &cookie).await);
        }
        app.clock.advance(DAY - 1);
        assert!(is_signed_in(&app, &cookie).await);
        app.clock.advance(1);
        assert!(!is_signed_in(&app, &cookie).await);
        app.services.accounts.tidy().await.unwrap();
        assert_eq!(app.number("SELECT count(*) FROM sessions").await, 0);
    }

    async fn a_session_deleted_from_the_database_ends_at_once(app) {
        let cookie = register(&app, "ada@example.com").await;
        assert!(is_signed_in(&app, &cookie).await);
        app.execute("DELETE FROM sessions").await;
        assert!(!is_signed_in(&app, &cookie).await);
    }

    async fn the_cookie_of_an_ended_session_is_removed(app) {
        let mut story = Story::new();
        let cookie = register(&app, "ada@example.com").await;
        app.clock.advance(7 * DAY);
        Call::new(&app, "GET", "/v1/auth/me").cookie(&cookie).tell(&mut story).await;
        story.say("without a cookie in the request, no cookie is removed");
        let token = cookie.trim_start_matches("session=");
        let bearer = format!("Bearer {token}");
        Call::new(&app, "GET", "/v1/auth/me").header("authorization", &bearer).tell(&mut story).await;
        Call::new(&app, "GET", "/v1/auth/me").tell(&mut story).await;
        story.is("the_cookie_of_an_ended_session_is_removed");
    }

    async fn signing_in_gives_a_new_token_and_ends_the_old_one(app) {
        let old = register(&app, "ada@example.com").await;
        let new = log_in(&app, Some(&old)).await;
        assert_ne!(old, new);
        assert!(is_signed_in(&app, &new).await && !is_signed_in(&app, &old).await);
    }

    async fn a_planted_token_is_never_taken_over(app) {
        register(&app, "ada@example.com").await;
        let planted = "session=AAAAAAAAAAAAAAAAAAAAAA";
        let cookie = log_in(&app, Some(planted)).await;
        assert_ne!(cookie, planted);
        assert!(!is_signed_in(&app, planted).await);
        for nonsense in ["session=", "session=x", "session=%00", "session=AAAAAAAAAAAAAAAAAAAAAA; session=b"] {
            assert!(!is_signed_in(&app, nonsense).await, "{nonsense}");
        }
    }

    async fn only_a_hash_of_the_token_is_stored(app) {
        let cookie = register(&app, "ada@example.com").await;
        let token = cookie.trim_start_matches("session=");
        let id: tower_sessions::session::Id = token.parse().unwrap();
        let stored = app.bytes("SELECT id_hash FROM sessions").await;
        assert_eq!(stored, [Sha256::digest(id.0.to_le_bytes()).to_vec()]);
        // The hash is not accepted as a token.
        let as_token = tower_sessions::session::Id(i128::from_le_bytes(stored[0][..16].try_into().unwrap()));
        assert!(!is_signed_in(&app, &format!("session={as_token}")).await);
    }

    async fn signing_out_ends_this_session_and_no_other(app) {
        let mut story = Story::new();
        let first = register(&app, "ada@example.com").await;
        let second = log_in(&app, None).await;
        Call::new(&app, "POST", "/v1/auth/logout").cookie(&first).tell(&mut story).await;
        story.say("again, and without any session");
        Call::new(&app, "POST", "/v1/auth/logout").cookie(&first).tell(&mut story).await;
        Call::new(&app, "POST", "/v1/auth/logout").tell(&mut story).await;
        story.is("signing_out_ends_this_session_and_no_other");
        assert!(!is_signed_in(&app, &first).await);
        assert!(is_signed_in(&app, &second).await);
        let bearer = format!("Bearer {}", second.trim_start_matches("session="));
        let out = Call::new(&app, "POST", "/v1/auth/logout").header("authorization", &bearer).send().await;
        assert_eq!((out.status.as_u16(), out.header("set-cookie")), (204, ""));
        assert!(!is_signed_in(&app, &second).await);
        assert_eq!(app.number("SELECT count(*) FROM sessions").await, 0);
    }

    async fn a_new_password_ends_all_sessions_of_its_account(app) {
        let ada = register(&app, "ada@example.com").await;
        let elsewhere = log_in(&app, None).await;
        let bob = register(&app, "bob@example.com").await;
        let email = latchkey::accounts::EmailAddress::parse("Ada@example.com").unwrap();
        let password = || latchkey::accounts::Password::new("another password".to_owned()).unwrap();
        assert!(app.services.accounts.reset_password(&email, password()).await.unwrap());
        assert!(!is_signed_in(&app, &ada).await && !is_signed_in(&app, &elsewhere).await);
        assert!(is_signed_in(&app, &bob).await);
        Call::new(&app, "POST", "/v1/auth/login").json(ADA).send().await.is_problem(401, "unauthenticated");
        let new = r#"{"email": "ada@example.com", "password": "another password"}"#;
        assert_eq!(Call::new(&app, "POST", "/v1/auth/login").json(new).send().await.status, 200);
        let nobody = latchkey::accounts::EmailAddress::parse("nobody@example.com").unwrap();
        assert!(!app.services.accounts.reset_password(&nobody, password()).await.unwrap());
    }
}
