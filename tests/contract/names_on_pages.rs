//! Names on pages: right-to-left text is isolated in its own `<bdi>`, at every place of every page.

use latchkey::model::Role;
use serde_json::json;

use crate::app::{NOW, TestApp, on_both_engines};
use crate::stale_forms::current_version;
use crate::story::{Answer, Call, Someone, create, someone};

const KEY: &str = "שלום 1";
const LIVE: &str = "ייצור 2";
const TEST: &str = "ניסוי 3";
const ORGANISATION: &str = "ארגון 4";
const ADA: &str = "ada@names.example";
const BOB: &str = "bob@names.example";
const NAMES: [&str; 6] = [KEY, LIVE, TEST, ORGANISATION, ADA, BOB];

/// Elements that contain text only, so that a name in them cannot be isolated.
const PLAIN: [&str; 3] = ["title", "option", "textarea"];

/// Returns each place of a name on a page, as the tag and its text, and whether the name is alone in a `<bdi>`.
fn places(page: &str, name: &str) -> Vec<(String, bool)> {
    let mut is_isolated = false;
    let mut places = Vec::new();
    for (tag, text) in page.split('<').filter_map(|part| part.split_once('>')) {
        match tag {
            "bdi" => is_isolated = true,
            "/bdi" => is_isolated = false,
            _ => {}
        }
        let element = tag.split(' ').next().unwrap_or_default();
        if text.contains(name) && !PLAIN.contains(&element) {
            places.push((format!("<{tag}>{text}"), is_isolated && text == name));
        }
    }
    places
}

/// Asserts that the page shows these names and isolates every name at every place.
#[track_caller]
fn shows(page: &str, names: &[&str]) {
    for name in names {
        assert!(!places(page, name).is_empty(), "no {name} on the page");
    }
    for name in NAMES.iter().chain(names) {
        for (place, is_isolated) in places(page, name) {
            assert!(is_isolated, "{name} is not isolated: {place}");
        }
    }
}

/// Registers an owner and an admin of one organisation with right-to-left names.
async fn named(app: &TestApp) -> (Someone, Someone) {
    let (ada, bob) = (someone(app, ADA).await, someone(app, BOB).await);
    bob.join(app, &ada.org, Role::Admin).await;
    app.execute(&format!(
        "UPDATE organisations SET name = '{ORGANISATION}'; \
         UPDATE environments SET name = CASE mode WHEN 'live' THEN '{LIVE}' ELSE '{TEST}' END"
    ))
    .await;
    (ada, bob)
}

/// Creates a key in the owner's first environment.
async fn key(app: &TestApp, maker: &Someone, owner: &Someone) -> Answer {
    let body = json!({ "name": KEY, "org_id": owner.org, "env_id": owner.live }).to_string();
    create(app, &maker.cookie, &body).await
}

async fn page(app: &TestApp, who: &Someone, path: &str) -> String {
    Call::new(app, "GET", path).cookie(&who.cookie).send().await.text()
}

/// Sends a form and returns the page after its redirect, or the page of its answer.
async fn post(app: &TestApp, who: &Someone, path: &str, fields: &[(&str, &str)]) -> String {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let call = Call::new(app, "POST", path).cookie(&who.cookie);
    let answer = call.header("content-type", "application/x-www-form-urlencoded").body(body).send().await;
    match answer.header("location") {
        "" => answer.text(),
        location => page(app, who, location.split('#').next().unwrap_or_default()).await,
    }
}

/// Returns the part of a page that begins with a text.
#[track_caller]
fn from<'a>(page: &'a str, text: &str) -> &'a str {
    page.find(text).map_or_else(|| panic!("no {text} in {page}"), |start| &page[start..])
}

