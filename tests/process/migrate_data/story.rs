//! A server on SQLite creates data in every column; after the migration, all of it is in PostgreSQL.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::databases::{
    Schema, assert_nothing_is_missing, assert_same, dump_postgresql, dump_sqlite, migrate_data, sqlite,
};
use crate::program::text;
use crate::served::{Account, Answer, Connection, Server};

/// A client with a session and an access token.
struct Client {
    connection: Connection,
    cookie: String,
    bearer: String,
    tenant: String,
}

impl Client {
    async fn call(&mut self, method: &str, path: &str, headers: &[&str], body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.connection.call(method, path, headers, &body).await.expect("an answer")
    }

    /// Calls hookstream's contract with the session.
    async fn manage(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let cookie = self.cookie.clone();
        self.call(method, path, &[&cookie], body).await
    }

    /// Calls HookSentry's contract with the access token.
    async fn with_token(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let bearer = self.bearer.clone();
        self.call(method, path, &[&bearer], body).await
    }

    /// Creates a key by hookstream's contract; returns its ID and its string.
    async fn key(&mut self, fields: &Value) -> (String, String) {
        let made = self.manage("POST", "/v1/auth/api-keys", fields).await.json(201);
        (string(&made["id"]), string(&made["key"]))
    }

    async fn verify(&mut self, judge: &str, key: &str) -> Value {
        let ask = json!({ "key": key, "ip": "192.0.2.7", "scopes": "orders:read" });
        self.call("POST", "/v1/keys/verify", &[&format!("X-API-Key: {judge}")], &ask).await.json(200)
    }

    async fn send(&mut self, key: &str, source: &str, idempotency_key: Option<&str>, body: &Value) -> Answer {
        let path = format!("/api/v1/ingest/{}/{source}", self.tenant);
        let key = format!("X-API-Key: {key}");
        let once = idempotency_key.map(|text| format!("X-Idempotency-Key: {text}"));
        let headers: Vec<&str> = [Some(key.as_str()), once.as_deref()].into_iter().flatten().collect();
        self.call("POST", &path, &headers, body).await
    }

