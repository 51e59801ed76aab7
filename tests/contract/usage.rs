//! Usage counts: neither a report of one tenant nor an error in one row stops the counting of others.

use latchkey::keys::{self, Policy};
use latchkey::runtime::entropy::Entropy;
use serde_json::{Value, json};

use crate::app::{Engine, TestApp, log, on_both_engines};
use crate::nodes::node;
use crate::story::{Call, Someone, Story, create, someone};

const MAX_COUNT: i64 = i64::MAX;

async fn make(app: &TestApp, ada: &Someone) -> (String, String) {
    let made = create(app, &ada.cookie, r#"{"name": "key"}"#).await;
    (made.field("/id"), made.field("/key"))
}

fn report<'a>(app: &'a TestApp, caller: &str, uses: &Value) -> Call<'a> {
    Call::new(app, "POST", "/v1/keys/usage").key(caller).json(&json!({ "uses": uses }).to_string())
}

async fn shown(app: &TestApp, ada: &Someone, id: &str) -> Value {
    Call::new(app, "GET", &format!("/v1/keys/{id}")).cookie(&ada.cookie).send().await.json()
}

fn row(id: &str) -> i64 {
    u64::from_str_radix(&id[3..], 16).expect("an id").cast_signed()
}

async fn flush(app: &TestApp) {
    app.services.usage.flush().await.expect("everything that can be saved is saved");
}

