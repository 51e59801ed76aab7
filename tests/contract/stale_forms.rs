//! Forms that were loaded before another person changed the same object: only the fields that were changed in the form
//! are applied, and a field that both changed is refused with both values.

use latchkey::events::Retention;
use latchkey::model::Role;

use crate::app::{TestApp, on_both_engines};
use crate::story::{Answer, Call, Someone, create, someone};

/// Returns the version in a form of a page. `marker` is a text in the form, before its version.
fn version(page: &str, marker: &str) -> Option<String> {
    let (_, form) = page.split_once(marker)?;
    let (_, value) = form.split_once("name=\"version\" value=\"")?;
    let (value, _) = value.split_once('"')?;
    Some(value.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
}

/// Returns the current version in a form of a key's page, or `None` if the page has no form. `path` is the target of
/// the form.
pub async fn current_version(app: &TestApp, cookie: &str, path: &str) -> Option<String> {
    let marker = if path.contains("/enabled") { SWITCH } else { EDIT };
    let page = Call::new(app, "GET", &path.replace("/enabled", "")).cookie(cookie).send().await.text();
    version(&page, marker)
}

/// The marker of the edit form of a key.
const EDIT: &str = "class=\"form key-form\"";
/// The marker of the form that pauses and resumes a key.
const SWITCH: &str = "name=\"enabled\"";

async fn get(app: &TestApp, who: &Someone, path: &str) -> String {
    Call::new(app, "GET", path).cookie(&who.cookie).send().await.text()
}

async fn post(app: &TestApp, who: &Someone, path: &str, fields: &[(&str, &str)]) -> Answer {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let call = Call::new(app, "POST", path).cookie(&who.cookie);
    call.header("content-type", "application/x-www-form-urlencoded").body(body).send().await
}

async fn patch(app: &TestApp, who: &Someone, id: &str, body: &str) {
    let path = format!("/v1/keys/{id}");
    let answer = Call::new(app, "PATCH", &path).cookie(&who.cookie).json(body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn details(app: &TestApp, who: &Someone, id: &str) -> serde_json::Value {
    Call::new(app, "GET", &format!("/v1/keys/{id}")).cookie(&who.cookie).send().await.json()
}

/// All fields of the edit form of a key with full access, as a browser sends them.
const UNTOUCHED: [(&str, &str); 9] = [
    ("name", "key"),
    ("access", "full"),
    ("scopes", ""),
    ("expires_at", ""),
    ("rate_limit", ""),
    ("window_seconds", ""),
    ("quota", ""),
    ("ip_allowlist", ""),
    ("metadata", ""),
];

/// Returns the fields of [`UNTOUCHED`] with a version and these changes.
fn with<'a>(changes: &[(&'a str, &'a str)], version: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut fields = UNTOUCHED.to_vec();
    fields.push(("version", version));
    for (field, text) in changes {
        fields.iter_mut().find(|(name, _)| name == field).expect("a field").1 = text;
    }
    fields
}

async fn made(app: &TestApp, who: &Someone) -> (String, String) {
    let id = create(app, &who.cookie, &who.in_env(&who.live, "")).await.field("/id");
    let page = who.page(&format!("keys/{id}"));
    (id, page)
}

const RESTRICTED: &str = r#"{"scopes": "events:write", "ip_allowlist": ["192.0.2.0/24"],
    "expires_at": "2027-01-01T00:00:00Z", "rate_limit": {"limit": 5, "window_seconds": 60}, "quota": {"limit": 7},
    "metadata": {"team": "billing"}}"#;

on_both_engines! {
    async fn an_old_form_changes_only_what_was_changed_in_it(app) {
        let ada = someone(&app, "ada@example.com").await;
        let (id, page) = made(&app, &ada).await;
        let old = version(&get(&app, &ada, &page).await, EDIT).expect("the form has a version");
        patch(&app, &ada, &id, RESTRICTED).await;
        let restricted = details(&app, &ada, &id).await;

        let saved = post(&app, &ada, &page, &with(&[("name", "renamed")], &old)).await;
        assert_eq!(saved.status, 303, "{}", saved.text());
        let now = details(&app, &ada, &id).await;
        assert_eq!(now["name"], "renamed");
        for field in ["scopes", "ip_allowlist", "expires_at", "rate_limit", "quota", "metadata"] {
            assert_eq!(now[field], restricted[field], "{field} stays as it was restricted elsewhere");
        }
        // Uses of the key do not make a form stale, nor does a value that both set.
        let fresh = version(&get(&app, &ada, &page).await, EDIT).unwrap();
        patch(&app, &ada, &id, r#"{"quota": {"limit": 9}}"#).await;
        let both = [("name", "renamed"), ("access", "restricted"), ("scopes", "events:write"), ("quota", "9")];
        let restored = [("expires_at", "2027-01-01T00:00:00"), ("rate_limit", "5"), ("window_seconds", "60"),
            ("ip_allowlist", "192.0.2.0/24"), ("metadata", "team=billing")];
        let fields = with(&[&both[..], &restored[..]].concat(), &fresh);
        assert_eq!(post(&app, &ada, &page, &fields).await.status, 303);
        assert_eq!(details(&app, &ada, &id).await["quota"]["limit"], 9);
    }

    async fn a_field_that_both_changed_is_refused_with_both_values(app) {
        let ada = someone(&app, "ada@example.com").await;
        let bob = someone(&app, "bob@example.com").await;
        bob.join(&app, &ada.org, Role::Admin).await;
        let (id, page) = made(&app, &ada).await;
        let old = version(&get(&app, &ada, &page).await, EDIT).unwrap();
        let bobs = version(&get(&app, &bob, &page).await, EDIT).unwrap();
        let narrow = [("access", "restricted"), ("scopes", "events:write"), ("ip_allowlist", "192.0.2.0/24")];
        assert_eq!(post(&app, &bob, &page, &with(&narrow, &bobs)).await.status, 303);
        let before = details(&app, &ada, &id).await;

        let wide = [("name", "mine"), ("access", "restricted"), ("scopes", "events:read keys:verify"), ("quota", "70")];
        let refused = post(&app, &ada, &page, &with(&wide, &old)).await;
        assert_eq!(refused.status, 409);
        assert_eq!(details(&app, &ada, &id).await, before, "nothing was saved");
        let html = refused.text();
        for text in [
            "Nothing was saved", "Changed elsewhere. Now: ", "<strong>events:write</strong>",
            "value=\"events:read keys:verify\"", "value=\"mine\"", "value=\"70\"", "Save my changes anyway",
            // A field that was not touched here shows its current value.
            "192.0.2.0/24</textarea>",
        ] {
            assert!(html.contains(text), "no {text} in {html}");
        }
        assert_eq!(html.matches("Changed elsewhere").count(), 1, "{html}");
        assert_eq!(html.matches(" autofocus").count(), 1, "{html}");

        // A confirmation: the same values from the page that showed both.
        let seen = version(&html, EDIT).unwrap();
        let again = with(&[&wide[..], &[("ip_allowlist", "192.0.2.0/24")]].concat(), &seen);
        assert_eq!(post(&app, &ada, &page, &again).await.status, 303);
        let now = details(&app, &ada, &id).await;
        assert_eq!((&now["name"], &now["scopes"]), (&"mine".into(), &"events:read keys:verify".into()));
        assert_eq!((&now["quota"]["limit"], &now["ip_allowlist"]), (&70.into(), &before["ip_allowlist"]));
        // The confirmation covers the value that the page showed, and no later one.
        patch(&app, &ada, &id, r#"{"scopes": "a:b"}"#).await;
        assert_eq!(post(&app, &ada, &page, &again).await.status, 409);
    }

    async fn a_mistake_keeps_the_version_of_a_stale_form(app) {
        let ada = someone(&app, "ada@example.com").await;
        let (id, page) = made(&app, &ada).await;
        let old = version(&get(&app, &ada, &page).await, EDIT).unwrap();
        patch(&app, &ada, &id, RESTRICTED).await;
        let changes = [("access", "restricted"), ("scopes", "a:b"), ("quota", "many")];
        let wrong = post(&app, &ada, &page, &with(&changes, &old)).await;
        assert_eq!(wrong.status, 400);
        let html = wrong.text();
        assert!(html.contains("value=\"many\"") && html.contains("value=\"a:b\""), "{html}");
        assert!(html.contains("team=billing</textarea>"), "an untouched field is up to date: {html}");
        let corrected = [("access", "restricted"), ("scopes", "a:b"), ("quota", "8"), ("metadata", "team=billing"),
            ("ip_allowlist", "192.0.2.0/24"), ("expires_at", "2027-01-01T00:00:00"), ("rate_limit", "5"), ("window_seconds", "60")];
        let carried = version(&html, EDIT).unwrap();
        assert_eq!(post(&app, &ada, &page, &with(&corrected, &carried)).await.status, 409);
        assert_eq!(details(&app, &ada, &id).await["scopes"], "events:write");
    }

    async fn a_form_without_a_version_overwrites_nothing(app) {
        let ada = someone(&app, "ada@example.com").await;
        let (id, page) = made(&app, &ada).await;
        patch(&app, &ada, &id, RESTRICTED).await;
        let before = details(&app, &ada, &id).await;
        for version in ["", "{}", "null", "7", "{\"name\":\"key\",\"other\":1}"] {
            let refused = post(&app, &ada, &page, &with(&[], version)).await;
            assert_eq!(refused.status, 409, "{version}");
            assert!(refused.text().contains("Changed elsewhere. Now: "), "{version}");
        }
        assert_eq!(details(&app, &ada, &id).await, before);
    }

    /// The comparison and the write are one transaction.
    async fn one_of_two_concurrent_forms_is_refused(app) {
        let ada = someone(&app, "ada@example.com").await;
        let (id, page) = made(&app, &ada).await;
        for round in 0..10 {
            let old = version(&get(&app, &ada, &page).await, EDIT).unwrap();
            let name = details(&app, &ada, &id).await["name"].as_str().unwrap().to_owned();
            let (one, other) = (format!("one {round}"), format!("other {round}"));
            let fields = |mine| with(&[("name", mine)], &old);
            let (one_fields, other_fields) = (fields(&one), fields(&other));
            let (first, second) =
                tokio::join!(post(&app, &ada, &page, &one_fields), post(&app, &ada, &page, &other_fields));
            let mut both = [first.status.as_u16(), second.status.as_u16()];
            both.sort_unstable();
            assert_eq!(both, [303, 409], "round {round}, from {name}");
        }
    }

    async fn an_old_page_does_not_resume_a_key_that_was_paused_again(app) {
        let ada = someone(&app, "ada@example.com").await;
        let (id, page) = made(&app, &ada).await;
        let switch = format!("{page}/enabled");
        patch(&app, &ada, &id, r#"{"enabled": false}"#).await;
        let old = version(&get(&app, &ada, &page).await, SWITCH).unwrap();
        app.clock.advance(60_000);
        patch(&app, &ada, &id, r#"{"enabled": true}"#).await;
        patch(&app, &ada, &id, r#"{"enabled": false}"#).await;
        let refused = post(&app, &ada, &switch, &[("enabled", "true"), ("version", &old)]).await;
        assert_eq!(refused.status, 409);
        let html = refused.text();
        assert!(html.contains("The key was not resumed") && html.contains("It was paused just now"), "{html}");
        assert_eq!(details(&app, &ada, &id).await["enabled"], false);
        assert_eq!(post(&app, &ada, &switch, &[("enabled", "true")]).await.status, 409, "without a version");
        // Pausing a paused key overwrites nothing.
        assert_eq!(post(&app, &ada, &switch, &[("enabled", "false"), ("version", "")]).await.status, 303);
        let seen = version(&html, SWITCH).unwrap();
        assert_eq!(post(&app, &ada, &switch, &[("enabled", "true"), ("version", &seen)]).await.status, 303);
        assert_eq!(details(&app, &ada, &id).await["enabled"], true);
    }

    async fn an_old_retention_form_changes_only_what_was_changed_in_it(app) {
        let ada = someone(&app, "ada@example.com").await;
        let live = ada.live.parse().unwrap();
        let save = async |days: &str, limit: &str, version: &str| {
            let fields = [("event_days", days), ("event_limit", limit), ("version", version)];
            post(&app, &ada, &ada.retention(), &fields).await
        };
        let kept = async || app.services.events.retention(live).await.unwrap().unwrap();
        let settings = get(&app, &ada, &ada.settings(&format!("/environments/{}", ada.live))).await;
        let marker = "id=\"retention\"";
        let old = version(&settings, marker).unwrap();
        let Retention { event_days: 7, event_limit } = kept().await else { panic!("the default is 7 days") };

        assert_eq!(save("30", &event_limit.to_string(), &old).await.status, 303);
        assert_eq!(save("7", "5000", &old).await.status, 303);
        assert_eq!(kept().await, Retention { event_days: 30, event_limit: 5000 }, "both changes hold");

        let refused = save("14", &event_limit.to_string(), &old).await;
        assert_eq!(refused.status, 409);
        let html = refused.text();
        assert!(html.contains("value=\"14\"") && html.contains("<strong>30</strong>"), "{html}");
        assert_eq!(html.matches("Changed elsewhere. Now: ").count(), 1, "{html}");
        assert!(html.contains("value=\"5000\""), "an untouched field is up to date: {html}");
        assert_eq!(kept().await.event_days, 30);
        assert_eq!(save("15", "5000", "").await.status, 409, "without a version");
        let seen = version(&html, marker).unwrap();
        assert_eq!(save("14", "5000", &seen).await.status, 303);
        assert_eq!(kept().await, Retention { event_days: 14, event_limit: 5000 });

        for round in 0..10 {
            let Retention { event_days, event_limit } = kept().await;
            let seen = format!("{event_days} {event_limit}");
            let (one, other) = ((100 + round).to_string(), (200 + round).to_string());
            let (first, second) = tokio::join!(save(&one, "5000", &seen), save(&other, "5000", &seen));
            let mut both = [first.status.as_u16(), second.status.as_u16()];
            both.sort_unstable();
            assert_eq!(both, [303, 409], "round {round}");
        }
    }
}
