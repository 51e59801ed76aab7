//! Many events at once: a batch has the same result as its events one by one.

use std::collections::{HashMap, HashSet};

use futures::future::join_all;
use latchkey::domain::Ask;
use latchkey::events::{Events, IdempotencyKey, Incoming, SourceName};
use latchkey::keys::Purpose;
use sqlx::Connection;

use crate::app::{Engine, Settings, TestApp, Tidy, on_both_engines};
use crate::hooksentry::{create, get, ingest, tenant};
use crate::story::{Answer, Call};

const DAY: i64 = 24 * 3600 * 1000;

/// Two transactions that wait for each other end in a deadlock error. SQLite has one writer at a time.
#[tokio::test]
async fn deleting_old_idempotency_keys_does_not_wait_for_a_row_that_is_being_claimed() {
    let app = TestApp::new(Engine::Postgres, Settings::default()).await;
    let ada = tenant(&app, "ada@example.com").await;
    let key = create(&app, &ada.access, "key").await.field("/key");
    for text in ["a", "b", "c"] {
        let taken = ingest(&app, &ada.id, "s", &key).header("x-idempotency-key", text).json("{}").send().await;
        assert_eq!(taken.status, 202);
    }
    app.clock.advance(DAY);
    let mut db = sqlx::PgConnection::connect(&app.url).await.expect("the server answers");
    let mut claim = db.begin().await.expect("a transaction");
    let claimed = "UPDATE idempotency_keys SET accepted_at = accepted_at + 1 WHERE text = 'b'";
    assert_eq!(sqlx::query(claimed).execute(&mut *claim).await.expect("it is there").rows_affected(), 1);
    let tidy = app.services.events.tidy();
    tokio::time::timeout(std::time::Duration::from_secs(10), tidy).await.expect("no wait").expect("no error");
    claim.commit().await.expect("it is still there");
    assert_eq!(app.number("SELECT count(*) FROM idempotency_keys WHERE text = 'b'").await, 1);
    assert_eq!(app.number("SELECT count(*) FROM idempotency_keys").await, 1, "the other keys are deleted");
}

