//! Size limits of tables: at each, the oldest row is deleted or the request is refused. Other accounts are unaffected.

use futures::future::join_all;
use latchkey::domain::Ask;
use latchkey::events::{EventLimits, Events, Incoming, Refused, SourceName};
use latchkey::keys::{Pass, Policy, Purpose};
use serde_json::json;

use crate::app::{Engine, Settings, TestApp, Tidy, on_both_engines};
use crate::hooksentry::{create as create_for_tenant, ingest, tenant};
use crate::story::{Answer, Call, create, someone};

const DAY: i64 = 24 * 3_600_000;
const PASSWORD: &str = "correct horse battery";

/// Signs in `times` times and returns the answers.
async fn log_in(app: &TestApp, path: &str, times: usize) -> Vec<Answer> {
    let mut answers = Vec::new();
    for _ in 0..times {
        app.clock.advance(60_000);
        let body = json!({ "email": "ada@example.com", "password": PASSWORD });
        let answer = Call::new(app, "POST", path).json(&body.to_string()).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answers.push(answer);
    }
    answers
}

async fn pass(app: &TestApp, key: &str) -> Pass {
    app.services
        .checks
        .verify(key, &Ask::default(), Purpose::Use, |verdict| verdict.pass())
        .await
        .expect("an answer")
        .expect("a good key")
}

fn incoming<'a>(key: &'a Pass, source: &str, body: &str) -> Incoming<'a> {
    let source = SourceName::parse(source).expect("a name");
    Incoming { key, source, idempotency_key: None, body: bytes::Bytes::copy_from_slice(body.as_bytes()) }
}

fn at_most_2_revoked() -> Settings {
    Settings { policy: Policy { most_revoked: 2, revoked_days: 30, ..Policy::default() }, ..Settings::default() }
}

