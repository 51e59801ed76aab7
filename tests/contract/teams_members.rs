//! Members: listed, given another role, removed, and what becomes of a leaver's keys.

use latchkey::keys::Policy;
use latchkey::model::Role;
use serde_json::{Value, json};

use crate::app::{Settings, TestApp, on_both_engines};
use crate::hooksentry;
use crate::story::{Answer, Call, Someone, Story, create, someone};
use crate::teams::{Team, call, is_good, path, role_of};

/// Asks for another role.
pub async fn change_role(app: &TestApp, who: &Someone, org: &str, user: &str, role: &str) -> Answer {
    let body = json!({ "role": role }).to_string();
    call(app, who, "PATCH", &path(org, &format!("/members/{user}"))).json(&body).send().await
}

/// Removes a member.
pub async fn remove(app: &TestApp, who: &Someone, org: &str, user: &str, query: &str) -> Answer {
    call(app, who, "DELETE", &path(org, &format!("/members/{user}{query}"))).send().await
}

/// The members, as their list has them.
pub async fn members(app: &TestApp, who: &Someone, org: &str) -> Vec<Value> {
    let list = call(app, who, "GET", &path(org, "/members?limit=100")).send().await;
    assert_eq!(list.status, 200, "{}", list.text());
    list.json()["members"].as_array().expect("a list").clone()
}

