//! Changes at once: one of them sees the other.

use futures::future::{join, join_all};
use latchkey::keys::Policy;
use latchkey::model::Role;

use crate::app::{Settings, on_both_engines};
use crate::story::{Call, create, someone};
use crate::teams::{call, delete, is_good, path, role_of};
use crate::teams_members::{change_role, members, remove};

on_both_engines! {
    /// Each way of losing an owner, against each other way.
    async fn of_two_owners_who_step_down_at_once_one_stays(app) {
        let ada = someone(&app, "ada@example.com").await;
        let bob = someone(&app, "bob@example.com").await;
        bob.join(&app, &ada.org, Role::Owner).await;
        for round in 0..8 {
            let (first, second) = match round % 4 {
                0 => join(
                    change_role(&app, &ada, &ada.org, &ada.user, "admin"),
                    change_role(&app, &bob, &ada.org, &bob.user, "admin"),
                ).await,
                1 => join(
                    change_role(&app, &ada, &ada.org, &bob.user, "admin"),
                    change_role(&app, &bob, &ada.org, &ada.user, "admin"),
                ).await,
                2 => join(
                    remove(&app, &ada, &ada.org, &ada.user, ""),
                    remove(&app, &bob, &ada.org, &bob.user, ""),
                ).await,
                _ => join(
                    remove(&app, &ada, &ada.org, &bob.user, "?keys=revoke"),
                    change_role(&app, &bob, &ada.org, &ada.user, "viewer"),
                ).await,
            };
            let outcomes = [first.status.as_u16(), second.status.as_u16()];
            assert_eq!(outcomes.iter().filter(|status| **status == 200).count(), 1, "{round}: {} {}", first.text(), second.text());
            assert!(outcomes.iter().any(|status| [403, 404, 409].contains(status)), "{round}: {outcomes:?}");
            assert_eq!(app.number("SELECT count(*) FROM memberships WHERE role = 'owner'").await, 2, "one here, and Bob's own");
            // Both are owners again.
            for who in [&ada, &bob] {
                if role_of(&app, who, &ada.org).await.is_some() {
                    who.leave(&app, &ada.org).await;
                }
                who.join(&app, &ada.org, Role::Owner).await;
            }
        }
        assert_eq!(members(&app, &ada, &ada.org).await.len(), 2);
    }

    /// Whatever a creation answers, no good key of a leaver is left when the removal has answered.
    async fn no_key_of_a_leaver_is_created_beside_the_removal(app, Settings { policy: Policy { keys_may_manage_keys: true, ..Policy::default() }, ..Settings::default() }) {
        let ada = someone(&app, "ada@example.com").await;
        let bob = someone(&app, "bob@example.com").await;
        for _ in 0..6 {
            bob.join(&app, &ada.org, Role::Member).await;
            let maker = create(&app, &bob.cookie, &ada.in_env(&ada.live, r#", "scopes": "api-keys:write a:b""#)).await.field("/key");
            let by_bob = (0..8).map(|_| Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&bob.cookie).json(&ada.in_env(&ada.live, "")).send());
            let by_key = (0..8).map(|_| Call::new(&app, "POST", "/v1/auth/api-keys").key(&maker).json(r#"{"name": "child", "scopes": "a:b"}"#).send());
            let (removed, made) = join(
                remove(&app, &ada, &ada.org, &bob.user, "?keys=revoke"),
                join(join_all(by_bob), join_all(by_key)),
            ).await;
            assert_eq!(removed.status, 200, "{}", removed.text());
            for answer in made.0.into_iter().chain(made.1) {
                match answer.status.as_u16() {
                    201 => assert!(!is_good(&app, &answer.field("/key")).await),
                    status => assert!([401, 403, 404].contains(&status), "{}", answer.text()),
                }
            }
        }
        assert_eq!(app.number("SELECT count(*) FROM keys WHERE revoked_at IS NULL").await, 0);
        // The counts of the organisation are right.
        let counted = app.number("SELECT key_count FROM organisations ORDER BY key_count DESC LIMIT 1").await;
        assert_eq!(counted, app.number("SELECT count(*) FROM keys").await);
        assert_eq!(app.number("SELECT revoked_count FROM organisations ORDER BY key_count DESC LIMIT 1").await, counted);
    }

    async fn no_key_is_created_beside_an_archival_or_a_deletion(app) {
        let ada = someone(&app, "ada@example.com").await;
        for round in 0..4 {
            let made = call(&app, &ada, "POST", "/v1/organisations").json(r#"{"name": "x"}"#).send().await;
            let (org, env) = (made.field("/id"), made.field("/environments/1/id"));
            let body = format!(r#"{{"name": "key", "org_id": "{org}", "env_id": "{env}"}}"#);
            let creations = join_all((0..12).map(|_| call(&app, &ada, "POST", "/v1/auth/api-keys").json(&body).send()));
            let change = async {
                if round % 2 == 0 {
                    delete(&app, &ada, &org, "x").await
                } else {
                    let path = path(&org, &format!("/environments/{env}?revoke_keys=true"));
                    call(&app, &ada, "PATCH", &path).json(r#"{"archived": true}"#).send().await
                }
            };
            let (changed, made) = join(change, creations).await;
            assert_eq!(changed.status, 200, "{}", changed.text());
            for answer in made {
                match answer.status.as_u16() {
                    201 => assert!(!is_good(&app, &answer.field("/key")).await),
                    status => assert!([404, 409].contains(&status), "{}", answer.text()),
                }
            }
            assert_eq!(app.number("SELECT count(*) FROM keys WHERE revoked_at IS NULL").await, 0);
        }
    }

    /// New keys of one batch: the refused ones take nothing from the others.
    async fn a_refused_key_fails_no_other_of_its_batch(app, Settings { policy: Policy { most_per_organisation: 5, ..Policy::default() }, ..Settings::default() }) {
        let ada = someone(&app, "ada@example.com").await;
        let bob = someone(&app, "bob@example.com").await;
        bob.join(&app, &ada.org, Role::Member).await;
        let person = app.services.accounts.person(bob.user.parse().expect("an id")).await.expect("an answer").expect("Bob");
        let caller = latchkey::domain::Caller::Person(person);
        bob.leave(&app, &ada.org).await;
        // As a request that read its person before: it is judged again when the key is stored.
        let place = caller.place(Some((ada.org.parse().expect("an id"), ada.live.parse().expect("an id")))).expect("a place");
        let draft = || latchkey::keys::Draft {
            name: latchkey::model::KeyName::parse("key").expect("a name"),
            place,
            scopes: None,
            default_scopes: latchkey::model::Scopes::All,
            limits: latchkey::domain::Limits::default(),
            metadata: None,
            form: latchkey::keys::KeyStringForm::Hookstream,
        };
        let late = join_all((0..4).map(|_| app.services.keys.issue(&caller, draft())));
        let good = join_all((0..4).map(|_| call(&app, &ada, "POST", "/v1/auth/api-keys").json(&ada.in_env(&ada.live, "")).send()));
        let (late, good) = join(late, good).await;
        assert!(late.iter().all(|outcome| matches!(outcome, Err(latchkey::keys::IssueError::NoPlace))), "{late:?}");
        assert!(good.iter().all(|answer| answer.status == 201));
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 4);
        bob.join(&app, &ada.org, Role::Viewer).await;
        let viewer = app.services.keys.issue(&caller, draft()).await;
        assert!(matches!(viewer, Err(latchkey::keys::IssueError::NotAllowed)), "{viewer:?}");
    }
}