    /// Reads everything that the API shows: the account, the lists, each key, and the events.
    async fn snapshot(&mut self, keys: &BTreeMap<&str, (String, String)>) -> BTreeMap<String, Value> {
        let mut snapshot = BTreeMap::new();
        for path in ["/v1/auth/me".to_owned(), "/v1/auth/api-keys".to_owned()]
            .into_iter()
            .chain(keys.values().map(|(id, _)| format!("/v1/keys/{id}")))
        {
            snapshot.insert(path.clone(), self.manage("GET", &path, &Value::Null).await.json(200));
        }
        for path in ["/api/v1/apikeys?CpOrd=name&TpOrd=Asc&Qt=100", "/api/v1/events?CpOrd=id&TpOrd=Desc&Qt=100"] {
            snapshot.insert(path.to_owned(), self.with_token("GET", path, &Value::Null).await.json(200));
        }
        snapshot
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// The keys, tokens and first event that were created on SQLite.
struct Before {
    keys: BTreeMap<&'static str, (String, String)>,
    refresh: String,
    used_refresh: String,
    first_event: Value,
}

async fn start(folder: &Path, arguments: &[&str]) -> (Server, Connection) {
    let server = Server::start(folder, &[&["--keys-may-manage-keys"], arguments].concat(), &[]);
    let connection = server.connect().await.expect("the server listens");
    (server, connection)
}

async fn make_everything(client: &mut Client, account: &Account) -> Before {
    let mut keys = BTreeMap::new();
    let place = |name: &str, more: Value| {
        let mut fields = json!({ "name": name, "org_id": account.organisation, "env_id": account.environment });
        fields.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        fields
    };
    keys.insert("judge", client.key(&json!({ "name": "Der Prüfer \\N \"🔑\" \\" })).await);
    let rich = json!({
        "scopes": "orders:read events:write", "expires_at": "2099-01-01T00:00:00Z", "ip_allowlist": ["192.0.2.0/24", "127.0.0.1"],
        "rate_limit": { "limit": 1000, "window_seconds": 86400 }, "quota": { "limit": 1000 },
        "metadata": { "team": "tab\tline\nbackslash\\ 'quote'", "": "\u{0}" },
    });
    keys.insert("rich", client.key(&place("rich", rich)).await);
    keys.insert(
        "slow",
        client.key(&place("slow", json!({ "rate_limit": { "limit": 2, "window_seconds": 86400 } }))).await,
    );
    keys.insert("spent", client.key(&place("spent", json!({ "quota": { "limit": 2 } }))).await);
    keys.insert("elsewhere", client.key(&place("elsewhere", json!({ "ip_allowlist": ["198.51.100.0/24"] }))).await);
    keys.insert("off", client.key(&place("off", json!({}))).await);
    keys.insert("revoked", client.key(&place("revoked", json!({}))).await);
    keys.insert("expired", client.key(&place("expired", json!({ "expires_at": "2099-01-01T00:00:00Z" }))).await);
    keys.insert("maker", client.key(&place("maker", json!({ "scopes": "api-keys:write orders:read" }))).await);
    let maker = format!("X-API-Key: {}", keys["maker"].1);
    let child = json!({ "name": "child", "scopes": "orders:read" });
    let child = client.call("POST", "/v1/auth/api-keys", &[&maker], &child).await.json(201);
    keys.insert("child", (string(&child["id"]), string(&child["key"])));
    // HookSentry's contract returns the other ID of a key; hookstream's list has the ID that this test needs.
    let made = client.with_token("POST", "/api/v1/apikeys", &json!({ "name": "HookSentry's" })).await.json(201);
    let list = client.manage("GET", "/v1/auth/api-keys", &Value::Null).await.json(200);
    let listed = list["api_keys"].as_array().expect("keys").iter().find(|key| key["name"] == "HookSentry's");
    keys.insert("hooksentry", (string(&listed.expect("the key is listed")["id"]), string(&made["key"])));

    let judge = keys["judge"].1.clone();
    for (_, key) in keys.values() {
        for _ in 0..3 {
            client.verify(&judge, key).await;
        }
    }
    client.manage("PATCH", &format!("/v1/keys/{}", keys["off"].0), &json!({ "enabled": false })).await.json(200);
    client.manage("DELETE", &format!("/v1/auth/api-keys/{}", keys["revoked"].0), &Value::Null).await.json(200);

    let first_event =
        client.send(&keys["rich"].1, "billing", Some("invoice-1"), &json!({ "n": 1, "text": "ü\n" })).await.json(202);
    client.send(&keys["hooksentry"].1, "shop", Some("invoice-1"), &json!([1, 2])).await.json(202);
    client.send(&keys["hooksentry"].1, "shop", None, &json!("\\x00")).await.json(202);

    let organisation = format!("/v1/organisations/{}", account.organisation);
    let new = json!({ "name": "old", "mode": "test" });
    let archived = client.manage("POST", &format!("{organisation}/environments"), &new).await.json(201);
    let path = format!("{organisation}/environments/{}", string(&archived["id"]));
    client.manage("PATCH", &path, &json!({ "archived": true })).await.json(200);
    let invited = json!({ "email": "you@example.com", "role": "member" });
    client.manage("POST", &format!("{organisation}/invitations"), &invited).await.json(201);
    let deleted = client.manage("POST", "/v1/organisations", &json!({ "name": "gone" })).await.json(201);
    let path = format!("/v1/organisations/{}", string(&deleted["id"]));
    client.manage("DELETE", &path, &json!({ "confirm": "gone" })).await.json(200);

    let log_in = json!({ "email": "me@example.com", "password": "correct horse battery" });
    let ended = client.call("POST", "/api/v1/auth/login", &[], &log_in).await.json(200);
    let bearer = format!("Authorization: Bearer {}", string(&ended["accessToken"]));
    let ended = json!({ "refreshToken": ended["refreshToken"] });
    let headers = [bearer.as_str(), "User-Agent: story/1"];
    assert_eq!(client.call("POST", "/api/v1/auth/logout", &headers, &ended).await.status, 204);
    let used = client.call("POST", "/api/v1/auth/login", &[], &log_in).await.json(200);
    let pair = client
        .call("POST", "/api/v1/auth/refresh", &[], &json!({ "refreshToken": used["refreshToken"] }))
        .await
        .json(200);
    Before { keys, refresh: string(&pair["refreshToken"]), used_refresh: string(&used["refreshToken"]), first_event }
}

fn expected(name: &str) -> &'static str {
    match name {
        "slow" => "RATE_LIMITED",
        "spent" => "QUOTA_EXCEEDED",
        "elsewhere" => "FORBIDDEN",
        "off" => "DISABLED",
        "revoked" => "REVOKED",
        "expired" => "EXPIRED",
        // HookSentry's keys may only write events.
        "hooksentry" => "INSUFFICIENT_SCOPES",
        _ => "VALID",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migrated_server_has_all_data_and_keeps_working() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let schema = Schema::new("story").await;
    let (server, mut connection) = start(folder, &[]).await;
    let account = Account::register(&mut connection).await;
    let mut client = Client {
        connection,
        cookie: format!("Cookie: session={}", account.session),
        bearer: account.bearer(),
        tenant: account.tenant.clone(),
    };
    let before = make_everything(&mut client, &account).await;
    server.stop();

    // Expires a key, because the API accepts no expiry in the past.
    let mut file = sqlite(folder).await;
    let expire = sqlx::query("UPDATE keys SET expires_at = 1 WHERE name = 'expired'").execute(&mut file).await;
    assert_eq!(expire.expect("a row").rows_affected(), 1);
    let (server, connection) = start(folder, &[]).await;
    client.connection = connection;
    let snapshot = client.snapshot(&before.keys).await;
    server.stop();
    // Adds rows that a server leaves only when it is killed under load.
    let log = "INSERT INTO usage_log (id, part, uses) \
               SELECT 41, (id >> 58) & 63, json_object('hour', unixepoch() / 3600, 'code', 'REVOKED', 'from', 0, 'uses', json_array(json_array(id, 700, 0))) \
               FROM keys WHERE name = 'revoked'";
    assert_eq!(sqlx::query(log).execute(&mut file).await.expect("a row").rows_affected(), 1);
    let hash = sqlx::query("INSERT INTO revoked_hashes (hash) VALUES (randomblob(32))").execute(&mut file).await;
    assert_eq!(hash.expect("a row").rows_affected(), 1);
    let dead = "INSERT INTO jobs (id, kind, payload, created_at, due_at, claim, attempts, last_error, outcome, ended_at) \
                VALUES (1, 'delete_ended_jobs', '{}', 2, 3, 4, 10, 'no room', 'dead', 5)";
    assert_eq!(sqlx::query(dead).execute(&mut file).await.expect("a row").rows_affected(), 1);
    let disabled = "INSERT INTO users (id, email, password_hash, created_at, disabled_at) VALUES (1, 'they@example.com', '', 2, 3)";
    assert_eq!(sqlx::query(disabled).execute(&mut file).await.expect("a row").rows_affected(), 1);
    let source = dump_sqlite(&mut file).await;
    assert_nothing_is_missing(&source);

    let output = migrate_data(folder, &schema.url);
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("keys: 11 rows\n") && said.contains("every one is the same"), "{said}");
    let mut db = schema.connect().await;
    let mut copy = dump_postgresql(&mut db).await;
    let audit = &mut copy.get_mut("audit_entries").expect("a table").rows;
    let all = audit.len();
    audit.retain(|row| !row.contains("\"data.migrated\""));
    assert_eq!(all - audit.len(), 1, "the copy itself has an entry");
    assert_same(&copy, &source);
    assert_eq!(dump_sqlite(&mut file).await, source, "the file is unchanged");
    let next: i64 = sqlx::query_scalar(
        r#"INSERT INTO usage_log (part, uses) VALUES (0, '{"hour":0,"code":"VALID","from":0,"uses":[]}') RETURNING id"#,
    )
    .fetch_one(&mut db)
    .await
    .expect("a row");
    assert_eq!(next, 42, "IDs continue after the copied ones");

    let (server, connection) = start(folder, &["--database-url", &schema.url]).await;
    client.connection = connection;
    assert_same_snapshot(client.snapshot(&before.keys).await, snapshot, &before);
    use_on_postgresql(&mut client, &before).await;
    server.stop();
    schema.remove().await;
}

/// Asserts that the API shows the same as before, except the uses that were still in the usage log.
fn assert_same_snapshot(mut now: BTreeMap<String, Value>, before: BTreeMap<String, Value>, made: &Before) {
    let revoked = now.get_mut(&format!("/v1/keys/{}", made.keys["revoked"].0)).expect("the revoked key");
    let hours = revoked["usage"].as_array_mut().expect("hours");
    let logged = hours.iter_mut().find_map(|hour| hour["outcomes"].as_object_mut()?.remove("REVOKED"));
    assert_eq!(logged, Some(json!(700)));
    hours.retain(|hour| hour["outcomes"].as_object().is_some_and(|outcomes| !outcomes.is_empty()));
    for (path, before) in before {
        assert_eq!(now[&path], before, "{path}");
    }
}

/// Uses every key and token on PostgreSQL.
async fn use_on_postgresql(client: &mut Client, before: &Before) {
    let judge = before.keys["judge"].1.clone();
    for (name, (id, key)) in &before.keys {
        let outcome = client.verify(&judge, key).await;
        assert_eq!((&outcome["code"], &outcome["key_id"]), (&json!(expected(name)), &json!(id)), "{name}: {outcome}");
    }
    let count = client.manage("GET", &format!("/v1/keys/{}", before.keys["child"].0), &Value::Null).await.json(200);
    assert_eq!(count["request_count"], 4);
    assert_eq!(count["parent_key_id"], json!(before.keys["maker"].0));

    let event = json!({ "n": 2 });
    let repeated = client.send(&before.keys["rich"].1, "billing", Some("invoice-1"), &event).await.json(200);
    assert_eq!(repeated, before.first_event);
    client.send(&before.keys["rich"].1, "billing", Some("invoice-2"), &event).await.json(202);
    client.send(&before.keys["revoked"].1, "billing", None, &event).await.json(401);

    let path = format!("/v1/keys/{}/revoke?descendants=false", before.keys["maker"].0);
    client.manage("POST", &path, &Value::Null).await.json(200);
    let (maker, child) = (&before.keys["maker"].1, &before.keys["child"].1);
    assert_eq!(client.verify(&judge, maker).await["code"], "REVOKED");
    assert_eq!(client.verify(&judge, child).await["code"], "VALID");
    let path = format!("/v1/keys/{}", before.keys["off"].0);
    client.manage("PATCH", &path, &json!({ "enabled": true })).await.json(200);
    assert_eq!(client.verify(&judge, &before.keys["off"].1).await["code"], "VALID");

    let (_, new) = client.key(&json!({ "name": "new" })).await;
    assert_eq!(client.verify(&judge, &new).await["code"], "VALID");
    client.with_token("POST", "/api/v1/apikeys", &json!({ "name": "new too" })).await.json(201);

    let refresh = json!({ "refreshToken": before.refresh });
    client.call("POST", "/api/v1/auth/refresh", &[], &refresh).await.json(200);
    let used = json!({ "refreshToken": before.used_refresh });
    client.call("POST", "/api/v1/auth/refresh", &[], &used).await.json(401);
    let log_in = json!({ "email": "me@example.com", "password": "correct horse battery" });
    client.call("POST", "/v1/auth/login", &[], &log_in).await.json(200);
    let another = json!({ "email": "you@example.com", "password": "correct horse battery" });
    client.call("POST", "/v1/auth/register", &[], &another).await.json(403);
}
