//! `/api/v1/auth/*` (docs/CONTRACTS.md, "HookSentry").

use futures::future::join_all;
use latchkey::model::Role;
use sha2::{Digest, Sha256};

use crate::app::{Tidy, on_both_engines};
use crate::hooksentry::{PASSWORD, call, create, get, log_in, log_out, opens, refresh, revoke, tenant};
use crate::story::{Call, Story, register};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

on_both_engines! {
    async fn tokens_are_issued_renewed_and_ended(app) {
        let mut story = Story::new();
        register(&app, "ada@example.com").await;
        let body = format!(r#"{{"email": "ada@example.com", "password": "{PASSWORD}"}}"#);
        let first = Call::new(&app, "POST", "/api/v1/auth/login").json(&body).tell(&mut story).await;
        call(&app, &first.field("/accessToken"), "GET", "/api/v1/apikeys").tell(&mut story).await;
        story.say("ten minutes later");
        app.clock.advance(10 * MINUTE + 7);
        let renew = format!(r#"{{"refreshToken": "{}"}}"#, first.field("/refreshToken"));
        let second = Call::new(&app, "POST", "/api/v1/auth/refresh").json(&renew).tell(&mut story).await;
        assert_ne!(first.field("/refreshToken"), second.field("/refreshToken"));
        let access = second.field("/accessToken");
        assert!(opens(&app, &access).await);
        assert!(opens(&app, &first.field("/accessToken")).await, "the old access token stays valid until its expiry");
        let leave = format!(r#"{{"refreshToken": "{}"}}"#, second.field("/refreshToken"));
        call(&app, &access, "POST", "/api/v1/auth/logout").json(&leave).tell(&mut story).await;
        story.say("all tokens of the sign-in have ended");
        call(&app, &access, "GET", "/api/v1/apikeys").tell(&mut story).await;
        Call::new(&app, "POST", "/api/v1/auth/refresh").json(&leave).tell(&mut story).await;
        call(&app, &access, "POST", "/api/v1/auth/logout").json(&leave).tell(&mut story).await;
        assert!(!opens(&app, &first.field("/accessToken")).await);
        story.is("tokens_are_issued_renewed_and_ended");
    }

    async fn invalid_sign_ins_are_refused(app) {
        let mut story = Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        let bob = tenant(&app, "bob@example.com").await;
        let login = |body: &str| Call::new(&app, "POST", "/api/v1/auth/login").json(body);
        let with = |more: &str| format!(r#"{{"email": "ada@example.com", "password": "{PASSWORD}"{more}}}"#);
        let tenant = |id: &str| with(&format!(r#", "tenantId": "{id}""#));
        story.say("tenants: of another user, unknown, and malformed");
        login(&tenant(&bob.id)).tell(&mut story).await;
        login(&tenant("1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d")).tell(&mut story).await;
        login(&tenant("first")).tell(&mut story).await;
        story.say("a wrong password, an unknown address, and a wrong password with another tenant");
        login(r#"{"email": "ada@example.com", "password": "incorrect horse"}"#).tell(&mut story).await;
        login(r#"{"email": "nobody@example.com", "password": "incorrect horse"}"#).tell(&mut story).await;
        login(&tenant(&bob.id).replace("correct", "incorrect")).tell(&mut story).await;
        story.say("malformed bodies");
        for body in ["{}", r#"{"email": "ada@example.com"}"#, r#"{"email": 7, "password": "x"}"#, "[]", "{", r#"{"email": "a", "password": "b", "tenantid": "c"}"#] {
            login(body).tell(&mut story).await;
        }
        Call::new(&app, "POST", "/api/v1/auth/login").body("email=ada").tell(&mut story).await;
        for body in ["{}", r#"{"refreshToken": null}"#, r#"{"refreshToken": 7}"#, r#"{"refreshToken": "a", "x": 1}"#] {
            Call::new(&app, "POST", "/api/v1/auth/refresh").json(body).tell(&mut story).await;
            call(&app, &ada.access, "POST", "/api/v1/auth/logout").json(body).send().await.is_sentence();
        }
        story.say("malformed refresh tokens");
        for token in ["", "lkr_", &"lkr_0".repeat(20), &ada.access] {
            let answer = refresh(&app, token).await;
            answer.is_problem(401, "unauthenticated");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
        story.is("invalid_sign_ins_are_refused");
        assert!(opens(&app, &ada.access).await, "no refused request ended a token");
        assert_eq!(refresh(&app, &ada.refresh).await.status, 200);
        assert_eq!(log_in(&app, &ada.email, Some(&ada.id)).await.status, 200);
        let null = with(r#", "tenantId": null"#);
        assert_eq!(login(&null).send().await.status, 200);
    }

    /// A client address may try an account ten times at once, registrations included. Other addresses are not delayed.
    async fn password_guesses_are_throttled_in_hooksentry(app) {
        let mut story = Story::new();
        register(&app, "ada@example.com").await;
        let wrong = r#"{"email": "ada@example.com", "password": "incorrect horse"}"#;
        let guess = |body: &str| Call::new(&app, "POST", "/api/v1/auth/login").json(body);
        for _ in 0..9 {
            guess(wrong).send().await.is_problem(401, "unauthenticated");
        }
        guess(wrong).tell(&mut story).await;
        story.say("the right password is throttled too; both contracts share the limit");
        let right = wrong.replace("incorrect horse", PASSWORD);
        guess(&right).tell(&mut story).await;
        Call::new(&app, "POST", "/v1/auth/login").json(&right).tell(&mut story).await;
        story.is("password_guesses_are_throttled_in_hooksentry");
        assert_eq!(guess(&right).from("198.51.100.7:1").send().await.status, 200);
        app.clock.advance(30_000);
        assert_eq!(guess(&right).send().await.status, 200);
    }

    async fn a_refresh_token_that_is_used_twice_ends_its_sign_in(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let other = log_in(&app, &ada.email, None).await;
        let second = refresh(&app, &ada.refresh).await;
        assert_eq!(second.status, 200);
        let third = refresh(&app, &second.field("/refreshToken")).await;
        assert_eq!(third.status, 200);
        refresh(&app, &ada.refresh).await.is_problem(401, "unauthenticated");
        for access in [&ada.access, &second.field("/accessToken"), &third.field("/accessToken")] {
            assert!(!opens(&app, access).await);
        }
        refresh(&app, &third.field("/refreshToken")).await.is_problem(401, "unauthenticated");
        assert!(opens(&app, &other.field("/accessToken")).await, "another sign-in stays valid");
        assert_eq!(refresh(&app, &other.field("/refreshToken")).await.status, 200);
    }

    async fn one_of_several_concurrent_refreshes_succeeds(app) {
        for round in 0..5 {
            let ada = tenant(&app, &format!("ada{round}@example.com")).await;
            let answers = join_all((0..8).map(|_| refresh(&app, &ada.refresh))).await;
            let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
            assert_eq!(won.len(), 1);
            answers.iter().filter(|answer| answer.status != 200).for_each(|answer| answer.is_problem(401, "unauthenticated"));
            assert!(!opens(&app, &won[0].field("/accessToken")).await, "further uses of the refresh token ended the family");
            assert!(!opens(&app, &ada.access).await);
        }
    }

    async fn the_answer_to_signing_out_does_not_depend_on_the_refresh_token(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let bob = tenant(&app, "bob@example.com").await;
        let fresh = async || {
            let answer = log_in(&app, &ada.email, None).await;
            (answer.field("/accessToken"), answer.field("/refreshToken"))
        };
        for what in ["", "nonsense", "lkr_0", &bob.refresh, &bob.access] {
            let (access, refresh_token) = fresh().await;
            let answer = log_out(&app, &access, what).await;
            assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0), "{what}");
            assert!(!opens(&app, &access).await, "{what}");
            refresh(&app, &refresh_token).await.is_problem(401, "unauthenticated");
        }
        assert!(opens(&app, &bob.access).await, "tokens of another user stay valid");
        assert_eq!(refresh(&app, &bob.refresh).await.status, 200);
        assert!(opens(&app, &ada.access).await);
        let used = refresh(&app, &ada.refresh).await;
        assert_eq!(log_out(&app, &used.field("/accessToken"), &ada.refresh).await.status, 204, "with a refresh token that was used");
        assert!(!opens(&app, &ada.access).await);
        let ((one, _), (two, two_refresh)) = (fresh().await, fresh().await);
        assert_eq!(log_out(&app, &one, &two_refresh).await.status, 204);
        assert!(!opens(&app, &two).await, "their own other sign-in, whose token they gave back");
        Call::new(&app, "POST", "/api/v1/auth/logout").json(r#"{"refreshToken": "x"}"#).send().await.is_problem(401, "unauthenticated");
    }

    async fn an_access_token_lives_15_minutes_and_a_refresh_token_7_days(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let late = log_in(&app, &ada.email, None).await.field("/refreshToken");
        app.clock.advance(15 * MINUTE - 1);
        assert!(opens(&app, &ada.access).await);
        app.clock.advance(1);
        assert!(!opens(&app, &ada.access).await);
        assert_eq!(get(&app, &ada.access, "/v1/auth/me").await.status, 401);
        log_out(&app, &ada.access, &ada.refresh).await.is_problem(401, "unauthenticated");
        app.clock.advance(7 * DAY - 15 * MINUTE - 1);
        let renewed = refresh(&app, &ada.refresh).await;
        assert_eq!((renewed.status.as_u16(), renewed.field("/expiresAt").as_str()), (200, "2026-03-08T12:14:59.999Z"));
        assert_eq!(renewed.json()["expiresIn"], 900);
        app.clock.advance(1);
        refresh(&app, &late).await.is_problem(401, "unauthenticated");
        assert!(opens(&app, &renewed.field("/accessToken")).await);
        app.clock.advance(7 * DAY - 2);
        app.services.accounts.tidy().await.unwrap();
        assert_eq!(refresh(&app, &renewed.field("/refreshToken")).await.status, 200, "a refresh token is valid for a week after its creation");
        app.clock.advance(7 * DAY);
        app.services.accounts.tidy().await.unwrap();
        assert_eq!(app.number("SELECT count(*) FROM tokens").await, 0);
        assert_eq!(app.number("SELECT count(*) FROM token_families").await, 0);
    }

    async fn a_new_password_ends_all_tokens_of_its_account(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let elsewhere = log_in(&app, &ada.email, None).await;
        let bob = tenant(&app, "bob@example.com").await;
        let email = latchkey::accounts::EmailAddress::parse(&ada.email).unwrap();
        let password = latchkey::accounts::Password::new("another password".to_owned()).unwrap();
        assert!(app.services.accounts.reset_password(&email, password).await.unwrap());
        for access in [&ada.access, &elsewhere.field("/accessToken")] {
            assert!(!opens(&app, access).await);
        }
        for token in [&ada.refresh, &elsewhere.field("/refreshToken")] {
            refresh(&app, token).await.is_problem(401, "unauthenticated");
        }
        assert!(opens(&app, &bob.access).await);
        log_in(&app, &ada.email, None).await.is_problem(401, "unauthenticated");
    }

    async fn only_hashes_of_tokens_are_stored(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let second = refresh(&app, &ada.refresh).await;
        let tokens = [ada.access.clone(), ada.refresh.clone(), second.field("/accessToken"), second.field("/refreshToken")];
        let mut expected: Vec<Vec<u8>> = tokens.iter().map(|token| Sha256::digest(token.as_bytes()).to_vec()).collect();
        let mut stored = app.bytes("SELECT hash FROM tokens").await;
        expected.sort();
        stored.sort();
        assert_eq!(stored, expected);
        for hash in stored {
            for form in [hex::encode(&hash), format!("lka_{}", hex::encode(&hash))] {
                assert!(!opens(&app, &form).await, "a stored hash does not authenticate");
                refresh(&app, &form.replace("lka_", "lkr_")).await.is_problem(401, "unauthenticated");
            }
        }
        let log = crate::app::log();
        assert!(tokens.iter().all(|token| token.len() == 68 && !log.contains(token.as_str()) && !log.contains(&token[4..])));
    }

    /// An access token, a refresh token, a session and a key are not accepted in place of each other.
    async fn a_credential_of_one_kind_is_not_accepted_as_another(app) {
        let ada = tenant(&app, "ada@example.com").await;
        assert!(!opens(&app, &ada.refresh).await);
        let session = ada.who.cookie.trim_start_matches("session=");
        assert!(!opens(&app, session).await);
        Call::new(&app, "GET", "/api/v1/apikeys").cookie(&ada.who.cookie).send().await.is_problem(401, "unauthenticated");
        Call::new(&app, "GET", "/api/v1/apikeys").key(&ada.access).send().await.is_problem(401, "unauthenticated");
        Call::new(&app, "GET", "/v1/auth/me").cookie(&format!("session={}", ada.access)).send().await.is_problem(401, "unauthenticated");
        get(&app, &ada.access, "/v1/whoami").await.is_problem(401, "unauthenticated");
        call(&app, &ada.access, "GET", "/api/v1/apikeys").key("hks_0").send().await.is_problem(401, "unauthenticated");
        call(&app, &ada.access, "POST", "/v1/auth/logout").send().await.is_problem(403, "forbidden");
        for scheme in ["bearer", "BEARER"] {
            let header = format!("{scheme} {}", ada.access);
            assert_eq!(Call::new(&app, "GET", "/api/v1/apikeys").header("authorization", &header).send().await.status, 200);
        }
        for header in [ada.access.clone(), format!("Basic {}", ada.access), "Bearer ".to_owned(), format!("Bearer {}x", ada.access)] {
            Call::new(&app, "GET", "/api/v1/apikeys").header("authorization", &header).send().await.is_problem(401, "unauthenticated");
        }
    }

    /// Bob is in two organisations: each of his tokens gives access to one of them, in both contracts.
    async fn a_token_is_bound_to_its_tenant(app) {
        let mut story = Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        app.clock.advance(1000);
        let bob = tenant(&app, "bob@example.com").await;
        app.clock.advance(1000);
        bob.who.join(&app, &ada.who.org, Role::Member).await;
        let own = log_in(&app, &bob.email, None).await.field("/accessToken");
        let guest = log_in(&app, &bob.email, Some(&ada.id)).await.field("/accessToken");
        let at_home = create(&app, &own, "at home").await.field("/id");
        app.clock.advance(1000);
        let as_guest = create(&app, &guest, "as a guest").await.field("/id");
        app.clock.advance(1000);
        story.say("each token sees only its tenant");
        for access in [&own, &guest] {
            call(&app, access, "GET", "/v1/auth/me").tell(&mut story).await;
            call(&app, access, "GET", "/v1/auth/api-keys").tell(&mut story).await;
            call(&app, access, "GET", "/api/v1/apikeys").tell(&mut story).await;
        }
        story.say("keys are created in the token's tenant, not in the user's first organisation");
        let made = call(&app, &guest, "POST", "/v1/auth/api-keys").json(r#"{"name": "hookstream's"}"#).tell(&mut story).await;
        let who = Call::new(&app, "GET", "/v1/whoami").key(&made.field("/key")).send().await;
        assert_eq!((who.field("/tenant_id"), who.field("/environment").as_str()), (ada.id.clone(), "live"));
        let other = format!(r#"{{"name": "x", "org_id": "{}", "env_id": "{}"}}"#, bob.who.org, bob.who.live);
        call(&app, &guest, "POST", "/v1/auth/api-keys").json(&other).tell(&mut story).await;
        story.say("the other tenant is hidden");
        call(&app, &guest, "GET", &format!("/v1/auth/api-keys?org_id={}", bob.who.org)).tell(&mut story).await;
        call(&app, &guest, "GET", &format!("/v1/auth/api-keys?env_id={}", bob.who.live)).tell(&mut story).await;
        let ids = Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&bob.who.cookie).send().await;
        assert_eq!(ids.json()["api_keys"].as_array().unwrap().len(), 3, "a session sees both");
        let home = ids.field("/api_keys/2/id");
        call(&app, &guest, "DELETE", &format!("/v1/auth/api-keys/{home}")).tell(&mut story).await;
        revoke(&app, &guest, &at_home).await.is_problem(403, "forbidden");
        revoke(&app, &own, &as_guest).await.is_problem(403, "forbidden");
        assert_eq!(get(&app, &guest, &format!("/v1/auth/api-keys?env_id={}", ada.who.live)).await.json()["api_keys"].as_array().unwrap().len(), 2);
        story.is("a_token_is_bound_to_its_tenant");
    }

    async fn without_a_tenant_id_the_oldest_membership_is_used(app) {
        let ada = tenant(&app, "ada@example.com").await;
        app.clock.advance(1000);
        let bob = tenant(&app, "bob@example.com").await;
        app.clock.advance(1000);
        ada.who.join(&app, &bob.who.org, Role::Owner).await;
        let which = async |access: String| get(&app, &access, "/v1/auth/me").await.field("/organisations/0/tenant_id");
        assert_eq!(which(log_in(&app, &ada.email, None).await.field("/accessToken")).await, ada.id);
        ada.who.leave(&app, &ada.who.org).await;
        assert_eq!(which(log_in(&app, &ada.email, None).await.field("/accessToken")).await, bob.id);
        ada.who.leave(&app, &bob.who.org).await;
        log_in(&app, &ada.email, None).await.is_problem(404, "not_found");
    }

    async fn a_token_is_void_once_its_holder_leaves_the_tenant(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let bob = tenant(&app, "bob@example.com").await;
        bob.who.join(&app, &ada.who.org, Role::Admin).await;
        let tokens = log_in(&app, &bob.email, Some(&ada.id)).await;
        let guest = tokens.field("/accessToken");
        let key = create(&app, &guest, "stays").await;
        bob.who.leave(&app, &ada.who.org).await;
        for path in ["/api/v1/apikeys", "/api/v1/events", "/api/v1/events/1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d"] {
            get(&app, &guest, path).await.is_problem(401, "unauthenticated");
        }
        revoke(&app, &guest, &key.field("/id")).await.is_problem(401, "unauthenticated");
        let mut story = Story::new();
        call(&app, &guest, "POST", "/api/v1/apikeys").json(r#"{"name": "Production Key"}"#).tell(&mut story).await;
        call(&app, &guest, "GET", "/v1/auth/me").tell(&mut story).await;
        call(&app, &guest, "GET", "/v1/auth/api-keys").tell(&mut story).await;
        story.is("a_token_is_void_once_its_holder_leaves_the_tenant");
        log_in(&app, &bob.email, Some(&ada.id)).await.is_problem(404, "not_found");
        assert_eq!(Call::new(&app, "GET", "/v1/whoami").key(&key.field("/key")).send().await.status, 200, "the keys stay");
        bob.who.join(&app, &ada.who.org, Role::Member).await;
        assert!(opens(&app, &refresh(&app, &tokens.field("/refreshToken")).await.field("/accessToken")).await);
    }
}
