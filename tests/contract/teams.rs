//! Organisations (docs/API.md, "Organisations and people"): created, renamed, deleted.

use latchkey::model::Role;
use latchkey::store::Db;
use serde_json::json;

use crate::app::{NOW, TestApp, on_both_engines};
use crate::hooksentry::{self, tenant};
use crate::story::{Answer, Call, Someone, Story, create, someone};

pub const PASSWORD: &str = "correct horse battery";

/// A call of somebody with a session.
pub fn call<'a>(app: &'a TestApp, who: &Someone, method: &str, path: &str) -> Call<'a> {
    Call::new(app, method, path).cookie(&who.cookie)
}

/// The path of an organisation, and below it.
pub fn path(org: &str, below: &str) -> String {
    format!("/v1/organisations/{org}{below}")
}

/// An organisation with an owner and a member of each other role. The test moves the clock between their joining, so that
/// they have an order.
pub struct Team {
    pub owner: Someone,
    pub admin: Someone,
    pub member: Someone,
    pub viewer: Someone,
}

impl Team {
    pub async fn new(app: &TestApp) -> Self {
        let owner = someone(app, "owner@example.com").await;
        let mut others = Vec::new();
        for role in [Role::Admin, Role::Member, Role::Viewer] {
            app.clock.advance(1000);
            let who = someone(app, &format!("{}@example.com", role.as_str())).await;
            who.join(app, &owner.org, role).await;
            others.push(who);
        }
        let [admin, member, viewer] = others.try_into().ok().expect("three of them");
        Self { owner, admin, member, viewer }
    }

    pub fn org(&self) -> &str {
        &self.owner.org
    }
}

/// Whether a person is a member of an organisation, as they are told themselves.
pub async fn role_of(app: &TestApp, who: &Someone, org: &str) -> Option<String> {
    let me = call(app, who, "GET", "/v1/auth/me").send().await;
    assert_eq!(me.status, 200, "{}", me.text());
    let me = me.json();
    let found = me["organisations"].as_array().expect("a list").iter().find(|found| found["id"] == org)?;
    found["role"].as_str().map(str::to_owned)
}

/// Whether a key is accepted.
pub async fn is_good(app: &TestApp, key: &str) -> bool {
    let answer = Call::new(app, "GET", "/v1/whoami").key(key).send().await;
    assert!([200, 401].contains(&answer.status.as_u16()), "{}", answer.text());
    answer.status == 200
}

/// Runs the jobs that erase what is left of deleted organisations.
pub async fn erase(app: &TestApp) {
    app.clock.advance(60_000);
    for payload in texts(&app.db, "erase_organisation").await {
        app.services.teams.erase(&payload).await.expect("it is erased");
    }
}

async fn texts(db: &Db, kind: &str) -> Vec<String> {
    let jobs = latchkey::jobs::Jobs::new(
        db.clone(),
        latchkey::runtime::clock::Clock::fixed(NOW.plus(1_000_000_000)),
        latchkey::runtime::entropy::Entropy::seeded(9),
    );
    let (sender, mut payloads) = tokio::sync::mpsc::unbounded_channel();
    let kinds = latchkey::jobs::Kind::ERASURES;
    assert_eq!(kinds[0].name(), kind);
    let runner = latchkey::jobs::Runner::new(jobs, &kinds, 1, move |job| {
        let sender = sender.clone();
        async move { Ok(sender.send(job.payload)?) }
    });
    let mut tasks = latchkey::runtime::tasks::Tasks::default();
    tasks.spawn(|stop| runner.run(stop));
    let first = tokio::time::timeout(std::time::Duration::from_secs(30), payloads.recv()).await;
    tasks.stop().await.expect("no panic");
    let mut found = vec![first.expect("in time").expect("a job")];
    while let Ok(payload) = payloads.try_recv() {
        found.push(payload);
    }
    found
}

/// Deletes an organisation.
pub async fn delete(app: &TestApp, who: &Someone, org: &str, name: &str) -> Answer {
    call(app, who, "DELETE", &path(org, "")).json(&json!({ "confirm": name }).to_string()).send().await
}