on_both_engines! {
    async fn names_on_pages_of_keys_are_isolated(app) {
        let (ada, bob) = named(&app).await;
        let id = key(&app, &bob, &ada).await.field("/id");
        let list = ada.page("keys");
        let detail = ada.page(&format!("keys/{id}"));

        shows(&page(&app, &ada, &list).await, &[KEY, LIVE, TEST, ORGANISATION, ADA, BOB]);
        shows(&page(&app, &ada, &detail).await, &[KEY, LIVE, ORGANISATION, ADA, BOB]);
        let asked = page(&app, &ada, &format!("{list}?revoke={id}")).await;
        shows(&asked, &[KEY]);
        shows(from(&asked, "id=\"revoke-key\""), &[KEY]);
        for state in ["", "&state=revoked"] {
            let nothing = page(&app, &ada, &format!("{list}?q=%D7%A9%D7%A9{state}")).await;
            shows(from(&nothing, "class=\"empty"), &["שש", LIVE]);
        }
        shows(from(&page(&app, &ada, &format!("{list}?state=revoked")).await, "class=\"empty"), &[LIVE]);
        let empty = page(&app, &ada, &ada.test_page("keys")).await;
        shows(from(&empty, "class=\"empty"), &[TEST]);
    }

    /// A script in the browser writes the name into two dialogs.
    async fn dialogs_that_are_filled_by_script_isolate_the_name(app) {
        let (ada, bob) = named(&app).await;
        key(&app, &bob, &ada).await;
        let list = page(&app, &ada, &ada.page("keys")).await;
        for dialog in ["id=\"reveal-key\"", "id=\"revoke-dialog\""] {
            let (dialog, _) = from(&list, dialog).split_once("</dialog>").expect("its end");
            assert!(dialog.contains("<bdi>"), "{dialog:.3000}");
        }
    }

    async fn names_in_messages_about_keys_are_isolated(app) {
        let (ada, bob) = named(&app).await;
        let id = key(&app, &bob, &ada).await.field("/id");
        let list = ada.page("keys");
        let detail = ada.page(&format!("keys/{id}"));

        let query = form_urlencoded::Serializer::new(String::new()).append_pair("lost", KEY).append_pair("since", &NOW.0.to_string()).finish();
        for (who, text) in [(&ada, "You created no key"), (&bob, "The key “")] {
            let answer = page(&app, who, &format!("{list}?{query}")).await;
            shows(from(&answer, text), &[KEY]);
            let (notice, _) = from(&answer, text).split_once("</strong>").expect("its end");
            assert!(notice.contains(KEY), "{notice}");
        }

        let switch = format!("{detail}/enabled");
        let old = current_version(&app, &ada.cookie, &detail).await.expect("a form");
        for (enabled, done) in [("false", "paused"), ("true", "resumed")] {
            let version = current_version(&app, &ada.cookie, &switch).await.unwrap_or_default();
            let toast = post(&app, &ada, &switch, &[("enabled", enabled), ("version", &version)]).await;
            shows(&toast, &[KEY]);
            assert!(toast.contains(&format!("</bdi>” {done}")), "{toast}");
        }
        let toast = post(&app, &bob, &detail, &[("name", "שלום 5"), ("version", &old)]).await;
        shows(&toast, &["שלום 5"]);
        assert!(toast.contains("</bdi>” saved"), "{toast}");
        let conflict = post(&app, &ada, &detail, &[("name", "שלום 6"), ("version", &old)]).await;
        shows(from(&conflict, "Changed elsewhere. Now: "), &["שלום 5"]);
        let toast = post(&app, &ada, &format!("{detail}/revoke"), &[("return_to", &list)]).await;
        shows(&toast, &["שלום 5"]);
        assert!(toast.contains("</bdi>” revoked"), "{toast}");
    }

    async fn names_on_pages_of_events_are_isolated(app) {
        let (ada, bob) = named(&app).await;
        let sent = key(&app, &bob, &ada).await.field("/key");
        let tenant = Call::new(&app, "GET", "/v1/auth/me").cookie(&ada.cookie).send().await.field("/organisations/0/tenant_id");
        let list = ada.page("events");
        shows(from(&page(&app, &ada, &list).await, "class=\"empty"), &[LIVE]);

        let ingest = format!("/api/v1/ingest/{tenant}/shop");
        let event = Call::new(&app, "POST", &ingest).key(&sent).json("{}").send().await.field("/id");
        shows(&page(&app, &ada, &list).await, &[KEY, LIVE, TEST, ORGANISATION, ADA]);
        shows(&page(&app, &ada, &ada.page(&format!("events/{event}"))).await, &[KEY, LIVE, ORGANISATION, ADA]);
        let fields = [("version", "7 1000000"), ("event_days", "30"), ("event_limit", "5000")];
        let toast = post(&app, &ada, &ada.retention(), &fields).await;
        shows(&toast, &[LIVE]);
        assert!(toast.contains("</bdi> keeps events for 30 days"), "{toast}");
        bob.leave(&app, &ada.org).await;
        bob.join(&app, &ada.org, Role::Member).await;
        shows(&page(&app, &bob, &list).await, &[LIVE, TEST, ORGANISATION, BOB]);
    }

    async fn names_on_other_pages_are_isolated(app) {
        let (ada, bob) = named(&app).await;
        shows(&page(&app, &ada, "/server").await, &["the only server", ORGANISATION, ADA]);
        for path in ["/docs/api", "/no/such/page"] {
            shows(&page(&app, &ada, path).await, &[ORGANISATION, ADA]);
        }
        bob.leave(&app, &ada.org).await;
        bob.leave(&app, &bob.org).await;
        let nowhere = page(&app, &bob, "/organisations/new").await;
        shows(&nowhere, &[BOB]);
        shows(from(&nowhere, "You are in no organisation"), &[BOB]);
    }
}