on_both_engines! {
    async fn one_session_more_than_an_account_may_have_ends_the_oldest(app) {
        let ada = someone(&app, "ada@example.com").await;
        let me = async |cookie: &str| Call::new(&app, "GET", "/v1/auth/me").cookie(cookie).send().await.status.as_u16();
        log_in(&app, "/v1/auth/login", 99).await;
        assert_eq!((me(&ada.cookie).await, app.number("SELECT count(*) FROM sessions").await), (200, 100));
        let bob = someone(&app, "bob@example.com").await;
        log_in(&app, "/v1/auth/login", 1).await;
        assert_eq!((me(&ada.cookie).await, me(&bob.cookie).await), (401, 200));
        assert_eq!(app.number("SELECT count(*) FROM sessions").await, 101);
    }

    async fn one_token_family_more_than_an_account_may_have_ends_the_oldest(app) {
        someone(&app, "ada@example.com").await;
        let first = log_in(&app, "/api/v1/auth/login", 1).await.remove(0);
        let ended = log_in(&app, "/api/v1/auth/login", 1).await.remove(0);
        let bearer = format!("Bearer {}", ended.field("/accessToken"));
        let body = json!({ "refreshToken": ended.field("/refreshToken") }).to_string();
        assert_eq!(Call::new(&app, "POST", "/api/v1/auth/logout").header("authorization", &bearer).json(&body).send().await.status, 204);
        log_in(&app, "/api/v1/auth/login", 99).await;
        assert_eq!(app.number("SELECT count(*) FROM token_families").await, 100, "an ended family is deleted first");
        let refresh = async |answer: &Answer| {
            let body = json!({ "refreshToken": answer.field("/refreshToken") }).to_string();
            Call::new(&app, "POST", "/api/v1/auth/refresh").json(&body).send().await
        };
        let next = refresh(&first).await;
        assert_eq!(next.status, 200);
        log_in(&app, "/api/v1/auth/login", 1).await;
        assert_eq!(refresh(&next).await.status, 401);
        assert_eq!(app.number("SELECT count(*) FROM token_families").await, 100);
        assert_eq!(app.number("SELECT count(*) FROM tokens").await, 200);
    }

    async fn a_token_family_keeps_its_newest_2000_tokens(app) {
        someone(&app, "ada@example.com").await;
        let mut pair = log_in(&app, "/api/v1/auth/login", 1).await.remove(0);
        for _ in 0..1_010 {
            app.clock.advance(1);
            let body = json!({ "refreshToken": pair.field("/refreshToken") }).to_string();
            pair = Call::new(&app, "POST", "/api/v1/auth/refresh").json(&body).send().await;
            assert_eq!(pair.status, 200);
        }
        assert_eq!(app.number("SELECT count(*) FROM tokens").await, 2_000);
    }

    async fn an_environment_is_limited_in_its_sources(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let key = pass(&app, &create_for_tenant(&app, &ada.access, "key").await.field("/key")).await;
        let limits = EventLimits { max_sources: 2, ..EventLimits::default() };
        let events = Events::new(app.db.clone(), app.clock.clone(), latchkey::runtime::entropy::Entropy::seeded(5), limits);
        for (source, right) in [("a", true), ("b", true), ("c", false), ("a", true)] {
            let taken = events.inbox().take(incoming(&key, source, "1")).await;
            assert_eq!(taken.map(drop), if right { Ok(()) } else { Err(Refused::TooManySources(2)) }, "{source}");
        }
        assert_eq!(app.number("SELECT count(*) FROM sources").await, 2);
        // New sources that arrive together share a transaction.
        app.execute("DELETE FROM events").await;
        app.execute("DELETE FROM sources").await;
        let events = Events::new(app.db.clone(), app.clock.clone(), latchkey::runtime::entropy::Entropy::seeded(6), limits);
        let names: Vec<String> = (0..20).map(|n| format!("s{n}")).collect();
        let taken = join_all(names.iter().map(|name| events.inbox().take(incoming(&key, name, "1")))).await;
        assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 2, "{taken:?}");
    }

    async fn a_source_above_the_limit_is_refused_with_the_limit(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let key = create_for_tenant(&app, &ada.access, "key").await.field("/key");
        let environment = "(SELECT environment_id FROM keys WHERE name = 'key')";
        let rows: Vec<String> = (0..1_000).map(|n| format!("({n}, {environment}, 's{n}', 0)")).collect();
        app.execute(&format!("INSERT INTO sources (id, environment_id, name, created_at) VALUES {}", rows.join(","))).await;
        let refused = ingest(&app, &ada.id, "new", &key).json("1").send().await;
        assert_eq!((refused.status.as_u16(), refused.text()), (400, "\"The environment has 1000 sources, the maximum: use one of them.\"".to_owned()));
        assert_eq!(ingest(&app, &ada.id, "s7", &key).json("1").send().await.status, 202);
    }

    async fn events_above_the_byte_limit_are_deleted_with_their_idempotency_keys(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let key = create_for_tenant(&app, &ada.access, "key").await.field("/key");
        for (n, source) in ["a", "b", "a", "b", "a"].into_iter().enumerate() {
            app.clock.advance(1_000);
            let body = format!("\"{}\"", "x".repeat(98));
            let sent = ingest(&app, &ada.id, source, &key).header("x-idempotency-key", &n.to_string()).json(&body).send().await;
            assert_eq!(sent.status, 202);
        }
        let bytes = "SELECT CAST(sum(event_bytes) AS BIGINT) FROM sources";
        assert_eq!(app.number(bytes).await, 500);
        let limits = EventLimits { max_bytes: 250, ..EventLimits::default() };
        let events = Events::new(app.db.clone(), app.clock.clone(), latchkey::runtime::entropy::Entropy::seeded(5), limits);
        assert_eq!(events.tidy().await.expect("the database answers"), 3);
        assert_eq!((app.number(bytes).await, app.number("SELECT count(*) FROM events").await), (200, 2));
        assert_eq!(app.number("SELECT count(*) FROM idempotency_keys").await, 2);
        assert_eq!(events.tidy().await.expect("the database answers"), 0);
    }

    /// The hash stays, so that the deleted key is never accepted again.
    async fn a_revoked_key_is_deleted_in_time_and_its_hash_is_kept(app, at_most_2_revoked()) {
        let ada = someone(&app, "ada@example.com").await;
        let make = async || create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        let (first, second, kept) = (make().await, make().await, make().await);
        let key = first.field("/key");
        assert_eq!(Call::new(&app, "GET", "/v1/whoami").key(&key).send().await.status, 200);
        app.services.usage.flush().await.expect("the database answers");
        for made in [&first, &second] {
            let revoked = Call::new(&app, "DELETE", &format!("/v1/auth/api-keys/{}", made.field("/id"))).cookie(&ada.cookie).send().await;
            assert_eq!(revoked.status, 200);
        }
        let full = Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie).json(r#"{"name": "key"}"#).send().await;
        assert_eq!(full.status, 403);
        assert!(full.text().contains("2 revoked keys") && full.text().contains("--max-revoked-keys-per-organisation"), "{}", full.text());

        app.execute("CREATE TABLE copy AS SELECT * FROM keys WHERE revoked_at IS NOT NULL").await;
        app.clock.advance(29 * DAY);
        app.services.keys.purge_revoked().await.expect("the database answers");
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 3);
        app.clock.advance(2 * DAY);
        app.services.keys.purge_revoked().await.expect("the database answers");
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 1);
        assert_eq!(app.number("SELECT count(*) FROM revoked_hashes").await, 2);
        assert_eq!(app.number("SELECT key_count FROM organisations").await, 1);
        assert_eq!(app.number("SELECT count(*) FROM key_hours").await, 0);
        let again = log_in(&app, "/v1/auth/login", 1).await.remove(0).cookie();
        assert_eq!(create(&app, &again, r#"{"name": "key"}"#).await.status, 201, "there is room again");
        let refused = app.try_execute("INSERT INTO keys SELECT * FROM copy").await;
        assert!(refused.expect_err("no row comes back").to_string().contains("a key with this hash was revoked"));
        assert_eq!(Call::new(&app, "GET", "/v1/whoami").key(&key).send().await.status, 401);
        assert_eq!(Call::new(&app, "GET", "/v1/whoami").key(&kept.field("/key")).send().await.status, 200);
    }
}

/// PostgreSQL only: SQLite does not rewrite a row that an update leaves unchanged.
#[tokio::test]
async fn the_clean_up_writes_nothing_if_no_event_has_expired() {
    let app = TestApp::new(Engine::Postgres, Settings::default()).await;
    let ada = tenant(&app, "ada@example.com").await;
    let key = create_for_tenant(&app, &ada.access, "key").await.field("/key");
    for source in ["a", "b"] {
        assert_eq!(ingest(&app, &ada.id, source, &key).json("1").send().await.status, 202);
    }
    let last_writer = async || app.number("SELECT max(CAST(CAST(xmin AS TEXT) AS BIGINT)) FROM sources").await;
    let before = last_writer().await;
    assert_eq!(app.services.events.tidy().await.expect("an answer"), 0);
    assert_eq!(last_writer().await, before);
    app.clock.advance(8 * DAY);
    assert_eq!(app.services.events.tidy().await.expect("an answer"), 2);
    assert_ne!(last_writer().await, before);
}
