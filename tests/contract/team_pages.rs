//! The settings pages of an organisation, for every role: the forms that a role sees, and forged forms that a role may
//! not send.

use crate::app::{TestApp, on_both_engines};
use crate::story::{Answer, Call, Someone, create, someone};
use crate::teams::Team;
use crate::teams_invitations::invite;
use crate::teams_roles::state;

pub async fn get(app: &TestApp, cookie: &str, path: &str) -> Answer {
    Call::new(app, "GET", path).cookie(cookie).send().await
}

pub async fn post(app: &TestApp, cookie: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let call = Call::new(app, "POST", path).cookie(cookie);
    call.header("content-type", "application/x-www-form-urlencoded").body(body).send().await
}

/// Returns the page after the redirect of a form.
pub async fn after(app: &TestApp, cookie: &str, answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{}", answer.text());
    let mut page = get(app, cookie, answer.header("location")).await;
    while page.status == 303 {
        page = get(app, cookie, page.header("location")).await;
    }
    page.text()
}

/// Every form, with fields that a person with the right could send.
fn forms(team: &Team, invitation: &str) -> Vec<(String, Vec<(&'static str, &'static str)>)> {
    let owner = &team.owner;
    let at = |page: String| owner.settings(&page);
    let (member, env) = (&team.member.user, &owner.test);
    vec![
        (at(String::new()), vec![("name", "Other"), ("version", "owner's organisation")]),
        (at("/delete".to_owned()), vec![("confirm", "owner's organisation")]),
        (at(format!("/members/{member}/role")), vec![("role", "viewer"), ("version", "member")]),
        (at(format!("/members/{}/remove", owner.user)), vec![("keys", "keep")]),
        (at(format!("/members/{member}/remove")), vec![("keys", "revoke")]),
        (at("/invitations".to_owned()), vec![("email", "new@example.com"), ("role", "member")]),
        (at(format!("/invitations/{invitation}/delete")), vec![]),
        (at("/environments".to_owned()), vec![("name", "Staging"), ("mode", "test")]),
        (at(format!("/environments/{env}")), vec![("name", "Sandbox"), ("version", "Development")]),
        (at(format!("/environments/{env}/archive")), vec![("archived", "true"), ("keys", "1")]),
        (
            at(format!("/environments/{env}/retention")),
            vec![("version", "7 1000000"), ("event_days", "3"), ("event_limit", "9"), ("confirmed", "true")],
        ),
    ]
}