on_both_engines! {
    async fn an_organisation_is_created_listed_and_renamed(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        app.clock.advance(1000);
        let made = call(&app, &ada, "POST", "/v1/organisations").json(r#"{"name": "  Example\u0020Ltd "}"#).tell(&mut story).await;
        let org = made.field("/id");
        call(&app, &ada, "GET", "/v1/organisations").tell(&mut story).await;
        call(&app, &ada, "PATCH", &path(&org, "")).json(r#"{"name": "Other Ltd"}"#).tell(&mut story).await;
        story.say("nothing to change");
        call(&app, &ada, "PATCH", &path(&org, "")).json("{}").tell(&mut story).await;
        story.say("names");
        for body in ["{}", r#"{"name": ""}"#, r#"{"name": "a\nb"}"#, r#"{"name": "x", "role": "owner"}"#] {
            call(&app, &ada, "POST", "/v1/organisations").json(body).tell(&mut story).await;
        }
        call(&app, &ada, "PATCH", &path(&org, "")).json(r#"{"name": " "}"#).tell(&mut story).await;
        let null = call(&app, &ada, "PATCH", &path(&org, "")).json(r#"{"name": null}"#).send().await;
        assert_eq!((null.status.as_u16(), null.wrong_fields()), (400, vec!["name".to_owned()]));
        let long = json!({ "name": "x".repeat(101) }).to_string();
        assert_eq!(call(&app, &ada, "POST", "/v1/organisations").json(&long).send().await.wrong_fields(), ["name"]);
        story.say("the same in me, and keys can be made there");
        let me = call(&app, &ada, "GET", "/v1/auth/me").send().await;
        assert_eq!(me.field("/organisations/1/name"), "Other Ltd");
        let env = made.field("/environments/1/id");
        create(&app, &ada.cookie, &format!(r#"{{"name": "key", "org_id": "{org}", "env_id": "{env}"}}"#)).await;
        story.is("an_organisation_is_created_listed_and_renamed");
        assert_eq!(app.number("SELECT count(*) FROM organisations").await, 2);
    }

    async fn organisations_are_listed_by_pages(app) {
        let ada = someone(&app, "ada@example.com").await;
        for number in 1..=4 {
            // Two of them at the same moment.
            app.clock.advance(if number == 2 { 0 } else { 1000 });
            let body = json!({ "name": format!("{number}") }).to_string();
            assert_eq!(call(&app, &ada, "POST", "/v1/organisations").json(&body).send().await.status, 201);
        }
        let whole = call(&app, &ada, "GET", "/v1/organisations").send().await.json();
        assert_eq!(whole["organisations"].as_array().expect("a list").len(), 5);
        assert!(whole.get("next_cursor").is_none());
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = call(&app, &ada, "GET", &format!("/v1/organisations?limit=2{cursor}")).send().await.json();
            found.extend(page["organisations"].as_array().expect("a list").clone());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(json!(found), whole["organisations"]);
        for (query, field) in [("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("cursor=x", "cursor")] {
            let answer = call(&app, &ada, "GET", &format!("/v1/organisations?{query}")).send().await;
            assert_eq!(answer.wrong_fields(), [field], "{query}");
        }
        call(&app, &ada, "GET", "/v1/organisations?page=2").send().await.is_problem(400, "invalid_request");
    }

    async fn a_person_owns_a_bounded_number_of_organisations(app) {
        let ada = someone(&app, "ada@example.com").await;
        let body = r#"{"name": "another"}"#;
        for _ in 0..98 {
            assert_eq!(call(&app, &ada, "POST", "/v1/organisations").json(body).send().await.status, 201);
        }
        // Of two at once only one has room.
        let both = futures::future::join_all((0..2).map(|_| call(&app, &ada, "POST", "/v1/organisations").json(body).send())).await;
        let statuses: Vec<u16> = both.iter().map(|answer| answer.status.as_u16()).collect();
        assert!(statuses == [201, 409] || statuses == [409, 201], "{statuses:?}");
        call(&app, &ada, "POST", "/v1/organisations").json(body).send().await.is_problem(409, "too_many_organisations");
        assert_eq!(app.number("SELECT count(*) FROM organisations").await, 100);
        delete(&app, &ada, &ada.org, "ada's organisation").await;
        assert_eq!(call(&app, &ada, "POST", "/v1/organisations").json(body).send().await.status, 201);
    }

    /// Its people, keys, tokens, invitations, events: all of it is over when the deletion is answered, and gone after a while.
    async fn a_deleted_organisation_is_gone_for_everybody(app) {
        let mut story = Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        let bob = tenant(&app, "bob@example.com").await;
        bob.who.join(&app, &ada.who.org, Role::Admin).await;
        let bobs_token = hooksentry::log_in(&app, "bob@example.com", Some(&ada.id)).await.field("/accessToken");
        let mut keys = Vec::new();
        for body in [ada.who.in_env(&ada.who.live, ""), ada.who.in_env(&ada.who.test, "")] {
            keys.push(create(&app, &ada.who.cookie, &body).await.field("/key"));
        }
        keys.push(create(&app, &bob.who.cookie, &ada.who.in_env(&ada.who.live, "")).await.field("/key"));
        let theirs = create(&app, &bob.who.cookie, &bob.who.in_env(&bob.who.live, "")).await.field("/key");
        for (who, key) in [(&ada, &keys[0]), (&bob, &theirs)] {
            assert!(is_good(&app, key).await);
            let sent = Call::new(&app, "POST", &format!("/api/v1/ingest/{}/shop", who.id)).key(key);
            assert_eq!(sent.header("x-idempotency-key", "1").json("{}").send().await.status, 202);
        }
        app.services.usage.flush().await.expect("counts are written");
        let invite = r#"{"email": "eve@example.com", "role": "member"}"#;
        let invited = call(&app, &ada.who, "POST", &path(&ada.who.org, "/invitations")).json(invite).send().await;
        let token = invited.field("/url").rsplit('/').next().expect("a token").to_owned();

        story.say("another name, and none");
        let own = path(&ada.who.org, "");
        call(&app, &ada.who, "DELETE", &own).json(r#"{"confirm": "Ada's organisation"}"#).tell(&mut story).await;
        call(&app, &ada.who, "DELETE", &own).json("{}").tell(&mut story).await;
        assert!(is_good(&app, &keys[0]).await);
        story.say("the name");
        call(&app, &ada.who, "DELETE", &own).json(r#"{"confirm": " ada's organisation "}"#).tell(&mut story).await;
        for key in &keys {
            assert!(!is_good(&app, key).await);
        }
        assert!(is_good(&app, &theirs).await);
        assert_eq!(app.number("SELECT count(*) FROM keys WHERE revoked_at IS NULL").await, 1);
        story.say("nobody sees it");
        for who in [&ada.who, &bob.who] {
            assert_eq!(role_of(&app, who, &ada.who.org).await, None);
            call(&app, who, "GET", &path(&ada.who.org, "/members")).send().await.is_problem(404, "not_found");
            call(&app, who, "GET", &format!("/v1/auth/api-keys?org_id={}", ada.who.org)).send().await.is_problem(404, "not_found");
            delete(&app, who, &ada.who.org, "ada's organisation").await.is_problem(404, "not_found");
        }
        for token in [&ada.access, &bobs_token] {
            assert!(!hooksentry::opens(&app, token).await);
        }
        assert_eq!(hooksentry::refresh(&app, &ada.refresh).await.status, 401);
        let accept = json!({ "token": token, "password": PASSWORD }).to_string();
        Call::new(&app, "POST", "/v1/invitations/accept").json(&accept).send().await.is_problem(404, "not_found");
        story.say("who is nowhere now can sign in, and begin anew");
        call(&app, &ada.who, "GET", "/v1/auth/me").tell(&mut story).await;
        story.is("a_deleted_organisation_is_gone_for_everybody");

        let left = [
            "SELECT count(*) FROM organisations", "SELECT count(*) FROM environments", "SELECT count(*) FROM keys",
            "SELECT count(*) FROM events", "SELECT count(*) FROM sources", "SELECT count(*) FROM idempotency_keys",
            "SELECT count(DISTINCT key_id) FROM key_hours", "SELECT count(DISTINCT key_id) FROM key_addresses",
        ];
        erase(&app).await;
        for statement in left {
            let expected = if statement.contains("environments") { 2 } else { 1 };
            assert_eq!(app.number(statement).await, expected, "{statement}");
        }
        assert_eq!(app.number("SELECT count(*) FROM revoked_hashes").await, 3);
        assert_eq!(app.number("SELECT count(*) FROM audit_entries WHERE action = 'key.revoked'").await, 3);
        assert!(is_good(&app, &theirs).await && !is_good(&app, &keys[0]).await);
        // A job that runs twice.
        app.services.teams.erase(&json!({ "organisation": ada.who.org }).to_string()).await.expect("it is erased");
        app.services.teams.erase(&json!({ "organisation": bob.who.org }).to_string()).await.expect("it is not deleted");
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 1);
    }

    /// More keys than one transaction revokes, with descendants.
    async fn many_keys_are_revoked_in_groups(app) {
        let ada = someone(&app, "ada@example.com").await;
        let made: Vec<Answer> =
            futures::future::join_all((0..600).map(|_| create(&app, &ada.cookie, r#"{"name": "key"}"#))).await;
        let keys: Vec<String> = made.iter().map(|key| key.field("/key")).collect();
        for key in &keys {
            assert!(is_good(&app, key).await);
        }
        let before = app.number("SELECT number FROM changes_last").await;
        let answer = delete(&app, &ada, &ada.org, "ada's organisation").await;
        assert_eq!((answer.status.as_u16(), answer.json()["keys"].as_u64()), (200, Some(600)), "{}", answer.text());
        for key in &keys {
            assert!(!is_good(&app, key).await);
        }
        assert_eq!(app.number("SELECT number FROM changes_last").await - before, 600);
        assert_eq!(app.number("SELECT count(*) FROM changes WHERE revoked = 1").await, 600);
        assert_eq!(app.number("SELECT revoked_count FROM organisations").await, 600);
        assert_eq!(app.number("SELECT count(*) FROM audit_entries WHERE action = 'key.revoked'").await, 600);
    }

    /// Somebody who is in no organisation: no call and no page fails.
    async fn a_person_in_no_organisation_can_go_on(app) {
        let ada = someone(&app, "ada@example.com").await;
        assert_eq!(delete(&app, &ada, &ada.org, "ada's organisation").await.status, 200);
        let body = json!({ "email": "ada@example.com", "password": PASSWORD }).to_string();
        let signed_in = Call::new(&app, "POST", "/v1/auth/login").json(&body).send().await;
        assert_eq!((signed_in.status.as_u16(), signed_in.json()["organisations"].as_array().map(Vec::len)), (200, Some(0)));
        assert_eq!(Call::new(&app, "POST", "/api/v1/auth/login").json(&body).send().await.status, 404);
        assert_eq!(call(&app, &ada, "GET", "/v1/auth/api-keys").send().await.json(), json!({ "api_keys": [] }));
        call(&app, &ada, "POST", "/v1/auth/api-keys").json(r#"{"name": "key"}"#).send().await.is_problem(404, "not_found");
        for page in ["/keys", "/events", "/cluster", "/server", "/o", "/docs/api", "/nothing", "/"] {
            let status = call(&app, &ada, "GET", page).header("accept", "text/html").send().await.status;
            assert!(!status.is_server_error(), "{page}: {status}");
        }
        let made = call(&app, &ada, "POST", "/v1/organisations").json(r#"{"name": "anew"}"#).send().await;
        assert_eq!(made.status, 201, "{}", made.text());
        create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        assert_eq!(Call::new(&app, "POST", "/api/v1/auth/login").json(&body).send().await.status, 200);
    }
}