on_both_engines! {
    async fn a_report_with_a_repeated_key_or_too_many_uses_is_refused_as_a_whole(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let (id, caller) = make(&app, &ada).await;
        report(&app, &caller, &json!([{ "key_id": id, "count": 1 }, { "key_id": "ak_0000000000000001", "count": 1 }, { "key_id": id, "count": 2 }])).tell(&mut story).await;
        let many: Vec<Value> = (1..=11).map(|n| json!({ "key_id": format!("ak_{n:016x}"), "count": 1_000_000_000 })).collect();
        report(&app, &caller, &json!(many)).tell(&mut story).await;
        report(&app, &caller, &json!(many[..10])).tell(&mut story).await;
        // The reports themselves are uses of the key.
        assert_eq!(shown(&app, &ada, &id).await["request_count"], 3);
        story.is("a_report_with_a_repeated_key_or_too_many_uses_is_refused_as_a_whole");
    }

    async fn counts_saturate_in_memory_and_in_the_database(app) {
        let ada = someone(&app, "ada@example.com").await;
        let (_, caller) = make(&app, &ada).await;
        let ((full, _), (other, _)) = (make(&app, &ada).await, make(&app, &ada).await);
        let uses = json!([{ "key_id": full, "count": 1_000 }, { "key_id": other, "count": 5 }]);
        report(&app, &caller, &uses).send().await;
        flush(&app).await;
        app.execute(&format!("UPDATE keys SET request_count = {} WHERE id = {}", MAX_COUNT - 10, row(&full))).await;
        app.execute(&format!("UPDATE key_hours SET count = {} WHERE key_id = {}", MAX_COUNT - 10, row(&full))).await;
        report(&app, &caller, &uses).send().await;
        let counts = async || {
            let (full, other) = (shown(&app, &ada, &full).await, shown(&app, &ada, &other).await);
            [full["request_count"].clone(), full["usage"][0]["outcomes"]["VALID"].clone(), other["request_count"].clone()]
        };
        let right = [json!(MAX_COUNT), json!(MAX_COUNT), json!(10)];
        assert_eq!(counts().await, right);
        flush(&app).await;
        assert_eq!(counts().await, right);
        // An overflow within one flush.
        for _ in 0..3 {
            report(&app, &caller, &uses).send().await;
        }
        flush(&app).await;
        assert_eq!(counts().await, [json!(MAX_COUNT), json!(MAX_COUNT), json!(25)]);
    }

    /// The counts of a key without a row, as after a restore, cannot be saved.
    async fn a_rejected_row_does_not_block_the_others(app) {
        let ada = someone(&app, "ada@example.com").await;
        let (_, caller) = make(&app, &ada).await;
        let ((gone, _), (other, _)) = (make(&app, &ada).await, make(&app, &ada).await);
        report(&app, &caller, &json!([{ "key_id": gone, "count": 7 }, { "key_id": other, "count": 5 }])).send().await;
        app.execute(&format!("DELETE FROM keys WHERE id = {}", row(&gone))).await;
        flush(&app).await;
        assert!(log().contains(&format!("cannot save the usage of a key; it is dropped key={gone}")), "the dropped count is not in the log");
        assert_eq!(app.number("SELECT CAST(sum(request_count) AS BIGINT) FROM keys").await, 5 + 1);
        assert_eq!(app.number("SELECT CAST(sum(count) AS BIGINT) FROM key_hours").await, 5 + 1);
    }

    /// Counts of a key without a row are also dropped when the log is moved to the rows.
    async fn a_rejected_line_of_the_log_does_not_block_the_others(app) {
        let ada = someone(&app, "ada@example.com").await;
        let (_, caller) = make(&app, &ada).await;
        let made = futures::future::join_all((0..600).map(|_| make(&app, &ada))).await;
        let uses: Vec<Value> = made.iter().map(|(id, _)| json!({ "key_id": id, "count": 2 })).collect();
        for uses in uses.chunks(300) {
            report(&app, &caller, &json!(uses)).send().await;
        }
        for (id, _) in &made[..3] {
            app.execute(&format!("DELETE FROM keys WHERE id = {}", row(id))).await;
        }
        // 600 counts go through the log. Each of its 64 parts has its turn.
        for _ in 0..64 {
            app.clock.advance(2_000);
            flush(&app).await;
        }
        assert_eq!(app.number("SELECT count(*) FROM usage_log").await, 0);
        assert_eq!(app.number("SELECT CAST(sum(count) AS BIGINT) FROM key_hours").await, 597 * 2 + 2);
    }

    /// No content of the log keeps a server from starting.
    async fn an_unreadable_row_of_the_log_is_skipped(app) {
        let ada = someone(&app, "ada@example.com").await;
        let (id, _) = make(&app, &ada).await;
        let line = |hour: i64, count: i64| json!({ "hour": hour, "code": "VALID", "from": 0, "uses": [[row(&id), count, 0]] }).to_string();
        for text in ["nonsense".to_owned(), "{}".to_owned(), "[[1]]".to_owned(), line(490_000, -5), line(MAX_COUNT, 1), line(490_000, 3)] {
            app.execute(&format!("INSERT INTO usage_log (part, uses) VALUES (0, '{text}')")).await;
        }
        app.execute(&format!("INSERT INTO usage_log (part, uses) VALUES (999, '{}')", line(490_000, 3))).await;
        // The part of the log that belongs to the key's id.
        app.execute(&format!("UPDATE usage_log SET part = {} WHERE part = 0", row(&id).cast_unsigned() >> 58)).await;
        let opened = keys::open(app.db.clone(), app.clock.clone(), Entropy::seeded(1), Policy::default(), None).await;
        let opened = opened.expect("the database answers");
        opened.usage.recall().await.expect("it starts");
        let key = opened.keys.get(id.parse().expect("an id")).await.expect("the database answers").expect("a key");
        assert_eq!(key.request_count, 3);
    }

    /// The counts that an earlier server left in the log do not keep a node from starting either.
    async fn a_rejected_row_of_the_log_does_not_keep_a_node_from_starting(app) {
        if app.engine == Engine::Sqlite {
            return;
        }
        let ada = someone(&app, "ada@example.com").await;
        let (id, _) = make(&app, &ada).await;
        for key in [row(&id), 4711] {
            let line = json!({ "hour": 490_000, "code": "VALID", "from": 0, "uses": [[key, 3, 0]] });
            app.execute(&format!("INSERT INTO usage_log (part, uses) VALUES (0, '{line}')")).await;
        }
        let node = node(&app, "a").await;
        node.usage.recall().await.expect("it starts");
        assert_eq!(app.number("SELECT CAST(sum(count) AS BIGINT) FROM key_hours").await, 3);
        assert_eq!(app.number("SELECT count(*) FROM usage_log").await, 0);
    }

    /// Usage counts are saved even if the spent quota cannot be saved.
    async fn a_quota_that_cannot_be_saved_does_not_block_the_counts(app) {
        let ada = someone(&app, "ada@example.com").await;
        let made = create(&app, &ada.cookie, &ada.in_env(&ada.live, r#", "quota": {"limit": 9}"#)).await;
        assert_eq!(Call::new(&app, "GET", "/v1/whoami").key(&made.field("/key")).send().await.status, 200);
        app.execute("ALTER TABLE keys RENAME COLUMN quota_used TO elsewhere").await;
        assert!(app.services.usage.flush().await.is_err());
        assert_eq!(app.number("SELECT CAST(sum(request_count) AS BIGINT) FROM keys").await, 1);
        app.execute("ALTER TABLE keys RENAME COLUMN elsewhere TO quota_used").await;
        flush(&app).await;
        assert_eq!(app.number("SELECT CAST(sum(quota_used) AS BIGINT) FROM keys").await, 1, "the pending count was lost");
    }
}
