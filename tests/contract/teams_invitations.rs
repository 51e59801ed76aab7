//! Invitations: made, replaced, withdrawn, ended with the right of their maker, and accepted.

use latchkey::accounts::Registration;
use latchkey::web::Site;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::app::{Settings, TestApp, on_both_engines};
use crate::hooksentry;
use crate::story::{Answer, Call, Someone, Story, someone};
use crate::teams::{PASSWORD, Team, call, path, role_of};
use crate::teams_members::{change_role, remove};

const DAY: i64 = 24 * 3600 * 1000;

/// Invites an address; the answer.
pub async fn invite(app: &TestApp, who: &Someone, org: &str, email: &str, role: &str) -> Answer {
    let body = json!({ "email": email, "role": role }).to_string();
    call(app, who, "POST", &path(org, "/invitations")).json(&body).send().await
}

/// The token of an answer's link.
fn token(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.field("/url").rsplit_once("/invite/").expect("a link").1.to_owned()
}

/// Accepts without a session.
async fn accept(app: &TestApp, token: &str, password: Option<&str>) -> Answer {
    let body = json!({ "token": token, "password": password }).to_string();
    Call::new(app, "POST", "/v1/invitations/accept").json(&body).send().await
}

async fn accept_as(app: &TestApp, who: &Someone, token: &str) -> Answer {
    call(app, who, "POST", "/v1/invitations/accept").json(&json!({ "token": token }).to_string()).send().await
}

async fn count(app: &TestApp) -> i64 {
    app.number("SELECT count(*) FROM invitations").await
}

fn public() -> Settings {
    let site = Site { public_url: Some("https://keys.example.com".to_owned()), ..Site::default() };
    Settings { registration: Registration::Closed, site, ..Settings::default() }
}

/// An owner who was added by the operator, on a server that takes no registrations.
async fn added(app: &TestApp) -> Someone {
    let email = latchkey::accounts::EmailAddress::parse("owner@example.com").expect("an address");
    let password = latchkey::accounts::Password::new(PASSWORD.to_owned()).expect("a password");
    app.services.accounts.add(&email, password).await.expect("an account");
    let body = json!({ "email": "owner@example.com", "password": PASSWORD }).to_string();
    let me = Call::new(app, "POST", "/v1/auth/login").json(&body).send().await;
    Someone {
        cookie: me.cookie(),
        user: me.field("/user/id"),
        org: me.field("/organisations/0/id"),
        live: me.field("/organisations/0/environments/0/id"),
        test: me.field("/organisations/0/environments/1/id"),
    }
}

