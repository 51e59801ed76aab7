//! Environments: created, renamed, archived and opened again.

use latchkey::keys::Policy;
use serde_json::json;

use crate::app::{Settings, TestApp, on_both_engines};
use crate::hooksentry::tenant;
use crate::story::{Answer, Call, Someone, Story, create, someone};
use crate::teams::{call, is_good, path};

async fn patch(app: &TestApp, who: &Someone, env: &str, body: &str) -> Answer {
    let query = if body.contains("true") && body.contains("revoke") { "?revoke_keys=true" } else { "" };
    let body = body.replace(", \"revoke\"", "");
    call(app, who, "PATCH", &path(&who.org, &format!("/environments/{env}{query}"))).json(&body).send().await
}

on_both_engines! {
    async fn an_environment_is_created_renamed_archived_and_opened_again(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let environments = path(&ada.org, "/environments");
        let made = call(&app, &ada, "POST", &environments).json(r#"{"name": "Staging", "mode": "live"}"#).tell(&mut story).await;
        let env = made.field("/id");
        let one = format!("{environments}/{env}");
        call(&app, &ada, "PATCH", &one).json(r#"{"name": "Stage"}"#).tell(&mut story).await;
        call(&app, &ada, "PATCH", &one).json("{}").tell(&mut story).await;
        for field in ["name", "archived"] {
            let null = call(&app, &ada, "PATCH", &one).json(&format!("{{\"{field}\": null}}")).send().await;
            assert_eq!((null.status.as_u16(), null.wrong_fields()), (400, vec![field.to_owned()]));
        }
        let key = create(&app, &ada.cookie, &ada.in_env(&env, "")).await.field("/key");
        story.say("with a key");
        call(&app, &ada, "PATCH", &one).json(r#"{"archived": true}"#).tell(&mut story).await;
        assert!(is_good(&app, &key).await);
        story.say("its keys are revoked first");
        app.clock.advance(1000);
        call(&app, &ada, "PATCH", &format!("{one}?revoke_keys=true")).json(r#"{"archived": true, "name": "Old"}"#).tell(&mut story).await;
        assert!(!is_good(&app, &key).await);
        story.say("no key is made in it");
        call(&app, &ada, "POST", "/v1/auth/api-keys").json(&ada.in_env(&env, "")).tell(&mut story).await;
        story.say("the last one of all; it says when it was archived");
        call(&app, &ada, "GET", "/v1/auth/me").tell(&mut story).await;
        story.say("opened again");
        call(&app, &ada, "PATCH", &one).json(r#"{"archived": false}"#).tell(&mut story).await;
        create(&app, &ada.cookie, &ada.in_env(&env, "")).await;
        story.say("what cannot be");
        for body in [r#"{"name": "x"}"#, r#"{"mode": "live"}"#, r#"{"name": "x", "mode": "prod"}"#, r#"{"name": "\u0007", "mode": ""}"#] {
            call(&app, &ada, "POST", &environments).json(body).tell(&mut story).await;
        }
        for body in [r#"{"mode": "test"}"#, r#"{"archived": "yes"}"#, r#"{"name": ""}"#] {
            call(&app, &ada, "PATCH", &one).json(body).tell(&mut story).await;
        }
        let bob = someone(&app, "bob@example.com").await;
        for env in ["env_0000000000000001", "none", bob.live.as_str()] {
            call(&app, &ada, "PATCH", &format!("{environments}/{env}")).json("{}").send().await.is_problem(404, "not_found");
        }
        call(&app, &ada, "PATCH", &format!("{one}?revoke=true")).json("{}").send().await.is_problem(400, "invalid_request");
        story.is("an_environment_is_created_renamed_archived_and_opened_again");
    }

    async fn one_environment_stays_open(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = create(&app, &ada.cookie, &ada.in_env(&ada.test, "")).await.field("/key");
        assert_eq!(patch(&app, &ada, &ada.live, r#"{"archived": true}"#).await.status, 200);
        let again = patch(&app, &ada, &ada.live, r#"{"archived": true}"#).await;
        assert_eq!(again.status, 200, "it is archived already");
        patch(&app, &ada, &ada.test, r#"{"archived": true}"#).await.is_problem(409, "last_environment");
        patch(&app, &ada, &ada.test, r#"{"archived": true, "revoke"}"#).await.is_problem(409, "last_environment");
        assert!(is_good(&app, &key).await, "nothing was revoked for it");
        // The place of a key that names none is an open one.
        let made = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        assert!(made.field("/key").starts_with("hs_test_"));
        // Of two at once, one stays.
        let third = call(&app, &ada, "POST", &path(&ada.org, "/environments")).json(r#"{"name": "c", "mode": "live"}"#).send().await.field("/id");
        let both = futures::future::join_all([&ada.test, &third].map(|env| patch(&app, &ada, env, r#"{"archived": true, "revoke"}"#))).await;
        let mut statuses: Vec<u16> = both.iter().map(|answer| answer.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        assert_eq!(app.number("SELECT count(*) FROM environments WHERE archived_at IS NULL").await, 1);
    }

    async fn an_organisation_has_a_bounded_number_of_environments(app) {
        let ada = someone(&app, "ada@example.com").await;
        let create = || call(&app, &ada, "POST", &path(&ada.org, "/environments")).json(r#"{"name": "x", "mode": "test"}"#).send();
        for _ in 0..48 {
            let made = create().await;
            assert_eq!(made.status, 201, "{}", made.text());
            patch(&app, &ada, &made.field("/id"), r#"{"archived": true}"#).await;
        }
        create().await.is_problem(409, "too_many_environments");
        assert_eq!(app.number("SELECT count(*) FROM environments").await, 50);
    }

    /// Keys, events and sources of an archived environment are there to be read; nothing new comes.
    async fn an_archived_environment_stays_visible(app, Settings { policy: Policy { keys_may_manage_keys: true, ..Policy::default() }, ..Settings::default() }) {
        let ada = tenant(&app, "ada@example.com").await;
        let more = r#", "scopes": "api-keys:write events:write""#;
        let key = create(&app, &ada.who.cookie, &ada.who.in_env(&ada.who.live, more)).await;
        let (id, key) = (key.field("/id"), key.field("/key"));
        let child = Call::new(&app, "POST", "/v1/auth/api-keys").key(&key).json(r#"{"name": "child", "scopes": "events:write"}"#).send().await.field("/key");
        let ingest = |key: &str| Call::new(&app, "POST", &format!("/api/v1/ingest/{}/shop", ada.id)).key(key).json("{}");
        assert_eq!(ingest(&key).send().await.status, 202);
        let archived = patch(&app, &ada.who, &ada.who.live, r#"{"archived": true, "revoke"}"#).await;
        assert_eq!(archived.status, 200, "{}", archived.text());
        assert!(!is_good(&app, &key).await && !is_good(&app, &child).await);
        assert_eq!(ingest(&key).send().await.status, 401);
        let list = call(&app, &ada.who, "GET", &format!("/v1/auth/api-keys?org_id={}&env_id={}", ada.who.org, ada.who.live)).send().await.json();
        assert_eq!(list["api_keys"].as_array().map(Vec::len), Some(2));
        assert_eq!(call(&app, &ada.who, "GET", &format!("/v1/keys/{id}")).send().await.field("/state"), "revoked");
        for page in ["keys".to_owned(), "events".to_owned(), format!("keys/{id}")] {
            let shown = call(&app, &ada.who, "GET", &ada.who.page(&page)).send().await;
            assert_eq!(shown.status, 200, "{page}: {}", shown.text());
            assert!(!shown.text().contains("data-create-key class="), "{page} offers a key");
        }
        let open = call(&app, &ada.who, "GET", &ada.who.test_page("keys")).send().await.text();
        assert!(open.contains("data-create-key class="));
        // Neither the menu of environments nor the list of places for a new key has it.
        let island = open.split("<leptos-island").find(|island| island.contains("CreateKey")).expect("the island");
        let places = island.split('>').next().expect("its properties");
        assert!(!open.contains(&ada.who.live) && places.contains(&ada.who.test), "{places}");
        // HookSentry's contract names no environment.
        let bearer = format!("Bearer {}", ada.access);
        let hooks = Call::new(&app, "POST", "/api/v1/apikeys").header("authorization", &bearer).json(r#"{"name": "hooks"}"#).send().await;
        assert_eq!(hooks.status, 201, "{}", hooks.text());
        assert_eq!(app.number("SELECT count(*) FROM keys k JOIN environments e ON e.id = k.environment_id WHERE e.archived_at IS NULL").await, 1);
        // Its number of keys is told.
        let refused = patch(&app, &ada.who, &ada.who.test, r#"{"archived": true}"#).await;
        refused.is_problem(409, "last_environment");
        let other = call(&app, &ada.who, "POST", &path(&ada.who.org, "/environments")).json(r#"{"name": "c", "mode": "live"}"#).send().await;
        assert_eq!(other.status, 201);
        let refused = patch(&app, &ada.who, &ada.who.test, r#"{"archived": true}"#).await;
        refused.is_problem(409, "environment_has_keys");
        assert_eq!(refused.json()["keys"], json!(1));
    }
}
