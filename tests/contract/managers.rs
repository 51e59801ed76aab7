//! "Keys must not make keys" (docs/CONTRACTS.md), and the operator's setting that allows it, with all limits.

use futures::future::join_all;
use latchkey::keys::Policy;

use crate::app::{Settings, TestApp, on_both_engines};
use crate::story::{Answer, Call, Someone, Story, create, someone};

fn keys_manage_keys() -> Settings {
    Settings { policy: Policy { keys_may_manage_keys: true, ..Policy::default() }, ..Settings::default() }
}

const UNKNOWN: &str = "hs_live_0123456789abcdef0123456789abcdef0123456789abcdef012345671c637e5a";

/// Creates a key that may create keys; `more` is added to its body.
async fn manager(app: &TestApp, who: &Someone, scopes: &str, more: &str) -> Answer {
    create(app, &who.cookie, &who.in_env(&who.live, &format!(r#", "scopes": "{scopes}"{more}"#))).await
}

async fn make(app: &TestApp, key: &str, body: &str) -> Answer {
    Call::new(app, "POST", "/v1/auth/api-keys").key(key).json(body).send().await
}

async fn works(app: &TestApp, key: &str) -> bool {
    Call::new(app, "GET", "/v1/whoami").key(key).send().await.status == 200
}

on_both_engines! {
    async fn by_default_keys_cannot_manage_keys(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let full = create(&app, &ada.cookie, r#"{"name": "full"}"#).await;
        let named = manager(&app, &ada, "api-keys:write", "").await.field("/key");
        let id = full.field("/id");
        let calls = [("POST", "/v1/auth/api-keys".to_owned()), ("GET", "/v1/auth/api-keys".to_owned()),
            ("DELETE", format!("/v1/auth/api-keys/{id}")), ("GET", "/v1/auth/me".to_owned())];
        for (method, path) in &calls {
            Call::new(&app, method, path).key(&full.field("/key")).json(r#"{"name": "child"}"#).tell(&mut story).await;
        }
        story.say("an unknown key");
        Call::new(&app, "GET", "/v1/auth/api-keys").key(UNKNOWN).tell(&mut story).await;
        story.is("by_default_keys_cannot_manage_keys");
        for (method, path) in &calls {
            let body = r#"{"name": "child"}"#;
            Call::new(&app, method, path).key(&named).json(body).send().await.is_problem(403, "forbidden");
            let bearer = format!("Bearer {named}");
            Call::new(&app, method, path).header("authorization", &bearer).json(body).send().await.is_problem(403, "forbidden");
            Call::new(&app, method, path).key(UNKNOWN).json(body).send().await.is_problem(401, "unauthenticated");
            Call::new(&app, method, path).key(UNKNOWN).cookie(&ada.cookie).json(body).send().await
                .is_problem(401, "unauthenticated");
        }
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 2);
        assert_eq!(app.number("SELECT count(*) FROM keys WHERE revoked_at IS NOT NULL").await, 0);
    }

    async fn with_the_setting_a_key_with_the_explicit_scope_manages_keys(app, keys_manage_keys()) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let parent = manager(&app, &ada, "api-keys:write events:write keys:*", "").await.field("/key");
        let call = |method: &str, path: &str| Call::new(&app, method, path).key(&parent);
        app.clock.advance(1_000);
        let child = call("POST", "/v1/auth/api-keys").json(r#"{"name": "child", "scopes": "events:write keys:verify"}"#)
            .tell(&mut story).await;
        call("GET", "/v1/auth/api-keys").tell(&mut story).await;
        assert!(works(&app, &child.field("/key")).await);
        call("DELETE", &format!("/v1/auth/api-keys/{}", child.field("/id"))).tell(&mut story).await;
        assert!(!works(&app, &child.field("/key")).await);
        story.say("management calls do not count as uses of the key");
        call("GET", "/v1/auth/api-keys").tell(&mut story).await;
        story.is("with_the_setting_a_key_with_the_explicit_scope_manages_keys");
    }

    async fn a_wildcard_scope_does_not_allow_managing_keys(app, keys_manage_keys()) {
        let ada = someone(&app, "ada@example.com").await;
        let body = r#"{"name": "child", "scopes": "events:write"}"#;
        for scopes in ["\"*\"", "null", "\"api-keys:*\"", "\"events:write\"", "\"api-keys:read\""] {
            let key = create(&app, &ada.cookie, &format!(r#"{{"name": "key", "scopes": {scopes}}}"#)).await.field("/key");
            make(&app, &key, body).await.is_problem(403, "forbidden");
            Call::new(&app, "GET", "/v1/auth/api-keys").key(&key).send().await.is_problem(403, "forbidden");
        }
        make(&app, UNKNOWN, body).await.is_problem(401, "unauthenticated");
    }

    async fn a_child_must_name_scopes_that_its_parent_holds(app, keys_manage_keys()) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let parent = manager(&app, &ada, "api-keys:write events:write keys:*", "").await.field("/key");
        for scopes in ["", r#", "scopes": "*""#, r#", "scopes": "events:write api-keys:write events:read""#] {
            let body = format!(r#"{{"name": "child"{scopes}}}"#);
            Call::new(&app, "POST", "/v1/auth/api-keys").key(&parent).json(&body).tell(&mut story).await;
        }
        story.is("a_child_must_name_scopes_that_its_parent_holds");
        for scopes in [r#""api-keys:write""#, r#""api-keys:*""#, "null", r#""events:*""#, r#""events:read""#, r#""other:x""#] {
            let answer = make(&app, &parent, &format!(r#"{{"name": "child", "scopes": {scopes}}}"#)).await;
            assert_eq!(answer.wrong_fields(), ["scopes"], "{scopes}");
        }
        for scopes in ["events:write", "keys:*", "keys:verify keys:other events:write"] {
            let answer = make(&app, &parent, &format!(r#"{{"name": "child", "scopes": "{scopes}"}}"#)).await;
            assert_eq!(answer.field("/scopes"), scopes);
        }
    }

    /// Even a parent with every scope of `api-keys` cannot pass on the right to manage keys.
    async fn no_key_passes_on_the_right_to_manage_keys(app, keys_manage_keys()) {
        let ada = someone(&app, "ada@example.com").await;
        let parent = manager(&app, &ada, "api-keys:write api-keys:* api-keys:read", "").await.field("/key");
        for scopes in ["api-keys:write", "api-keys:*"] {
            let answer = make(&app, &parent, &format!(r#"{{"name": "child", "scopes": "{scopes}"}}"#)).await;
            assert_eq!(answer.wrong_fields(), ["scopes"]);
        }
        assert_eq!(make(&app, &parent, r#"{"name": "child", "scopes": "api-keys:read"}"#).await.status, 201);
    }

    async fn limits_of_a_parent_are_upper_limits_and_inherited(app, keys_manage_keys()) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let bounds = r#", "expires_at": "2026-04-01T00:00:00Z", "ip_allowlist": ["192.0.2.0/24", "2001:db8::/32"]"#;
        let parent = manager(&app, &ada, "api-keys:write events:write", bounds).await.field("/key");
        let child = |more: &str| format!(r#"{{"name": "child", "scopes": "events:write"{more}}}"#);
        story.say("limits: inherited, then narrower, then wider in every field");
        for more in [
            "",
            r#", "expires_at": "2026-03-31T00:00:00Z", "ip_allowlist": ["192.0.2.8/29"],
                "rate_limit": {"limit": 10, "window_seconds": 60}, "quota": {"limit": 1000}"#,
            r#", "expires_at": "2026-04-01T00:00:01Z", "ip_allowlist": ["192.0.2.0/24", "192.0.0.0/16"]"#,
        ] {
            Call::new(&app, "POST", "/v1/auth/api-keys").key(&parent).json(&child(more)).tell(&mut story).await;
        }
        story.is("limits_of_a_parent_are_upper_limits_and_inherited");
        for (field, value) in [
            ("expires_at", r#""2026-04-01T00:00:00.001Z""#),
            ("ip_allowlist", r#"["192.0.2.0/23"]"#),
            ("ip_allowlist", r#"["0.0.0.0/0"]"#),
            ("ip_allowlist", r#"["2001:db8::1", "2001:db9::1"]"#),
        ] {
            let answer = make(&app, &parent, &child(&format!(r#", "{field}": {value}"#))).await;
            assert_eq!(answer.wrong_fields(), [field], "{value}");
        }
    }

    /// Five children with the parent's limits would have five times its limits.
    async fn a_key_with_a_rate_limit_or_quota_creates_no_keys(app, keys_manage_keys()) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let body = r#"{"name": "child", "scopes": "events:write"}"#;
        let rate = r#", "rate_limit": {"limit": 100, "window_seconds": 60}"#;
        for limits in [rate, r#", "quota": {"limit": 1000}"#] {
            let parent = manager(&app, &ada, "api-keys:write events:write", limits).await.field("/key");
            Call::new(&app, "POST", "/v1/auth/api-keys").key(&parent).json(body).tell(&mut story).await;
            Call::new(&app, "POST", "/api/v1/apikeys").key(&parent).json(r#"{"name": "child"}"#).tell(&mut story).await;
            assert_eq!(Call::new(&app, "GET", "/v1/auth/api-keys").key(&parent).send().await.status, 200);
        }
        story.is("a_key_with_a_rate_limit_or_quota_creates_no_keys");
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 2);
    }

    async fn a_key_manages_its_own_environment_only(app, keys_manage_keys()) {
        let ada = someone(&app, "ada@example.com").await;
        let eve = someone(&app, "eve@example.com").await;
        let parent = manager(&app, &ada, "api-keys:write events:write", "").await.field("/key");
        let in_test = create(&app, &ada.cookie, &ada.in_env(&ada.test, "")).await;
        let eves = create(&app, &eve.cookie, r#"{"name": "eve's"}"#).await;
        let scopes = r#", "scopes": "events:write""#;
        make(&app, &parent, &ada.in_env(&ada.test, scopes)).await.is_problem(404, "not_found");
        make(&app, &parent, &eve.in_env(&eve.live, scopes)).await.is_problem(404, "not_found");
        assert_eq!(make(&app, &parent, &ada.in_env(&ada.live, scopes)).await.status, 201);
        for other in [&in_test, &eves] {
            let path = format!("/v1/auth/api-keys/{}", other.field("/id"));
            Call::new(&app, "DELETE", &path).key(&parent).send().await.is_problem(404, "not_found");
            assert!(works(&app, &other.field("/key")).await);
        }
        let list = async |query: String| Call::new(&app, "GET", &format!("/v1/auth/api-keys{query}")).key(&parent).send().await;
        for query in [String::new(), format!("?org_id={}", ada.org), format!("?env_id={}", ada.live)] {
            let answer = list(query).await;
            assert_eq!(answer.json()["api_keys"].as_array().unwrap().len(), 2);
            assert!(!answer.text().contains(&in_test.field("/id")));
        }
        for query in [format!("?env_id={}", ada.test), format!("?org_id={}", eve.org)] {
            list(query).await.is_problem(404, "not_found");
        }
    }

    /// In any order of the commits, no child outlives the revocation of its parent, and no request ends in a deadlock.
    async fn a_parent_revoked_concurrently_leaves_no_working_child(app, keys_manage_keys()) {
        let ada = someone(&app, "ada@example.com").await;
        for _ in 0..8 {
            let parent = manager(&app, &ada, "api-keys:write events:write", "").await;
            let string = parent.field("/key");
            let path = format!("/v1/auth/api-keys/{}", parent.field("/id"));
            let children = join_all((0..6).map(|_| make(&app, &string, r#"{"name": "child", "scopes": "events:write"}"#)));
            let revoke = Call::new(&app, "DELETE", &path).cookie(&ada.cookie).send();
            let (children, revoked) = futures::join!(children, revoke);
            assert_eq!(revoked.status, 200, "{}", revoked.text());
            for child in children {
                if child.status == 201 {
                    assert!(!works(&app, &child.field("/key")).await, "a child outlived its parent");
                } else {
                    child.is_problem(401, "unauthenticated");
                }
            }
        }
        let counted = app.number("SELECT key_count - revoked_count FROM organisations").await;
        assert_eq!(counted, app.number("SELECT count(*) FROM keys WHERE revoked_at IS NULL").await);
    }

    /// A child is compared with its parent when it is stored, not only when the request arrives.
    async fn a_parent_narrowed_concurrently_leaves_no_wider_child(app, keys_manage_keys()) {
        let ada = someone(&app, "ada@example.com").await;
        let body = r#"{"name": "child", "scopes": "events:write"}"#;
        for narrower in [
            r#"{"scopes": "api-keys:write keys:verify"}"#,
            r#"{"expires_at": "2026-04-01T00:00:00Z"}"#,
            r#"{"ip_allowlist": ["198.51.100.0/24"]}"#,
            r#"{"quota": {"limit": 1}}"#,
            r#"{"enabled": false}"#,
        ] {
            let parent = manager(&app, &ada, "api-keys:write events:write keys:verify", "").await;
            let string = parent.field("/key");
            let path = format!("/v1/keys/{}", parent.field("/id"));
            let children = join_all((0..6).map(|_| make(&app, &string, body)));
            let narrow = Call::new(&app, "PATCH", &path).cookie(&ada.cookie).json(narrower).send();
            let (children, narrowed) = futures::join!(children, narrow);
            assert_eq!(narrowed.status, 200, "{}", narrowed.text());
            for child in children.iter().filter(|child| child.status == 201) {
                let path = format!("/v1/keys/{}", child.field("/id"));
                let details = Call::new(&app, "GET", &path).cookie(&ada.cookie).send().await.json();
                let is_bound = !details["enabled"].as_bool().unwrap()
                    || ["expires_at", "ip_allowlist", "quota"].iter().any(|field| !details[field].is_null());
                assert!(is_bound, "{narrower} leaves {details}");
            }
            let refused = children.iter().find(|child| ![201, 400, 401, 403].contains(&child.status.as_u16()));
            assert!(refused.is_none(), "{narrower}: {}", refused.map(crate::story::Answer::text).unwrap_or_default());
        }
    }

    async fn a_managing_key_is_refused_outside_its_networks_and_after_its_expiry(app, keys_manage_keys()) {
        let ada = someone(&app, "ada@example.com").await;
        let here = manager(&app, &ada, "api-keys:write events:write", r#", "ip_allowlist": ["198.51.100.0/24"]"#).await;
        let soon = manager(&app, &ada, "api-keys:write events:write", r#", "expires_at": "2026-03-01T12:00:05Z""#).await;
        let body = r#"{"name": "child", "scopes": "events:write"}"#;
        make(&app, &here.field("/key"), body).await.is_problem(403, "forbidden");
        assert_eq!(make(&app, &soon.field("/key"), body).await.status, 201);
        app.clock.advance(5_000);
        make(&app, &soon.field("/key"), body).await.is_problem(401, "unauthenticated");
    }
}
