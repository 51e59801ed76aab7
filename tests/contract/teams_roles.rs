//! Every role and every call: what is allowed, and that nothing changes where it is not (docs/API.md, "Organisations and people").

use serde_json::json;

use crate::app::{TestApp, on_both_engines};
use crate::hooksentry;
use crate::story::{Answer, Call, Someone, create, someone};
use crate::teams::{Team, call, path};
use crate::teams_invitations::invite;

/// The rows that these calls change: a refused call changes none of them.
pub async fn state(app: &TestApp) -> Vec<i64> {
    let mut counts = Vec::new();
    for statement in [
        "SELECT count(*) FROM audit_entries",
        "SELECT count(*) FROM organisations WHERE deleted_at IS NULL",
        "SELECT count(*) FROM environments",
        "SELECT count(*) FROM environments WHERE archived_at IS NULL",
        "SELECT count(*) FROM memberships",
        "SELECT count(*) FROM memberships WHERE role = 'owner'",
        "SELECT count(*) FROM memberships WHERE role = 'admin'",
        "SELECT count(*) FROM invitations",
        "SELECT count(*) FROM keys WHERE revoked_at IS NULL",
    ] {
        counts.push(app.number(statement).await);
    }
    counts
}

/// A call by its name in the table.
struct Asked {
    method: &'static str,
    path: String,
    body: Option<String>,
}

impl Asked {
    async fn send(&self, call: Call<'_>) -> Answer {
        match &self.body {
            Some(body) => call.json(body).send().await,
            None => call.send().await,
        }
    }
}

/// The people and rows that the calls are about: each is made anew for each call that succeeds.
struct Targets {
    org: String,
    name: &'static str,
    env: String,
    plain_member: String,
    other_owner: String,
    plain_invitation: String,
    owner_invitation: String,
}

