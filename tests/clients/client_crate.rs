//! The crate in `clients/rust/` against the built program: an axum application with the crate's layer, connected to the
//! program through a proxy that can stop forwarding.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::routing::get;
use axum::{Json, Router};
use latchkey_client::{Client, Identity, LatchkeyLayer, peer_address};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::served::{self, Account, Connection, Server};

/// The client trusts its cache for this time after the last heartbeat.
const TRUST_PERIOD: Duration = Duration::from_secs(3);
/// The maximum wait for an expected response; then the test fails.
const TIME_LIMIT: Duration = Duration::from_mins(1);

struct Scene {
    latchkey: Server,
    account: Account,
    owner: Connection,
    folder: tempfile::TempDir,
    proxy: Proxy,
    client: Client,
    application: SocketAddr,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let latchkey = Server::start(folder.path(), &[], &[]);
        let mut owner = latchkey.connect().await.expect("the server listens");
        let account = Account::register(&mut owner).await;
        let (_, own) = make(&mut owner, &account, "application", json!({"scopes": "keys:verify"})).await;
        let proxy = Proxy::start(latchkey.address).await;
        let client = Client::builder(&format!("http://{}", proxy.address), &own)
            .timeout(Duration::from_secs(1))
            .build()
            .expect("a client");
        let application = application(&client).await;
        Self { latchkey, account, owner, folder, proxy, client, application }
    }

    async fn make(&mut self, name: &str, more: Value) -> Key {
        let (id, key) = make(&mut self.owner, &self.account, name, more).await;
        Key { id, header: format!("X-API-Key: {key}") }
    }

    /// Calls the API as the owner, without the proxy.
    async fn call(&mut self, method: &str, path: &str, body: &str) -> Value {
        let cookie = cookie(&self.account);
        self.owner.call(method, path, &[&cookie], body).await.expect("an answer").json(200)
    }

    async fn revoke(&mut self, key: &Key) {
        self.call("DELETE", &format!("/v1/auth/api-keys/{}", key.id), "").await;
    }

    /// The request count of a key, as the API shows it.
    async fn count(&mut self, key: &Key) -> u64 {
        let list = self.call("GET", "/v1/auth/api-keys", "").await;
        let mut keys = list["api_keys"].as_array().expect("keys").iter();
        let found = keys.find(|listed| listed["id"] == key.id.as_str()).expect("the key");
        found["request_count"].as_u64().expect("a count")
    }

    async fn ask(&self, key: &Key) -> u16 {
        self.answer(&key.header).await.status
    }

    async fn answer(&self, header: &str) -> served::Answer {
        let mut connection = Connection::open(self.application).await.expect("the server listens");
        connection.call("GET", "/", &[header], "").await.expect("an answer")
    }

    /// Sends requests until the response has this status. The client trusts its cache while it gets heartbeats, so a
    /// lost change would make this time out.
    async fn wait_for_status(&self, key: &Key, status: u16) {
        let start = Instant::now();
        while self.ask(key).await != status {
            assert!(start.elapsed() < TIME_LIMIT, "never {status}");
        }
    }

    /// Sends requests until the key is accepted from the client's cache, without a check by the server.
    async fn wait_until_cached(&self, key: &Key) {
        for _ in 0..1000 {
            let before = self.proxy.checks();
            assert_eq!(self.ask(key).await, 200);
            if self.proxy.checks() == before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the key is never cached");
    }
}

struct Key {
    id: String,
    header: String,
}

fn cookie(account: &Account) -> String {
    format!("Cookie: session={}", account.session)
}

/// Creates a key; returns its ID and its string.
async fn make(owner: &mut Connection, account: &Account, name: &str, mut more: Value) -> (String, String) {
    more["name"] = name.into();
    more["org_id"] = account.organisation.clone().into();
    more["env_id"] = account.environment.clone().into();
    let made = owner.call("POST", "/v1/auth/api-keys", &[&cookie(account)], &more.to_string()).await;
    let made = made.expect("an answer").json(201);
    let text = |field: &str| made[field].as_str().expect("a text").to_owned();
    (text("id"), text("key"))
}

/// Starts an application that requires `reports:read` of its callers.
async fn application(client: &Client) -> SocketAddr {
    let keys = LatchkeyLayer::new(client.clone()).scopes("reports:read").address(peer_address);
    let hello = async |caller: Identity| {
        let Identity { key_id, name, org_id, env_id, environment, scopes, metadata, .. } = caller;
        Json(json!({
            "key_id": &*key_id, "name": &*name, "org_id": &*org_id, "env_id": &*env_id,
            "environment": environment.as_str(), "scopes": scopes.as_deref(), "metadata": metadata.as_deref(),
        }))
    };
    let app = Router::new().route("/", get(hello)).layer(keys);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    address
}

