//! The frame of the dashboard's pages, and the notice about a key after a lost answer to its creation.

use serde_json::json;

use crate::app::{NOW, TestApp, on_both_engines};
use crate::story::{Call, create, someone};

async fn get(app: &TestApp, cookie: &str, path: &str) -> String {
    Call::new(app, "GET", path).cookie(cookie).send().await.text()
}

on_both_engines! {
    async fn pages_without_an_organisation_link_back_to_the_environment(app) {
        let ada = someone(&app, "ada@example.com").await;
        let eve = someone(&app, "eve@example.com").await;
        let place = format!("org={}&amp;env={}", ada.org, ada.test);
        let keys = get(&app, &ada.cookie, &format!("/keys?env={}", ada.test)).await;
        assert!(keys.contains(&format!("<a href=\"/docs/api?{place}\">API reference</a>")), "{keys}");
        for path in ["/docs/api", "/no/such/page", "/keys/7"] {
            let page = get(&app, &ada.cookie, &format!("{path}?org={}&env={}", ada.org, ada.test)).await;
            for section in ["keys", "events"] {
                assert!(page.contains(&format!("<a href=\"/{section}?{place}\"")), "{path}: {page}");
            }
            // The page must not repeat a foreign or malformed organisation.
            for query in [format!("org={}&env={}", eve.org, eve.live), "org=7".to_owned()] {
                let page = get(&app, &ada.cookie, &format!("{path}?{query}")).await;
                assert!(page.contains(&format!("<a href=\"/keys?org={}\"", ada.org)), "{path}?{query}: {page}");
                assert!(!page.contains(&eve.org) && !page.contains(&eve.live), "{path}?{query}: {page}");
            }
        }
    }

    /// Otherwise a right-to-left name reorders the words beside it.
    async fn the_name_of_the_organisation_is_isolated_in_the_bar(app) {
        let ada = someone(&app, "ada@example.com").await;
        app.execute("UPDATE organisations SET name = 'שלום 7'").await;
        let page = get(&app, &ada.cookie, "/keys").await;
        assert!(page.contains("<span class=\"label\"><bdi>שלום 7</bdi></span>"), "{page}");
    }

    async fn a_key_created_before_the_request_is_not_reported_as_lost(app) {
        let ada = someone(&app, "ada@example.com").await;
        let named = async || create(&app, &ada.cookie, &json!({ "name": "Billing" }).to_string()).await.field("/id");
        let look = |since: i64| format!("/keys?org={}&env={}&lost=Billing&since={since}", ada.org, ada.live);
        let good = named().await;
        app.clock.advance(60_000);
        let asked = NOW.0 + 60_000;
        let page = get(&app, &ada.cookie, &look(asked)).await;
        assert!(page.contains("You created no key") && !page.contains("string did not arrive"), "{page}");
        let (_, notice) = page.split_once("You created no key").expect("the notice");
        assert!(notice.find(&format!("revoke={good}")) > notice.find("<table"), "{page}");

        app.clock.advance(1_000);
        let lost = named().await;
        let page = get(&app, &ada.cookie, &look(asked)).await;
        assert!(page.contains("its string did not arrive"), "{page}");
        let (_, notice) = page.split_once("its string did not arrive").expect("the notice");
        assert!(notice.find(&format!("revoke={lost}")) < notice.find("<table"), "{page}");
    }
}