async fn targets(app: &TestApp, team: &Team, round: usize) -> Targets {
    let org = team.org().to_owned();
    let (plain, second) = (
        someone(app, &format!("plain{round}@example.com")).await,
        someone(app, &format!("second{round}@example.com")).await,
    );
    plain.join(app, &org, latchkey::model::Role::Member).await;
    second.join(app, &org, latchkey::model::Role::Owner).await;
    create(app, &plain.cookie, &team.owner.in_env(&team.owner.live, "")).await;
    let env = call(app, &team.owner, "POST", &path(&org, "/environments"))
        .json(r#"{"name": "x", "mode": "test"}"#)
        .send()
        .await;
    let plain_invitation = invite(app, &team.owner, &org, &format!("a{round}@example.com"), "admin").await;
    let owner_invitation = invite(app, &team.owner, &org, &format!("b{round}@example.com"), "owner").await;
    Targets {
        org,
        name: "owner's organisation",
        env: env.field("/id"),
        plain_member: plain.user,
        other_owner: second.user,
        plain_invitation: plain_invitation.field("/id"),
        owner_invitation: owner_invitation.field("/id"),
    }
}

/// Every call, and its status for an owner, an admin, a member and a viewer. Somebody who is no member gets 404 for all.
fn calls(targets: &Targets) -> Vec<(Asked, [u16; 4])> {
    let ask = |method, below: String, body: Option<serde_json::Value>| Asked {
        method,
        path: path(&targets.org, &below),
        body: body.map(|body| body.to_string()),
    };
    let member = |user: &str| format!("/members/{user}");
    let invitation = |id: &str| format!("/invitations/{id}");
    vec![
        (ask("GET", "/members".to_owned(), None), [200, 200, 200, 200]),
        (ask("GET", "/invitations".to_owned(), None), [200, 200, 403, 403]),
        (ask("PATCH", String::new(), Some(json!({ "name": "owner's organisation" }))), [200, 200, 403, 403]),
        (ask("PATCH", String::new(), Some(json!({}))), [200, 200, 403, 403]),
        (ask("POST", "/environments".to_owned(), Some(json!({ "name": "new", "mode": "live" }))), [201, 201, 403, 403]),
        (ask("PATCH", format!("/environments/{}", targets.env), Some(json!({ "name": "y" }))), [200, 200, 403, 403]),
        (
            ask("PATCH", format!("/environments/{}?revoke_keys=true", targets.env), Some(json!({ "archived": true }))),
            [200, 200, 403, 403],
        ),
        (ask("PATCH", "/environments/none".to_owned(), Some(json!({}))), [404, 404, 403, 403]),
        (
            ask("POST", "/invitations".to_owned(), Some(json!({ "email": "c@example.com", "role": "admin" }))),
            [201, 201, 403, 403],
        ),
        (
            ask("POST", "/invitations".to_owned(), Some(json!({ "email": "d@example.com", "role": "owner" }))),
            [201, 403, 403, 403],
        ),
        (ask("DELETE", invitation(&targets.plain_invitation), None), [204, 204, 403, 403]),
        (ask("DELETE", invitation(&targets.owner_invitation), None), [204, 403, 403, 403]),
        (ask("PATCH", member(&targets.plain_member), Some(json!({ "role": "admin" }))), [200, 200, 403, 403]),
        (ask("PATCH", member(&targets.plain_member), Some(json!({ "role": "owner" }))), [200, 403, 403, 403]),
        (ask("PATCH", member(&targets.other_owner), Some(json!({ "role": "admin" }))), [200, 403, 403, 403]),
        (ask("DELETE", member(&targets.plain_member) + "?keys=revoke", None), [200, 200, 403, 403]),
        (ask("DELETE", member(&targets.plain_member) + "?keys=keep", None), [200, 200, 403, 403]),
        (ask("DELETE", member(&targets.other_owner) + "?keys=revoke", None), [200, 403, 403, 403]),
        (ask("DELETE", String::new(), Some(json!({ "confirm": targets.name }))), [200, 403, 403, 403]),
    ]
}

on_both_engines! {
    async fn every_role_may_do_what_the_table_says_and_nothing_else(app) {
        let team = Team::new(&app).await;
        let outsider = someone(&app, "outsider@example.com").await;
        let mut round = 0;
        let mut now = targets(&app, &team, round).await;
        let count = calls(&now).len();
        let roles: [&Someone; 4] = [&team.owner, &team.admin, &team.member, &team.viewer];
        for number in 0..count {
            // The owner last: their call may take something away.
            for (role, who) in roles.iter().enumerate().rev() {
                let (asked, expected) = calls(&now).remove(number);
                let before = state(&app).await;
                let answer = asked.send(call(&app, who, asked.method, &asked.path)).await;
                let what = format!("{} {} {:?} by {role}", asked.method, asked.path, asked.body);
                assert_eq!(answer.status.as_u16(), expected[role], "{what}: {}", answer.text());
                if expected[role] >= 400 {
                    assert_eq!(state(&app).await, before, "{what}");
                    let code = if expected[role] == 403 { "forbidden" } else { "not_found" };
                    answer.is_problem(expected[role], code);
                } else if asked.method != "GET" && number + 1 < count {
                    round += 1;
                    now = targets(&app, &team, round).await;
                }
                if role == 3 {
                    let before = state(&app).await;
                    let (asked, _) = calls(&now).remove(number);
                    let hidden = asked.send(call(&app, &outsider, asked.method, &asked.path)).await;
                    hidden.is_problem(404, "not_found");
                    let nobody = asked.send(Call::new(&app, asked.method, &asked.path)).await;
                    nobody.is_problem(401, "unauthenticated");
                    assert_eq!(state(&app).await, before, "{what}");
                }
            }
        }
    }

    /// A credential that is bound to one organisation manages none.
    async fn only_sessions_manage_organisations(app) {
        let team = Team::new(&app).await;
        let key = create(&app, &team.owner.cookie, &team.owner.in_env(&team.owner.live, "")).await.field("/key");
        let access = hooksentry::log_in(&app, "owner@example.com", None).await.field("/accessToken");
        let bearer = format!("Bearer {access}");
        let session = format!("Bearer {}", team.owner.cookie.trim_start_matches("session="));
        let now = targets(&app, &team, 0).await;
        let mut all: Vec<Asked> = calls(&now).into_iter().map(|(asked, _)| asked).collect();
        for (method, body) in [("GET", None), ("POST", Some(r#"{"name": "x"}"#.to_owned()))] {
            all.push(Asked { method, path: "/v1/organisations".to_owned(), body });
        }
        let before = state(&app).await;
        for asked in all {
            let ask = || Call::new(&app, asked.method, &asked.path);
            asked.send(ask().header("authorization", &bearer)).await.is_problem(403, "session_required");
            asked.send(ask().key(&key)).await.is_problem(403, "forbidden");
            asked.send(ask().key("hs_live_unknown")).await.is_problem(401, "unauthenticated");
        }
        assert_eq!(state(&app).await, before);
        let list = Call::new(&app, "GET", "/v1/organisations").header("authorization", &session).send().await;
        assert_eq!(list.status, 200, "{}", list.text());
        assert_eq!(hooksentry::call(&app, &access, "GET", "/v1/auth/me").send().await.status, 200);
    }

    async fn an_organisation_that_is_unknown_is_a_404(app) {
        let ada = someone(&app, "ada@example.com").await;
        for org in ["org_0000000000000001", "none", "%ff"] {
            call(&app, &ada, "GET", &path(org, "/members")).send().await.is_problem(404, "not_found");
            call(&app, &ada, "PATCH", &path(org, "")).json("{}").send().await.is_problem(404, "not_found");
            call(&app, &ada, "DELETE", &path(org, "")).json(r#"{"confirm": "x"}"#).send().await.is_problem(404, "not_found");
        }
    }
}