on_both_engines! {
    async fn concurrent_events_with_one_idempotency_key_are_stored_once(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let key = create(&app, &ada.access, "key").await.field("/key");
        for round in 0..5 {
            let text = format!("round {round}");
            let answers = join_all((0..20).map(|n| ingest(&app, &ada.id, "s", &key).header("x-idempotency-key", &text).json(&n.to_string()).send())).await;
            assert_eq!(answers.iter().filter(|answer| answer.status == 202).count(), 1);
            assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 19);
            assert_eq!(answers.iter().map(Answer::text).collect::<HashSet<_>>().len(), 1, "all requests get the same answer");
        }
        assert_eq!(app.number("SELECT count(*) FROM events").await, 5);
        assert_eq!(get(&app, &ada.access, "/api/v1/events").await.total(), 5);
    }

    async fn two_hundred_concurrent_events_are_each_stored_once(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let key = create(&app, &ada.access, "key").await.field("/key");
        let sources = ["a", "b", "c"];
        let answers = join_all((0..200).map(|n| ingest(&app, &ada.id, sources[n % 3], &key).json(&format!("{{\"n\": {n}}}")).send())).await;
        assert!(answers.iter().all(|answer| answer.status == 202));
        let ids: HashSet<String> = answers.iter().map(|answer| answer.field("/id")).collect();
        let mut listed = HashSet::new();
        for page in 1..=3 {
            listed.extend(get(&app, &ada.access, &format!("/api/v1/events?Qt=100&Pg={page}")).await.items("id"));
        }
        assert!(ids.len() == 200 && listed == ids);
        let mut bodies = app.bytes("SELECT body FROM events").await;
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), 200);
        let total = async |query: &str| get(&app, &ada.access, &format!("/api/v1/events{query}")).await.total();
        assert_eq!((total("").await, total("?Source=a").await, total("?Source=b").await, total("?Source=c").await), (200, 67, 67, 66));
        assert_eq!(app.number("SELECT CAST(sum(event_count) AS BIGINT) FROM sources").await, 200);
        let listed = Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.who.cookie).send().await;
        assert_eq!(listed.json()["api_keys"][0]["request_count"], 200);
    }

    /// One statement stores a whole batch and must be right for each event: with a new or a known source, with or
    /// without an idempotency key, first or repeated, and however the events are batched.
    async fn a_mixed_batch_is_stored_like_single_events(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let key = create(&app, &ada.access, "key").await.field("/key");
        assert_eq!(ingest(&app, &ada.id, "s0", &key).json("{}").send().await.status, 202);
        let send = async |n: usize| {
            let call = ingest(&app, &ada.id, &format!("s{}", n % 20), &key).json(&n.to_string());
            // For sources with an even number. Each text comes two or four times to a source, and to several sources.
            let call = if n.is_multiple_of(2) { call.header("x-idempotency-key", &format!("k{}", n % 40 / 20 + n / 80)) } else { call };
            (n, call.send().await)
        };
        let answers = join_all((0..160).map(send)).await;
        let mut first: HashMap<(usize, String), HashSet<String>> = HashMap::new();
        for (n, answer) in &answers {
            if n.is_multiple_of(2) {
                first.entry((n % 20, format!("k{}", n % 40 / 20 + n / 80))).or_default().insert(answer.text());
            }
        }
        assert!(first.len() == 30 && first.values().all(|answers| answers.len() == 1), "one answer for each source and text");
        let taken = answers.iter().filter(|(_, answer)| answer.status == 202).count();
        assert_eq!((taken, answers.iter().filter(|(_, answer)| answer.status == 200).count()), (80 + 30, 50));
        assert_eq!(app.number("SELECT count(*) FROM sources").await, 20);
        assert_eq!(app.number("SELECT count(*) FROM events").await, 111);
        assert_eq!(app.number("SELECT CAST(sum(event_count) AS BIGINT) FROM sources").await, 111);
        for source in 0..20_i64 {
            let expected = 8 * (source % 2) + 3 * (1 - source % 2) + i64::from(source == 0);
            assert_eq!(get(&app, &ada.access, &format!("/api/v1/events?Source=s{source}")).await.total(), expected, "s{source}");
        }
    }

    /// A server caches known sources by environment and name.
    async fn the_same_name_in_two_environments_is_two_sources(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let make = async |environment: &str| crate::story::create(&app, &ada.who.cookie, &ada.who.in_env(environment, "")).await.field("/key");
        let (live, test) = (make(&ada.who.live).await, make(&ada.who.test).await);
        for _ in 0..2 {
            let sent = [&live, &test, &live, &test, &live].map(|key| ingest(&app, &ada.id, "s", key).json("1").send());
            assert!(join_all(sent).await.iter().all(|answer| answer.status == 202));
        }
        assert_eq!(app.number("SELECT count(*) FROM sources").await, 2);
        let at_home = app.number(
            "SELECT count(*) FROM events e JOIN sources s ON s.id = e.source_id JOIN keys k ON k.id = e.key_id \
             WHERE s.environment_id = k.environment_id",
        );
        assert_eq!(at_home.await, 10);
        let counts = (app.number("SELECT max(event_count) FROM sources").await, app.number("SELECT min(event_count) FROM sources").await);
        assert_eq!(counts, (6, 4));
    }

    /// Two servers on one database store batches with the same sources in any order, while a third one cleans up: no
    /// deadlock.
    async fn several_servers_store_events_at_once_without_deadlock(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let plain = create(&app, &ada.access, "key").await.field("/key");
        let key = app.services.checks.verify(&plain, &Ask::default(), Purpose::Use, |verdict| verdict.pass()).await.unwrap().expect("a good key");
        let sources = ["a", "b", "c", "d", "e", "f"];
        // Events that will be too old, so that there is something to clean up.
        for n in 0..60 {
            ingest(&app, &ada.id, sources[n % 6], &plain).json("1").send().await;
        }
        app.clock.advance(8 * DAY);
        let servers: Vec<Events> = (0..3).map(|n| Events::new(app.db.clone(), app.clock.clone(), latchkey::runtime::entropy::Entropy::seeded(n), latchkey::events::EventLimits::default())).collect();
        let take = |server: usize, n: usize| {
            let at = if server == 0 { n % 6 } else { 5 - n % 6 };
            let incoming = Incoming {
                key: &key,
                source: SourceName::parse(sources[at]).unwrap(),
                idempotency_key: IdempotencyKey::parse(&format!("{n}")),
                body: bytes::Bytes::from_static(b"1"),
            };
            let inbox = servers[server].inbox();
            async move { inbox.take(incoming).await }
        };
        for round in 0..10 {
            let calls = (0..60).flat_map(|n| [(0, round * 60 + n), (1, round * 60 + n)]).map(|(server, n)| take(server, n));
            let (taken, tidied) = futures::join!(join_all(calls), servers[2].tidy());
            assert!(taken.iter().all(Result::is_ok), "{taken:?}");
            tidied.unwrap();
        }
        // The two servers use opposite orders of the sources, so no idempotency key comes to one source twice.
        let stored = app.number("SELECT count(*) FROM events").await;
        assert_eq!((stored, app.number("SELECT CAST(sum(event_count) AS BIGINT) FROM sources").await), (1200, 1200));
    }

    /// Events without an idempotency key take another path through the store.
    async fn a_batch_that_cannot_be_written_leaves_no_row(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let key = create(&app, &ada.access, "key").await.field("/key");
        let send = |source: &'static str| ingest(&app, &ada.id, source, &key).json("{}");
        assert_eq!(send("old").send().await.status, 202);
        for table in ["events", "sources"] {
            app.execute(&format!("ALTER TABLE {table} RENAME TO lost")).await;
            for answer in join_all(["old", "new", "old"].map(|source| send(source).send())).await {
                answer.is_problem(503, "unavailable");
                assert!(!answer.header("retry-after").is_empty());
            }
            app.execute(&format!("ALTER TABLE lost RENAME TO {table}")).await;
            assert_eq!(app.number("SELECT (SELECT count(*) FROM events) * 10 + (SELECT count(*) FROM sources)").await, 11, "{table}");
            assert_eq!(app.number("SELECT CAST(sum(event_count) AS BIGINT) FROM sources").await, 1, "{table}");
        }
        let answers = join_all(["old", "new", "old"].map(|source| send(source).send())).await;
        assert!(answers.iter().all(|answer| answer.status == 202));
        assert_eq!(get(&app, &ada.access, "/api/v1/events").await.total(), 4);
    }
}
