//! The pages of invitations: the link that is shown once, and the page that it leads to.

use axum::http::header::SET_COOKIE;
use latchkey::accounts::Registration;

use crate::app::{Settings, TestApp, on_both_engines};
use crate::story::{Answer, someone};
use crate::team_pages::{after, get, post, sign_in};
use crate::teams::{PASSWORD, Team, role_of};
use crate::teams_members::remove;

/// Invites with the form; returns the path of the link.
async fn invite(app: &TestApp, team: &Team, email: &str, role: &str) -> String {
    let path = team.owner.settings("/invitations");
    let made = post(app, &team.owner.cookie, &path, &[("email", email), ("role", role)]).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.header("cache-control"), "no-store");
    let text = made.text();
    let (_, rest) = text.split_once("/invite/lki_").unwrap_or_else(|| panic!("no link: {text}"));
    assert_eq!(text.matches("lki_").count(), 1, "the link is on the page once: {text}");
    format!("/invite/lki_{}", &rest[..64])
}

/// Opens a link; returns the cookie with the invitation.
async fn open(app: &TestApp, cookie: &str, link: &str) -> String {
    let answer = get(app, cookie, link).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, "/invite"));
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert_eq!(answer.header("cache-control"), "no-store");
    let set = answer.header("set-cookie");
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");
    format!("{cookie}; {}", set.split(';').next().unwrap())
}

/// The id of the invitation in the form of a page.
fn id(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"invitation\" value=\"").unwrap_or_else(|| panic!("no form: {page}"));
    rest.split('"').next().unwrap().to_owned()
}

/// The session that an answer begins.
fn session(answer: &Answer) -> String {
    let cookies = answer.headers.get_all(SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap());
    let mut sessions = cookies.filter(|cookie| cookie.starts_with("session="));
    sessions.next().and_then(|cookie| cookie.split(';').next()).expect("a session").to_owned()
}

fn closed() -> Settings {
    Settings { registration: Registration::Open, ..Settings::default() }
}