on_both_engines! {
    async fn an_invitation_makes_an_account_where_registration_is_closed(app, public()) {
        let mut story = Story::new();
        let owner = added(&app).await;
        let invitations = path(&owner.org, "/invitations");
        let made = call(&app, &owner, "POST", &invitations).json(r#"{"email": "Bob@Example.com", "role": "admin"}"#).tell(&mut story).await;
        call(&app, &owner, "GET", &invitations).tell(&mut story).await;
        let token = token(&made);
        story.say("a bad password leaves it open");
        let body = |password: &str| json!({ "token": token, "password": password }).to_string();
        Call::new(&app, "POST", "/v1/invitations/accept").json(&body("short")).tell(&mut story).await;
        Call::new(&app, "POST", "/v1/invitations/accept").json(&json!({ "token": token }).to_string()).tell(&mut story).await;
        Call::new(&app, "POST", "/v1/invitations/accept").json("{}").tell(&mut story).await;
        story.say("a session cookie that is over is none");
        app.clock.advance(7 * DAY - 1);
        let accepted = Call::new(&app, "POST", "/v1/invitations/accept").cookie("__Host-session=AAAAAAAAAAAAAAAAAAAAAA").json(&body(PASSWORD)).tell(&mut story).await;
        story.say("used");
        Call::new(&app, "POST", "/v1/invitations/accept").json(&body(PASSWORD)).tell(&mut story).await;
        story.say("signed in, without an organisation of their own");
        let cookie = accepted.cookie();
        Call::new(&app, "GET", "/v1/auth/me").cookie(&cookie).tell(&mut story).await;
        story.is("an_invitation_makes_an_account_where_registration_is_closed");
        assert_eq!(count(&app).await, 0);
        assert_eq!(app.number("SELECT count(*) FROM users WHERE operator = 1").await, 1);
        let body = json!({ "email": "bob@example.com", "password": PASSWORD }).to_string();
        assert_eq!(Call::new(&app, "POST", "/v1/auth/login").json(&body).send().await.status, 200);
        let register = json!({ "email": "eve@example.com", "password": PASSWORD }).to_string();
        Call::new(&app, "POST", "/v1/auth/register").json(&register).send().await.is_problem(403, "forbidden");
    }

    async fn a_person_with_an_account_signs_in_first(app) {
        let mut story = Story::new();
        let owner = someone(&app, "owner@example.com").await;
        let (bob, eve) = (someone(&app, "bob@example.com").await, someone(&app, "eve@example.com").await);
        let invited = invite(&app, &owner, &owner.org, "bob@example.com", "viewer").await;
        let token = token(&invited);
        story.say("nobody, whatever the password");
        let with = |password: &str| Call::new(&app, "POST", "/v1/invitations/accept").json(&json!({ "token": token, "password": password }).to_string());
        with(PASSWORD).tell(&mut story).await;
        with("short").tell(&mut story).await;
        story.say("another person, a token of one organisation, keys");
        call(&app, &eve, "POST", "/v1/invitations/accept").json(&json!({ "token": token }).to_string()).tell(&mut story).await;
        let access = hooksentry::log_in(&app, "bob@example.com", None).await.field("/accessToken");
        let bearer = format!("Bearer {access}");
        with("").header("authorization", &bearer).send().await.is_problem(403, "session_required");
        let key = crate::story::create(&app, &bob.cookie, r#"{"name": "key"}"#).await.field("/key");
        with("").key(&key).send().await.is_problem(403, "forbidden");
        with("").key("hs_live_0").send().await.is_problem(401, "unauthenticated");
        with("").header("authorization", "Bearer x").send().await.is_problem(401, "unauthenticated");
        assert_eq!(role_of(&app, &bob, &owner.org).await, None);
        story.say("themselves: no new session");
        call(&app, &bob, "POST", "/v1/invitations/accept").json(&json!({ "token": token }).to_string()).tell(&mut story).await;
        assert_eq!(role_of(&app, &bob, &owner.org).await.as_deref(), Some("viewer"));
        story.say("once");
        call(&app, &bob, "POST", "/v1/invitations/accept").json(&json!({ "token": token }).to_string()).tell(&mut story).await;
        story.is("a_person_with_an_account_signs_in_first");
        invite(&app, &owner, &owner.org, "Bob@example.com", "admin").await.is_problem(409, "already_member");
    }

    async fn only_the_hash_of_a_token_is_stored_and_a_second_invitation_replaces_the_first(app) {
        let owner = someone(&app, "owner@example.com").await;
        let first = invite(&app, &owner, &owner.org, "bob@example.com", "member").await;
        assert!(first.field("/url").starts_with("http://localhost/invite/lki_"), "{}", first.text());
        let stored = app.bytes("SELECT token_hash FROM invitations").await;
        assert_eq!(stored, [Sha256::digest(token(&first)).to_vec()]);
        let second = invite(&app, &owner, &owner.org, "BOB@example.com", "viewer").await;
        assert_eq!(count(&app).await, 1);
        accept(&app, &token(&first), Some(PASSWORD)).await.is_problem(404, "not_found");
        let list = call(&app, &owner, "GET", &path(&owner.org, "/invitations")).send().await;
        assert!(!list.text().contains("lki_") && !list.text().contains("url"), "{}", list.text());
        assert_eq!(accept(&app, &token(&second), Some(PASSWORD)).await.field("/organisations/0/role"), "viewer");
    }

    async fn an_invitation_is_withdrawn_or_over(app) {
        let owner = someone(&app, "owner@example.com").await;
        let withdrawn = invite(&app, &owner, &owner.org, "bob@example.com", "member").await;
        let one = path(&owner.org, &format!("/invitations/{}", withdrawn.field("/id")));
        let answer = call(&app, &owner, "DELETE", &one).send().await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (204, ""));
        call(&app, &owner, "DELETE", &one).send().await.is_problem(404, "not_found");
        call(&app, &owner, "DELETE", &path(&owner.org, "/invitations/none")).send().await.is_problem(404, "not_found");
        accept(&app, &token(&withdrawn), Some(PASSWORD)).await.is_problem(404, "not_found");
        let over = invite(&app, &owner, &owner.org, "bob@example.com", "member").await;
        let other = someone(&app, "other@example.com").await;
        call(&app, &other, "DELETE", &path(&other.org, &format!("/invitations/{}", over.field("/id")))).send().await.is_problem(404, "not_found");
        app.clock.advance(7 * DAY);
        accept(&app, &token(&over), Some(PASSWORD)).await.is_problem(404, "not_found");
        let body = json!({ "email": "owner@example.com", "password": PASSWORD }).to_string();
        let owner = Someone { cookie: Call::new(&app, "POST", "/v1/auth/login").json(&body).send().await.cookie(), ..owner };
        assert_eq!(call(&app, &owner, "GET", &path(&owner.org, "/invitations")).send().await.json(), json!({ "invitations": [] }));
        assert_eq!(count(&app).await, 1);
        app.services.teams.delete_ended_invitations().await.expect("they are deleted");
        assert_eq!(count(&app).await, 0);
        accept(&app, "", Some(PASSWORD)).await.is_problem(404, "not_found");
        accept(&app, "lki_", None).await.is_problem(404, "not_found");
    }

    /// Each way of losing the right to an invitation ends it, and no other.
    async fn an_invitation_ends_with_the_right_of_its_maker(app) {
        let team = Team::new(&app).await;
        let org = team.org();
        let open = async || {
            let list = call(&app, &team.owner, "GET", &path(org, "/invitations")).send().await.json();
            let list = list["invitations"].as_array().expect("a list").clone();
            list.iter().map(|row| row["email"].as_str().expect("an address").to_owned()).collect::<Vec<_>>()
        };
        change_role(&app, &team.owner, org, &team.member.user, "owner").await;
        let elsewhere = invite(&app, &team.member, &team.member.org, "x@example.com", "owner").await;
        let owners = invite(&app, &team.member, org, "a@example.com", "owner").await;
        app.clock.advance(1);
        let admins = invite(&app, &team.member, org, "b@example.com", "admin").await;
        app.clock.advance(1);
        let others = invite(&app, &team.admin, org, "c@example.com", "viewer").await;
        assert_eq!(open().await, ["a@example.com", "b@example.com", "c@example.com"].map(str::to_owned));
        // An admin makes no owners.
        change_role(&app, &team.owner, org, &team.member.user, "admin").await;
        assert_eq!(open().await, ["b@example.com", "c@example.com"].map(str::to_owned));
        accept(&app, &token(&owners), Some(PASSWORD)).await.is_problem(404, "not_found");
        // A member invites nobody.
        change_role(&app, &team.owner, org, &team.member.user, "member").await;
        assert_eq!(open().await, ["c@example.com"].map(str::to_owned));
        accept(&app, &token(&admins), Some(PASSWORD)).await.is_problem(404, "not_found");
        remove(&app, &team.owner, org, &team.admin.user, "").await;
        assert_eq!(open().await, Vec::<String>::new());
        accept(&app, &token(&others), Some(PASSWORD)).await.is_problem(404, "not_found");
        assert_eq!(accept(&app, &token(&elsewhere), Some(PASSWORD)).await.status, 200);
        assert_eq!(app.number("SELECT count(*) FROM audit_entries WHERE action = 'invitation.deleted'").await, 3);
    }

    async fn an_invitation_ends_when_its_maker_is_disabled(app) {
        let team = Team::new(&app).await;
        let by_admin = token(&invite(&app, &team.admin, team.org(), "a@example.com", "viewer").await);
        let elsewhere = token(&invite(&app, &team.admin, &team.admin.org, "b@example.com", "owner").await);
        let by_owner = token(&invite(&app, &team.owner, team.org(), "c@example.com", "viewer").await);
        let admin = latchkey::accounts::EmailAddress::parse("admin@example.com").expect("an address");
        let change = async |change| {
            let by = latchkey::accounts::Operator::command("latchkey user");
            app.services.accounts.change(&admin, change, by).await.expect("an answer")
        };
        change(latchkey::accounts::AccountChange::Disable).await;
        assert_eq!(app.number("SELECT count(*) FROM audit_entries WHERE action = 'invitation.deleted'").await, 2);
        change(latchkey::accounts::AccountChange::Enable).await;
        for token in [&by_admin, &elsewhere] {
            accept(&app, token, Some(PASSWORD)).await.is_problem(404, "not_found");
        }
        assert_eq!(accept(&app, &by_owner, Some(PASSWORD)).await.status, 200);
        // One that was made beside the change.
        let late = token(&invite(&app, &team.owner, team.org(), "d@example.com", "viewer").await);
        app.execute("UPDATE users SET disabled_at = 1 WHERE email = 'owner@example.com'").await;
        accept(&app, &late, Some(PASSWORD)).await.is_problem(404, "not_found");
        assert_eq!(count(&app).await, 1);
    }

    async fn open_invitations_are_bounded_and_listed_by_pages(app) {
        let owner = someone(&app, "owner@example.com").await;
        for number in 0..100 {
            app.clock.advance(number % 2);
            assert_eq!(invite(&app, &owner, &owner.org, &format!("p{number}@example.com"), "viewer").await.status, 201);
        }
        invite(&app, &owner, &owner.org, "one-more@example.com", "viewer").await.is_problem(409, "too_many_invitations");
        assert_eq!(invite(&app, &owner, &owner.org, "p7@example.com", "viewer").await.status, 201, "it replaces one");
        let (mut found, mut cursor) = (std::collections::BTreeSet::new(), String::new());
        loop {
            let page = call(&app, &owner, "GET", &path(&owner.org, &format!("/invitations?limit=30{cursor}"))).send().await.json();
            for row in page["invitations"].as_array().expect("a list") {
                assert!(found.insert(row["email"].as_str().expect("an address").to_owned()));
            }
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found.len(), 100);
        // Those that are over make room.
        app.clock.advance(7 * DAY - 1000);
        call(&app, &owner, "GET", "/v1/auth/me").send().await;
        app.clock.advance(1000);
        let body = json!({ "email": "owner@example.com", "password": PASSWORD }).to_string();
        let owner = Someone { cookie: Call::new(&app, "POST", "/v1/auth/login").json(&body).send().await.cookie(), ..owner };
        assert_eq!(invite(&app, &owner, &owner.org, "one-more@example.com", "viewer").await.status, 201);
        for body in ["{}", r#"{"email": "x", "role": "viewer"}"#, r#"{"email": "x@example.com", "role": "god"}"#, r#"{"email": "x@example.com"}"#] {
            call(&app, &owner, "POST", &path(&owner.org, "/invitations")).json(body).send().await.is_problem(400, "invalid_request");
        }
    }

    /// Guessing is as slow as at the sign-in, and a good token gives its attempt back.
    async fn attempts_to_accept_are_throttled_by_network(app) {
        let owner = someone(&app, "owner@example.com").await;
        let good = invite(&app, &owner, &owner.org, "bob@example.com", "viewer").await;
        let guess = || Call::new(&app, "POST", "/v1/invitations/accept").from("198.51.100.7:50000").json(r#"{"token": "lki_0"}"#).send();
        for _ in 0..60 {
            guess().await.is_problem(404, "not_found");
        }
        let refused = guess().await;
        refused.is_problem(429, "too_many_requests");
        assert!(!refused.header("retry-after").is_empty());
        let sign_in = json!({ "email": "owner@example.com", "password": PASSWORD }).to_string();
        let sign_in = Call::new(&app, "POST", "/v1/auth/login").from("198.51.100.7:50000").json(&sign_in).send().await;
        sign_in.is_problem(429, "too_many_requests");
        assert_eq!(accept(&app, &token(&good), Some(PASSWORD)).await.status, 200, "from elsewhere");
    }

    async fn one_of_several_acceptances_succeeds(app) {
        let owner = someone(&app, "owner@example.com").await;
        let bob = someone(&app, "bob@example.com").await;
        let for_bob = token(&invite(&app, &owner, &owner.org, "bob@example.com", "viewer").await);
        let for_eve = token(&invite(&app, &owner, &owner.org, "eve@example.com", "viewer").await);
        let both = futures::future::join_all((0..4).map(|_| accept_as(&app, &bob, &for_bob))).await;
        assert_eq!(both.iter().filter(|answer| answer.status == 200).count(), 1);
        assert!(both.iter().all(|answer| [200, 404].contains(&answer.status.as_u16())));
        let both = futures::future::join_all((0..4).map(|_| accept(&app, &for_eve, Some(PASSWORD)))).await;
        assert_eq!(both.iter().filter(|answer| answer.status == 200).count(), 1);
        assert!(both.iter().all(|answer| [200, 401, 404].contains(&answer.status.as_u16())));
        assert_eq!(app.number("SELECT count(*) FROM users").await, 3);
        assert_eq!(app.number("SELECT count(*) FROM audit_entries WHERE action = 'member.added'").await, 2);
    }
}