on_both_engines! {
    async fn members_are_listed_with_their_keys_and_last_activity(app) {
        let mut story = Story::new();
        let team = Team::new(&app).await;
        create(&app, &team.member.cookie, &team.owner.in_env(&team.owner.live, "")).await;
        create(&app, &team.member.cookie, &team.owner.in_env(&team.owner.test, "")).await;
        create(&app, &team.member.cookie, &team.member.in_env(&team.member.live, "")).await;
        let revoked = create(&app, &team.member.cookie, &team.owner.in_env(&team.owner.test, "")).await.field("/id");
        call(&app, &team.member, "DELETE", &format!("/v1/auth/api-keys/{revoked}")).send().await;
        call(&app, &team.viewer, "GET", &path(team.org(), "/members?limit=3")).tell(&mut story).await;
        story.say("to the minute, and it outlives the session");
        app.clock.advance(59_000);
        role_of(&app, &team.member, team.org()).await;
        app.clock.advance(1_000);
        role_of(&app, &team.member, team.org()).await;
        call(&app, &team.member, "POST", "/v1/auth/logout").send().await;
        let page = call(&app, &team.owner, "GET", &path(team.org(), "/members?limit=3")).tell(&mut story).await;
        let next = format!("/members?cursor={}", page.field("/next_cursor"));
        call(&app, &team.owner, "GET", &path(team.org(), &next)).tell(&mut story).await;
        story.is("members_are_listed_with_their_keys_and_last_activity");
        for query in ["?limit=0", "?limit=101", "?cursor=0", "?page=1"] {
            let answer = call(&app, &team.owner, "GET", &path(team.org(), &format!("/members{query}"))).send().await;
            answer.is_problem(400, "invalid_request");
        }
        // The use of a token is activity as well.
        app.clock.advance(600_000);
        hooksentry::log_in(&app, "viewer@example.com", None).await;
        let seen = members(&app, &team.owner, team.org()).await.last().expect("the viewer")["last_seen_at"].clone();
        assert_eq!(seen, json!("2026-03-01T12:11:03Z"));
    }

    async fn a_role_is_changed_and_counts_at_once(app) {
        let mut story = Story::new();
        let team = Team::new(&app).await;
        let one = |user: &str| path(team.org(), &format!("/members/{user}"));
        call(&app, &team.owner, "PATCH", &one(&team.viewer.user)).json(r#"{"role": "admin"}"#).tell(&mut story).await;
        assert_eq!(role_of(&app, &team.viewer, team.org()).await.as_deref(), Some("admin"));
        story.say("the role that they have");
        call(&app, &team.viewer, "PATCH", &one(&team.admin.user)).json(r#"{"role": "admin"}"#).tell(&mut story).await;
        story.say("an owner makes an owner, and steps down; the last one cannot");
        call(&app, &team.owner, "PATCH", &one(&team.member.user)).json(r#"{"role": "owner"}"#).tell(&mut story).await;
        call(&app, &team.owner, "PATCH", &one(&team.owner.user)).json(r#"{"role": "viewer"}"#).tell(&mut story).await;
        call(&app, &team.member, "PATCH", &one(&team.member.user)).json(r#"{"role": "admin"}"#).tell(&mut story).await;
        remove(&app, &team.member, team.org(), &team.member.user, "").await.is_problem(409, "last_owner");
        story.say("what cannot be");
        for body in ["{}", r#"{"role": "god"}"#, r#"{"role": "member", "keys": "keep"}"#] {
            call(&app, &team.member, "PATCH", &one(&team.viewer.user)).json(body).tell(&mut story).await;
        }
        for user in ["usr_0000000000000001", "none"] {
            change_role(&app, &team.member, team.org(), user, "member").await.is_problem(404, "not_found");
            remove(&app, &team.member, team.org(), user, "").await.is_problem(404, "not_found");
        }
        story.is("a_role_is_changed_and_counts_at_once");
    }

    /// Kept keys go on, with their maker; revoked ones are refused when the removal is answered.
    async fn a_leavers_keys_are_kept_or_revoked(app, Settings { policy: Policy { keys_may_manage_keys: true, ..Policy::default() }, ..Settings::default() }) {
        let mut story = Story::new();
        let team = Team::new(&app).await;
        let org = team.org();
        let make = async |who: &Someone, more: &str| create(&app, &who.cookie, &team.owner.in_env(&team.owner.live, more)).await;
        let maker = make(&team.member, r#", "scopes": "api-keys:write a:b""#).await;
        let (maker_id, maker) = (maker.field("/id"), maker.field("/key"));
        let child = |name: &str| Call::new(&app, "POST", "/v1/auth/api-keys").key(&maker).json(&json!({ "name": name, "scopes": "a:b" }).to_string()).send();
        let first_child = child("child").await.field("/key");
        let admins = make(&team.admin, "").await.field("/key");
        let elsewhere = create(&app, &team.member.cookie, &team.member.in_env(&team.member.live, "")).await.field("/key");
        let token = hooksentry::log_in(&app, "member@example.com", Some(&tenant_id(&app, &team.owner).await)).await;
        let own_token = hooksentry::log_in(&app, "member@example.com", Some(&tenant_id(&app, &team.member).await)).await;

        let one = path(org, &format!("/members/{}", team.member.user));
        story.say("it has to be said");
        call(&app, &team.admin, "DELETE", &one).tell(&mut story).await;
        call(&app, &team.admin, "DELETE", &format!("{one}?keys=burn")).tell(&mut story).await;
        assert_eq!(role_of(&app, &team.member, org).await.as_deref(), Some("member"));
        story.say("kept");
        call(&app, &team.admin, "DELETE", &format!("{one}?keys=keep")).tell(&mut story).await;
        for key in [&maker, &first_child, &elsewhere] {
            assert!(is_good(&app, key).await);
        }
        assert_eq!(call(&app, &team.owner, "GET", &format!("/v1/keys/{maker_id}")).send().await.field("/created_by"), "member@example.com");
        story.say("a kept key makes no further key");
        assert_eq!(child("second child").await.status, 403);
        story.say("the leaver sees nothing, with a session or a token");
        assert_eq!(role_of(&app, &team.member, org).await, None);
        call(&app, &team.member, "GET", &format!("/v1/keys/{maker_id}")).send().await.is_problem(404, "not_found");
        call(&app, &team.member, "POST", "/v1/auth/api-keys").json(&team.owner.in_env(&team.owner.live, "")).send().await.is_problem(404, "not_found");
        assert!(!hooksentry::opens(&app, &token.field("/accessToken")).await);
        assert_eq!(hooksentry::refresh(&app, &token.field("/refreshToken")).await.status, 401);
        assert!(hooksentry::opens(&app, &own_token.field("/accessToken")).await);

        story.say("back, and revoked");
        team.member.join(&app, org, Role::Member).await;
        call(&app, &team.owner, "DELETE", &format!("{one}?keys=revoke")).tell(&mut story).await;
        assert!(!is_good(&app, &maker).await && !is_good(&app, &first_child).await);
        assert!(is_good(&app, &admins).await && is_good(&app, &elsewhere).await);
        story.say("no member any more");
        call(&app, &team.owner, "DELETE", &format!("{one}?keys=revoke")).tell(&mut story).await;
        story.is("a_leavers_keys_are_kept_or_revoked");
    }

    async fn everybody_may_leave_but_the_last_owner(app) {
        let team = Team::new(&app).await;
        for who in [&team.admin, &team.member, &team.viewer] {
            let left = remove(&app, who, team.org(), &who.user, "").await;
            assert_eq!(left.status, 200, "{}", left.text());
            assert_eq!(left.json()["keys"], json!(0));
            assert_eq!(role_of(&app, who, team.org()).await, None);
        }
        let key = create(&app, &team.owner.cookie, &team.owner.in_env(&team.owner.live, "")).await.field("/key");
        for query in ["", "?keys=keep", "?keys=revoke"] {
            remove(&app, &team.owner, team.org(), &team.owner.user, query).await.is_problem(409, "last_owner");
        }
        assert!(is_good(&app, &key).await, "nothing was revoked for it");
        assert_eq!(members(&app, &team.owner, team.org()).await.len(), 1);
    }

    async fn a_page_of_many_members_and_keys_is_read_by_indices(app) {
        let ada = someone(&app, "ada@example.com").await;
        let org: latchkey::model::OrganisationId = ada.org.parse().expect("an id");
        let env: latchkey::model::EnvironmentId = ada.live.parse().expect("an id");
        let (numbers, random, hash) = match app.engine {
            crate::app::Engine::Sqlite => (
                "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {}) ",
                "randomblob(16)",
                "randomblob(32)",
            ),
            crate::app::Engine::Postgres => (
                "WITH s (n) AS (SELECT * FROM generate_series(1, {})) ",
                "gen_random_uuid()",
                "sha256(n::text::bytea)",
            ),
        };
        let up_to = |most: &str| numbers.replace("{}", most);
        let org = org.0;
        for statement in [
            format!("INSERT INTO users (id, email, password_hash, created_at) {} SELECT n, n || '@example.com', '', n FROM s", up_to("1000")),
            format!("INSERT INTO memberships (user_id, organisation_id, role, created_at) {} SELECT n, {org}, 'member', n FROM s", up_to("1000")),
            format!(
                "INSERT INTO keys (id, uuid, hash, organisation_id, environment_id, created_by, name, name_folded, prefix, created_at)
                 {} SELECT n, {random}, {hash}, {org}, {}, 1 + n % 1000, 'n', 'n', 'p', n FROM s",
                up_to("10000"), env.0
            ),
        ] {
            app.execute(&statement).await;
        }
        if app.engine == crate::app::Engine::Postgres {
            app.execute("ANALYZE").await;
        }
        let (mut count, mut cursor, mut slowest) = (0, String::new(), std::time::Duration::MAX);
        loop {
            let began = std::time::Instant::now();
            let page = call(&app, &ada, "GET", &path(&ada.org, &format!("/members?limit=100{cursor}"))).send().await.json();
            slowest = slowest.min(began.elapsed());
            let rows = page["members"].as_array().expect("a list");
            count += rows.len();
            assert!(rows.iter().all(|row| row["active_keys"] == json!(10) || row["role"] == json!("owner")), "{rows:?}");
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(count, 1001);
        // The quickest page, in a debug build beside other tests: a scan for each member would take a second.
        assert!(slowest < std::time::Duration::from_millis(100), "{slowest:?}");
    }
}

async fn tenant_id(app: &TestApp, who: &Someone) -> String {
    let me = call(app, who, "GET", "/v1/auth/me").send().await.json();
    let organisations = me["organisations"].as_array().expect("a list").clone();
    let own = organisations.iter().find(|found| found["id"] == who.org.as_str()).expect("their own");
    own["tenant_id"].as_str().expect("an id").to_owned()
}
