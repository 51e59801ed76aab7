//! The clients of `examples/clients/` against the built program. The tests read the key that a client prints: the key
//! is listed, is accepted, and is refused after its revocation.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::served::{self, Account, Connection, Server};

struct Scene {
    server: Server,
    account: Account,
    connection: Connection,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start(folder.path(), &[], &[]);
        let mut connection = server.connect().await.expect("the server listens");
        let account = Account::register(&mut connection).await;
        Self { server, account, connection, _folder: folder }
    }

    /// Runs a client to its end; returns its standard output.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = Command::new(program)
            .args(arguments)
            .current_dir(clients())
            .env("LATCHKEY_URL", format!("http://{}", self.server.address))
            .env("LATCHKEY_SESSION", &self.account.session)
            .env("LATCHKEY_TOKEN", &self.account.session)
            .env("LATCHKEY_ORG_ID", &self.account.organisation)
            .env("LATCHKEY_ENV_ID", &self.account.environment)
            .env("LATCHKEY_TENANT_ID", &self.account.tenant)
            .env("LATCHKEY_ACCESS_TOKEN", &self.account.access_token)
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .unwrap_or_else(|error| panic!("{program} does not run ({error}): tools/setup-test says what it needs"));
        let (output, errors) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success() && errors.is_empty(), "{program}: {status}\n{output}\n{errors}");
        println!("{output}");
        output.into_owned()
    }

    async fn call(&mut self, method: &str, path: &str, header: &str) -> served::Answer {
        self.connection.call(method, path, &[header], "").await.expect("an answer")
    }

    fn cookie(&self) -> String {
        format!("Cookie: session={}", self.account.session)
    }

    /// Sends an event with a key; returns the status, 202 when the key is accepted.
    async fn use_key(&mut self, key: &str) -> u16 {
        let path = format!("/api/v1/ingest/{}/github", self.account.tenant);
        let header = format!("X-Api-Key: {key}");
        self.connection.call("POST", &path, &[&header], r#"{"action":"opened"}"#).await.expect("an answer").status
    }

    /// Checks the response that a client printed in the notation of its language, then lists, uses and revokes the key.
    async fn check_printed_key(&mut self, printed: &str) {
        let (id, key) = (token(printed, "ak_", 16), token(printed, "hs_live_", 64));
        for field in ["id", "name", "key", "key_prefix", "scopes", "created_at", "Production key"] {
            assert!(printed.contains(field), "no {field} in {printed}");
        }
        let path = format!("/v1/auth/api-keys?org_id={}", self.account.organisation);
        let cookie = self.cookie();
        let listed = self.call("GET", &path, &cookie).await.json(200);
        assert_eq!((listed["api_keys"][0]["id"].as_str(), &listed["api_keys"][0]["revoked"]), (Some(&*id), &0.into()));
        assert_eq!(self.use_key(&key).await, 202);
        let revoked = self.call("DELETE", &format!("/v1/auth/api-keys/{id}"), &cookie).await.json(200);
        assert_eq!(revoked["success"], true);
        assert_eq!(self.use_key(&key).await, 401);
    }
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clients")
}

/// Finds the word in a text that has this prefix and then this number of hexadecimal digits.
fn token(text: &str, prefix: &str, digits: usize) -> String {
    text.match_indices(prefix)
        .filter_map(|(at, _)| text.get(at..at + prefix.len() + digits))
        .find(|word| word[prefix.len()..].bytes().all(|byte| byte.is_ascii_hexdigit()))
        .unwrap_or_else(|| panic!("no {prefix}… in {text}"))
        .to_owned()
}

/// Parses the responses that a client printed, one JSON value per line.
fn lines(printed: &str) -> Vec<Value> {
    printed.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[tokio::test]
async fn curl_with_a_session_makes_lists_and_revokes() {
    let mut scene = Scene::new().await;
    let [created, listed, revoked] = &lines(&scene.run("./hookstream-session.sh", &[]))[..] else {
        panic!("three answers");
    };
    assert_eq!(created["name"], "Production Backend");
    assert_eq!((&listed["api_keys"][0]["id"], &listed["api_keys"][0]["revoked"]), (&created["id"], &0.into()));
    assert_eq!(revoked["success"], true);
    assert_eq!(scene.use_key(created["key"].as_str().expect("a key")).await, 401);
}

#[tokio::test]
async fn curl_with_a_bearer_token_makes_a_key() {
    let mut scene = Scene::new().await;
    let printed = scene.run("./hookstream-bearer.sh", &[]);
    scene.check_printed_key(&printed).await;
}

#[tokio::test]
async fn javascript_fetch_makes_a_key() {
    let mut scene = Scene::new().await;
    let printed = scene.run("node", &["hookstream-fetch.mjs"]);
    scene.check_printed_key(&printed).await;
}

#[tokio::test]
async fn python_requests_makes_a_key() {
    let mut scene = Scene::new().await;
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    let printed = scene.run(&python.display().to_string(), &["hookstream-requests.py"]);
    scene.check_printed_key(&printed).await;
}

#[tokio::test]
#[ignore = "needs Go; tools/test runs it if `go` is installed"]
async fn go_net_http_makes_a_key() {
    let mut scene = Scene::new().await;
    let printed = scene.run("go", &["run", "hookstream-go/main.go"]);
    scene.check_printed_key(&printed).await;
}

/// Checks the responses to HookSentry's three calls.
fn check_hooksentry(created: &Value, listed: &Value, revoked: &Value) {
    assert_eq!(created["name"], "Production Key");
    assert_eq!(listed["total"], 1);
    let item = &listed["items"][0];
    assert_eq!((&item["id"], &item["isActive"], &item["revokedAt"]), (&created["id"], &true.into(), &Value::Null));
    assert_eq!((&revoked["id"], &revoked["isActive"]), (&created["id"], &false.into()));
    assert!(revoked["revokedAt"].is_string());
}

#[tokio::test]
async fn curl_makes_lists_uses_and_revokes_a_hooksentry_key() {
    let scene = Scene::new().await;
    let [created, listed, accepted, revoked, refused] = &lines(&scene.run("./hooksentry.sh", &[]))[..] else {
        panic!("five answers");
    };
    check_hooksentry(created, listed, revoked);
    assert_eq!(accepted["status"], "Accepted");
    assert_eq!(refused["status"], 401);
}

#[tokio::test]
#[ignore = "needs the .NET SDK; tools/test runs it if `dotnet` is installed"]
async fn csharp_httpclient_makes_lists_and_revokes() {
    let mut scene = Scene::new().await;
    let printed = scene.run("dotnet", &["run", "--project", "hooksentry-csharp"]);
    let [created, listed, revoked] = &lines(&printed)[..] else {
        panic!("three answers");
    };
    check_hooksentry(created, listed, revoked);
    assert_eq!(scene.use_key(created["key"].as_str().expect("a key")).await, 401);
}
