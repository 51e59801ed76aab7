//! Keys, sessions and tokens that end while the body of a request arrives.

use std::time::Duration;

use serde_json::{Value, json};

use super::raw::Raw;
use crate::served::{Account, Answer, Connection, Server};

struct Scene {
    server: Server,
    owner: Connection,
    account: Account,
    _folder: tempfile::TempDir,
}

struct Key {
    id: String,
    string: String,
}

impl Key {
    fn header(&self) -> String {
        format!("X-API-Key: {}", self.string)
    }
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start(folder.path(), &["--keys-may-manage-keys"], &[("LATCHKEY_LOG", "warn")]);
        let mut owner = server.connect().await.expect("the server listens");
        let account = Account::register(&mut owner).await;
        Self { server, owner, account, _folder: folder }
    }

    async fn call(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let cookie = format!("Cookie: session={}", self.account.session);
        self.owner.call(method, path, &[&cookie], body).await.expect("an answer")
    }

    async fn key(&mut self, mut wish: Value) -> Key {
        wish["name"] = "slow".into();
        wish["org_id"] = self.account.organisation.as_str().into();
        wish["env_id"] = self.account.environment.as_str().into();
        let made = self.call("POST", "/v1/auth/api-keys", &wish.to_string()).await.json(201);
        let text = |field: &str| made[field].as_str().expect("text").to_owned();
        Key { id: text("id"), string: text("key") }
    }

    async fn revoke(&mut self, key: &Key) {
        self.call("DELETE", &format!("/v1/auth/api-keys/{}", key.id), "").await.json(200);
    }

    async fn change(&mut self, key: &Key, edit: Value) {
        self.call("PATCH", &format!("/v1/keys/{}", key.id), &edit.to_string()).await.json(200);
    }

    /// Sends the head of a request and waits until the server is ready for the body.
    async fn begin(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Raw {
        let mut raw = Raw::open(self.server.address).await;
        raw.begin(method, path, headers, body.len()).await;
        raw
    }

    fn ingest_path(&self) -> String {
        format!("/api/v1/ingest/{}/slow", self.account.tenant)
    }

    async fn events(&mut self) -> u64 {
        let bearer = self.account.bearer();
        let page = self.owner.call("GET", "/api/v1/events", &[&bearer], "").await.expect("an answer").json(200);
        page["total"].as_u64().expect("a number")
    }
}

/// Sends the body in two pieces and reads the response.
async fn finish(mut raw: Raw, body: &str) -> Answer {
    let (first, rest) = body.as_bytes().split_at(body.len() / 2);
    raw.send(first).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    raw.send(rest).await;
    raw.answer().await
}