on_both_engines! {
    async fn each_role_sees_the_forms_that_it_may_send(app) {
        let team = Team::new(&app).await;
        let eve = someone(&app, "eve@example.com").await;
        let owner = &team.owner;
        let (env, members) = (owner.settings(&format!("/environments/{}", owner.test)), owner.settings("/members"));
        // The path, a marker of a form, and its number for owner, admin, member and viewer.
        let table: [(&str, &str, [usize; 4]); 12] = [
            ("", "name=\"version\"", [1, 1, 0, 0]),
            ("", "?delete=1", [1, 0, 0, 0]),
            ("?delete=1", "name=\"confirm\"", [1, 0, 0, 0]),
            // The only owner has no form.
            ("/members", "<select", [3, 3, 0, 0]),
            ("/members", "value=\"owner\">", [3, 0, 0, 0]),
            ("/members", "?remove=usr_", [3, 3, 1, 1]),
            ("/members", "/settings/invitations\" class=\"button primary\"", [1, 1, 0, 0]),
            ("/environments", "name=\"mode\"", [2, 2, 0, 0]),
            ("ENV", "name=\"event_days\"", [1, 1, 0, 0]),
            ("ENV", "?archive=1", [1, 1, 0, 0]),
            ("ENV?archive=1", "name=\"archived\"", [1, 1, 0, 0]),
            ("", "aria-current=\"page\"", [2, 2, 2, 2]),
        ];
        let people = [owner, &team.admin, &team.member, &team.viewer];
        for (page, marker, expected) in table {
            let path = page.strip_prefix("ENV").map_or_else(|| owner.settings(page), |rest| format!("{env}{rest}"));
            for (who, expected) in people.iter().zip(expected) {
                let answer = get(&app, &who.cookie, &path).await;
                let text = answer.text();
                assert_eq!(answer.status, 200, "{path}: {text}");
                assert_eq!(text.matches(marker).count(), expected, "{path} {marker} {expected} {}: {text}", who.user);
            }
            assert_eq!(get(&app, &eve.cookie, &path).await.status, 404, "{path}");
            assert_eq!(get(&app, "session=none", &path).await.status, 303, "{path}");
        }
        for (who, status) in people.iter().zip([200, 200, 403, 403]) {
            let path = owner.settings("/invitations");
            assert_eq!(get(&app, &who.cookie, &path).await.status, status);
            let side = get(&app, &who.cookie, &members).await.text();
            assert_eq!(side.contains(&format!("href=\"{path}\"")), status == 200, "{side}");
        }
        let text = get(&app, &team.viewer.cookie, &members).await.text();
        assert!(text.contains("owner@example.com") && text.contains("This is the only owner"), "{text}");
        assert!(text.contains("<title>Members · owner&#x27;s organisation · Latchkey") || text.contains("<title>Members · owner's organisation · Latchkey"), "{text}");
        let other = eve.settings(&format!("/environments/{}", owner.live));
        assert_eq!(get(&app, &eve.cookie, &other).await.status, 404);
    }

    async fn a_forged_form_changes_nothing(app) {
        let team = Team::new(&app).await;
        let eve = someone(&app, "eve@example.com").await;
        create(&app, &team.member.cookie, &team.owner.in_env(&team.owner.test, "")).await;
        let invitation = invite(&app, &team.owner, team.org(), "kim@example.com", "owner").await.field("/id");
        let before = state(&app).await;
        let only_owners = |path: &str| {
            path.ends_with("/delete") || path.ends_with(&format!("{}/remove", team.owner.user))
        };
        for (path, fields) in forms(&team, &invitation) {
            for who in [&team.member, &team.viewer] {
                // A member may leave.
                if path.contains(&format!("{}/remove", who.user)) {
                    continue;
                }
                assert_eq!(post(&app, &who.cookie, &path, &fields).await.status, 403, "{path}");
            }
            if only_owners(&path) {
                assert_eq!(post(&app, &team.admin.cookie, &path, &fields).await.status, 403, "{path}");
            }
            assert_eq!(post(&app, &eve.cookie, &path, &fields).await.status, 404, "{path}");
            let over = post(&app, "session=none", &path, &fields).await;
            assert_eq!(over.status, 401, "{path}");
            assert!(over.text().contains("Your session is over"), "{path}: the form is kept: {}", over.text());
            for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
                let call = Call::new(&app, "POST", &path).cookie(&team.owner.cookie).header(name, value);
                let call = call.header("host", "127.0.0.1:3000").header("content-type", "application/x-www-form-urlencoded");
                let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
                assert_eq!(call.body(body).send().await.status, 403, "{path} {name}");
            }
            assert_eq!(state(&app).await, before, "{path}");
        }
        // Roles above the right of an admin.
        let role = team.owner.settings(&format!("/members/{}/role", team.member.user));
        let fields = [("role", "owner"), ("version", "member")];
        assert_eq!(post(&app, &team.admin.cookie, &role, &fields).await.status, 403);
        let fields = [("email", "new@example.com"), ("role", "owner")];
        assert_eq!(post(&app, &team.admin.cookie, &team.owner.settings("/invitations"), &fields).await.status, 403);
        let role = team.owner.settings(&format!("/members/{}/role", team.owner.user));
        assert_eq!(post(&app, &team.admin.cookie, &role, &[("role", "viewer"), ("version", "owner")]).await.status, 403);
        // Objects of another organisation.
        for (path, fields) in [
            (eve.settings(&format!("/members/{}/role", team.member.user)), vec![("role", "viewer"), ("version", "member")]),
            (eve.settings(&format!("/members/{}/remove", team.member.user)), vec![("keys", "keep")]),
            (eve.settings(&format!("/invitations/{invitation}/delete")), vec![]),
            (eve.settings(&format!("/environments/{}", team.owner.test)), vec![("name", "x"), ("version", "Development")]),
            (eve.settings(&format!("/environments/{}/archive", team.owner.test)), vec![("archived", "true"), ("keys", "1")]),
            (eve.settings("/members/usr_1/role"), vec![("role", "viewer"), ("version", "member")]),
        ] {
            assert_eq!(post(&app, &eve.cookie, &path, &fields).await.status, 404, "{path}");
        }
        assert_eq!(state(&app).await, before);
        // And the right ones work, so that the fields above are not the reason. The deletion comes last.
        let mut all = forms(&team, &invitation);
        let delete = all.remove(1);
        for (path, fields) in all.into_iter().chain([delete]) {
            if path.ends_with(&format!("{}/remove", team.owner.user)) {
                continue;
            }
            let confirm = [("confirm", "Other")];
            let fields = if path.ends_with("/settings/delete") { &confirm[..] } else { &fields };
            let done = post(&app, &team.owner.cookie, &path, fields).await;
            let expected = if path.ends_with("/settings/invitations") { 201 } else { 303 };
            assert_eq!(done.status, expected, "{path}: {}", done.text());
            let now = state(&app).await;
            assert_ne!(now, before, "{path}");
        }
        assert_eq!(get(&app, &team.member.cookie, &team.owner.settings("")).await.status, 404);
    }

    async fn without_an_organisation_a_person_creates_one(app) {
        let ada = someone(&app, "ada@example.com").await;
        ada.leave(&app, &ada.org).await;
        let home = get(&app, &ada.cookie, "/").await;
        assert_eq!((home.status.as_u16(), home.header("location")), (303, "/organisations/new"));
        let page = get(&app, &ada.cookie, "/organisations/new").await.text();
        assert!(page.contains("You are in no organisation") && page.contains("<bdi>ada@example.com</bdi>"), "{page}");
        let wrong = post(&app, &ada.cookie, "/organisations/new", &[("name", " ")]).await;
        assert_eq!(wrong.status, 400);
        assert!(wrong.text().contains("It must not be empty."), "{}", wrong.text());
        let over = post(&app, "session=none", "/organisations/new", &[("name", "Acme")]).await;
        assert!(over.text().contains("name=Acme") && over.status == 401, "{}", over.text());
        assert_eq!(app.number("SELECT count(*) FROM organisations").await, 1);
        let made = post(&app, &ada.cookie, "/organisations/new", &[("name", "Acme")]).await;
        let page = after(&app, &ada.cookie, &made).await;
        assert!(page.contains("Organisation “<bdi>Acme</bdi>” created") && page.contains("API keys"), "{page}");
        assert_eq!(get(&app, "session=none", "/organisations/new").await.status, 303);
    }
}

/// Signs in with the form of the page.
pub async fn sign_in(app: &TestApp, email: &str) -> String {
    let fields = [("email", email), ("password", crate::teams::PASSWORD)];
    post(app, "a=b", "/sign-in", &fields).await.cookie()
}

impl Someone {
    /// The path of a form about a member of this person's organisation.
    pub fn about(&self, member: &Self, form: &str) -> String {
        self.settings(&format!("/members/{}/{form}", member.user))
    }
}
