//! `DELETE /v1/auth/api-keys/:id` and `…/current` (docs/CONTRACTS.md, "hookstream" and "Who may what").

use futures::future::join_all;
use latchkey::model::Role;

use crate::app::{TestApp, on_both_engines};
use crate::story::{Answer, Call, Someone, Story, create, someone};

async fn delete(app: &TestApp, who: &Someone, id: &str) -> Answer {
    Call::new(app, "DELETE", &format!("/v1/auth/api-keys/{id}")).cookie(&who.cookie).send().await
}

async fn works(app: &TestApp, key: &str) -> bool {
    let answer = Call::new(app, "GET", "/v1/whoami").key(key).send().await;
    if answer.status != 200 {
        answer.is_problem(401, "unauthenticated");
    }
    answer.status == 200
}

on_both_engines! {
    async fn permissions_to_revoke_a_key(app) {
        let mut story = Story::new();
        let (ada, bob) = (someone(&app, "ada@example.com").await, someone(&app, "bob@example.com").await);
        let (cy, eve) = (someone(&app, "cy@example.com").await, someone(&app, "eve@example.com").await);
        bob.join(&app, &ada.org, Role::Member).await;
        cy.join(&app, &ada.org, Role::Admin).await;
        let adas = create(&app, &ada.cookie, &ada.in_env(&ada.live, "")).await;
        let bobs = create(&app, &bob.cookie, &ada.in_env(&ada.live, "")).await;
        let third = create(&app, &ada.cookie, &ada.in_env(&ada.live, "")).await;
        let told = |who: &Someone, key: &Answer| {
            Call::new(&app, "DELETE", &format!("/v1/auth/api-keys/{}", key.field("/id"))).cookie(&who.cookie)
        };
        story.say("a member of another organisation");
        told(&eve, &adas).tell(&mut story).await;
        story.say("a member that did not create the key");
        told(&bob, &adas).tell(&mut story).await;
        assert!(works(&app, &adas.field("/key")).await);
        story.say("the member that created the key");
        told(&bob, &bobs).tell(&mut story).await;
        assert!(!works(&app, &bobs.field("/key")).await);
        story.say("an admin, then the owner");
        told(&cy, &adas).tell(&mut story).await;
        assert!(!works(&app, &adas.field("/key")).await);
        told(&ada, &third).tell(&mut story).await;
        assert!(!works(&app, &third.field("/key")).await);
        story.is("permissions_to_revoke_a_key");
        assert_eq!(delete(&app, &ada, &bobs.field("/id")).await.status, 200);
    }

    async fn a_foreign_key_is_answered_like_an_unknown_one(app) {
        let (ada, eve) = (someone(&app, "ada@example.com").await, someone(&app, "eve@example.com").await);
        let id = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/id");
        let foreign = delete(&app, &eve, &id).await;
        foreign.is_problem(404, "not_found");
        for unknown in ["ak_0123456789abcdef", "ak_", "AK_0123456789abcdef", "x", "%00", "ak_0123456789ABCDEF", "%2e%2e"] {
            let answer = delete(&app, &eve, unknown).await;
            assert_eq!((answer.status, answer.text()), (foreign.status, foreign.text()), "{unknown}");
        }
        // A foreign key that is revoked gets the same answer.
        delete(&app, &ada, &id).await;
        assert_eq!(delete(&app, &eve, &id).await.text(), foreign.text());
    }

    async fn a_former_member_cannot_revoke_their_keys(app) {
        let (ada, bob) = (someone(&app, "ada@example.com").await, someone(&app, "bob@example.com").await);
        bob.join(&app, &ada.org, Role::Admin).await;
        let key = create(&app, &bob.cookie, &ada.in_env(&ada.live, "")).await;
        bob.leave(&app, &ada.org).await;
        delete(&app, &bob, &key.field("/id")).await.is_problem(404, "not_found");
        assert!(works(&app, &key.field("/key")).await, "the key stays");
    }

    async fn repeated_and_concurrent_revocations_are_answered_alike_and_counted_once(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        let id = key.field("/id");
        let answers = join_all((0..6).map(|_| delete(&app, &ada, &id))).await;
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == r#"{"success":true}"#));
        app.clock.advance(5_000);
        assert_eq!(delete(&app, &ada, &id).await.text(), r#"{"success":true}"#);
        assert_eq!(app.number("SELECT revoked_at FROM keys").await, crate::app::NOW.0, "the time of the first revocation is kept");
        assert_eq!(app.number("SELECT revoked_count FROM organisations").await, 1);
    }

    async fn a_key_is_refused_once_its_revocation_is_answered(app) {
        let ada = someone(&app, "ada@example.com").await;
        for _ in 0..20 {
            let key = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
            let (id, string) = (key.field("/id"), key.field("/key"));
            let uses = join_all((0..5).map(|_| works(&app, &string)));
            let revoked = async {
                assert_eq!(delete(&app, &ada, &id).await.status, 200);
                assert!(!works(&app, &string).await, "accepted after the revocation was answered");
            };
            futures::join!(uses, revoked);
            assert!(!works(&app, &string).await);
        }
    }

    async fn a_key_revokes_itself(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let first = create(&app, &ada.cookie, r#"{"name": "first", "scopes": "events:write"}"#).await.field("/key");
        let second = create(&app, &ada.cookie, r#"{"name": "second"}"#).await.field("/key");
        let current = || Call::new(&app, "DELETE", "/v1/auth/api-keys/current");
        current().key(&first).tell(&mut story).await;
        story.say("again, after its revocation");
        current().key(&first).tell(&mut story).await;
        story.say("as a Bearer token");
        current().header("authorization", &format!("Bearer {second}")).tell(&mut story).await;
        story.say("with a session, and without a credential");
        current().cookie(&ada.cookie).tell(&mut story).await;
        current().tell(&mut story).await;
        story.is("a_key_revokes_itself");
        assert!(!works(&app, &first).await && !works(&app, &second).await);
        assert_eq!(app.number("SELECT revoked_count FROM organisations").await, 2);
        assert_eq!(app.number("SELECT CAST(sum(request_count) AS BIGINT) FROM keys").await, 0, "a revocation does not count as a use");
    }

    async fn a_paused_or_network_bound_key_may_revoke_itself(app) {
        let ada = someone(&app, "ada@example.com").await;
        let current = |key: &str| Call::new(&app, "DELETE", "/v1/auth/api-keys/current").key(key);
        // Presented from 192.0.2.10.
        let elsewhere = create(&app, &ada.cookie, r#"{"name": "elsewhere", "ip_allowlist": ["10.0.0.0/8"]}"#).await;
        assert_eq!(current(&elsewhere.field("/key")).header("x-forwarded-for", "10.0.0.1").send().await.json()["success"], true);
        let paused = create(&app, &ada.cookie, r#"{"name": "paused", "ip_allowlist": ["10.0.0.0/8"], "quota": {"limit": 1}}"#).await;
        let path = format!("/v1/keys/{}", paused.field("/id"));
        assert_eq!(Call::new(&app, "PATCH", &path).cookie(&ada.cookie).json(r#"{"enabled": false}"#).send().await.status, 200);
        assert_eq!(Call::new(&app, "DELETE", "/v1/auth/api-keys?id=current").key(&paused.field("/key")).send().await.json()["success"], true);
        assert_eq!(app.number("SELECT count(*) FROM keys WHERE revoked_at IS NULL").await, 0);
        for ended in [&elsewhere, &paused] {
            current(&ended.field("/key")).send().await.is_problem(401, "unauthenticated");
        }
        let expired = create(&app, &ada.cookie, r#"{"name": "expired", "expires_at": "2026-03-01T12:00:01Z"}"#).await.field("/key");
        let both = create(&app, &ada.cookie, r#"{"name": "both", "expires_at": "2026-03-01T12:00:01Z"}"#).await;
        let path = format!("/v1/keys/{}", both.field("/id"));
        assert_eq!(Call::new(&app, "PATCH", &path).cookie(&ada.cookie).json(r#"{"enabled": false}"#).send().await.status, 200);
        app.clock.advance(1000);
        for key in [&expired, &both.field("/key")] {
            current(key).send().await.is_problem(401, "unauthenticated");
        }
        current("hs_live_nonsense").send().await.is_problem(401, "unauthenticated");
    }

    async fn parameters_of_a_revocation_are_read_strictly(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let key = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        let id = key.field("/id");
        for query in ["descendants=yes", "descendent=true", "id=ak_0000000000000000"] {
            Call::new(&app, "DELETE", &format!("/v1/auth/api-keys/{id}?{query}")).cookie(&ada.cookie).tell(&mut story).await;
        }
        Call::new(&app, "DELETE", "/v1/auth/api-keys").cookie(&ada.cookie).tell(&mut story).await;
        story.is("parameters_of_a_revocation_are_read_strictly");
        assert!(works(&app, &key.field("/key")).await);
        assert_eq!(delete(&app, &ada, &format!("{id}?descendants=false")).await.status, 200);
        assert!(!works(&app, &key.field("/key")).await);
    }
}
