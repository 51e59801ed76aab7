//! The OpenAPI document describes exactly the operations that are served.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::app::{Engine, Settings, TestApp};
use crate::story::{Call, someone};

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
const METHODS: [&str; 7] = ["get", "post", "put", "patch", "delete", "options", "trace"];

/// Answers every method, with any suffix of the path. OpenAPI can express neither.
const FORWARD_AUTH: &str = "/v1/forward-auth/{org_id}/{mode}/{scopes}";
/// Routes outside the document: files for browsers, and the route that OpenAPI cannot describe.
const UNDOCUMENTED_ROUTES: [&str; 3] = ["/favicon.svg", "/pkg/{version}/{file}", "/v1/forward-auth/{*demand}"];

async fn app() -> TestApp {
    TestApp::new(Engine::Sqlite, Settings::default()).await
}

async fn document(app: &TestApp) -> Value {
    Call::new(app, "GET", "/openapi.json").send().await.json()
}

fn paths(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    document["paths"].as_object().expect("paths").iter()
}

fn methods(item: &Value) -> BTreeSet<&str> {
    item.as_object().expect("a path item").keys().map(String::as_str).collect()
}

/// Fills in the parameters of a path.
fn fill(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "none" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// Returns every `.route("…"` of the contracts and of the router. Other routes are made of described operations.
fn literal_routes() -> BTreeSet<String> {
    fn read(path: &Path, found: &mut BTreeSet<String>) {
        if path.is_dir() {
            for entry in std::fs::read_dir(path).expect("a folder") {
                read(&entry.expect("an entry").path(), found);
            }
        } else {
            let text = std::fs::read_to_string(path).expect("a source file");
            let routes =
                text.split(".route(").skip(1).map(|rest| rest.trim_start().strip_prefix('"').expect("a literal path"));
            found.extend(routes.map(|rest| rest[..rest.find('"').expect("its end")].to_owned()));
        }
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    read(&source.join("api"), &mut found);
    read(&source.join("server/router.rs"), &mut found);
    found
}

#[tokio::test]
async fn the_served_document_equals_the_checked_in_one() {
    let served = Call::new(&app().await, "GET", "/openapi.json").send().await;
    assert_eq!((served.status.as_u16(), served.header("content-type")), (200, "application/json"));
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(SNAPSHOT, &served.body).expect("the snapshot is written");
    }
    let kept = std::fs::read_to_string(SNAPSHOT).expect("docs/openapi.json");
    let served = served.text();
    let different = kept.lines().zip(served.lines()).position(|(kept, served)| kept != served);
    assert!(
        kept == served,
        "docs/openapi.json differs from line {}: run the tests with INSTA_UPDATE=always and read the diff",
        different.map_or(0, |line| line + 1),
    );
}

#[test]
fn every_route_of_a_contract_is_made_of_a_described_operation() {
    assert_eq!(literal_routes(), UNDOCUMENTED_ROUTES.map(str::to_owned).into());
}

#[tokio::test]
async fn every_path_answers_the_documented_methods_and_no_others() {
    let app = app().await;
    let document = document(&app).await;
    for (path, item) in paths(&document) {
        for method in METHODS {
            let answer = Call::new(&app, &method.to_uppercase(), &fill(path)).send().await;
            let is_answered = answer.status != 405;
            if path == FORWARD_AUTH {
                assert!(is_answered, "{method} {path}");
                continue;
            }
            assert_eq!(is_answered, methods(item).contains(method), "{method} {path}");
            if !is_answered {
                let allowed: BTreeSet<String> = answer
                    .header("allow")
                    .split(',')
                    .map(|method| method.trim().to_lowercase())
                    .filter(|method| method != "head")
                    .collect();
                assert_eq!(allowed, methods(item).into_iter().map(str::to_owned).collect(), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn operation_ids_are_unique_and_every_reference_resolves() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document(&app().await).await;
    let mut names = BTreeSet::new();
    for (path, item) in paths(&document) {
        for operation in item.as_object().expect("a path item").values() {
            assert!(names.insert(operation["operationId"].as_str().expect("a name")), "{path}");
            for requirement in operation["security"].as_array().into_iter().flatten() {
                for scheme in requirement.as_object().expect("a requirement").keys() {
                    assert!(document["components"]["securitySchemes"][scheme].is_object(), "{scheme}");
                }
            }
        }
    }
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn the_examples_of_the_contracts_are_in_the_document() {
    let text = document(&app().await).await.to_string();
    for example in [
        r#""key":"hs_live_a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8a9b0c1d2e3f4a5b6c7d8e9f0a1b2""#,
        r#""request_count":142"#,
        r#"{"success":true}"#,
        r#""key":"hks_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c""#,
        r#""revokedAt":"2026-07-03T16:00:00.000Z""#,
    ] {
        assert!(text.contains(example), "{example}");
    }
}

#[tokio::test]
async fn the_page_shows_every_operation_and_has_no_inline_code() {
    let app = app().await;
    let document = document(&app).await;
    let page = Call::new(&app, "GET", "/docs/api").send().await;
    assert_eq!(page.status, 200);
    let html = page.text();
    for (path, item) in paths(&document) {
        assert!(html.contains(path.as_str()), "{path}");
        for operation in item.as_object().expect("a path item").values() {
            let id = operation["operationId"].as_str().expect("a name");
            assert!(html.contains(&format!(r#"id="{id}""#)), "{id}");
        }
    }
    // Leptos adds two scripts to every page; the content security policy blocks scripts without their nonce.
    assert_eq!(html.matches("<script").count(), html.matches("<script nonce=").count());
    for unwanted in ["<style", " style=", "onclick", "=\"https://"] {
        assert!(!html.contains(unwanted), "{unwanted}");
    }
}

/// An id that is not UTF-8 is a 404. Every 400 is a JSON string.
#[tokio::test]
async fn a_path_that_is_not_utf8_gets_the_documented_error() {
    let app = app().await;
    let ada = crate::story::someone(&app, "ada@example.com").await;
    let login = Call::new(&app, "POST", "/api/v1/auth/login")
        .json(r#"{"email": "ada@example.com", "password": "correct horse battery"}"#)
        .send()
        .await;
    let bearer = format!("Bearer {}", login.field("/accessToken"));
    let with_token = |method, path| Call::new(&app, method, path).header("authorization", &bearer).send();
    with_token("DELETE", "/api/v1/apikeys/%ff").await.is_problem(404, "not_found");
    with_token("GET", "/api/v1/events/%ff").await.is_problem(404, "not_found");
    let key = crate::story::create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/key");
    let me = Call::new(&app, "GET", "/v1/auth/me").cookie(&ada.cookie).send().await;
    let path = format!("/api/v1/ingest/{}/%ff", me.field("/organisations/0/tenant_id"));
    let answer = Call::new(&app, "POST", &path).key(&key).json("{}").send().await;
    assert_eq!((answer.status.as_u16(), answer.json().is_string()), (400, true));
}

#[tokio::test]
async fn every_page_links_to_the_reference() {
    let app = app().await;
    let ada = someone(&app, "ada@example.com").await;
    let pages = ["/sign-in", "/register", "/no/such/page"].map(|path| Call::new(&app, "GET", path));
    let signed_in = ["keys", "events"].map(|page| Call::new(&app, "GET", &ada.page(page)).cookie(&ada.cookie));
    for page in pages.into_iter().chain(signed_in) {
        let html = page.send().await.text();
        let (before, _) = html.split_once(">API reference</a>").expect("the link");
        assert!(before.rsplit('<').next().is_some_and(|link| link.starts_with(r#"a href="/docs/api"#)), "{html}");
    }
}
