//! The page of the API reference: its structure, the search on the server, and the commands.

use std::collections::BTreeSet;

use latchkey::web::Site;
use serde_json::Value;

use crate::app::{Engine, Settings, TestApp};
use crate::story::Call;

async fn app() -> TestApp {
    let site = Site { public_url: Some("https://keys.example.com".to_owned()), ..Site::default() };
    TestApp::new(Engine::Sqlite, Settings { site, ..Settings::default() }).await
}

async fn page(app: &TestApp, query: &str) -> String {
    let page = Call::new(app, "GET", &format!("/docs/api{query}")).send().await;
    assert_eq!(page.status, 200);
    let html = page.text();
    // Without the script in the head.
    html.split_once("<body>").expect("a body").1.to_owned()
}

/// The operations of the document, in any order.
async fn operations(app: &TestApp) -> Vec<Value> {
    let document = Call::new(app, "GET", "/openapi.json").send().await.json();
    let items = document["paths"].as_object().expect("paths").values();
    items.flat_map(|item| item.as_object().expect("an item").values()).cloned().collect()
}

fn id(operation: &Value) -> String {
    operation["operationId"].as_str().expect("an id").to_owned()
}

/// Returns the texts between `start` and `end`.
fn between<'a>(html: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    html.split(start).skip(1).map(|rest| rest.split(end).next().expect("a first part")).collect()
}

/// Returns the ids of the operations that the page shows.
fn shown(html: &str) -> BTreeSet<String> {
    let tags = between(html, "<article ", ">").into_iter().filter(|tag| !tag.contains("hidden"));
    tags.map(|tag| between(tag, "id=\"", "\"")[0].to_owned()).collect()
}

/// Returns the ids of the operations that the lists of the page show. Both lists, of a wide and of a narrow screen, are
/// equal.
fn listed(html: &str) -> BTreeSet<String> {
    let lists = between(html, "<nav aria-label=\"Contents\"", "</nav>");
    let lists: Vec<_> = lists.iter().map(|list| list.split_once('>').expect("the end of the tag").1).collect();
    assert_eq!(lists.len(), 2);
    assert_eq!(lists[0], lists[1]);
    let entries = between(lists[0], "<li><a href=\"#", "\"").into_iter();
    entries.filter(|id| !id.contains('-') && !["credentials", "errors"].contains(id)).map(str::to_owned).collect()
}

/// Returns the text of a page's status, and whether the link that clears the search is visible.
fn status(html: &str) -> (&str, bool) {
    let count = between(html, "data-count>", "</span>")[0];
    let clear = between(html, "<a href=\"/docs/api\" data-clear", ">")[0];
    (count.trim(), !clear.contains("hidden"))
}

#[tokio::test]
async fn the_reference_lists_every_operation_with_headings_in_order() {
    let app = app().await;
    let html = page(&app, "").await;
    let all: BTreeSet<String> = operations(&app).await.iter().map(id).collect();
    assert_eq!(shown(&html), all);
    assert_eq!(listed(&html), all);
    assert_eq!(status(&html), ("", false));
    let ids: Vec<_> = between(&html, " id=\"", "\"").into_iter().filter(|id| *id != "empty-title").collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    // Every link within the page has a target.
    for target in between(&html, "href=\"#", "\"") {
        assert!(ids.contains(&target), "{target}");
    }
    let levels = between(&html, "<h", ">").into_iter().filter_map(|tag| tag.get(..1)?.parse::<u8>().ok());
    let mut above = 0;
    for level in levels {
        assert!(level <= above + 1 && (level > 1 || above == 0), "h{level} after h{above}");
        above = level;
    }
    let whole = Call::new(&app, "GET", "/docs/api").send().await.text();
    assert!(!whole.contains(".wasm") && !whole.contains("latchkey.js"), "the page loads WASM");
}

