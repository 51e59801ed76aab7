//! The dashboard's answers while the database is unavailable, and to changes that are not confirmed by every node.

use latchkey::keys::Opened;
use latchkey::runtime::entropy::Entropy;
use latchkey::server::router;
use latchkey::web::Services;

use crate::app::{Engine, Settings, TestApp, on_both_engines};
use crate::stale_forms::current_version;
use crate::story::{Answer, Call, create, someone};

async fn get(app: &TestApp, cookie: &str, path: &str) -> Answer {
    Call::new(app, "GET", path).cookie(cookie).send().await
}

async fn post(app: &TestApp, cookie: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let call = Call::new(app, "POST", path).cookie(cookie);
    call.header("content-type", "application/x-www-form-urlencoded").body(body).send().await
}

on_both_engines! {
    async fn a_form_that_could_not_be_saved_can_be_sent_again(app) {
        let ada = someone(&app, "ada@example.com").await;
        let id = create(&app, &ada.cookie, &ada.in_env(&ada.live, "")).await.field("/id");
        let page = ada.page(&format!("keys/{id}"));
        let version = current_version(&app, &ada.cookie, &page).await.expect("the page has the form");
        let fields = [
            ("name", "Typed & kept"), ("access", "full"), ("scopes", ""), ("expires_at", ""), ("rate_limit", ""),
            ("window_seconds", ""), ("quota", ""), ("ip_allowlist", ""), ("metadata", ""), ("version", &version),
        ];
        // Only the write fails.
        app.execute("ALTER TABLE changes_last RENAME TO changes_last_away").await;
        let failed = post(&app, &ada.cookie, &page, &fields).await;
        assert_eq!(failed.status, 503);
        let text = failed.text();
        assert!(!text.contains("Nothing was changed") && text.contains("What you entered is kept on this page"), "{text}");
        assert!(text.contains(&format!("action=\"{page}\"")) && text.contains("value=\"Typed &amp; kept\""), "{text}");
        app.execute("ALTER TABLE changes_last_away RENAME TO changes_last").await;
        assert_eq!(post(&app, &ada.cookie, &page, &fields).await.status, 303);
        assert!(get(&app, &ada.cookie, &page).await.text().contains("Typed &amp; kept"));

        // Nothing can be read either.
        app.db.close().await;
        let retention = ada.retention();
        for (path, fields) in [
            (page.as_str(), &fields[..]),
            (&retention, &[("version", "7 1"), ("event_days", "14"), ("event_limit", "many")]),
        ] {
            let failed = post(&app, &ada.cookie, path, fields).await;
            assert_eq!(failed.status, 503, "{path}");
            let text = failed.text();
            assert!(text.contains(&format!("action=\"{path}\"")), "{text}");
            assert!(text.contains("value=\"Typed &amp; kept\"") || text.contains("value=\"many\""), "{text}");
        }
        // A sign-in is not kept, so that no page contains its password.
        let signing_in = [("email", "ada@example.com"), ("password", "correct horse battery")];
        let failed = post(&app, "a=b", "/sign-in", &signing_in).await;
        assert_eq!((failed.status.as_u16(), failed.text().contains("correct horse")), (503, false));
    }

    async fn the_retry_link_stays_on_this_server(app) {
        let ada = someone(&app, "ada@example.com").await;
        app.db.close().await;
        let list = ada.page("keys?state=active");
        for address in [list.clone(), format!("http://evil.example{list}")] {
            let failed = get(&app, &ada.cookie, &address).await;
            assert_eq!(failed.status, 503);
            let text = failed.text();
            assert!(text.contains(&format!("href=\"{list}\"")) && !text.contains("evil"), "{text}");
        }
        let failed = get(&app, &ada.cookie, "http://evil.example//evil.example/keys").await.text();
        assert!(!failed.contains("evil"), "{failed}");
    }
}

/// The other nodes cannot be asked, so nothing proves that they have dropped the key.
#[tokio::test]
async fn an_unconfirmed_change_is_shown_as_stored() {
    let mut app = TestApp::new(Engine::Postgres, Settings::default()).await;
    let ada = someone(&app, "ada@example.com").await;
    let id = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/id");
    let Opened { keys, changes, checks, usage, limits } = crate::nodes::node(&app, "a").await;
    let services = Services { keys, changes, checks, usage, limits, ..app.services.clone() };
    app.router = router(services, app.db.clone(), app.clock.clone(), Entropy::System);
    let page = ada.page(&format!("keys/{id}"));
    let places = [format!("{page}/enabled"), format!("{page}/enabled"), format!("{page}/revoke")];
    let version = async || current_version(&app, &ada.cookie, &places[0]).await.unwrap_or_default();
    for (path, enabled, done) in
        [(&places[0], "false", "paused"), (&places[1], "true", "resumed"), (&places[2], "", "revoked")]
    {
        let version = version().await;
        let fields = if enabled.is_empty() {
            vec![("return_to", page.as_str())]
        } else {
            vec![("enabled", enabled), ("version", version.as_str())]
        };
        app.execute("ALTER TABLE nodes RENAME TO nodes_away").await;
        let answer = post(&app, &ada.cookie, path, &fields).await;
        app.execute("ALTER TABLE nodes_away RENAME TO nodes").await;
        assert_eq!(answer.status, 303, "{done}: {}", answer.text());
        let shown = get(&app, &ada.cookie, answer.header("location")).await.text();
        assert!(shown.contains(&format!("{done}, but not confirmed by every node")), "{done}: {shown}");
        assert!(!shown.contains("Save again"), "{done}: {shown}");
    }
    let details = get(&app, &ada.cookie, &format!("/v1/keys/{id}")).await;
    assert_eq!(details.field("/state"), "revoked");
}
