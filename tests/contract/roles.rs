//! Roles (`domain/access.rs`): a viewer sees keys and events, and changes nothing.

use latchkey::model::Role;

use crate::app::on_both_engines;
use crate::hooksentry::{call, log_in, tenant};
use crate::story::{Call, Story, create};

on_both_engines! {
    /// Bob was a member and made a key before he became a viewer.
    async fn a_viewer_sees_keys_and_changes_none(app) {
        let mut story = Story::new();
        let (ada, bob) = (tenant(&app, "ada@example.com").await, tenant(&app, "bob@example.com").await);
        bob.who.join(&app, &ada.who.org, Role::Member).await;
        app.clock.advance(1);
        let adas = create(&app, &ada.who.cookie, &ada.who.in_env(&ada.who.live, "")).await;
        app.clock.advance(1);
        let bobs = create(&app, &bob.who.cookie, &ada.who.in_env(&ada.who.live, "")).await;
        bob.who.leave(&app, &ada.who.org).await;
        bob.who.join(&app, &ada.who.org, Role::Viewer).await;
        let ask = |method: &str, path: &str| Call::new(&app, method, path).cookie(&bob.who.cookie);

        story.say("a viewer sees every key");
        ask("GET", &format!("/v1/auth/api-keys?org_id={}", ada.who.org)).tell(&mut story).await;
        for key in [&adas, &bobs] {
            assert_eq!(ask("GET", &format!("/v1/keys/{}", key.field("/id"))).send().await.status, 200);
        }
        story.say("a viewer creates no key");
        ask("POST", "/v1/auth/api-keys").json(&ada.who.in_env(&ada.who.live, "")).tell(&mut story).await;
        story.say("a viewer changes and revokes no key, not even an own one");
        for key in [&adas, &bobs] {
            let id = key.field("/id");
            let path = format!("/v1/keys/{id}");
            ask("PATCH", &path).json(r#"{"enabled": false}"#).send().await.is_problem(403, "forbidden");
            ask("POST", &format!("{path}/revoke")).send().await.is_problem(403, "forbidden");
            ask("DELETE", &format!("/v1/auth/api-keys/{id}")).send().await.is_problem(403, "forbidden");
        }
        ask("PATCH", &format!("/v1/keys/{}", bobs.field("/id"))).json(r#"{"enabled": false}"#).tell(&mut story).await;

        story.say("with an access token of the tenant");
        let token = log_in(&app, &bob.email, Some(&ada.id)).await.field("/accessToken");
        assert_eq!(call(&app, &token, "GET", "/api/v1/apikeys").send().await.total(), 2);
        assert_eq!(call(&app, &token, "GET", "/api/v1/events").send().await.total(), 0);
        call(&app, &token, "POST", "/api/v1/apikeys").json(r#"{"name": "key"}"#).tell(&mut story).await;
        let uuid = call(&app, &token, "GET", "/api/v1/apikeys").send().await.items("id").remove(0);
        call(&app, &token, "DELETE", &format!("/api/v1/apikeys/{uuid}")).tell(&mut story).await;
        story.is("a_viewer_sees_keys_and_changes_none");
        for key in [&adas, &bobs] {
            assert_eq!(Call::new(&app, "GET", "/v1/whoami").key(&key.field("/key")).send().await.status, 200);
        }
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 2);
    }

    async fn pages_offer_no_change_to_a_viewer(app) {
        let (ada, bob) = (tenant(&app, "ada@example.com").await, tenant(&app, "bob@example.com").await);
        bob.who.join(&app, &ada.who.org, Role::Viewer).await;
        let page = async |cookie: &str, path: String| Call::new(&app, "GET", &path).cookie(cookie).send().await.text();
        let list = ada.who.page("keys");
        for has_keys in [false, true] {
            if has_keys {
                create(&app, &ada.who.cookie, &ada.who.in_env(&ada.who.live, "")).await;
            }
            assert!(page(&ada.who.cookie, list.clone()).await.contains("data-create-key class="));
            let seen = page(&bob.who.cookie, list.clone()).await;
            assert!(!seen.contains("data-create-key class=") && !seen.contains("data-revoke="), "{seen}");
            assert_eq!(seen.contains("<table"), has_keys, "{seen}");
        }
        let events = page(&bob.who.cookie, ada.who.page("events")).await;
        assert!(events.contains("keeps events for") && !events.contains("event_days"), "{events}");
        assert!(!events.contains("#retention\""), "no link to a form that a viewer may not use: {events}");
    }
}
