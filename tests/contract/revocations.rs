//! `GET /v1/revocations` (docs/CONTRACTS.md, "Native").

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use latchkey::keys::{Notification, Start};
use sha2::{Digest, Sha256};

use crate::app::{Engine, Settings, TestApp, on_both_engines};
use crate::story::{Call, Someone, create, someone};

/// A stream of server-sent events, read one by one.
pub struct Stream(Body, String);

impl Stream {
    pub async fn open(app: &TestApp, key: &str, after: Option<&str>) -> Self {
        let mut request = Request::get("/v1/revocations").header("x-api-key", key);
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        let answer = app.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self(answer.into_body(), String::new())
    }

    /// Returns the next event, its kind, its id and its data, and skips comments. `None` at the end.
    pub async fn next(&mut self) -> Option<(String, String, serde_json::Value)> {
        loop {
            if let Some((event, rest)) = self.1.split_once("\n\n") {
                let end = self.1.len() - rest.len();
                if event.starts_with(':') {
                    self.1.drain(..end);
                    continue;
                }
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
                };
                let told = (field("event:"), field("id:"), serde_json::from_str(&field("data:")).expect("JSON"));
                self.1.drain(..end);
                return Some(told);
            }
            let frame = self.0.frame().await?.expect("a frame").into_data().expect("data");
            self.1.push_str(std::str::from_utf8(&frame).expect("text"));
        }
    }

    /// Returns the next event that is not a heartbeat.
    pub async fn change(&mut self) -> Option<(String, String, serde_json::Value)> {
        loop {
            let next = self.next().await?;
            if next.0 != "heartbeat" {
                return Some(next);
            }
        }
    }
}

