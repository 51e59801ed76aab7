//! Names of keys: one rule for every contract and form. `names_on_pages.rs` tests their display.

use serde_json::json;

use crate::app::{TestApp, on_both_engines};
use crate::hooksentry::{self, Tenant, tenant};
use crate::stale_forms::current_version;
use crate::story::{Answer, Call, Story, create};

/// Sends a name to everything that accepts one: two creations, a change, and the form.
async fn send_name(app: &TestApp, ada: &Tenant, id: &str, name: &str) -> [Answer; 4] {
    let body = json!({ "name": name }).to_string();
    let cookie = &ada.who.cookie;
    let version = current_version(app, cookie, &ada.who.page(&format!("keys/{id}"))).await.expect("a form");
    let mut form = form_urlencoded::Serializer::new(String::new());
    let form = form.append_pair("name", name).append_pair("version", &version).finish();
    [
        Call::new(app, "POST", "/v1/auth/api-keys").cookie(cookie).json(&body).send().await,
        hooksentry::call(app, &ada.access, "POST", "/api/v1/apikeys").json(&body).send().await,
        Call::new(app, "PATCH", &format!("/v1/keys/{id}")).cookie(cookie).json(&body).send().await,
        Call::new(app, "POST", &ada.who.page(&format!("keys/{id}")))
            .cookie(cookie)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await,
    ]
}

on_both_engines! {
    async fn invisible_and_reordering_names_are_refused_everywhere(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let id = create(&app, &ada.who.cookie, r#"{"name": "key"}"#).await.field("/id");
        for (name, part) in [
            ("\u{200B}", "U+200B"), ("\u{AD}", "U+00AD"), ("\u{3164}", "U+3164"), ("\u{2800}", "U+2800"),
            ("\u{E0061}\u{E007F}", "U+E0061"), ("\u{200D}", "U+200D"), ("a\u{202E}b", "U+202E (character 2)"),
            ("ab\u{2066}c", "U+2066 (character 3)"), ("a\u{2028}b", "U+2028 (character 2)"),
            ("a\u{2029}b", "U+2029 (character 2)"), ("a\nb", "U+000A (character 2)"), (" ", "must not be empty"),
        ] {
            let [hookstream, hooksentry, changed, form] = send_name(&app, &ada, &id, name).await;
            assert_eq!(hookstream.wrong_fields(), ["name"], "{name:?}");
            assert_eq!(changed.wrong_fields(), ["name"], "{name:?}");
            for text in [hookstream.text(), changed.text(), hooksentry.is_sentence()] {
                assert!(text.contains(part), "{name:?}: no {part} in {text}");
            }
            assert_eq!(form.status, 400, "{name:?}");
            let part = if name == " " { "Enter a name." } else { part };
            assert!(form.text().contains(part), "{name:?}");
        }
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 1);
    }

    async fn a_name_is_composed_before_it_is_stored(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let id = create(&app, &ada.who.cookie, r#"{"name": "key"}"#).await.field("/id");
        let shown = async || Call::new(&app, "GET", &format!("/v1/keys/{id}")).cookie(&ada.who.cookie).send().await.field("/name");
        let long = "e\u{301}".repeat(100);
        for (name, stored) in [("Cafe\u{301}", "Caf\u{e9}"), (&long, &"\u{e9}".repeat(100))] {
            let [hookstream, hooksentry, changed, form] = send_name(&app, &ada, &id, name).await;
            for answer in [hookstream, hooksentry, changed] {
                assert_eq!(answer.field("/name"), stored);
            }
            assert_eq!(form.status, 303);
            assert_eq!(shown().await, stored);
        }
        for name in ["می\u{200C}خواهم", "👩\u{200D}💻", "❤\u{FE0F}"] {
            let [hookstream, ..] = send_name(&app, &ada, &id, name).await;
            assert_eq!(hookstream.field("/name"), name);
            assert_eq!(shown().await, name);
        }
    }

    async fn the_message_names_the_character_and_its_position(app) {
        let mut story = Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        for name in ["\u{200B}", "Billing\u{202E}", "a\u{2028}b", "a\tb"] {
            let body = json!({ "name": name }).to_string();
            Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.who.cookie).json(&body).tell(&mut story).await;
        }
        story.is("the_message_names_the_character_and_its_position");
    }
}
