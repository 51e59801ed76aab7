//! The audit log of keys: creations, edits and revocations by every caller, including the changed descendants.

use futures::future::join_all;
use latchkey::domain::AuditAction;
use latchkey::keys::Policy;
use latchkey::model::Role;

use crate::app::{Settings, TestApp, on_both_engines};
use crate::audit::{Log, all, allow_inserts, has_no_secret, refuse_inserts};
use crate::hooksentry::{self, tenant};
use crate::stale_forms::current_version;
use crate::story::{Answer, Call, create, someone};

fn keys_manage_keys() -> Settings {
    Settings { policy: Policy { keys_may_manage_keys: true, ..Policy::default() }, ..Settings::default() }
}

async fn patch(app: &TestApp, cookie: &str, id: &str, body: &str) -> Answer {
    Call::new(app, "PATCH", &format!("/v1/keys/{id}")).cookie(cookie).json(body).send().await
}

on_both_engines! {
    async fn each_change_of_a_key_has_one_entry(app, keys_manage_keys()) {
        let mut log = Log::of(&app);
        let ada = tenant(&app, "ada@example.com").await;
        let eve = someone(&app, "eve@example.com").await;
        eve.join(&app, &ada.who.org, Role::Member).await;
        log.skip().await;
        let cookie = ada.who.cookie.as_str();
        let post = |body: &str| Call::new(&app, "POST", "/v1/auth/api-keys").json(body);

        let more = r#", "scopes": "api-keys:write a:x b:y", "metadata": {"team": "billing"}, "ip_allowlist": ["192.0.2.0/24"]"#;
        let root = create(&app, cookie, &ada.who.in_env(&ada.who.live, more)).await;
        log.has("a key", &["key.created"]).await;
        let (root_id, root) = (root.field("/id"), root.field("/key"));
        assert_eq!(post("{}").cookie(cookie).send().await.status, 400);
        log.is_silent("a key without a name").await;
        let made = post(r#"{"name": "child", "scopes": "a:x b:y"}"#).key(&root).send().await;
        assert_eq!(made.status, 201, "{}", made.text());
        log.has("a key that a key makes: it inherits the networks", &["key.created"]).await;
        let (child_id, child) = (made.field("/id"), made.field("/key"));
        let made = post(r#"{"name": "other child", "scopes": "b:y"}"#).key(&root).send().await;
        log.has("another key that a key makes", &["key.created"]).await;
        let (other_id, other) = (made.field("/id"), made.field("/key"));
        assert_eq!(post(r#"{"name": "x", "scopes": "z:z"}"#).key(&root).send().await.status, 400);
        log.is_silent("a key that would be broader than its maker").await;
        let hooks = hooksentry::call(&app, &ada.access, "POST", "/api/v1/apikeys").json(r#"{"name": "hooks"}"#).send().await;
        log.has("a key of HookSentry's contract", &["key.created"]).await;

        assert_eq!(patch(&app, cookie, &child_id, r#"{"name": "renamed", "quota": {"limit": 5}}"#).await.status, 200);
        log.has("an edit", &["key.updated"]).await;
        assert_eq!(patch(&app, cookie, &child_id, r#"{"name": "renamed"}"#).await.status, 200);
        log.is_silent("an edit that changes nothing").await;
        let version = current_version(&app, cookie, &ada.who.page(&format!("keys/{child_id}"))).await.expect("a form");
        patch(&app, cookie, &child_id, r#"{"name": "renamed again"}"#).await;
        log.has("an edit", &["key.updated"]).await;
        let fields = [("version", version.as_str()), ("name", "stale")];
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let call = Call::new(&app, "POST", &ada.who.page(&format!("keys/{child_id}"))).cookie(cookie);
        let stale = call.header("content-type", "application/x-www-form-urlencoded").body(form).send().await;
        assert_eq!(stale.status, 409);
        log.is_silent("a stale form").await;
        assert_eq!(patch(&app, &eve.cookie, &child_id, r#"{"name": "hers"}"#).await.status, 403);
        log.is_silent("an edit by a member who did not make the key").await;
        let narrower = r#"{"scopes": "api-keys:write a:x", "ip_allowlist": ["192.0.2.10"]}"#;
        assert_eq!(patch(&app, cookie, &root_id, narrower).await.status, 200);
        // No scope is left for the other child, so it is paused.
        log.has("an edit that narrows descendants", &["key.paused", "key.updated", "key.updated"]).await;
        assert_eq!(patch(&app, cookie, &root_id, r#"{"enabled": false}"#).await.status, 200);
        log.has("a pause", &["key.paused", "key.paused"]).await;
        assert_eq!(patch(&app, cookie, &root_id, r#"{"enabled": true}"#).await.status, 200);
        log.has("a resumption", &["key.resumed"]).await;

        let path = format!("/v1/auth/api-keys/{other_id}");
        assert_eq!(Call::new(&app, "DELETE", &path).cookie(&eve.cookie).send().await.status, 403);
        log.is_silent("a revocation by a member who did not make the key").await;
        for actions in [&["key.revoked"][..], &[]] {
            assert_eq!(Call::new(&app, "DELETE", &path).cookie(cookie).send().await.status, 200);
            log.has("a revocation", actions).await;
        }
        let itself = Call::new(&app, "DELETE", "/v1/auth/api-keys/current").key(&root).send().await;
        assert_eq!(itself.status, 200, "{}", itself.text());
        log.has("a key that revokes itself, with its descendants", &["key.revoked", "key.revoked"]).await;
        let path = format!("/v1/keys/{root_id}/revoke");
        assert_eq!(Call::new(&app, "POST", &path).cookie(cookie).send().await.status, 200);
        log.is_silent("a revocation of a family that is already revoked").await;
        let path = format!("/api/v1/apikeys/{}", hooks.field("/id"));
        for (status, actions) in [(200, &["key.revoked"][..]), (404, &[])] {
            assert_eq!(hooksentry::call(&app, &ada.access, "DELETE", &path).send().await.status, status);
            log.has("a revocation by HookSentry's contract", actions).await;
        }

        app.clock.advance(401 * 24 * 3600 * 1000);
        // The descendants are deleted first.
        for actions in [&["keys.purged"][..], &["keys.purged"], &[]] {
            app.services.keys.purge_revoked().await.expect("an answer");
            log.has("keys that were revoked long ago are deleted", actions).await;
        }

        log.is("audit_of_keys");
        let hooks = hooks.field("/key");
        has_no_secret(&app, &[&root, &child, &other, &hooks, &ada.access, cookie.rsplit('=').next().expect("a value")]).await;
    }

    /// Keys that share a commit are stored with their entries. Refused keys have no entry.
    async fn keys_of_one_commit_have_an_entry_each(app, Settings {
        policy: Policy { most_per_organisation: 50, ..Policy::default() },
        ..Settings::default()
    }) {
        let ada = someone(&app, "ada@example.com").await;
        let calls = (0..80).map(|n| {
            let body = format!(r#"{{"name": "key {n}"}}"#);
            Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie).json(&body).send()
        });
        let mut made: Vec<String> =
            join_all(calls).await.iter().filter(|made| made.status == 201).map(|made| made.field("/id")).collect();
        let entries = all(&app).await;
        let mut targets: Vec<String> = entries
            .into_iter()
            .filter(|row| row.action == AuditAction::KeyCreated.as_str())
            .map(|row| row.target_id)
            .collect();
        made.sort();
        targets.sort();
        assert_eq!((made.len(), targets), (50, made));
    }

    async fn a_key_changes_with_its_entry_or_not_at_all(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        let (id, key) = (key.field("/id"), key.field("/key"));
        let entries = app.number("SELECT count(*) FROM audit_entries").await;
        for table in ["audit_entries", "changes"] {
            refuse_inserts(&app, table).await;
            assert_eq!(patch(&app, &ada.cookie, &id, r#"{"name": "other"}"#).await.status, 503, "{table}");
            let revoked = Call::new(&app, "DELETE", &format!("/v1/auth/api-keys/{id}")).cookie(&ada.cookie).send().await;
            assert_eq!(revoked.status, 503, "{table}");
            allow_inserts(&app, table).await;
        }
        for table in ["audit_entries", "keys"] {
            refuse_inserts(&app, table).await;
            let made = Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie).json(r#"{"name": "new"}"#);
            assert_eq!(made.send().await.status, 503, "{table}");
            allow_inserts(&app, table).await;
        }
        assert_eq!(app.number("SELECT count(*) FROM audit_entries").await, entries);
        assert_eq!(app.number("SELECT count(*) FROM keys WHERE name = 'key' AND revoked_at IS NULL").await, 1);
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 1);
        assert_eq!(Call::new(&app, "GET", "/v1/whoami").key(&key).send().await.status, 200);
    }
}
