//! `GET /v1/auth/api-keys` (docs/CONTRACTS.md, "hookstream" and "Who may what").

use latchkey::model::Role;

use crate::app::{TestApp, on_both_engines};
use crate::story::{Answer, Call, Someone, Story, create, someone};

async fn list(app: &TestApp, who: &Someone, query: &str) -> Answer {
    Call::new(app, "GET", &format!("/v1/auth/api-keys{query}")).cookie(&who.cookie).send().await
}

fn all(answer: &Answer, field: &str) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let keys = answer.json()["api_keys"].as_array().expect("a list").clone();
    keys.iter().map(|key| key[field].as_str().expect("text").to_owned()).collect()
}

async fn make(app: &TestApp, who: &Someone, name: &str) -> Answer {
    create(app, &who.cookie, &format!(r#"{{"name": "{name}"}}"#)).await
}

on_both_engines! {
    async fn the_list_is_newest_first_and_includes_revoked_keys(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.cookie).tell(&mut story).await;
        for name in ["first", "second", "third"] {
            app.clock.advance(1_500);
            make(&app, &ada, name).await;
        }
        let path = format!("/v1/auth/api-keys/{}", list(&app, &ada, "").await.field("/api_keys/1/id"));
        Call::new(&app, "DELETE", &path).cookie(&ada.cookie).send().await;
        Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.cookie).tell(&mut story).await;
        story.say("the list by HEAD");
        Call::new(&app, "HEAD", "/v1/auth/api-keys").cookie(&ada.cookie).tell(&mut story).await;
        story.is("the_list_is_newest_first_and_includes_revoked_keys");
    }

    /// Fourteen keys with two creation times: at equal times, only the id gives the order.
    async fn pages_lose_nothing_and_repeat_nothing(app) {
        let ada = someone(&app, "ada@example.com").await;
        for n in 0..14 {
            if n == 7 {
                app.clock.advance(1);
            }
            make(&app, &ada, &format!("key {n}")).await;
        }
        let whole = all(&list(&app, &ada, "").await, "id");
        assert_eq!(whole.len(), 14);
        for (scope, limit) in [("", 1), ("", 3), ("", 7), ("", 13), (ada.org.as_str(), 5), (&ada.live, 4)] {
            let narrow = match scope.split_once('_') {
                Some(("org", _)) => format!("&org_id={scope}"),
                Some(("env", _)) => format!("&org_id={}&env_id={scope}", ada.org),
                _ => String::new(),
            };
            let (mut ids, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let page = list(&app, &ada, &format!("?limit={limit}{narrow}{cursor}")).await;
                ids.extend(all(&page, "id"));
                pages += 1;
                let Some(next) = page.json()["next_cursor"].as_str().map(str::to_owned) else { break };
                assert_eq!(ids.len(), pages * limit, "a page with more behind it is full");
                cursor = format!("&cursor={next}");
            }
            assert_eq!(ids, whole, "{scope} by {limit}");
            assert_eq!(pages, 14usize.div_ceil(limit));
        }
        for limit in [14, 15, 1000] {
            assert!(!list(&app, &ada, &format!("?limit={limit}")).await.text().contains("next_cursor"));
        }
    }

    async fn a_key_created_between_two_pages_changes_neither(app) {
        let ada = someone(&app, "ada@example.com").await;
        for n in 0..4 {
            app.clock.advance(1);
            make(&app, &ada, &format!("key {n}")).await;
        }
        let first = list(&app, &ada, "?limit=2").await;
        app.clock.advance(1);
        make(&app, &ada, "new").await;
        let second = list(&app, &ada, &format!("?limit=2&cursor={}", first.field("/next_cursor"))).await;
        assert_eq!(all(&first, "name"), ["key 3", "key 2"]);
        assert_eq!(all(&second, "name"), ["key 1", "key 0"]);
    }

    async fn wrong_query_parameters_are_named(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        for query in ["limit=0&cursor=x", "orgid=x&limit=5", "limit=5&limit=6"] {
            Call::new(&app, "GET", &format!("/v1/auth/api-keys?{query}")).cookie(&ada.cookie).tell(&mut story).await;
        }
        story.is("wrong_query_parameters_are_named");
        for limit in ["0", "1001", "-1", "", "ten", "1.0", "1e2", "4294967297", "99999999999999999999"] {
            assert_eq!(list(&app, &ada, &format!("?limit={limit}")).await.wrong_fields(), ["limit"], "{limit}");
        }
        for cursor in ["", "0", "%00", &"g".repeat(32), &"0".repeat(31), &"0".repeat(34), "ak_0000000000000000"] {
            assert_eq!(list(&app, &ada, &format!("?cursor={cursor}")).await.wrong_fields(), ["cursor"], "{cursor}");
        }
        for good in ["limit=1", "limit=1000", &format!("cursor={}", "0".repeat(32)), &format!("cursor={}", "f".repeat(32))] {
            assert_eq!(list(&app, &ada, &format!("?{good}")).await.status, 200, "{good}");
        }
    }

    async fn the_list_has_the_callers_own_keys_or_with_org_id_all_keys_of_the_organisation(app) {
        let ada = someone(&app, "ada@example.com").await;
        let bob = someone(&app, "bob@example.com").await;
        bob.join(&app, &ada.org, Role::Member).await;
        make(&app, &ada, "ada's live").await;
        app.clock.advance(1);
        create(&app, &ada.cookie, &ada.in_env(&ada.test, "").replace(r#""key""#, r#""ada's test""#)).await;
        app.clock.advance(1);
        create(&app, &bob.cookie, &ada.in_env(&ada.live, "").replace(r#""key""#, r#""bob's live""#)).await;
        app.clock.advance(1);
        create(&app, &bob.cookie, &bob.in_env(&bob.live, "").replace(r#""key""#, r#""bob's own""#)).await;
        let names = async |who: &Someone, query: String| all(&list(&app, who, &query).await, "name");

        assert_eq!(names(&ada, String::new()).await, ["ada's test", "ada's live"]);
        assert_eq!(names(&bob, String::new()).await, ["bob's own", "bob's live"]);
        let org = format!("?org_id={}", ada.org);
        for who in [&ada, &bob] {
            assert_eq!(names(who, org.clone()).await, ["bob's live", "ada's test", "ada's live"], "members see all keys");
            assert_eq!(names(who, format!("{org}&env_id={}", ada.live)).await, ["bob's live", "ada's live"]);
            assert_eq!(names(who, format!("{org}&env_id={}", ada.test)).await, ["ada's test"]);
        }
        assert_eq!(names(&bob, format!("?env_id={}", ada.live)).await, ["bob's live"], "env_id alone lists only the caller's own keys");
        assert_eq!(names(&ada, format!("?env_id={}", ada.test)).await, ["ada's test"]);

        bob.leave(&app, &ada.org).await;
        assert_eq!(names(&bob, String::new()).await, ["bob's own"], "a former member sees no key");
        list(&app, &bob, &org).await.is_problem(404, "not_found");
        assert_eq!(names(&ada, org).await, ["bob's live", "ada's test", "ada's live"], "the keys stay");
    }

    async fn a_foreign_environment_is_not_found_in_lists(app) {
        let mut story = Story::new();
        let (ada, bob) = (someone(&app, "ada@example.com").await, someone(&app, "bob@example.com").await);
        make(&app, &bob, "bob's").await;
        Call::new(&app, "GET", &format!("/v1/auth/api-keys?org_id={}", bob.org)).cookie(&ada.cookie).tell(&mut story).await;
        story.is("a_foreign_environment_is_not_found_in_lists");
        let expected = list(&app, &ada, &format!("?org_id={}", bob.org)).await.text();
        for query in [
            format!("?env_id={}", bob.live),
            format!("?org_id={}&env_id={}", ada.org, bob.live),
            format!("?org_id={}&env_id={}", bob.org, ada.live),
            format!("?org_id={}&env_id={}", bob.org, bob.live),
            "?org_id=org_0123456789abcdef".to_owned(),
            "?env_id=env_0123456789abcdef".to_owned(),
            "?org_id=".to_owned(),
            "?org_id=%ff".to_owned(),
            format!("?org_id={}", bob.org.to_uppercase()),
        ] {
            let answer = list(&app, &ada, &query).await;
            answer.is_problem(404, "not_found");
            assert_eq!(answer.text(), expected, "{query}");
        }
    }

    /// A cursor is a position in time, not a permission: another person sees their own keys with it.
    async fn a_cursor_shows_nothing_that_its_holder_may_not_see(app) {
        let (ada, bob) = (someone(&app, "ada@example.com").await, someone(&app, "bob@example.com").await);
        for n in 0..3 {
            make(&app, &ada, &format!("ada's {n}")).await;
        }
        let cursor = list(&app, &ada, "?limit=1").await.field("/next_cursor");
        make(&app, &bob, "bob's").await;
        let seen = all(&list(&app, &bob, &format!("?cursor={cursor}")).await, "name");
        assert!(seen.is_empty() || seen == ["bob's"], "{seen:?}");
    }
}