on_both_engines! {
    async fn the_link_is_shown_once(app) {
        let team = Team::new(&app).await;
        let link = invite(&app, &team, "Kim@Example.com", "viewer").await;
        let path = team.owner.settings("/invitations");
        let list = get(&app, &team.admin.cookie, &path).await.text();
        assert!(list.contains("<bdi>kim@example.com</bdi>") && list.contains("8 Mar 2026") && !list.contains("lki_"), "{list}");
        assert!(!crate::app::log().contains(&link["/invite/".len()..]), "the token is not in the log");
        for (email, role, status, text) in [
            ("kim", "viewer", 400, "It must be an e-mail address"),
            ("kim@example.com", "boss", 400, "Choose a role."),
            ("member@example.com", "viewer", 409, "belongs to a member already"),
        ] {
            let wrong = post(&app, &team.owner.cookie, &path, &[("email", email), ("role", role)]).await;
            assert_eq!(wrong.status, status, "{email} {role}");
            assert!(wrong.text().contains(text) && wrong.text().contains(&format!("value=\"{email}\"")), "{}", wrong.text());
        }
        let (_, row) = list.split_once("id=\"inv_").expect("a row");
        let delete = format!("{path}/inv_{}/delete", &row[..16]);
        let deleted = post(&app, &team.admin.cookie, &delete, &[("email", "kim@example.com")]).await;
        let text = after(&app, &team.admin.cookie, &deleted).await;
        assert!(text.contains("Invitation of <bdi>kim@example.com</bdi> deleted") && text.contains("No open invitations."), "{text}");
        assert_eq!(get(&app, "a=b", &link).await.status, 404);
        assert_eq!(post(&app, &team.admin.cookie, &delete, &[]).await.status, 404);
    }

    async fn a_person_without_an_account_joins_with_a_password(app, closed()) {
        let team = Team::new(&app).await;
        let link = invite(&app, &team, "kim@example.com", "viewer").await;
        let opened = open(&app, "a=b", &link).await;
        let page = get(&app, &opened, "/invite").await;
        assert_eq!(page.status, 200);
        let text = page.text();
        for part in ["<bdi>owner's organisation</bdi>", "<bdi>kim@example.com</bdi>", "Viewer", "name=\"password\""] {
            assert!(text.contains(part) || text.contains(&part.replace('\'', "&#x27;")), "{part}: {text}");
        }
        assert!(!text.contains("lki_"), "{text}");
        let id = id(&text);
        let short = post(&app, &opened, "/invite", &[("invitation", &id), ("password", "short")]).await;
        assert_eq!(short.status, 400);
        assert!(short.text().contains("aria-invalid=\"true\"") && !short.text().contains("value=\"short\""), "{}", short.text());
        let joined = post(&app, &opened, "/invite", &[("invitation", &id), ("password", PASSWORD)]).await;
        assert_eq!(joined.header("location"), format!("/o/{}", team.org()), "{}", joined.text());
        let cleared = joined.headers.get_all(SET_COOKIE).iter().any(|set| set.to_str().unwrap().starts_with("invitation=; "));
        assert!(cleared, "the token is forgotten");
        let kim = session(&joined);
        let text = after(&app, &kim, &joined).await;
        assert!(text.contains("You joined “<bdi>"), "{text}");
        assert!(get(&app, &kim, &team.owner.settings("/members")).await.text().contains("kim@example.com"));
        // Used.
        let dead = get(&app, "a=b", &link).await;
        assert_eq!((dead.status.as_u16(), dead.header("referrer-policy")), (404, "no-referrer"));
        assert!(dead.text().contains("This invitation does not work") && dead.text().contains("Ask the person who sent it"), "{}", dead.text());
        assert_eq!(get(&app, &opened, "/invite").await.status, 404);
        assert_eq!(post(&app, &opened, "/invite", &[("invitation", &id), ("password", PASSWORD)]).await.status, 404);
        assert!(!crate::app::log().contains(&link["/invite/".len()..]), "the token is not in the log");
    }

    async fn a_person_with_an_account_signs_in_and_joins(app) {
        let team = Team::new(&app).await;
        let kim = someone(&app, "kim@example.com").await;
        let link = invite(&app, &team, "kim@example.com", "admin").await;
        let opened = open(&app, "a=b", &link).await;
        let text = get(&app, &opened, "/invite").await.text();
        assert!(text.contains("href=\"/sign-in?next=/invite\"") && !text.contains("name=\"password\""), "{text}");
        // The password of another person's account is not looked at.
        let forged = post(&app, &opened, "/invite", &[("invitation", "inv_0000000000000000"), ("password", PASSWORD)]).await;
        assert_eq!(forged.status, 409);
        assert_eq!(role_of(&app, &kim, team.org()).await, None);

        // Another person is signed in.
        let opened = open(&app, &team.viewer.cookie, &link).await;
        let text = get(&app, &opened, "/invite").await.text();
        assert!(text.contains("for another address") && text.contains("action=\"/sign-out?next=/invite\""), "{text}");
        let session = sign_in(&app, "kim@example.com").await;
        let opened_by_kim = open(&app, &session, &link).await;
        let text = get(&app, &opened_by_kim, "/invite").await.text();
        let id = id(&text);
        let other = post(&app, &opened, "/invite", &[("invitation", &id)]).await;
        assert_eq!(other.status, 403);
        assert_eq!(role_of(&app, &kim, team.org()).await, None);
        let out = post(&app, &opened, "/sign-out?next=/invite", &[]).await;
        assert_eq!(out.header("location"), "/invite");
        assert_eq!(post(&app, "a=b", "/sign-out?next=//evil.example", &[]).await.header("location"), "/sign-in");

        let joined = post(&app, &opened_by_kim, "/invite", &[("invitation", &id)]).await;
        assert_eq!(joined.status, 303, "{}", joined.text());
        assert_eq!(role_of(&app, &kim, team.org()).await.as_deref(), Some("admin"));
    }

    async fn a_link_ends_with_the_right_of_its_maker(app) {
        let team = Team::new(&app).await;
        let path = team.owner.settings("/invitations");
        let made = post(&app, &team.admin.cookie, &path, &[("email", "kim@example.com"), ("role", "member")]).await.text();
        let (_, rest) = made.split_once("/invite/").expect("a link");
        let link = format!("/invite/{}", &rest[..68]);
        let opened = open(&app, "a=b", &link).await;
        let id = id(&get(&app, &opened, "/invite").await.text());
        remove(&app, &team.owner, team.org(), &team.admin.user, "").await;
        let late = post(&app, &opened, "/invite", &[("invitation", &id), ("password", PASSWORD)]).await;
        assert_eq!(late.status, 404);
        assert!(late.header("set-cookie").starts_with("invitation=; "), "the browser forgets it");
        for path in ["/invite", "/invite/lki_0", "/invite/%00", "/invite/a;b"] {
            assert_eq!(get(&app, "a=b", path).await.status, 404, "{path}");
        }
        let forged = post(&app, "invitation=lki_0", "/invite", &[("invitation", &id), ("password", PASSWORD)]).await;
        assert_eq!(forged.status, 404);
        assert_eq!(app.number("SELECT count(*) FROM users").await, 4);
    }
}
