//! `GET` and `PATCH /v1/keys/{id}`, `POST /v1/keys/{id}/revoke` (docs/CONTRACTS.md, "Native").

use latchkey::model::Role;

use crate::app::on_both_engines;
use crate::story::{Call, Story, create, someone};

on_both_engines! {
    async fn a_key_is_read_changed_and_revoked_with_proof(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let made = create(&app, &ada.cookie, &ada.in_env(&ada.live, r#", "scopes": "a:b""#)).await;
        let path = format!("/v1/keys/{}", made.field("/id"));
        let change = |body: &str| Call::new(&app, "PATCH", &path).cookie(&ada.cookie).json(body);
        Call::new(&app, "GET", &path).cookie(&ada.cookie).tell(&mut story).await;
        app.clock.advance(5_000);
        change(r#"{"name": "  renamed ", "scopes": "c:d", "enabled": false, "expires_at": "2027-01-01T00:00:00Z",
            "ip_allowlist": ["203.0.113.9", "::ffff:10.0.0.0/104"], "rate_limit": {"limit": 5, "window_seconds": 1},
            "quota": {"limit": 7}, "metadata": {"a": "b"}}"#).tell(&mut story).await;
        app.clock.advance(5_000);
        story.say("omitted fields stay; pausing twice keeps the first time");
        change(r#"{"enabled": false}"#).tell(&mut story).await;
        story.say("null clears a field");
        change(r#"{"scopes": null, "enabled": true, "expires_at": null, "ip_allowlist": null, "rate_limit": null,
            "quota": null, "metadata": null}"#).tell(&mut story).await;
        let ended = Call::new(&app, "POST", &format!("{path}/revoke")).cookie(&ada.cookie).tell(&mut story).await;
        assert_eq!(ended.status, 200);
        Call::new(&app, "POST", &format!("{path}/revoke")).cookie(&ada.cookie).tell(&mut story).await;
        change(r#"{"enabled": true}"#).tell(&mut story).await;
        assert_eq!(Call::new(&app, "GET", &path).cookie(&ada.cookie).send().await.field("/state"), "revoked");
        story.is("a_key_is_read_changed_and_revoked_with_proof");
    }

    async fn wrong_fields_of_a_change_are_named(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let made = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        let path = format!("/v1/keys/{}", made.field("/id"));
        let before = Call::new(&app, "GET", &path).cookie(&ada.cookie).send().await.text();
        for body in [
            r#"{"name": "", "scopes": "x", "expires_at": "2020-01-01T00:00:00Z", "ip_allowlist": ["a"],
               "rate_limit": {"limit": 0, "window_seconds": 1}, "quota": {"limit": 0}}"#,
            r#"{"ip_allowlist": []}"#,
            r#"{"enabled": "no"}"#,
            r#"{"key": "hs_live_x"}"#,
        ] {
            Call::new(&app, "PATCH", &path).cookie(&ada.cookie).json(body).tell(&mut story).await;
        }
        assert_eq!(Call::new(&app, "GET", &path).cookie(&ada.cookie).send().await.text(), before);
        story.is("wrong_fields_of_a_change_are_named");
    }

    async fn permissions_to_read_and_change_a_key(app) {
        let (ada, bob, eve) = (
            someone(&app, "ada@example.com").await,
            someone(&app, "bob@example.com").await,
            someone(&app, "eve@example.com").await,
        );
        bob.join(&app, &ada.org, Role::Member).await;
        let made = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        let path = format!("/v1/keys/{}", made.field("/id"));
        let call = |method: &str, path: &str, cookie: &str| {
            let call = Call::new(&app, method, path).cookie(cookie);
            if method == "PATCH" { call.json("{}") } else { call }
        };
        for (method, path) in [("GET", path.clone()), ("PATCH", path.clone()), ("POST", format!("{path}/revoke"))] {
            Call::new(&app, method, &path).send().await.is_problem(401, "unauthenticated");
            Call::new(&app, method, &path).key(&made.field("/key")).send().await.is_problem(403, "forbidden");
            call(method, &path, &eve.cookie).send().await.is_problem(404, "not_found");
            let member = call(method, &path, &bob.cookie).send().await;
            if method == "GET" { assert_eq!(member.status, 200) } else { member.is_problem(403, "forbidden") }
            let nowhere = path.replace(&made.field("/id"), "ak_0000000000000001");
            call(method, &nowhere, &ada.cookie).send().await.is_problem(404, "not_found");
            call(method, &path.replace(&made.field("/id"), "x"), &ada.cookie).send().await.is_problem(404, "not_found");
        }
        bob.leave(&app, &ada.org).await;
        bob.join(&app, &ada.org, Role::Admin).await;
        assert_eq!(call("PATCH", &path, &bob.cookie).send().await.status, 200);
    }

    /// Each change applies to the next check, on every path.
    async fn a_change_is_effective_once_it_is_answered(app) {
        let ada = someone(&app, "ada@example.com").await;
        let made = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        let path = format!("/v1/keys/{}", made.field("/id"));
        let whoami = || Call::new(&app, "GET", "/v1/whoami").key(&made.field("/key")).send();
        let gateway = || Call::new(&app, "GET", &format!("/v1/forward-auth/{}/any/a:b", ada.org)).key(&made.field("/key")).send();
        for (change, own, gate) in [
            ("{}", 200, 200),
            (r#"{"enabled": false}"#, 401, 401),
            (r#"{"enabled": true}"#, 200, 200),
            (r#"{"scopes": "c:d"}"#, 200, 403),
            (r#"{"scopes": "a:*"}"#, 200, 200),
            (r#"{"ip_allowlist": ["10.0.0.0/8"]}"#, 403, 403),
            (r#"{"ip_allowlist": ["192.0.2.0/24"]}"#, 200, 200),
            (r#"{"rate_limit": {"limit": 1, "window_seconds": 3600}}"#, 200, 429),
            (r#"{"rate_limit": null}"#, 200, 200),
            (r#"{"quota": {"limit": 1}}"#, 200, 429),
            (r#"{"quota": null, "expires_at": "2026-03-01T12:00:01Z"}"#, 200, 200),
        ] {
            let answer = Call::new(&app, "PATCH", &path).cookie(&ada.cookie).json(change).send().await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!((whoami().await.status.as_u16(), gateway().await.status.as_u16()), (own, gate), "{change}");
        }
        app.clock.advance(1_000);
        assert_eq!(whoami().await.status, 401);
    }
}
