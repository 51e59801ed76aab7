//! Keys that were created by keys, in several generations: a pause, a narrowing or a revocation reaches descendants.

use latchkey::keys::Policy;
use serde_json::{Value, json};

use crate::app::{Settings, TestApp, on_both_engines};
use crate::hooksentry::{self, tenant};
use crate::stale_forms::current_version;
use crate::story::{Answer, Call, Someone, create, someone};

fn keys_manage_keys() -> Settings {
    Settings { policy: Policy { keys_may_manage_keys: true, ..Policy::default() }, ..Settings::default() }
}

/// A key's id and string.
pub struct Known {
    pub id: String,
    pub string: String,
}

impl Known {
    fn of(made: &Answer) -> Self {
        assert_eq!(made.status, 201, "{}", made.text());
        Self { id: made.field("/id"), string: made.field("/key") }
    }

    async fn works(&self, app: &TestApp) -> bool {
        Call::new(app, "GET", "/v1/whoami").key(&self.string).send().await.status == 200
    }

    async fn details(&self, app: &TestApp, who: &Someone) -> Value {
        Call::new(app, "GET", &format!("/v1/keys/{}", self.id)).cookie(&who.cookie).send().await.json()
    }
}

const SCOPES: &str = "api-keys:write a:x b:y";

async fn make(app: &TestApp, maker: &Known, scopes: &str, more: &str) -> Known {
    let body = format!(r#"{{"name": "key", "scopes": "{scopes}"{more}}}"#);
    Known::of(&Call::new(app, "POST", "/v1/auth/api-keys").key(&maker.string).json(&body).send().await)
}

async fn patch(app: &TestApp, who: &Someone, key: &Known, query: &str, body: &str) -> Answer {
    let path = format!("/v1/keys/{}{query}", key.id);
    let answer = Call::new(app, "PATCH", &path).cookie(&who.cookie).json(body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// Creates three generations. A person gives the middle key the right to manage keys, which no key can give.
pub async fn family(app: &TestApp, who: &Someone) -> [Known; 3] {
    let root = create(app, &who.cookie, &who.in_env(&who.live, &format!(r#", "scopes": "{SCOPES}""#))).await;
    let root = Known::of(&root);
    let child = make(app, &root, "a:x b:y", "").await;
    patch(app, who, &child, "", &format!(r#"{{"scopes": "{SCOPES}"}}"#)).await;
    let grandchild = make(app, &child, "a:x b:y", "").await;
    [root, child, grandchild]
}

async fn working(app: &TestApp, family: &[Known]) -> Vec<bool> {
    let mut working = Vec::new();
    for key in family {
        working.push(key.works(app).await);
    }
    working
}

async fn post(app: &TestApp, who: &Someone, path: &str, fields: &[(&str, &str)]) {
    let version = current_version(app, &who.cookie, path).await;
    let version = version.iter().map(|version| ("version", version.as_str()));
    let fields = fields.iter().copied().chain(version);
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let form = "application/x-www-form-urlencoded";
    let answer = Call::new(app, "POST", path).cookie(&who.cookie).header("content-type", form).body(body).send().await;
    assert_eq!(answer.status, 303, "{}", answer.text());
}

/// Every way to revoke a key.
#[derive(Debug, Clone, Copy)]
enum Way {
    Delete,
    DeleteByQuery,
    WithProof,
    HookSentry,
    Itself,
    Form,
}

const WAYS: [Way; 6] = [Way::Delete, Way::DeleteByQuery, Way::WithProof, Way::HookSentry, Way::Itself, Way::Form];

async fn revoke(app: &TestApp, who: &hooksentry::Tenant, way: Way, key: &Known, keeps_descendants: bool) {
    let query = if keeps_descendants { "?descendants=false" } else { "" };
    let call = |method: &str, path: &str| Call::new(app, method, path);
    let answer = match way {
        Way::Delete => {
            call("DELETE", &format!("/v1/auth/api-keys/{}{query}", key.id)).cookie(&who.who.cookie).send().await
        }
        Way::DeleteByQuery => {
            let more = if keeps_descendants { "&descendants=false" } else { "" };
            call("DELETE", &format!("/v1/auth/api-keys?id={}{more}", key.id)).cookie(&who.who.cookie).send().await
        }
        Way::WithProof => {
            call("POST", &format!("/v1/keys/{}/revoke{query}", key.id)).cookie(&who.who.cookie).send().await
        }
        Way::HookSentry => {
            let uuid = key.details(app, &who.who).await["uuid"].as_str().expect("a UUID").to_owned();
            hooksentry::call(app, &who.access, "DELETE", &format!("/api/v1/apikeys/{uuid}{query}")).send().await
        }
        Way::Itself => call("DELETE", &format!("/v1/auth/api-keys/current{query}")).key(&key.string).send().await,
        Way::Form => {
            let fields: &[(&str, &str)] = if keeps_descendants { &[("descendants", "false")] } else { &[] };
            return post(app, &who.who, &who.who.page(&format!("keys/{}/revoke", key.id)), fields).await;
        }
    };
    assert_eq!(answer.status, 200, "{way:?}: {}", answer.text());
}

on_both_engines! {
    async fn every_way_to_revoke_a_key_revokes_its_descendants(app, keys_manage_keys()) {
        let ada = tenant(&app, "ada@example.com").await;
        let stranger = create(&app, &ada.who.cookie, r#"{"name": "other"}"#).await.field("/key");
        for way in WAYS {
            let family = family(&app, &ada.who).await;
            let changes = app.number("SELECT count(*) FROM changes WHERE revoked = 1").await;
            assert_eq!(working(&app, &family).await, [true; 3]);
            revoke(&app, &ada, way, &family[0], false).await;
            assert_eq!(working(&app, &family).await, [false; 3], "{way:?}");
            assert_eq!(app.number("SELECT count(*) FROM changes WHERE revoked = 1").await, changes + 3, "{way:?}");
        }
        for way in WAYS {
            let family = family(&app, &ada.who).await;
            revoke(&app, &ada, way, &family[0], true).await;
            assert_eq!(working(&app, &family).await, [false, true, true], "{way:?} with descendants=false");
        }
        assert_eq!(Call::new(&app, "GET", "/v1/whoami").key(&stranger).send().await.status, 200);
        let counted = app.number("SELECT revoked_count FROM organisations").await;
        assert_eq!(counted, app.number("SELECT count(*) FROM keys WHERE revoked_at IS NOT NULL").await);
    }

    /// Revoking a key in the middle revokes the keys below it and none above it.
    async fn a_revocation_spares_ancestors_and_siblings(app, keys_manage_keys()) {
        let ada = someone(&app, "ada@example.com").await;
        let family = family(&app, &ada).await;
        let sibling = make(&app, &family[0], "a:x", "").await;
        let path = format!("/v1/auth/api-keys/{}", family[1].id);
        assert_eq!(Call::new(&app, "DELETE", &path).cookie(&ada.cookie).send().await.status, 200);
        assert_eq!(working(&app, &family).await, [true, false, false]);
        assert!(sibling.works(&app).await);
    }

    async fn a_repeated_revocation_revokes_the_remaining_descendants(app, keys_manage_keys()) {
        let ada = someone(&app, "ada@example.com").await;
        let family = family(&app, &ada).await;
        for (query, expected) in [("?descendants=false", [false, true, true]), ("", [false; 3])] {
            let path = format!("/v1/auth/api-keys/{}{query}", family[0].id);
            assert_eq!(Call::new(&app, "DELETE", &path).cookie(&ada.cookie).send().await.status, 200);
            assert_eq!(working(&app, &family).await, expected);
        }
        // A further revocation logs one change, for any number of descendants.
        let changes = app.number("SELECT count(*) FROM changes").await;
        let path = format!("/v1/auth/api-keys/{}", family[0].id);
        assert_eq!(Call::new(&app, "DELETE", &path).cookie(&ada.cookie).send().await.status, 200);
        assert_eq!(app.number("SELECT count(*) FROM changes").await, changes + 1, "the key itself");
    }

    async fn pausing_a_key_pauses_its_descendants_and_resuming_does_not_resume_them(app, keys_manage_keys()) {
        let ada = someone(&app, "ada@example.com").await;
        let family = family(&app, &ada).await;
        patch(&app, &ada, &family[0], "?descendants=false", r#"{"enabled": false}"#).await;
        assert_eq!(working(&app, &family).await, [false, true, true]);
        patch(&app, &ada, &family[0], "", r#"{"enabled": false}"#).await;
        assert_eq!(working(&app, &family).await, [false; 3]);
        patch(&app, &ada, &family[0], "", r#"{"enabled": true}"#).await;
        assert_eq!(working(&app, &family).await, [true, false, false]);
        patch(&app, &ada, &family[2], "", r#"{"enabled": true}"#).await;
        assert_eq!(working(&app, &family).await, [true, false, true]);
    }

    async fn the_forms_apply_to_descendants_too(app, keys_manage_keys()) {
        let ada = someone(&app, "ada@example.com").await;
        let family = family(&app, &ada).await;
        let page = ada.page(&format!("keys/{}", family[0].id));
        let switch = format!("{page}/enabled");
        let shown = Call::new(&app, "GET", &page).cookie(&ada.cookie).send().await.text();
        assert!(shown.contains("the 2 keys"), "{shown}");
        let list = Call::new(&app, "GET", &ada.page(&format!("keys?revoke={}", family[0].id))).cookie(&ada.cookie).send().await.text();
        assert!(list.contains("The 2 keys"), "{list}");

        post(&app, &ada, &switch, &[("enabled", "false"), ("descendants", "false")]).await;
        assert_eq!(working(&app, &family).await, [false, true, true]);
        post(&app, &ada, &switch, &[("enabled", "false")]).await;
        assert_eq!(working(&app, &family).await, [false; 3]);
        for key in &family {
            patch(&app, &ada, key, "", r#"{"enabled": true}"#).await;
        }
        let scopes = async |key: &Known| key.details(&app, &ada).await["scopes"].clone();
        post(&app, &ada, &page, &[("access", "restricted"), ("scopes", "api-keys:write a:x"), ("descendants", "false")]).await;
        assert_eq!(scopes(&family[2]).await, "a:x b:y");
        post(&app, &ada, &page, &[("scopes", "a:x")]).await;
        assert_eq!(scopes(&family[1]).await, "a:x");
        assert_eq!(scopes(&family[2]).await, "a:x");
    }

    async fn narrowing_a_key_narrows_its_descendants(app, keys_manage_keys()) {
        let ada = someone(&app, "ada@example.com").await;
        let networks = r#"{"ip_allowlist": ["192.0.2.0/24", "198.51.100.0/24"]}"#;
        for (body, field, expected) in [
            (r#"{"scopes": "api-keys:write a:x"}"#, "scopes", [json!("api-keys:write a:x"), json!("a:x")]),
            (r#"{"expires_at": "2026-04-01T00:00:00Z"}"#, "expires_at", [json!("2026-04-01T00:00:00Z"), json!("2026-03-02T00:00:00Z")]),
            (networks, "ip_allowlist", [json!(["192.0.2.0/24", "198.51.100.0/24"]), json!(["192.0.2.0/24"])]),
            (r#"{"rate_limit": {"limit": 100, "window_seconds": 60}}"#, "rate_limit",
                [json!({"limit": 100, "window_seconds": 60}), json!({"limit": 10, "window_seconds": 6})]),
            (r#"{"quota": {"limit": 50}}"#, "quota", [json!({"limit": 50}), json!({"limit": 5})]),
        ] {
            let [root, child, grandchild] = family(&app, &ada).await;
            let own = r#"{"expires_at": "2026-03-02T00:00:00Z", "ip_allowlist": ["192.0.2.0/24"],
                "rate_limit": {"limit": 10, "window_seconds": 1}, "quota": {"limit": 5}}"#;
            patch(&app, &ada, &grandchild, "", own).await;
            let before = [child.details(&app, &ada).await, grandchild.details(&app, &ada).await];
            patch(&app, &ada, &root, "?descendants=false", body).await;
            assert_eq!([child.details(&app, &ada).await, grandchild.details(&app, &ada).await], before, "{body}");

            let [root, child, grandchild] = family(&app, &ada).await;
            patch(&app, &ada, &grandchild, "", own).await;
            let changes = app.number("SELECT count(*) FROM changes").await;
            patch(&app, &ada, &root, "", body).await;
            let after = [child.details(&app, &ada).await[field].clone(), grandchild.details(&app, &ada).await[field].clone()];
            assert_eq!(after, expected, "{body}");
            // The grandchild's own expiry and networks are narrow enough, so they log no change.
            let logged = app.number("SELECT count(*) FROM changes").await - changes;
            assert!((2..=3).contains(&logged), "{logged}");

            let wide = r#"{"scopes": "*", "expires_at": null, "ip_allowlist": null, "rate_limit": null, "quota": null}"#;
            patch(&app, &ada, &root, "", wide).await;
            let widened = [child.details(&app, &ada).await[field].clone(), grandchild.details(&app, &ada).await[field].clone()];
            assert_eq!(widened, expected, "a wider parent leaves its descendants as they are");
        }
    }

    /// The narrower rights apply at once, although the old ones are cached.
    async fn a_narrowed_descendant_has_its_new_rights_at_once(app, keys_manage_keys()) {
        let ada = someone(&app, "ada@example.com").await;
        let family = family(&app, &ada).await;
        let asked = async |scope: &str| {
            let path = format!("/v1/forward-auth/{}/any/{scope}", ada.org);
            Call::new(&app, "GET", &path).key(&family[2].string).send().await.status.as_u16()
        };
        assert_eq!(asked("b:y").await, 200);
        patch(&app, &ada, &family[0], "", r#"{"scopes": "a:x"}"#).await;
        assert_eq!((asked("a:x").await, asked("b:y").await), (200, 403));
    }

    async fn a_descendant_without_remaining_rights_is_paused(app, keys_manage_keys()) {
        let ada = someone(&app, "ada@example.com").await;
        for (own, body) in [
            (r#"{"scopes": "b:y"}"#, r#"{"scopes": "api-keys:write a:x"}"#),
            (r#"{"ip_allowlist": ["192.0.2.0/24"]}"#, r#"{"ip_allowlist": ["198.51.100.0/24"]}"#),
        ] {
            let family = family(&app, &ada).await;
            patch(&app, &ada, &family[2], "", own).await;
            patch(&app, &ada, &family[0], "", body).await;
            let [child, grandchild] = [family[1].details(&app, &ada).await, family[2].details(&app, &ada).await];
            assert_eq!((child["enabled"].clone(), grandchild["enabled"].clone()), (json!(true), json!(false)), "{body}");
            assert_eq!(grandchild["revoked_at"], Value::Null);
        }
    }

    /// A person may give a descendant more than its parent has. Narrowing the parent in another field keeps that, and
    /// a wildcard never becomes the right to manage keys.
    async fn narrowing_grants_nothing(app, keys_manage_keys()) {
        let ada = someone(&app, "ada@example.com").await;
        let [root, _, grandchild] = family(&app, &ada).await;
        for wide in ["\"*\"", "null", "\"api-keys:* a:* b:*\""] {
            patch(&app, &ada, &root, "", &format!(r#"{{"scopes": "{SCOPES}"}}"#)).await;
            patch(&app, &ada, &grandchild, "", &format!(r#"{{"scopes": {wide}}}"#)).await;
            patch(&app, &ada, &root, "", r#"{"scopes": "api-keys:write a:x"}"#).await;
            assert_eq!(grandchild.details(&app, &ada).await["scopes"], "a:x", "{wide}");
        }
    }

    async fn a_wrong_descendants_parameter_is_refused(app, keys_manage_keys()) {
        let ada = tenant(&app, "ada@example.com").await;
        let family = family(&app, &ada.who).await;
        let id = &family[0].id;
        for (method, path) in [("PATCH", format!("/v1/keys/{id}")), ("POST", format!("/v1/keys/{id}/revoke"))] {
            for query in ["descendants=yes", "descendants=", "descendents=false", "descendants=true&descendants=false"] {
                if method == "POST" && query.starts_with("descendents") {
                    // A revocation does not fail for an unknown parameter.
                    continue;
                }
                let call = Call::new(&app, method, &format!("{path}?{query}")).cookie(&ada.who.cookie);
                let wrong = call.json(r#"{"enabled": false}"#).send().await.wrong_fields();
                assert_eq!(wrong, [query.split('=').next().unwrap()], "{method} {query}");
            }
        }
        let uuid = family[0].details(&app, &ada.who).await["uuid"].as_str().expect("a UUID").to_owned();
        for query in ["descendants=yes", "Descendants=true&descendants=false"] {
            let path = format!("/api/v1/apikeys/{uuid}?{query}");
            hooksentry::call(&app, &ada.access, "DELETE", &path).send().await.is_sentence();
        }
        assert_eq!(working(&app, &family).await, [true; 3]);
    }

    async fn a_revocation_ignores_unknown_parameters(app, keys_manage_keys()) {
        let ada = tenant(&app, "ada@example.com").await;
        let family = family(&app, &ada.who).await;
        // An unknown id is a 404, even with a wrong parameter.
        for query in ["descendants=yes", "api-version=1"] {
            let path = format!("/v1/keys/none/revoke?{query}");
            Call::new(&app, "POST", &path).cookie(&ada.who.cookie).send().await.is_problem(404, "not_found");
            let path = format!("/api/v1/apikeys/none?{query}");
            hooksentry::call(&app, &ada.access, "DELETE", &path).send().await.is_problem(404, "not_found");
        }
        let uuid = family[2].details(&app, &ada.who).await["uuid"].as_str().expect("a UUID").to_owned();
        let path = format!("/api/v1/apikeys/{uuid}?api-version=1&DESCENDANTS=False&x&x=%ff");
        assert_eq!(hooksentry::call(&app, &ada.access, "DELETE", &path).send().await.status, 200);
        assert_eq!(working(&app, &family).await, [true, true, false]);
        let path = format!("/v1/keys/{}/revoke?api-version=1&descendants=false&x&x=%ff", family[0].id);
        assert_eq!(Call::new(&app, "POST", &path).cookie(&ada.who.cookie).send().await.status, 200);
        assert_eq!(working(&app, &family).await, [false, true, false]);
    }
}
