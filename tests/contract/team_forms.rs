//! The forms of the settings pages: names, roles, leavers, environments, and the deletion of an organisation.

use latchkey::model::Role;

use crate::app::on_both_engines;
use crate::story::{create, someone};
use crate::team_pages::{after, get, post};
use crate::teams::{Team, is_good, role_of};

on_both_engines! {
    async fn an_organisation_is_renamed_and_an_old_form_is_refused(app) {
        let team = Team::new(&app).await;
        let page = team.owner.settings("");
        let old = "owner's organisation";
        let renamed = post(&app, &team.admin.cookie, &page, &[("name", " Acme <1> "), ("version", old)]).await;
        let text = after(&app, &team.admin.cookie, &renamed).await;
        assert!(text.contains("renamed to “<bdi>Acme &lt;1&gt;</bdi>”") || text.contains("renamed to “<bdi>Acme &lt;1></bdi>”"), "{text}");
        let stale = post(&app, &team.owner.cookie, &page, &[("name", "Mine"), ("version", old)]).await;
        assert_eq!(stale.status, 409);
        let text = stale.text();
        assert!(text.contains("value=\"Mine\"") && text.contains("Changed elsewhere. Now: "), "{text}");
        // The new form has the stored name as its version.
        assert_eq!(post(&app, &team.owner.cookie, &page, &[("name", "Mine"), ("version", "Acme <1>")]).await.status, 303);
        let wrong = post(&app, &team.owner.cookie, &page, &[("name", "a\nb"), ("version", "Mine")]).await;
        assert_eq!(wrong.status, 400);
        assert!(wrong.text().contains("aria-invalid=\"true\"") && wrong.text().contains("Mine"), "{}", wrong.text());
    }

    async fn a_role_is_changed_and_an_old_form_is_refused(app) {
        let team = Team::new(&app).await;
        let (owner, member) = (&team.owner, &team.member);
        let path = owner.about(member, "role");
        let changed = post(&app, &team.admin.cookie, &path, &[("role", "viewer"), ("version", "member")]).await;
        let text = after(&app, &team.admin.cookie, &changed).await;
        assert!(text.contains("<bdi>member@example.com</bdi> is a viewer now"), "{text}");
        assert_eq!(role_of(&app, member, team.org()).await.as_deref(), Some("viewer"));
        let stale = post(&app, &owner.cookie, &path, &[("role", "admin"), ("version", "member")]).await;
        assert_eq!(stale.status, 409);
        let text = stale.text();
        assert!(text.contains("was changed elsewhere") && text.contains("Now: Viewer"), "{text}");
        assert_eq!(role_of(&app, member, team.org()).await.as_deref(), Some("viewer"));
        for role in ["", "boss"] {
            assert_eq!(post(&app, &owner.cookie, &path, &[("role", role), ("version", "viewer")]).await.status, 400);
        }
        // The last owner keeps the role.
        let own = owner.about(owner, "role");
        let refused = post(&app, &owner.cookie, &own, &[("role", "member"), ("version", "owner")]).await;
        let text = after(&app, &owner.cookie, &refused).await;
        assert!(text.contains("Make another member an owner first"), "{text}");
        assert_eq!(role_of(&app, owner, team.org()).await.as_deref(), Some("owner"));
        assert_eq!(post(&app, &owner.cookie, &path, &[("role", "owner"), ("version", "viewer")]).await.status, 303);
        assert_eq!(post(&app, &owner.cookie, &own, &[("role", "member"), ("version", "owner")]).await.status, 303);
        assert_eq!(role_of(&app, owner, team.org()).await.as_deref(), Some("member"));
    }

    async fn a_leavers_keys_are_asked_about(app) {
        let team = Team::new(&app).await;
        let (owner, member) = (&team.owner, &team.member);
        let key = create(&app, &member.cookie, &owner.in_env(&owner.live, "")).await.field("/key");
        let asked = get(&app, &owner.cookie, &format!("{}?remove={}", owner.settings("/members"), member.user)).await.text();
        assert!(asked.contains("Remove <bdi>member@example.com</bdi>?") && asked.contains("made 1 key "), "{asked}");
        assert!(asked.contains("value=\"keep\"") && asked.contains("value=\"revoke\""), "{asked}");
        let path = owner.about(member, "remove");
        let undecided = post(&app, &owner.cookie, &path, &[]).await;
        assert_eq!(undecided.status, 400);
        assert!(undecided.text().contains("Choose what happens to the keys"), "{}", undecided.text());
        assert_eq!(post(&app, &owner.cookie, &path, &[("keys", "sell")]).await.status, 400);
        assert!(is_good(&app, &key).await && role_of(&app, member, team.org()).await.is_some());
        let removed = post(&app, &owner.cookie, &path, &[("keys", "revoke")]).await;
        let text = after(&app, &owner.cookie, &removed).await;
        assert!(text.contains("<bdi>member@example.com</bdi> removed") && text.contains("1 key revoked. "), "{text}");
        assert!(!is_good(&app, &key).await);
        assert_eq!(get(&app, &member.cookie, &owner.settings("/members")).await.status, 404);

        // Keys that are kept go on.
        let bob = someone(&app, "bob@example.com").await;
        bob.join(&app, team.org(), Role::Admin).await;
        let key = create(&app, &bob.cookie, &owner.in_env(&owner.live, "")).await.field("/key");
        let asked = get(&app, &bob.cookie, &format!("{}?remove={}", owner.settings("/members"), bob.user)).await.text();
        assert!(asked.contains("Leave “<bdi>") && asked.contains("You made 1 key "), "{asked}");
        let left = post(&app, &bob.cookie, &owner.about(&bob, "remove"), &[("keys", "keep")]).await;
        assert_eq!(left.header("location"), "/");
        assert!(after(&app, &bob.cookie, &left).await.contains("You left “<bdi>owner"), "the flash is shown");
        assert!(is_good(&app, &key).await);

        // The last owner does not leave, and no dialog offers it.
        let asked = get(&app, &owner.cookie, &format!("{}?remove={}", owner.settings("/members"), owner.user)).await.text();
        assert!(!asked.contains("<dialog"), "{asked}");
        let refused = post(&app, &owner.cookie, &owner.about(owner, "remove"), &[]).await;
        assert!(after(&app, &owner.cookie, &refused).await.contains("Make another member an owner first"));
        // A viewer leaves, without keys and without a question about them.
        let left = post(&app, &team.viewer.cookie, &owner.about(&team.viewer, "remove"), &[]).await;
        assert_eq!(left.status, 303);
        assert_eq!(role_of(&app, &team.viewer, team.org()).await, None);
    }

    async fn an_environment_is_created_renamed_archived_and_opened(app) {
        let team = Team::new(&app).await;
        let (owner, admin) = (&team.owner, &team.admin.cookie);
        let list = owner.settings("/environments");
        let wrong = post(&app, admin, &list, &[("name", ""), ("mode", "prod")]).await;
        assert_eq!(wrong.status, 400);
        assert!(wrong.text().contains("It must not be empty.") && wrong.text().contains("Choose a mode."), "{}", wrong.text());
        let made = post(&app, admin, &list, &[("name", "Staging"), ("mode", "test")]).await;
        assert!(after(&app, admin, &made).await.contains("Environment “<bdi>Staging</bdi>” created"));

        let page = owner.settings(&format!("/environments/{}", owner.test));
        let archive = format!("{page}/archive");
        let renamed = post(&app, admin, &page, &[("name", "Sandbox"), ("version", "Development")]).await;
        assert!(after(&app, admin, &renamed).await.contains("Environment renamed to “<bdi>Sandbox</bdi>”"));
        let stale = post(&app, admin, &page, &[("name", "Mine"), ("version", "Development")]).await;
        assert_eq!(stale.status, 409);
        assert!(stale.text().contains("Changed elsewhere. Now: ") && stale.text().contains("value=\"Mine\""));

        let asked = get(&app, admin, &format!("{page}?archive=1")).await.text();
        assert!(asked.contains("Archive “<bdi>Sandbox</bdi>”?") && asked.contains("no active key"), "{asked}");
        // A key that is created while the dialog is open is not revoked unasked.
        let key = create(&app, &owner.cookie, &owner.in_env(&owner.test, "")).await.field("/key");
        let again = post(&app, admin, &archive, &[("archived", "true"), ("keys", "0")]).await;
        assert_eq!(again.status, 409);
        assert!(again.text().contains("Revoke 1 key and archive") && again.text().contains("1 active key will be revoked"), "{}", again.text());
        assert!(is_good(&app, &key).await);
        let archived = post(&app, admin, &archive, &[("archived", "true"), ("keys", "1")]).await;
        let text = after(&app, admin, &archived).await;
        assert!(text.contains("Environment “<bdi>Sandbox</bdi>” archived") && text.contains("Open again"), "{text}");
        assert!(!is_good(&app, &key).await);
        // Its keys stay visible; no key is offered.
        let keys = get(&app, admin, &owner.test_page("keys")).await.text();
        assert!(keys.contains("This environment is archived") && !keys.contains("aria-haspopup=\"dialog\""), "{keys}");
        let opened = post(&app, admin, &archive, &[("archived", "false")]).await;
        assert!(after(&app, admin, &opened).await.contains("opened again"));
        assert_eq!(post(&app, admin, &archive, &[("archived", "maybe")]).await.status, 400);
    }

    async fn the_last_environment_is_not_archived(app) {
        let ada = someone(&app, "ada@example.com").await;
        let page = |env: &str| ada.settings(&format!("/environments/{env}"));
        let archive = |env: &str| format!("{}/archive", page(env));
        assert_eq!(post(&app, &ada.cookie, &archive(&ada.test), &[("archived", "true")]).await.status, 303);
        let text = get(&app, &ada.cookie, &page(&ada.live)).await.text();
        assert!(text.contains("this is the last one") && !text.contains("?archive=1"), "{text}");
        let refused = post(&app, &ada.cookie, &archive(&ada.live), &[("archived", "true")]).await;
        assert!(after(&app, &ada.cookie, &refused).await.contains("Nothing was changed"));
        assert_eq!(app.number("SELECT count(*) FROM environments WHERE archived_at IS NULL").await, 1);
    }

    async fn an_organisation_is_deleted_after_its_name_is_typed(app) {
        let team = Team::new(&app).await;
        let owner = &team.owner;
        let mut keys = Vec::new();
        for env in [&owner.live, &owner.test] {
            keys.push(create(&app, &team.member.cookie, &owner.in_env(env, "")).await.field("/key"));
        }
        let asked = get(&app, &owner.cookie, &owner.settings("?delete=1")).await.text();
        assert!(asked.contains("Revokes 2 keys") && asked.contains("name=\"confirm\""), "{asked}");
        let path = owner.settings("/delete");
        let wrong = post(&app, &owner.cookie, &path, &[("confirm", "Owner's")]).await;
        assert_eq!(wrong.status, 400);
        assert!(wrong.text().contains("This is not the name") && wrong.text().contains("<dialog"), "{}", wrong.text());
        assert!(is_good(&app, &keys[0]).await);
        let deleted = post(&app, &owner.cookie, &path, &[("confirm", "owner's organisation")]).await;
        let text = after(&app, &owner.cookie, &deleted).await;
        assert!(text.contains("Organisation “<bdi>owner's organisation</bdi>” deleted") || text.contains("organisation</bdi>” deleted"), "{text}");
        assert!(text.contains("2 keys revoked. "), "the proof: {text}");
        assert!(text.contains("You are in no organisation"), "{text}");
        for key in keys {
            assert!(!is_good(&app, &key).await);
        }
        for who in [owner, &team.admin, &team.viewer] {
            assert_eq!(get(&app, &who.cookie, &owner.settings("")).await.status, 404);
        }
    }
}