/// The state of the proxy's network.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    Open,
    /// Accepts connections and bytes, and forwards nothing.
    Stalled,
    /// Closes every connection.
    Cut,
}

/// A proxy between the application and Latchkey, which counts checks and streams.
struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    server: watch::Sender<SocketAddr>,
    checks: Arc<AtomicUsize>,
    streams: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let proxy = Self {
            address: listener.local_addr().expect("an address"),
            network: watch::Sender::new(Network::Open),
            server: watch::Sender::new(server),
            checks: Arc::default(),
            streams: Arc::default(),
        };
        let (network, server) = (proxy.network.subscribe(), proxy.server.subscribe());
        let (checks, streams) = (Arc::clone(&proxy.checks), Arc::clone(&proxy.streams));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let server = *server.borrow();
                let Ok(far) = TcpStream::connect(server).await else {
                    continue;
                };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                let (checks, streams) = (Arc::clone(&checks), Arc::clone(&streams));
                let count = move |bytes: &[u8]| {
                    let begins = |with: &str| usize::from(bytes.starts_with(with.as_bytes()));
                    checks.fetch_add(begins("POST /v1/keys/verify "), Ordering::SeqCst);
                    streams.fetch_add(begins("GET /v1/revocations "), Ordering::SeqCst);
                };
                tokio::spawn(forward(near_in, far_out, network.clone(), count));
                tokio::spawn(forward(far_in, near_out, network.clone(), |_| ()));
            }
        });
        proxy
    }

    fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// The number of checks that were forwarded.
    fn checks(&self) -> usize {
        self.checks.load(Ordering::SeqCst)
    }

    /// The number of `GET /v1/revocations` requests that were forwarded.
    fn streams(&self) -> usize {
        self.streams.load(Ordering::SeqCst)
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut network: watch::Receiver<Network>,
    count: impl Fn(&[u8]),
) {
    let mut bytes = vec![0; 16 * 1024];
    let mut cut = network.clone();
    let cut = async move { cut.wait_for(|network| *network == Network::Cut).await.is_ok() };
    let forward = async {
        while let Ok(read @ 1..) = from.read(&mut bytes).await {
            // Bytes that were read before the network stalled wait here.
            if network.wait_for(|network| *network != Network::Stalled).await.is_err() {
                return;
            }
            count(&bytes[..read]);
            if to.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = cut => {}
        () = forward => {}
    }
}

#[tokio::test]
async fn a_valid_key_passes_with_its_identity_and_every_use_is_counted() {
    let mut scene = Scene::new().await;
    let key = scene.make("caller", json!({"scopes": "reports:*", "metadata": {"plan": "pro"}})).await;
    let expected = json!({
        "key_id": key.id, "name": "caller", "org_id": scene.account.organisation,
        "env_id": scene.account.environment, "environment": "live", "scopes": "reports:*",
        "metadata": {"plan": "pro"},
    });
    for _ in 0..300 {
        assert_eq!(scene.answer(&key.header).await.json(200), expected);
    }
    let bearer = key.header.replace("X-API-Key: ", "Authorization: Bearer ");
    assert_eq!(scene.answer(&bearer).await.status, 200);
    assert!(scene.proxy.checks() < 100, "{} of 301 requests needed a check", scene.proxy.checks());

    // Keys with a limit or an IP allowlist are checked by the server each time, and counted there.
    let limited = json!({"scopes": "reports:read", "rate_limit": {"limit": 3, "window_seconds": 3600}});
    let limited = scene.make("limited", limited).await;
    let bound = scene.make("bound", json!({"scopes": "reports:read", "ip_allowlist": ["127.0.0.0/8"]})).await;
    let stranger = scene.make("stranger", json!({"scopes": "reports:read", "ip_allowlist": ["10.0.0.0/8"]})).await;
    for _ in 0..3 {
        assert_eq!((scene.ask(&limited).await, scene.ask(&bound).await, scene.ask(&stranger).await), (200, 200, 403));
    }
    let refused = scene.answer(&limited.header).await;
    assert_eq!(refused.json(429)["code"], "rate_limited");
    assert!(refused.header("retry-after").is_some());
    let other = scene.make("no reader", json!({"scopes": "reports:write"})).await;
    let refused = scene.answer(&other.header).await;
    assert_eq!(refused.json(403)["missing_scopes"], json!(["reports:read"]));
    assert_eq!(scene.answer("Accept: */*").await.header("www-authenticate"), Some("Bearer"));

    scene.client.close().await.expect("the last counts are reported");
    for (key, count) in [(&key, 301), (&limited, 3), (&bound, 3), (&stranger, 0), (&other, 0)] {
        assert_eq!(scene.count(key).await, count, "{}", key.id);
    }
}

#[tokio::test]
async fn revocations_and_edits_take_effect_when_the_stream_delivers_them() {
    let mut scene = Scene::new().await;
    let key = scene.make("caller", json!({"scopes": "reports:read"})).await;
    scene.wait_until_cached(&key).await;
    let path = format!("/v1/keys/{}", key.id);
    for (scopes, status) in [("reports:write", 403), ("*", 200), ("reports:write", 403), ("reports:read", 200)] {
        scene.call("PATCH", &path, &json!({"scopes": scopes}).to_string()).await;
        scene.wait_for_status(&key, status).await;
        if status == 200 {
            scene.wait_until_cached(&key).await;
        }
    }
    scene.revoke(&key).await;
    scene.wait_for_status(&key, 401).await;
    for _ in 0..100 {
        assert_eq!(scene.ask(&key).await, 401);
    }
}

#[tokio::test]
async fn a_client_without_heartbeats_stops_trusting_its_cache_within_three_seconds() {
    let mut scene = Scene::new().await;
    let key = scene.make("caller", json!({"scopes": "reports:read"})).await;
    let other = scene.make("other", json!({"scopes": "reports:read"})).await;
    scene.wait_until_cached(&key).await;
    scene.wait_until_cached(&other).await;

    scene.proxy.set(Network::Stalled);
    let stalled = Instant::now();
    scene.revoke(&key).await;
    // The revoked key may be accepted until the trust period ends.
    let mut last = stalled;
    while last.elapsed() < TRUST_PERIOD {
        let asked = Instant::now();
        match scene.ask(&key).await {
            200 => last = asked,
            503 => {}
            status => panic!("{status}"),
        }
    }
    assert!(last - stalled < TRUST_PERIOD, "{:?}", last - stalled);
    assert_eq!(scene.ask(&other).await, 503);

    // The stalled bytes arrive at once, old heartbeats before the revocation. Old heartbeats must not renew the trust.
    scene.proxy.set(Network::Open);
    let freed = Instant::now();
    while freed.elapsed() < TRUST_PERIOD {
        assert_ne!(scene.ask(&key).await, 200);
    }
    assert_eq!(scene.ask(&key).await, 401);
    scene.wait_until_cached(&other).await;
}

#[tokio::test]
async fn no_revocation_is_lost_while_the_connection_is_cut() {
    let mut scene = Scene::new().await;
    let key = scene.make("caller", json!({"scopes": "reports:read"})).await;
    let other = scene.make("other", json!({"scopes": "reports:read"})).await;
    for round in 0..3 {
        let victim = scene.make("victim", json!({"scopes": "reports:read"})).await;
        for key in [&key, &other, &victim] {
            scene.wait_until_cached(key).await;
        }
        let streams = scene.proxy.streams();
        scene.proxy.set(Network::Cut);
        scene.revoke(&victim).await;
        scene.proxy.set(Network::Open);
        while scene.proxy.streams() == streams {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Wait until the client trusts its cache again; before that, responses are not cached.
        scene.wait_until_cached(&key).await;
        let checks = scene.proxy.checks();
        assert_eq!(scene.ask(&other).await, 200);
        assert_eq!(scene.proxy.checks(), checks, "round {round}: the key stayed cached");
        assert_eq!(scene.ask(&victim).await, 401);
    }
}

#[tokio::test]
async fn a_restarted_server_streams_the_revocations_that_the_client_missed() {
    let mut scene = Scene::new().await;
    let key = scene.make("caller", json!({"scopes": "reports:read"})).await;
    let other = scene.make("other", json!({"scopes": "reports:read"})).await;
    let victim = scene.make("victim", json!({"scopes": "reports:read"})).await;
    for key in [&key, &other, &victim] {
        scene.wait_until_cached(key).await;
    }
    scene.latchkey.kill();
    scene.proxy.set(Network::Cut);
    scene.wait_for_status(&key, 503).await;

    scene.latchkey = Server::start(scene.folder.path(), &[], &[]);
    scene.proxy.server.send_replace(scene.latchkey.address);
    scene.owner = scene.latchkey.connect().await.expect("the server listens");
    // The client is not connected yet. The stream's IDs continue after the restart.
    scene.revoke(&victim).await;
    let streams = scene.proxy.streams();
    scene.proxy.set(Network::Open);
    while scene.proxy.streams() == streams {
        assert_ne!(scene.ask(&victim).await, 200);
    }
    // Wait until the client trusts its cache again.
    scene.wait_until_cached(&key).await;
    let checks = scene.proxy.checks();
    assert_eq!((scene.ask(&victim).await, scene.ask(&other).await), (401, 200));
    assert_eq!(scene.proxy.checks(), checks + 1, "only the changed key is checked by the server");
}
