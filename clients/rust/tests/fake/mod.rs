//! A fake Latchkey server that the tests control.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::channel::mpsc::{UnboundedSender, unbounded};
use http::{HeaderMap, StatusCode};
use latchkey_client::{Client, Outcome};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

pub const OWN_KEY: &str = "hs_live_own";

#[derive(Default)]
pub struct Seen {
    /// The bodies of all checks.
    pub checks: Vec<Value>,
    /// The bodies of all accepted reports.
    pub reports: Vec<Value>,
    /// The `Last-Event-ID` of all streams.
    pub streams: Vec<Option<String>>,
}

struct Inner {
    seen: Seen,
    /// Status, body, and whether the outcome may be cached, by key.
    outcomes: HashMap<String, (u16, Value, bool)>,
    /// The statuses of the next reports, the last one first; then 200.
    report_status: Vec<u16>,
    /// The open streams, by number.
    listeners: Vec<(usize, UnboundedSender<Result<Bytes, Infallible>>)>,
    changes: u32,
}

#[derive(Clone)]
pub struct Fake {
    inner: Arc<Mutex<Inner>>,
    /// While this is true, no check is answered.
    pub held: watch::Sender<bool>,
    /// While this is true, no heartbeat is sent.
    pub silent: watch::Sender<bool>,
    /// While this is true, streams are refused (503).
    pub full: watch::Sender<bool>,
    pub url: String,
}

#[allow(dead_code, reason = "each program that includes this file uses what it needs")]
impl Fake {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let inner = Inner {
            seen: Seen::default(),
            outcomes: HashMap::new(),
            report_status: Vec::new(),
            listeners: Vec::new(),
            changes: 0,
        };
        let fake = Self {
            inner: Arc::new(Mutex::new(inner)),
            held: watch::channel(false).0,
            silent: watch::channel(false).0,
            full: watch::channel(false).0,
            url: format!("http://{}", listener.local_addr().expect("an address")),
        };
        let router = Router::new()
            .route("/v1/keys/verify", post(verify))
            .route("/v1/keys/usage", post(usage))
            .route("/v1/revocations", get(revocations))
            .with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic")
    }

    pub fn client(&self) -> Client {
        Client::new(&self.url, OWN_KEY).expect("a client")
    }

    /// Sets the response to checks of a key.
    pub fn say(&self, key: &str, status: u16, body: Value, is_cacheable: bool) {
        self.inner().outcomes.insert(key.to_owned(), (status, body, is_cacheable));
    }

    /// Makes a key valid.
    pub fn know(&self, key: &str, is_cacheable: bool) {
        self.say(key, 200, valid(key), is_cacheable);
    }

    pub fn refuse_reports(&self, statuses: &[u16]) {
        self.inner().report_status = statuses.to_vec();
    }

    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.inner().seen)
    }

    /// Returns the number of checks of a key.
    pub fn checks(&self, key: &str) -> usize {
        self.seen(|seen| seen.checks.iter().filter(|check| check["key"] == key).count())
    }

    /// Returns the reported number of uses of a key.
    pub fn reported(&self, key: &str) -> u64 {
        self.seen(|seen| {
            let uses = seen.reports.iter().flat_map(|report| report["uses"].as_array().expect("uses"));
            uses.filter(|used| used["key_id"] == id(key)).map(|used| used["count"].as_u64().expect("a count")).sum()
        })
    }

    pub fn tell(&self, text: &str) {
        self.inner().listeners.retain(|(_, listener)| listener.unbounded_send(Ok(text.to_owned().into())).is_ok());
    }

    pub fn change(&self, key: &str) {
        let number = {
            let mut inner = self.inner();
            inner.changes += 1;
            inner.changes
        };
        let data = json!({"key_id": id(key), "hash": hex::encode(Sha256::digest(key)), "revoked": true});
        self.tell(&format!("id: ff-{number}\nevent: changed\ndata: {data}\n\n"));
    }

    /// Ends all streams.
    pub fn cut(&self) {
        self.inner().listeners.clear();
    }

    pub fn listeners(&self) -> usize {
        let mut inner = self.inner();
        inner.listeners.retain(|(_, listener)| !listener.is_closed());
        inner.listeners.len()
    }
}

pub fn id(key: &str) -> String {
    format!("ak_{}", &hex::encode(Sha256::digest(key))[..16])
}

pub fn valid(key: &str) -> Value {
    json!({
        "valid": true, "code": "VALID", "key_id": id(key), "name": key, "org_id": "org_1", "env_id": "env_1",
        "environment": "live", "scopes": "reports:read", "expires_at": null, "metadata": {"plan": "pro"},
        "ratelimit": null, "request_id": "0",
    })
}

pub fn refused(code: &str) -> Value {
    json!({ "valid": false, "code": code, "request_id": "0" })
}

/// Waits until a condition holds; panics after 10 s.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 10 s: {what}");
}

/// Waits until the client caches a key, which needs a heartbeat first.
#[allow(dead_code, reason = "each program that includes this file uses what it needs")]
pub async fn until_cached(fake: &Fake, mut verify: impl AsyncFnMut() -> Outcome) {
    until("the key is cached", async || {
        let before = fake.seen(|seen| seen.checks.len());
        assert!(verify().await.is_valid());
        before == fake.seen(|seen| seen.checks.len())
    })
    .await;
}

async fn verify(State(fake): State<Fake>, headers: HeaderMap, Json(check): Json<Value>) -> Response {
    if headers.get("x-api-key").is_none_or(|key| key != OWN_KEY) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let key = check["key"].as_str().expect("a key").to_owned();
    // The outcome at the time of the check, even if the response is held back.
    let outcome = {
        let mut inner = fake.inner();
        inner.seen.checks.push(check);
        inner.outcomes.get(&key).cloned()
    };
    fake.held.subscribe().wait_for(|held| !held).await.expect("it lives");
    let (status, body, is_cacheable) = outcome.unwrap_or((200, refused("NOT_FOUND"), false));
    let mut response = Json(body).into_response();
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    if is_cacheable {
        response.headers_mut().insert("latchkey-cacheable", http::HeaderValue::from_static("true"));
    }
    response
}

async fn usage(State(fake): State<Fake>, Json(report): Json<Value>) -> Response {
    let mut inner = fake.inner();
    if let Some(status) = inner.report_status.pop() {
        return StatusCode::from_u16(status).expect("a status").into_response();
    }
    inner.seen.reports.push(report);
    Json(json!({ "counted": 1 })).into_response()
}

async fn revocations(State(fake): State<Fake>, headers: HeaderMap) -> Response {
    if *fake.full.borrow() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let (sender, events) = unbounded();
    let stream = {
        let mut inner = fake.inner();
        let last = headers.get("last-event-id").map(|id| id.to_str().expect("text").to_owned());
        inner.seen.streams.push(last);
        let stream = inner.seen.streams.len();
        inner.listeners.push((stream, sender));
        stream
    };
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            let inner = fake.inner();
            // A stream that is no longer listed was cut.
            let Some((_, listener)) = inner.listeners.iter().find(|(number, _)| *number == stream) else {
                return;
            };
            let heartbeat = format!("id: ff-{}\nevent: heartbeat\ndata: {{}}\n\n", inner.changes);
            if !*fake.silent.borrow() && listener.unbounded_send(Ok(heartbeat.into())).is_err() {
                return;
            }
        }
    });
    ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response()
}
