//! A story: requests and whole answers, as text to compare with a snapshot.

use std::fmt::Write;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use axum::http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use latchkey::domain::{AuditAction, AuditActor, AuditChain, AuditContext, AuditEntry, AuditTarget, RequestOrigin};
use latchkey::model::{OrganisationId, Role, UserId};
use serde_json::Value;

use crate::app::TestApp;

/// Security headers, equal in every answer: few stories show them, the others leave them out.
const SECURITY_HEADERS: [&str; 7] = [
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
    "referrer-policy",
    "x-content-type-options",
    "x-frame-options",
];

/// A whole answer.
pub struct Answer {
    pub status: StatusCode,
    pub headers: axum::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns a text field of the body, by JSON pointer.
    pub fn field(&self, pointer: &str) -> String {
        let json = self.json();
        let value = json.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {json}"));
        value.as_str().unwrap_or_else(|| panic!("{pointer} is no text in {json}")).to_owned()
    }

    /// Returns a header's text, or an empty text if it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// Asserts a whole problem of RFC 9457 with this status and code.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let json = self.json();
        assert_eq!((json["status"].as_u64(), json["code"].as_str()), (Some(status.into()), Some(code)));
        assert!(json["title"].is_string() && json["detail"].is_string(), "{json}");
    }

    /// Asserts a 400 and returns the fields that it names.
    #[track_caller]
    pub fn wrong_fields(&self) -> Vec<String> {
        self.is_problem(400, "invalid_request");
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().expect("a field").to_owned()).collect()
    }

    /// Returns `name=value` of the session cookie that the answer sets.
    pub fn cookie(&self) -> String {
        let cookie = self.headers.get(SET_COOKIE).expect("a cookie is set").to_str().expect("text");
        cookie.split(';').next().expect("a first part").to_owned()
    }
}

/// A request under construction.
pub struct Call<'a> {
    app: &'a TestApp,
    builder: axum::http::request::Builder,
    body: Body,
    shown: String,
    peer: &'static str,
}

impl<'a> Call<'a> {
    pub fn new(app: &'a TestApp, method: &str, path: &str) -> Self {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        Self {
            app,
            shown: format!("> {method} {path}\n"),
            builder: Request::builder().method(method).uri(path),
            body: Body::empty(),
            peer: "192.0.2.10:50000",
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        let _ = writeln!(self.shown, "> {name}: {value}");
        self.builder = self.builder.header(name, value);
        self
    }

    pub fn cookie(self, cookie: &str) -> Self {
        self.header(COOKIE.as_str(), cookie)
    }

    pub fn key(self, key: &str) -> Self {
        self.header("x-api-key", key)
    }

    pub fn from(mut self, peer: &'static str) -> Self {
        self.peer = peer;
        self
    }

    pub fn json(mut self, body: &str) -> Self {
        let _ = writeln!(self.shown, "> {body}");
        self.builder = self.builder.header(CONTENT_TYPE, "application/json");
        self.body = Body::from(body.to_owned());
        self
    }

    /// Sets a raw body, which the story does not show.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    pub async fn send(self) -> Answer {
        let request = self.builder.body(self.body).expect("a request");
        read(self.app.send_from(self.peer, request).await).await
    }

    /// Sends the request, and adds request and answer to the story.
    pub async fn tell(self, story: &mut Story) -> Answer {
        let shown = self.shown.clone();
        let answer = self.send().await;
        story.write(&shown, &answer);
        answer
    }
}

pub async fn read(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("the whole body").to_bytes().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// The text of requests and answers, in order.
#[derive(Default)]
pub struct Story {
    text: String,
    all_headers: bool,
}

impl Story {
    pub fn new() -> Self {
        Self::default()
    }

    /// Also shows the headers that every answer has.
    pub fn with_all_headers() -> Self {
        Self { all_headers: true, ..Self::default() }
    }

    /// Adds a line of comment.
    pub fn say(&mut self, text: &str) {
        let _ = writeln!(self.text, "# {text}");
    }

    fn write(&mut self, request: &str, answer: &Answer) {
        self.text.push_str(request);
        let _ = writeln!(self.text, "< {}", answer.status);
        let mut headers: Vec<String> = answer
            .headers
            .iter()
            .filter(|(name, _)| self.all_headers || !SECURITY_HEADERS.contains(&name.as_str()))
            .map(|(name, value)| format!("< {name}: {}\n", value.to_str().unwrap_or("(bytes)")))
            .collect();
        headers.sort();
        self.text.extend(headers);
        if !answer.body.is_empty() {
            let text = answer.text();
            let body = serde_json::from_slice::<Value>(&answer.body).ok().filter(|_| text.len() > 100);
            // The order of fields is not part of a contract, but the story keeps the order that was sent.
            let _ = writeln!(self.text, "{}", body.map_or(text, |_| pretty(&answer.body)));
        }
        self.text.push('\n');
    }

    /// Compares the story with its snapshot.
    #[track_caller]
    pub fn is(self, name: &str) {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(name, self.text);
        });
    }
}

