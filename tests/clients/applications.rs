//! The middleware of `examples/applications/` against the built program: a small server in each language, which
//! authenticates its callers by their keys.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::served::{Account, Answer, Connection, Server};

/// A well-formed key with a valid checksum that was never issued.
const UNKNOWN: &str = "hs_live_0123456789abcdef0123456789abcdef0123456789abcdef012345671c637e5a";

struct Scene {
    latchkey: Server,
    account: Account,
    owner: Connection,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let latchkey = Server::start(folder.path(), &[], &[]);
        let mut owner = latchkey.connect().await.expect("the server listens");
        let account = Account::register(&mut owner).await;
        Self { latchkey, account, owner, folder }
    }

    fn cookie(&self) -> String {
        format!("Cookie: session={}", self.account.session)
    }

    /// Creates a key; returns its ID and its string.
    async fn make(&mut self, name: &str, mut more: Value) -> (String, String) {
        more["name"] = name.into();
        more["org_id"] = self.account.organisation.clone().into();
        more["env_id"] = self.account.environment.clone().into();
        let cookie = self.cookie();
        let made = self.owner.call("POST", "/v1/auth/api-keys", &[&cookie], &more.to_string()).await;
        let made = made.expect("an answer").json(201);
        let text = |field: &str| made[field].as_str().expect("a text").to_owned();
        (text("id"), text("key"))
    }

    /// Starts the application with this key as its own.
    fn application(&self, program: &str, file: &str, key: &str) -> Application {
        let log = self.folder.path().join("application-log");
        let errors = std::fs::File::options().create(true).append(true).open(&log).expect("a log file");
        let mut command = Command::new(program);
        command
            .arg(file)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/applications"))
            .env("LATCHKEY_URL", format!("http://{}", self.latchkey.address))
            .env("LATCHKEY_KEY", key)
            .env("PORT", "0")
            // Python would write compiled files among the sources.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stderr(errors);
        Application { server: Server::wait(command, &log), log }
    }
}

struct Application {
    server: Server,
    log: PathBuf,
}

impl Application {
    async fn ask(&self, header: &str) -> Answer {
        // Each request has a new connection, because not every server keeps connections alive.
        let mut connection = self.server.connect().await.expect("the server listens");
        connection.call("GET", "/", &[header], "").await.expect("an answer")
    }

    async fn ask_with(&self, key: &str) -> Answer {
        self.ask(&format!("X-API-Key: {key}")).await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }
}

/// Tests every response that a caller of the application can get.
async fn accepts_only_valid_keys(program: &str, file: &str) {
    let mut scene = Scene::new().await;
    let (_, own) = scene.make("application", json!({"scopes": "keys:verify"})).await;
    let application = scene.application(program, file, &own);

    let (id, key) = scene.make("caller", json!({"scopes": "reports:read"})).await;
    assert_eq!(application.ask_with(&key).await.json(200), json!({"hello": "caller"}));
    assert_eq!(application.ask(&format!("Authorization: Bearer {key}")).await.status, 200);

    let (long, unknown) = (format!("X-API-Key: {}", "x".repeat(10_000)), format!("X-API-Key: {UNKNOWN}"));
    for header in ["Accept: */*", "X-API-Key: ", "X-API-Key: é", &long, &unknown] {
        let refused = application.ask(header).await;
        assert_eq!(refused.json(401)["code"], "unauthenticated", "{header}");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    }

    let (_, other) = scene.make("no reader", json!({"scopes": "reports:write"})).await;
    let refused = application.ask_with(&other).await.json(403);
    assert_eq!(
        (&refused["code"], &refused["missing_scopes"]),
        (&"insufficient_scopes".into(), &json!(["reports:read"]))
    );

    // The application passes on the caller's address: an IP allowlist with it admits the caller, another does not.
    for (network, status) in [("127.0.0.0/8", 200), ("10.0.0.0/8", 403)] {
        let bound = json!({"scopes": "reports:read", "ip_allowlist": [network]});
        let (_, bound) = scene.make("bound", bound).await;
        assert_eq!(application.ask_with(&bound).await.status, status, "{network}");
    }

    let limited = json!({"scopes": "reports:read", "rate_limit": {"limit": 2, "window_seconds": 3600}});
    let (_, limited) = scene.make("limited", limited).await;
    for _ in 0..2 {
        assert_eq!(application.ask_with(&limited).await.status, 200);
    }
    let refused = application.ask_with(&limited).await;
    assert_eq!(refused.json(429)["code"], "rate_limited");
    let wait: u32 = refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("seconds");
    assert!((1..=3600).contains(&wait), "{wait}");

    let quota = json!({"scopes": "reports:read", "quota": {"limit": 1}});
    let (_, quota) = scene.make("quota", quota).await;
    assert_eq!(application.ask_with(&quota).await.status, 200);
    let refused = application.ask_with(&quota).await;
    assert_eq!(refused.json(429)["code"], "quota_exceeded");
    let wait: u32 = refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("seconds");
    assert!((1..=31 * 86_400).contains(&wait), "{wait}");

    let cookie = scene.cookie();
    let path = format!("/v1/auth/api-keys/{id}");
    scene.owner.call("DELETE", &path, &[&cookie], "").await.expect("an answer").json(200);
    assert_eq!(application.ask_with(&key).await.status, 401);

    // Here Latchkey refuses the key of the application, not that of its caller.
    assert_eq!(application.log().matches("cannot check a key with Latchkey").count(), 0);
    let mistaken = scene.application(program, file, &other);
    assert_eq!(mistaken.ask_with(&key).await.json(503)["code"], "unavailable");
    assert!(application.log().contains("keys:verify"), "{}", application.log());

    scene.latchkey.kill();
    assert_eq!(application.ask_with(&limited).await.json(503)["code"], "unavailable");
    let logged = application.log();
    assert_eq!(logged.matches("cannot check a key with Latchkey").count(), 2, "{logged}");
    assert!(!logged.contains("hs_live_"), "{logged}");
}

#[tokio::test]
async fn node_middleware_accepts_only_valid_keys() {
    accepts_only_valid_keys("node", "demo.mjs").await;
}

#[tokio::test]
async fn python_middleware_accepts_only_valid_keys() {
    accepts_only_valid_keys("python3", "demo.py").await;
}