/// Creates a key for subscribing to changes.
async fn listener(app: &TestApp, who: &Someone) -> String {
    create(app, &who.cookie, r#"{"name": "listener", "scopes": "keys:verify"}"#).await.field("/key")
}

/// Changes a key.
async fn edit(app: &TestApp, who: &Someone, id: &str, body: &str) {
    let answer = Call::new(app, "PATCH", &format!("/v1/keys/{id}")).cookie(&who.cookie).json(body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

on_both_engines! {
    async fn subscribers_get_revocations_and_changes_of_their_organisation(app) {
        let (ada, bob) = (someone(&app, "ada@example.com").await, someone(&app, "bob@example.com").await);
        let caller = create(&app, &ada.cookie, r#"{"name": "caller", "scopes": "keys:verify"}"#).await;
        let made = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        let foreign = create(&app, &bob.cookie, r#"{"name": "foreign"}"#).await;
        let hash = hex::encode(Sha256::digest(made.field("/key")));

        let mut stream = Stream::open(&app, &caller.field("/key"), None).await;
        let (kind, start, _) = stream.next().await.unwrap();
        assert_eq!(kind, "heartbeat");
        Call::new(&app, "POST", &format!("/v1/keys/{}/revoke", foreign.field("/id"))).cookie(&bob.cookie).send().await;
        let path = format!("/v1/keys/{}", made.field("/id"));
        Call::new(&app, "PATCH", &path).cookie(&ada.cookie).json(r#"{"enabled": false}"#).send().await;
        Call::new(&app, "DELETE", &format!("/v1/auth/api-keys/{}", made.field("/id"))).cookie(&ada.cookie).send().await;
        let told = |revoked: bool| serde_json::json!({ "key_id": made.field("/id"), "hash": hash, "revoked": revoked });
        let (kind, first, data) = stream.change().await.unwrap();
        assert_eq!((kind.as_str(), data), ("changed", told(false)));
        let (_, second, data) = stream.change().await.unwrap();
        assert_eq!(data, told(true));

        // After a reconnect, the missed changes come first, and no change comes twice.
        let mut again = Stream::open(&app, &caller.field("/key"), Some(&first)).await;
        assert_eq!(again.next().await.unwrap(), ("changed".into(), second.clone(), told(true)));
        assert_eq!(again.next().await.unwrap().0, "heartbeat");
        let mut again = Stream::open(&app, &caller.field("/key"), Some(&start)).await;
        assert_eq!(again.next().await.unwrap().1, first);
        // An id from before a restart of the server, or an invalid one: the client's state is unknown.
        for id in ["0000000000000001-1", "x", ""] {
            let mut reset = Stream::open(&app, &caller.field("/key"), Some(id)).await;
            assert_eq!(reset.next().await.unwrap().0, "reset", "{id}");
        }
        // The stream ends with the key that opened it.
        Call::new(&app, "DELETE", &format!("/v1/auth/api-keys/{}", caller.field("/id"))).cookie(&ada.cookie).send().await;
        while let Some((kind, ..)) = stream.next().await {
            assert!(["heartbeat", "changed"].contains(&kind.as_str()));
        }
    }

    /// Firefox opens an `EventSource` when the first bytes of the body arrive.
    async fn a_stream_of_revocations_begins_with_a_comment(app) {
        let ada = someone(&app, "ada@example.com").await;
        let caller = create(&app, &ada.cookie, r#"{"name": "caller", "scopes": "keys:verify"}"#).await;
        let mut stream = Stream::open(&app, &caller.field("/key"), None).await;
        let first = stream.0.frame().await.unwrap().expect("a frame").into_data().expect("data");
        assert_eq!(first, ": open\n\n");
        assert_eq!(stream.next().await.unwrap().0, "heartbeat");
    }

    async fn subscribing_needs_the_right_to_check_keys(app) {
        let ada = someone(&app, "ada@example.com").await;
        let narrow = create(&app, &ada.cookie, &ada.in_env(&ada.live, r#", "scopes": "a:b""#)).await.field("/key");
        Call::new(&app, "GET", "/v1/revocations").send().await.is_problem(401, "unauthenticated");
        Call::new(&app, "GET", "/v1/revocations").cookie(&ada.cookie).send().await.is_problem(401, "unauthenticated");
        Call::new(&app, "GET", "/v1/revocations").key(&narrow).send().await.is_problem(403, "forbidden");
    }

    async fn ids_count_the_changes_of_the_own_organisation_only(app) {
        let (ada, bob) = (someone(&app, "ada@example.com").await, someone(&app, "bob@example.com").await);
        let made = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/id");
        let foreign = create(&app, &bob.cookie, r#"{"name": "foreign"}"#).await.field("/id");
        let mut stream = Stream::open(&app, &listener(&app, &ada).await, None).await;
        let count = |id: &str| id.rsplit_once('-').expect("a number at the end").1.to_owned();
        let (kind, start, _) = stream.next().await.expect("an event");
        assert_eq!((kind.as_str(), count(&start).as_str()), ("heartbeat", "0"));
        for name in ["one", "two", "three"] {
            edit(&app, &bob, &foreign, &format!(r#"{{"name": "{name}"}}"#)).await;
        }
        let (_, still, _) = stream.next().await.expect("a heartbeat");
        assert_eq!(still, start, "changes of other organisations do not show");
        edit(&app, &ada, &made, r#"{"name": "own"}"#).await;
        let (_, own, _) = stream.change().await.expect("a change");
        assert_eq!(count(&own), "1");
        // Changes of other organisations do not count as missed.
        edit(&app, &bob, &foreign, r#"{"name": "four"}"#).await;
        let mut again = Stream::open(&app, &listener(&app, &ada).await, Some(&own)).await;
        let (kind, id, _) = again.next().await.expect("a heartbeat");
        assert_eq!((kind.as_str(), id), ("heartbeat", own));
    }

    async fn a_resumed_stream_gets_all_missed_changes_page_by_page(app) {
        let ada = someone(&app, "ada@example.com").await;
        let made = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/id");
        let key = listener(&app, &ada).await;
        let (_, start, _) = Stream::open(&app, &key, None).await.next().await.expect("a heartbeat");
        for number in 1..=220 {
            edit(&app, &ada, &made, &format!(r#"{{"name": "{number}"}}"#)).await;
        }
        let mut stream = Stream::open(&app, &key, Some(&start)).await;
        for number in 1..=220 {
            let (kind, id, _) = stream.next().await.expect("an event");
            assert_eq!((kind.as_str(), id.rsplit('-').next()), ("changed", Some(number.to_string().as_str())));
        }
        assert_eq!(stream.next().await.expect("an event").0, "heartbeat");
        // A slow reader gets the same changes once it reads.
        let mut slow = Stream::open(&app, &key, None).await;
        for number in 0..600 {
            edit(&app, &ada, &made, &format!(r#"{{"name": "again {number}"}}"#)).await;
        }
        for number in 221..=820 {
            let (kind, id, _) = slow.change().await.expect("an event");
            assert_eq!((kind.as_str(), id.rsplit('-').next()), ("changed", Some(number.to_string().as_str())));
        }
    }

    async fn a_stream_whose_next_changes_are_deleted_before_it_reads_them_is_reset(app) {
        let ada = someone(&app, "ada@example.com").await;
        let made = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/id");
        let organisation = ada.org.parse().expect("an id");
        let changes = &app.services.changes;
        for (deleted, told) in [("1 = 0", 3), ("organisation_number % 3 = 1", 0), ("organisation_number % 3 = 2", 1), ("1 = 1", 0)] {
            let start = changes.subscribe(organisation, Start::Now).await.expect("a subscription").at();
            for name in ["one", "two", "three"] {
                edit(&app, &ada, &made, &format!(r#"{{"name": "{name}"}}"#)).await;
            }
            let mut stream = changes.subscribe(organisation, Start::After(start)).await.expect("a subscription");
            app.execute(&format!("DELETE FROM changes WHERE {deleted}")).await;
            for _ in 0..told {
                assert!(matches!(stream.catch_up().await, Ok(Some(Notification::Changed(_)))), "{deleted}");
            }
            if told < 3 {
                assert!(stream.is_behind(), "{deleted}");
                assert!(matches!(stream.catch_up().await, Ok(Some(Notification::Reset))), "{deleted}");
            }
            assert!(!stream.is_behind() && matches!(stream.catch_up().await, Ok(None)), "{deleted}");
            let end = changes.subscribe(organisation, Start::Now).await.expect("a subscription").at();
            assert_eq!(stream.at(), end, "{deleted}");
        }
    }

    /// The server holds one page in memory, however many changes a stream has missed.
    async fn a_resumed_stream_reads_one_page_of_the_log_at_a_time(app) {
        let ada = someone(&app, "ada@example.com").await;
        let made = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/id");
        let organisation = ada.org.parse().expect("an id");
        let changes = &app.services.changes;
        let start = changes.subscribe(organisation, Start::Now).await.expect("a subscription").at();
        for number in 0..130 {
            edit(&app, &ada, &made, &format!(r#"{{"name": "{number}"}}"#)).await;
        }
        let mut stream = changes.subscribe(organisation, Start::After(start)).await.expect("a subscription");
        assert!(matches!(stream.catch_up().await, Ok(Some(Notification::Changed(_)))));
        // The rest of the page is in memory already.
        app.execute("DELETE FROM changes").await;
        let mut told = 1;
        while let Ok(Some(Notification::Changed(_))) = stream.catch_up().await {
            told += 1;
        }
        assert_eq!(told, 100);
    }

    async fn one_organisation_cannot_take_the_streams_of_the_others(app) {
        let (ada, bob) = (someone(&app, "ada@example.com").await, someone(&app, "bob@example.com").await);
        let (greedy, modest) = (listener(&app, &ada).await, listener(&app, &bob).await);
        let mut streams = Vec::new();
        for _ in 0..50 {
            streams.push(Stream::open(&app, &greedy, None).await);
        }
        for _ in 0..60 {
            let refused = Call::new(&app, "GET", "/v1/revocations").key(&greedy).send().await;
            refused.is_problem(429, "too_many_requests");
            assert_eq!(refused.header("retry-after"), "10");
        }
        let mut other = Stream::open(&app, &modest, None).await;
        assert_eq!(other.next().await.expect("an event").0, "heartbeat");
        streams.pop();
        Stream::open(&app, &greedy, None).await;
    }
}

/// Streams and the revocation are separate tasks: on one thread, the streams run first only if the revocation yields.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_revocation_is_written_to_every_open_stream_before_it_is_answered() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let app = Arc::new(TestApp::new(engine, Settings::default()).await);
        let ada = someone(&app, "ada@example.com").await;
        let key = listener(&app, &ada).await;
        let told = Arc::new(AtomicUsize::new(0));
        for _ in 0..50 {
            let mut stream = Stream::open(&app, &key, None).await;
            assert_eq!(stream.next().await.expect("an event").0, "heartbeat");
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                while stream.change().await.is_some() {
                    told.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let revoking = tokio::spawn({
            let told = Arc::clone(&told);
            async move {
                for number in 1..=20 {
                    let made = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/id");
                    let path = format!("/v1/keys/{made}/revoke");
                    let answer = Call::new(&app, "POST", &path).cookie(&ada.cookie).send().await;
                    let told = told.load(Ordering::SeqCst);
                    assert_eq!((answer.status.as_u16(), told), (200, number * 50), "{engine:?}");
                }
            }
        });
        revoking.await.expect("every stream was told first");
    }
}