#[tokio::test]
async fn the_search_shows_operations_with_every_word() {
    let app = app().await;
    let all = operations(&app).await;
    for (query, expected) in [
        ("whoami", &["whoAmI"][..]),
        ("q=WHO+am", &["whoAmI"]),
        ("x=1&q=post+%2Fv1%2Fkeys%2Fverify", &["verifyKey"]),
        ("q=revokeTenantKey", &["revokeTenantKey"]),
        ("q=post+%2Fapi%2Fv1%2Fauth%2F", &["tokenLogIn", "tokenLogOut", "tokenRefresh"]),
        ("q=valid+outcome", &["verifyKey"]),
        ("q=no+such+operation", &[]),
    ] {
        let query = if query.contains('=') { query.to_owned() } else { format!("q={query}") };
        let html = page(&app, &format!("?{query}")).await;
        let expected: BTreeSet<String> = expected.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(shown(&html), expected, "{query}");
        assert_eq!(listed(&html), expected, "{query}");
        let count = format!("{} of {} match", expected.len(), all.len());
        assert_eq!(status(&html), (&*count, true), "{query}");
        // Sections without a match are hidden, and with them credentials and errors.
        let sections = between(&html, "<section id=", ">").into_iter().filter(|section| !section.contains("hidden"));
        assert_eq!(sections.count(), usize::from(!expected.is_empty()), "{query}");
        assert_eq!(html.contains("<div data-nothing hidden>"), !expected.is_empty(), "{query}");
    }
}

#[tokio::test]
async fn the_search_text_is_kept_and_escaped() {
    let app = app().await;
    let html = page(&app, "?q=+%3Cb%3E%22x%22+").await;
    assert!(html.contains(r#"value="&lt;b&gt;&quot;x&quot;""#), "{html}");
    assert!(html.contains("No operation matches “<bdi>&lt;b&gt;\"x\"</bdi>”"), "{html}");
    for query in ["?q=", "?q=+%20", "?q"] {
        let html = page(&app, query).await;
        assert_eq!(status(&html), ("", false), "{query}");
        assert_eq!(shown(&html).len(), operations(&app).await.len(), "{query}");
    }
}

/// Readers find an operation by its name, so names differ. See `docs/API.md` for the groups.
#[tokio::test]
async fn every_operation_has_a_short_name_of_its_own() {
    let app = app().await;
    let mut names = BTreeSet::new();
    for operation in operations(&app).await {
        let name = operation["summary"].as_str().expect("a summary").to_owned();
        assert!(name.starts_with(char::is_uppercase) && !name.ends_with('.') && name.len() <= 40, "{name}");
        assert!(names.insert(name.clone()), "two operations are named {name}");
    }
    for name in ["Liveness", "Readiness", "Who am I", "Stream revocations"] {
        assert!(names.contains(name), "{name}");
    }
}

#[tokio::test]
async fn every_operation_has_a_command_and_copy_buttons() {
    let app = app().await;
    let html = page(&app, "").await;
    for operation in operations(&app).await {
        let id = id(&operation);
        let article = between(&html, &format!("<article id=\"{id}\""), "</article>")[0];
        assert!(article.contains("data-copy=\"Path copied to the clipboard\""), "{id}");
        // Each example can be copied.
        assert_eq!(article.matches("<pre").count() + 1, article.matches("data-copy=").count(), "{id}");
        let command = between(article, "<pre tabindex=\"0\"><code>curl ", "</code>")[0];
        let line = command.lines().next().expect("a line");
        assert!(line.contains("'https://keys.example.com/") && !line.contains('{'), "{id}: {line}");
        assert_eq!(command.contains("-d "), operation["requestBody"].is_object(), "{id}: {command}");
        // A body without an example: add one to its fields, or to the operation.
        assert!(!command.contains("'null'"), "{id}: {command}");
        let credentials = operation["security"].as_array().map_or(0, Vec::len);
        assert_eq!(command.contains('$'), credentials > 0, "{id}: {command}");
    }
    let verify = between(&html, "id=\"verifyKey\"", "</article>")[0];
    assert!(
        verify.contains(
            "curl -X POST 'https://keys.example.com/v1/keys/verify' \\\n  -H \"X-API-Key: $API_KEY\" \\\n  \
             -H 'Content-Type: application/json' \\\n  -d '{\n  \"key\": \"hs_live_"
        ),
        "{verify}"
    );
    let revoke = between(&html, "id=\"revokeApiKeyByQuery\"", "</article>")[0];
    assert!(revoke.contains("'https://keys.example.com/v1/auth/api-keys?id=ak_8f3a1b2c4d5e6f7a'"), "{revoke}");
}