/// Indents JSON, with the fields in the order in which they were sent.
fn pretty(body: &[u8]) -> String {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::pretty(&mut out);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    serde_transcode::transcode(&mut deserializer, &mut serializer).expect("JSON");
    String::from_utf8(out).expect("text")
}

/// Registers an account and returns its session cookie.
pub async fn register(app: &TestApp, email: &str) -> String {
    let body = format!(r#"{{"email":"{email}","password":"correct horse battery"}}"#);
    let answer = Call::new(app, "POST", "/v1/auth/register").json(&body).send().await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    answer.cookie()
}

/// A registered and signed-in person with their own organisation.
pub struct Someone {
    pub cookie: String,
    pub user: String,
    pub org: String,
    pub live: String,
    pub test: String,
}

/// Registers a person and reads their ids.
pub async fn someone(app: &TestApp, email: &str) -> Someone {
    let cookie = register(app, email).await;
    let me = Call::new(app, "GET", "/v1/auth/me").cookie(&cookie).send().await;
    Someone {
        cookie,
        user: me.field("/user/id"),
        org: me.field("/organisations/0/id"),
        live: me.field("/organisations/0/environments/0/id"),
        test: me.field("/organisations/0/environments/1/id"),
    }
}

impl Someone {
    /// Adds the person to an organisation.
    pub async fn join(&self, app: &TestApp, org: &str, role: Role) {
        let (user, org) = (self.user.parse().expect("an id"), org.parse().expect("an id"));
        let entry = member_entry(app, AuditAction::MemberAdded, user, org);
        app.db.insert_membership(user, org, role, app.clock.now(), entry).await.expect("a membership");
    }

    /// Removes the person from an organisation.
    pub async fn leave(&self, app: &TestApp, org: &str) {
        let (user, org) = (self.user.parse().expect("an id"), org.parse().expect("an id"));
        let entry = member_entry(app, AuditAction::MemberRemoved, user, org);
        app.db.delete_membership(user, org, entry).await.expect("no membership");
    }

    /// Returns the path of a page of the person's live environment.
    pub fn page(&self, page: &str) -> String {
        format!("/o/{}/{}/{page}", self.org, self.live)
    }

    /// Returns the path of a page of the person's test environment.
    pub fn test_page(&self, page: &str) -> String {
        format!("/o/{}/{}/{page}", self.org, self.test)
    }

    /// Returns the path of a settings page of the person's organisation.
    pub fn settings(&self, page: &str) -> String {
        format!("/o/{}/settings{page}", self.org)
    }

    /// Returns the path of the form that sets how long events of the person's live environment are kept.
    pub fn retention(&self) -> String {
        self.settings(&format!("/environments/{}/retention", self.live))
    }

    /// Returns the body that creates a key in one of the person's environments.
    pub fn in_env(&self, env: &str, more: &str) -> String {
        format!(r#"{{"name": "key", "org_id": "{}", "env_id": "{env}"{more}}}"#, self.org)
    }
}

/// Returns the audit entry of a membership change by the test.
pub fn member_entry(app: &TestApp, action: AuditAction, user: UserId, org: OrganisationId) -> AuditEntry {
    let actor = AuditActor::system("test");
    let context = AuditContext::new(&app.services.entropy, app.clock.now(), actor, RequestOrigin::default());
    context.entry(AuditChain::Organisation(org), action, AuditTarget::account(user, "member"))
}

/// Creates a key and returns the whole answer.
pub async fn create(app: &TestApp, cookie: &str, body: &str) -> Answer {
    let answer = Call::new(app, "POST", "/v1/auth/api-keys").cookie(cookie).json(body).send().await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    answer
}
