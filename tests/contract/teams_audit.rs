//! The audit log of organisations and people: each change has exactly one entry of its kind, in its own transaction; a
//! refused change has none.

use serde_json::json;

use crate::app::on_both_engines;
use crate::audit::{Log, allow_inserts, has_no_secret, refuse_inserts};
use crate::story::{Call, create, someone};
use crate::teams::{PASSWORD, call, delete, erase, path};
use crate::teams_invitations::invite;
use crate::teams_members::{change_role, remove};

on_both_engines! {
    async fn each_change_of_an_organisation_has_its_entries(app) {
        let mut log = Log::of(&app);
        let ada = someone(&app, "ada@example.com").await;
        log.skip().await;
        let made = call(&app, &ada, "POST", "/v1/organisations").json(r#"{"name": "Example"}"#).send().await;
        log.has("an organisation", &["organisation.created"]).await;
        let org = made.field("/id");
        let patch = |below: String, body: &str| call(&app, &ada, "PATCH", &path(&org, &below)).json(body);
        assert_eq!(patch(String::new(), r#"{"name": "Example Ltd"}"#).send().await.status, 200);
        log.has("another name", &["organisation.renamed"]).await;
        assert_eq!(patch(String::new(), r#"{"name": "Example Ltd"}"#).send().await.status, 200);
        log.is_silent("the name that it has").await;
        let env = call(&app, &ada, "POST", &path(&org, "/environments")).json(r#"{"name": "x", "mode": "test"}"#).send().await.field("/id");
        log.has("an environment", &["environment.created"]).await;
        let one = || format!("/environments/{env}");
        let key = format!(r#"{{"name": "key", "org_id": "{org}", "env_id": "{env}"}}"#);
        create(&app, &ada.cookie, &key).await;
        log.skip().await;
        for (body, actions) in [
            (r#"{"name": "y"}"#, &["environment.updated"][..]),
            (r#"{"name": "y", "archived": false}"#, &[]),
            (r#"{"archived": true}"#, &[]),
        ] {
            patch(one(), body).send().await;
            log.has(body, actions).await;
        }
        patch(one() + "?revoke_keys=true", r#"{"archived": true}"#).send().await;
        log.has("an archival with a key", &["environment.archived", "key.revoked"]).await;
        patch(one(), r#"{"archived": false, "name": "z"}"#).send().await;
        log.has("opened again and renamed", &["environment.unarchived"]).await;

        let first = invite(&app, &ada, &org, "bob@example.com", "admin").await;
        log.has("an invitation", &["invitation.created"]).await;
        let second = invite(&app, &ada, &org, "bob@example.com", "admin").await;
        log.has("another one of the address", &["invitation.created"]).await;
        let withdrawn = invite(&app, &ada, &org, "eve@example.com", "viewer").await.field("/id");
        log.skip().await;
        for actions in [&["invitation.deleted"][..], &[]] {
            call(&app, &ada, "DELETE", &path(&org, &format!("/invitations/{withdrawn}"))).send().await;
            log.has("an invitation is withdrawn", actions).await;
        }
        let token = second.field("/url").rsplit('/').next().expect("a token").to_owned();
        let accept = json!({ "token": token, "password": PASSWORD }).to_string();
        let bob = Call::new(&app, "POST", "/v1/invitations/accept").json(&accept).send().await;
        assert_eq!(bob.status, 200, "{}", bob.text());
        log.has("a new account", &["account.created", "invitation.accepted", "member.added", "session.created"]).await;
        Call::new(&app, "POST", "/v1/invitations/accept").json(&accept).send().await;
        log.is_silent("an invitation that is used").await;

        let user = bob.field("/user/id");
        let bob = crate::story::Someone { cookie: bob.cookie(), user: user.clone(), org: org.clone(), live: String::new(), test: String::new() };
        invite(&app, &bob, &org, "eve@example.com", "admin").await;
        create(&app, &bob.cookie, &key).await;
        let tenant = made.field("/tenant_id");
        crate::hooksentry::log_in(&app, "bob@example.com", Some(&tenant)).await;
        log.skip().await;
        change_role(&app, &ada, &org, &user, "member").await;
        log.has("another role, which ends an invitation", &["invitation.deleted", "member.role_changed"]).await;
        change_role(&app, &ada, &org, &user, "member").await;
        log.is_silent("the role that they have").await;
        change_role(&app, &bob, &org, &user, "owner").await;
        remove(&app, &ada, &org, &user, "").await;
        remove(&app, &ada, &org, &ada.user, "?keys=revoke").await;
        log.is_silent("what is refused").await;
        remove(&app, &ada, &org, &user, "?keys=keep").await;
        log.has("a removal", &["member.removed"]).await;
        delete(&app, &ada, &org, "Example").await;
        log.is_silent("a deletion with another name").await;
        delete(&app, &ada, &org, "Example Ltd").await;
        log.has("a deletion", &["key.revoked", "organisation.deleted"]).await;
        erase(&app).await;
        log.is_silent("the rest is erased").await;
        log.is("audit_of_teams");
        let first = first.field("/url");
        has_no_secret(&app, &[&token, first.rsplit('/').next().expect("a token"), PASSWORD]).await;
    }

    async fn a_change_of_a_team_and_its_entry_are_stored_together_or_not_at_all(app) {
        let ada = someone(&app, "ada@example.com").await;
        let bob = someone(&app, "bob@example.com").await;
        let invited = invite(&app, &ada, &ada.org, "bob@example.com", "admin").await;
        let token = invited.field("/url").rsplit('/').next().expect("a token").to_owned();
        let own = |below: &str| path(&ada.org, below);
        let member = own(&format!("/members/{}", ada.user));
        let calls = [
            (&ada, "POST", "/v1/organisations".to_owned(), json!({ "name": "x" })),
            (&ada, "PATCH", own(""), json!({ "name": "x" })),
            (&ada, "DELETE", own(""), json!({ "confirm": "ada's organisation" })),
            (&ada, "POST", own("/environments"), json!({ "name": "x", "mode": "live" })),
            (&ada, "PATCH", own(&format!("/environments/{}", ada.test)), json!({ "archived": true })),
            (&ada, "POST", own("/invitations"), json!({ "email": "bob@example.com", "role": "viewer" })),
            (&ada, "DELETE", own(&format!("/invitations/{}", invited.field("/id"))), json!(null)),
            (&bob, "POST", "/v1/invitations/accept".to_owned(), json!({ "token": token })),
            (&ada, "PATCH", member.clone(), json!({ "role": "admin" })),
            (&ada, "DELETE", member, json!(null)),
        ];
        let count = async || {
            let mut counts = Vec::new();
            for statement in [
                "SELECT count(*) FROM audit_entries", "SELECT count(*) FROM organisations WHERE deleted_at IS NULL AND name <> 'x'",
                "SELECT count(*) FROM environments WHERE archived_at IS NULL", "SELECT count(*) FROM memberships WHERE role = 'owner'",
                "SELECT count(*) FROM invitations WHERE role = 'admin'", "SELECT count(*) FROM jobs",
            ] {
                counts.push(app.number(statement).await);
            }
            counts
        };
        let before = count().await;
        refuse_inserts(&app, "audit_entries").await;
        for (who, method, path, body) in &calls {
            // The last owner is no question here.
            if path.contains("/members/") {
                allow_inserts(&app, "audit_entries").await;
                bob.join(&app, &ada.org, latchkey::model::Role::Owner).await;
                refuse_inserts(&app, "audit_entries").await;
            }
            let now = count().await;
            let call = call(&app, who, method, path);
            let answer = if body.is_null() { call.send().await } else { call.json(&body.to_string()).send().await };
            assert_eq!(answer.status, 503, "{method} {path}: {}", answer.text());
            assert_eq!(count().await, now, "{method} {path}");
            if path.contains("/members/") {
                allow_inserts(&app, "audit_entries").await;
                bob.leave(&app, &ada.org).await;
                refuse_inserts(&app, "audit_entries").await;
            }
        }
        allow_inserts(&app, "audit_entries").await;
        assert_eq!(count().await[1..], before[1..]);
    }
}