#[tokio::test]
async fn no_event_is_stored_for_a_key_that_ends_during_the_body() {
    let mut scene = Scene::new().await;
    let (path, body) = (scene.ingest_path(), r#"{"n":1}"#);

    let key = scene.key(json!({})).await;
    let raw = scene.begin("POST", &path, &[&key.header()], body).await;
    scene.revoke(&key).await;
    assert_eq!(finish(raw, body).await.status, 401);

    let key = scene.key(json!({})).await;
    let raw = scene.begin("POST", &path, &[&key.header()], body).await;
    scene.change(&key, json!({"enabled": false})).await;
    assert_eq!(finish(raw, body).await.status, 401);

    let key = scene.key(json!({})).await;
    let raw = scene.begin("POST", &path, &[&key.header()], body).await;
    scene.change(&key, json!({"scopes": "keys:verify"})).await;
    assert_eq!(finish(raw, body).await.status, 403);

    let key = scene.key(json!({})).await;
    let raw = scene.begin("POST", &path, &[&key.header()], body).await;
    scene.change(&key, json!({"ip_allowlist": ["192.0.2.0/24"]})).await;
    assert_eq!(finish(raw, body).await.status, 403);
    assert_eq!(scene.events().await, 0);
}

#[tokio::test]
async fn a_slow_event_uses_its_quota_and_count_once() {
    let mut scene = Scene::new().await;
    let (path, body) = (scene.ingest_path(), r#"{"n":1}"#);
    let key = scene.key(json!({"quota": {"limit": 2}})).await;
    for status in [202, 202] {
        let raw = scene.begin("POST", &path, &[&key.header()], body).await;
        assert_eq!(finish(raw, body).await.status, status);
    }
    let refused = scene.owner.call("POST", &path, &[&key.header()], body).await.expect("an answer");
    assert_eq!(refused.status, 429);
    let shown = scene.call("GET", &format!("/v1/keys/{}", key.id), "").await.json(200);
    assert_eq!((shown["request_count"].as_i64(), shown["quota_remaining"].as_u64()), (Some(2), Some(0)));
}

#[tokio::test]
async fn a_check_uses_the_state_of_both_keys_after_the_body() {
    let mut scene = Scene::new().await;
    let (path, verify) = ("/v1/keys/verify", json!({"scopes": "keys:verify", "quota": {"limit": 2}}));
    let checked = scene.key(json!({})).await;
    let body = json!({"key": checked.string}).to_string();

    let caller = scene.key(verify.clone()).await;
    let raw = scene.begin("POST", path, &[&caller.header()], &body).await;
    scene.revoke(&caller).await;
    assert_eq!(finish(raw, &body).await.status, 401);

    let caller = scene.key(verify.clone()).await;
    let raw = scene.begin("POST", path, &[&caller.header()], &body).await;
    scene.change(&caller, json!({"scopes": "events:write"})).await;
    assert_eq!(finish(raw, &body).await.status, 403);

    // Each check uses the quota once: a quota of two admits two checks.
    let caller = scene.key(verify).await;
    let raw = scene.begin("POST", path, &[&caller.header()], &body).await;
    assert_eq!(finish(raw, &body).await.json(200)["code"], "VALID");
    let raw = scene.begin("POST", path, &[&caller.header()], &body).await;
    scene.revoke(&checked).await;
    assert_eq!(finish(raw, &body).await.json(200)["code"], "REVOKED");
    let shown = scene.call("GET", &format!("/v1/keys/{}", checked.id), "").await.json(200);
    assert_eq!(shown["request_count"].as_i64(), Some(1));
}

#[tokio::test]
async fn a_key_that_ends_during_the_body_neither_reports_nor_manages() {
    let mut scene = Scene::new().await;
    let reporter = scene.key(json!({"scopes": "keys:verify"})).await;
    let manager = scene.key(json!({"scopes": "api-keys:write events:write"})).await;
    let report = json!({"uses": [{"key_id": manager.id, "count": 7}]}).to_string();
    let wish = json!({"name": "child", "scopes": "events:write"}).to_string();
    let cases = [
        (&reporter, "/v1/keys/usage", report.as_str()),
        (&manager, "/v1/auth/api-keys", wish.as_str()),
        (&manager, "/api/v1/apikeys", r#"{"name":"child"}"#),
    ];
    let mut begun = Vec::new();
    for (key, path, body) in cases {
        begun.push((scene.begin("POST", path, &[&key.header()], body).await, path, body));
    }
    scene.revoke(&reporter).await;
    scene.revoke(&manager).await;
    for (raw, path, body) in begun {
        let answer = finish(raw, body).await;
        assert_eq!(answer.status, 401, "{path}: {}", answer.text());
    }
    let path = format!("/v1/auth/api-keys?org_id={}", scene.account.organisation);
    let keys = scene.call("GET", &path, "").await.json(200);
    assert_eq!(keys["api_keys"].as_array().expect("keys").len(), 2, "{keys}");
    assert!(keys["api_keys"].as_array().expect("keys").iter().all(|key| key["request_count"] == 0), "{keys}");
}

#[tokio::test]
async fn a_session_that_ends_during_the_body_changes_nothing() {
    let mut scene = Scene::new().await;
    let key = scene.key(json!({"scopes": "events:write"})).await;
    let (cookie, bearer) = (format!("Cookie: session={}", scene.account.session), scene.account.bearer());
    let form = "Content-Type: application/x-www-form-urlencoded";
    let json_type = "Content-Type: application/json";
    let key_path = format!("/v1/keys/{}", key.id);
    let page = format!("/o/{}/{}/keys/{}", scene.account.organisation, scene.account.environment, key.id);
    let cases: [(&str, &str, &str, &str, &str, u16); 6] = [
        ("POST", "/v1/auth/api-keys", &cookie, json_type, r#"{"name":"late"}"#, 401),
        ("PATCH", &key_path, &cookie, json_type, r#"{"scopes":"*"}"#, 401),
        ("POST", &page, &cookie, form, "name=late", 401),
        ("POST", &format!("{page}/enabled"), &cookie, form, "enabled=false", 401),
        ("POST", &format!("{page}/revoke"), &cookie, form, "descendants=true", 401),
        ("POST", "/api/v1/apikeys", &bearer, json_type, r#"{"name":"late"}"#, 401),
    ];
    let mut begun = Vec::new();
    for (method, path, credential, kind, body, status) in cases {
        begun.push((scene.begin(method, path, &[credential, kind], body).await, path.to_owned(), body, status));
    }
    // A new session, which checks afterwards that the requests of the first one had no effect.
    let credentials = r#"{"email":"me@example.com","password":"correct horse battery"}"#;
    let tokens = scene.owner.call("POST", "/api/v1/auth/login", &[], credentials).await.expect("an answer").json(200);
    scene.call("POST", "/v1/auth/logout", "").await;
    let again = scene.owner.call("POST", "/v1/auth/login", &[], credentials).await.expect("an answer");
    let set = again.header("set-cookie").expect("a cookie").to_owned();
    scene.account.session = set.split(['=', ';']).nth(1).expect("a value").to_owned();
    // Ends the access tokens of both sign-ins; the requests above use the first one.
    let refresh = json!({"refreshToken": tokens["refreshToken"]}).to_string();
    let other = format!("Authorization: Bearer {}", tokens["accessToken"].as_str().expect("a token"));
    scene.owner.call("POST", "/api/v1/auth/logout", &[&other], &refresh).await.expect("an answer");
    let own = json!({"refreshToken": "none"}).to_string();
    let ended = scene.owner.call("POST", "/api/v1/auth/logout", &[&bearer], &own).await.expect("an answer");
    assert_eq!(ended.status, 204, "{}", ended.text());
    for (raw, path, body, status) in begun {
        let answer = finish(raw, body).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    let shown = scene.call("GET", &key_path, "").await.json(200);
    assert_eq!(
        (&shown["name"], &shown["scopes"], &shown["state"]),
        (&json!("slow"), &json!("events:write"), &json!("active"))
    );
    let keys = scene.call("GET", "/v1/auth/api-keys", "").await.json(200);
    assert_eq!(keys["api_keys"].as_array().expect("keys").len(), 1, "{keys}");
}

/// One deadline covers the time from the head to the answer, so sending a byte a second does not extend it.
#[tokio::test]
async fn a_body_that_does_not_end_is_given_up() {
    let mut scene = Scene::new().await;
    let key = scene.key(json!({})).await;
    let ingest = scene.ingest_path();
    let slow = async |path: &str| {
        let mut raw = Raw::open(scene.server.address).await;
        raw.begin("POST", path, &[&key.header()], 50_000).await;
        let mut answer = Box::pin(async move {
            let mut sent = 0;
            loop {
                if !raw.send(b" ").await {
                    break;
                }
                sent += 1;
                if let Ok(answer) = tokio::time::timeout(Duration::from_secs(1), raw.answer_to("POST")).await {
                    return (sent, answer.expect("an answer"));
                }
            }
            panic!("the connection was closed without an answer after {sent} bytes")
        });
        answer.as_mut().await
    };
    let (verify, ingested) = tokio::join!(slow("/v1/keys/verify"), slow(&ingest));
    for (sent, answer) in [verify, ingested] {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(sent <= 45, "after {sent} bytes, one a second");
    }
}
