//! `POST /v1/keys/verify` (docs/CONTRACTS.md, "Native"): every outcome, in its order, and the right to ask.

use latchkey::keys::{self, Opened, Policy, Purpose};
use latchkey::runtime::entropy::Entropy;
use serde_json::{Value, json};

use crate::app::{TestApp, on_both_engines};
use crate::story::{Answer, Call, Someone, Story, create, someone};

/// Prepares the check of a key, by another key.
fn verify<'a>(app: &'a TestApp, caller: &str, body: &Value) -> Call<'a> {
    Call::new(app, "POST", "/v1/keys/verify").key(caller).json(&body.to_string())
}

async fn code(app: &TestApp, caller: &str, body: &Value) -> String {
    let answer = verify(app, caller, body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.field("/code")
}

/// Creates a key that may check others.
async fn caller(app: &TestApp, ada: &Someone) -> String {
    create(app, &ada.cookie, &ada.in_env(&ada.live, r#", "scopes": "keys:verify""#)).await.field("/key")
}

async fn key(app: &TestApp, ada: &Someone, more: &str) -> Answer {
    create(app, &ada.cookie, &ada.in_env(&ada.live, more)).await
}

async fn patch(app: &TestApp, ada: &Someone, id: &str, body: &str) -> Answer {
    let answer = Call::new(app, "PATCH", &format!("/v1/keys/{id}")).cookie(&ada.cookie).json(body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// Opens the keys like a new process on the same database.
async fn reopened(app: &TestApp) -> Opened {
    let (clock, entropy) = (app.clock.clone(), Entropy::seeded(1));
    keys::open(app.db.clone(), clock, entropy, Policy::default(), None).await.expect("the database answers")
}

on_both_engines! {
    async fn a_valid_key_is_answered_with_its_details(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let caller = caller(&app, &ada).await;
        let plain = create(&app, &ada.cookie, r#"{"name": "plain"}"#).await.field("/key");
        let rich = key(&app, &ada, r#", "scopes": "events:* b:c", "expires_at": "2026-03-02T00:00:00Z",
            "ip_allowlist": ["203.0.113.0/24", "2001:db8::/32"], "rate_limit": {"limit": 2, "window_seconds": 60},
            "quota": {"limit": 3}, "metadata": {"team": "billing", "\"": "é"}"#).await.field("/key");
        verify(&app, &caller, &json!({ "key": plain })).tell(&mut story).await;
        let ask = json!({ "key": rich, "scopes": "events:write b:c", "environment": "live", "ip": "::ffff:203.0.113.9" });
        verify(&app, &caller, &ask).tell(&mut story).await;
        story.say("with a Bearer token, and with cost 0");
        let ask = json!({ "key": rich, "ip": "2001:db8::1", "cost": 0 });
        Call::new(&app, "POST", "/v1/keys/verify").header("authorization", &format!("Bearer {caller}")).json(&ask.to_string()).tell(&mut story).await;
        story.is("a_valid_key_is_answered_with_its_details");
    }

    /// One key has every reason for a refusal at once. The reasons are removed one by one.
    async fn the_first_reason_that_applies_is_given(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let caller = caller(&app, &ada).await;
        let made = key(&app, &ada, r#", "scopes": "a:b", "expires_at": "2026-03-01T12:00:01Z", "ip_allowlist": ["203.0.113.0/24"],
            "rate_limit": {"limit": 2, "window_seconds": 60}, "quota": {"limit": 3}"#).await;
        let (id, string) = (made.field("/id"), made.field("/key"));
        let twin = key(&app, &ada, "").await;
        let mut ask = json!({ "key": string, "environment": "test", "scopes": "a:b c:d e:*" });
        verify(&app, &caller, &json!({ "key": "hs_live_nonsense", "scopes": "a:b" })).tell(&mut story).await;
        Call::new(&app, "DELETE", &format!("/v1/auth/api-keys/{}", twin.field("/id"))).cookie(&ada.cookie).send().await;
        verify(&app, &caller, &json!({ "key": twin.field("/key") })).tell(&mut story).await;
        app.clock.advance(1_000);
        patch(&app, &ada, &id, r#"{"enabled": false}"#).await;
        verify(&app, &caller, &ask).tell(&mut story).await;
        patch(&app, &ada, &id, r#"{"enabled": true}"#).await;
        verify(&app, &caller, &ask).tell(&mut story).await;
        patch(&app, &ada, &id, r#"{"expires_at": null}"#).await;
        verify(&app, &caller, &ask).tell(&mut story).await;
        ask["environment"] = json!("live");
        story.say("without an address, then with a wrong one");
        verify(&app, &caller, &ask).tell(&mut story).await;
        ask["ip"] = json!("203.0.114.1");
        assert_eq!(code(&app, &caller, &ask).await, "FORBIDDEN");
        ask["ip"] = json!("203.0.113.1");
        verify(&app, &caller, &ask).tell(&mut story).await;
        ask["scopes"] = json!("a:b");
        story.say("the refusals charged nothing: two of three requests");
        assert_eq!(code(&app, &caller, &ask).await, "VALID");
        assert_eq!(code(&app, &caller, &ask).await, "VALID");
        verify(&app, &caller, &ask).tell(&mut story).await;
        app.clock.advance(60_000);
        assert_eq!(code(&app, &caller, &ask).await, "VALID");
        verify(&app, &caller, &ask).tell(&mut story).await;
        patch(&app, &ada, &id, r#"{"quota": null}"#).await;
        verify(&app, &caller, &ask).tell(&mut story).await;
        story.is("the_first_reason_that_applies_is_given");
    }

    /// The answers are equal to the byte, except for the request's id.
    async fn a_key_of_another_organisation_is_answered_like_an_unknown_one(app) {
        let (ada, bob) = (someone(&app, "ada@example.com").await, someone(&app, "bob@example.com").await);
        let caller = caller(&app, &ada).await;
        let foreign = create(&app, &bob.cookie, r#"{"name": "foreign", "rate_limit": {"limit": 1, "window_seconds": 60}}"#).await;
        // Well formed, but unknown.
        let body = format!("{}01234567", "0123456789abcdef".repeat(3));
        let unknown = format!("hs_live_{body}1c637e5a");
        let told = async |key: &str| {
            let answer = verify(&app, &caller, &json!({ "key": key, "scopes": "a:b" })).send().await;
            let id = answer.field("/request_id");
            assert_eq!(answer.header("x-request-id"), id);
            let headers: Vec<String> = answer.headers.iter().map(|(name, value)| format!("{name}: {value:?}").replace(&id, "-")).collect();
            (answer.status, headers, answer.text().replace(&id, "-"))
        };
        let nothing = told(&unknown).await;
        // Twice, because the second check finds the key in the cache.
        for _ in 0..2 {
            assert_eq!(told(&foreign.field("/key")).await, nothing);
        }
        assert_eq!(told("junk").await, nothing);
        let id = foreign.field("/id");
        Call::new(&app, "DELETE", &format!("/v1/auth/api-keys/{id}")).cookie(&bob.cookie).send().await;
        assert_eq!(told(&foreign.field("/key")).await, nothing);
        let shown = Call::new(&app, "GET", &format!("/v1/keys/{id}")).cookie(&bob.cookie).send().await;
        assert_eq!((shown.json()["usage"].clone(), shown.json()["request_count"].clone()), (json!([]), json!(0)), "a refused check is not counted");
    }

    async fn only_a_key_with_the_right_to_check_keys_is_answered(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let string = key(&app, &ada, "").await.field("/key");
        let ask = json!({ "key": string });
        Call::new(&app, "POST", "/v1/keys/verify").json(&ask.to_string()).tell(&mut story).await;
        Call::new(&app, "POST", "/v1/keys/verify").cookie(&ada.cookie).json(&ask.to_string()).tell(&mut story).await;
        verify(&app, "hs_live_nonsense", &ask).tell(&mut story).await;
        let narrow = key(&app, &ada, r#", "scopes": "events:write keys:read""#).await.field("/key");
        verify(&app, &narrow, &ask).tell(&mut story).await;
        let slow = key(&app, &ada, r#", "scopes": "keys:*", "rate_limit": {"limit": 1, "window_seconds": 10}"#).await.field("/key");
        assert_eq!(code(&app, &slow, &ask).await, "VALID");
        verify(&app, &slow, &ask).tell(&mut story).await;
        let elsewhere = key(&app, &ada, r#", "ip_allowlist": ["10.0.0.0/8"]"#).await.field("/key");
        verify(&app, &elsewhere, &ask).tell(&mut story).await;
        assert_eq!(verify(&app, &elsewhere, &ask).from("10.1.2.3:1").send().await.status, 200);
        story.say("a key of the test environment checks keys of both environments");
        let test = create(&app, &ada.cookie, &ada.in_env(&ada.test, "")).await.field("/key");
        assert_eq!(code(&app, &test, &ask).await, "VALID");
        story.is("only_a_key_with_the_right_to_check_keys_is_answered");
    }

    async fn wrong_fields_of_a_check_are_named(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let caller = caller(&app, &ada).await;
        let call = || Call::new(&app, "POST", "/v1/keys/verify").key(&caller);
        for body in [
            "{}",
            r#"{"key": 1}"#,
            r#"{"key": "k", "key": "k"}"#,
            r#"{"key": "k", "keys": "k"}"#,
            r#"{"key": "k", "scopes": "a b:c any:*:x", "environment": "prod", "ip": "localhost", "cost": 1000001}"#,
            r#"{"key": "k", "cost": -1}"#,
            r#"{"key": "k""#,
            r#"["k"]"#,
        ] {
            call().json(body).tell(&mut story).await;
        }
        call().header("content-type", "text/plain").body(r#"{"key": "k"}"#).send().await.is_problem(415, "unsupported_media_type");
        let large = format!(r#"{{"key": "{}"}}"#, "k".repeat(70_000));
        call().header("content-type", "application/json").body(large).send().await.is_problem(413, "payload_too_large");
        Call::new(&app, "GET", "/v1/keys/verify").key(&caller).send().await.is_problem(405, "method_not_allowed");
        story.is("wrong_fields_of_a_check_are_named");
        // A valid request may have escapes, blanks and null fields.
        let string = key(&app, &ada, "").await.field("/key");
        let escaped = string.replace("hs_", "\\u0068s_");
        let body = format!(r#" {{"scopes": null, "key": " {escaped}\n", "cost": null}} "#);
        let answer = call().header("content-type", "application/json; charset=utf-8").body(body).send().await;
        assert_eq!(answer.field("/code"), "VALID");
    }

    /// Counts have an hour and an outcome, and are exact at any time: before a flush, after it, and across the turn of
    /// an hour.
    async fn every_outcome_is_counted(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let caller = caller(&app, &ada).await;
        let made = key(&app, &ada, r#", "scopes": "a:b", "rate_limit": {"limit": 3, "window_seconds": 10}"#).await;
        let ask = json!({ "key": made.field("/key"), "ip": "198.51.100.7" });
        let wide = json!({ "key": made.field("/key"), "scopes": "c:d", "ip": "198.51.100.8" });
        let path = format!("/v1/keys/{}", made.field("/id"));
        for _ in 0..4 {
            verify(&app, &caller, &ask).send().await;
        }
        verify(&app, &caller, &wide).send().await;
        let before = Call::new(&app, "GET", &path).cookie(&ada.cookie).tell(&mut story).await;
        app.services.usage.flush().await.unwrap();
        let after = Call::new(&app, "GET", &path).cookie(&ada.cookie).send().await;
        assert_eq!(before.json(), after.json());
        app.clock.advance(3_600_000);
        let ask = json!({ "key": made.field("/key"), "ip": "2001:db8::7" });
        verify(&app, &caller, &ask).send().await;
        app.clock.advance(3_600_000);
        verify(&app, &caller, &ask).send().await;
        let before = Call::new(&app, "GET", &path).cookie(&ada.cookie).tell(&mut story).await;
        // An edit evicts the key from the cache; no pending count is lost.
        patch(&app, &ada, &made.field("/id"), r#"{"name": "key"}"#).await;
        let between = Call::new(&app, "GET", &path).cookie(&ada.cookie).send().await;
        verify(&app, &caller, &ask).send().await;
        app.services.usage.flush().await.unwrap();
        let after = Call::new(&app, "GET", &path).cookie(&ada.cookie).send().await;
        assert_eq!((before.json()["request_count"].clone(), between.json()["request_count"].clone(), after.json()["request_count"].clone()), (json!(5), json!(5), json!(6)));
        story.is("every_outcome_is_counted");
    }

    async fn the_last_ten_addresses_are_remembered(app) {
        let ada = someone(&app, "ada@example.com").await;
        let caller = caller(&app, &ada).await;
        let made = key(&app, &ada, "").await;
        for n in 0..25 {
            verify(&app, &caller, &json!({ "key": made.field("/key"), "ip": format!("198.51.100.{n}") })).send().await;
            app.clock.advance(1_000);
            if n % 4 == 0 {
                app.services.usage.flush().await.unwrap();
            }
        }
        let shown = Call::new(&app, "GET", &format!("/v1/keys/{}", made.field("/id"))).cookie(&ada.cookie).send().await;
        let addresses: Vec<String> = shown.json()["recent_addresses"].as_array().unwrap().iter().map(|from| from["address"].as_str().unwrap().to_owned()).collect();
        let expected: Vec<String> = (15..25).rev().map(|n| format!("198.51.100.{n}")).collect();
        assert_eq!(addresses, expected);
        assert_eq!(app.number("SELECT count(*) FROM key_addresses").await, 11, "ten addresses of the key, one of the service");
    }

    /// Many pending counts go through a log. Counts are exact at every step, and complete after a restart in between.
    async fn many_pending_counts_stay_exact(app) {
        let ada = someone(&app, "ada@example.com").await;
        let made = futures::future::join_all((0..600).map(|_| create(&app, &ada.cookie, r#"{"name": "key"}"#))).await;
        // Most ids are consecutive, as among a million keys, because ids select the part of the log.
        app.execute(
            "UPDATE keys SET id = (SELECT count(*) FROM keys k WHERE k.uuid <= keys.uuid) \
             WHERE (SELECT count(*) FROM keys k WHERE k.uuid <= keys.uuid) <= 400",
        )
        .await;
        let count = |answer: Answer| -> Vec<i64> {
            answer.json()["api_keys"].as_array().unwrap().iter().map(|key| key["request_count"].as_i64().unwrap()).collect()
        };
        let listed = async || count(Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.cookie).send().await);
        for (round, flushed) in [(1_i64, true), (2, true), (3, false)] {
            for key in &made {
                assert_eq!(Call::new(&app, "GET", "/v1/whoami").key(&key.field("/key")).send().await.status, 200);
            }
            assert_eq!(listed().await, vec![round; 600]);
            if round == 2 {
                // A failed write to the log loses no count.
                app.execute("ALTER TABLE usage_log RENAME TO elsewhere").await;
                assert!(app.services.usage.flush().await.is_err());
                assert_eq!(listed().await, vec![round; 600]);
                app.execute("ALTER TABLE elsewhere RENAME TO usage_log").await;
            }
            if flushed {
                app.services.usage.flush().await.unwrap();
                assert_eq!(listed().await, vec![round; 600]);
            }
        }
        let lines = "SELECT count(*) FROM usage_log WHERE part = 0";
        assert_eq!(app.number(lines).await, 2);
        // A new process knows the counts that were flushed, and no later ones.
        let restarted = async |app: &TestApp| {
            let opened = reopened(app).await;
            opened.usage.recall().await.unwrap();
            opened.keys.get("ak_0000000000000001".parse().unwrap()).await.unwrap().unwrap().request_count
        };
        assert_eq!(restarted(&app).await, 2);
        // A part with many keys is compacted to one line, with equal counts.
        let turns = async |turns: usize| {
            for _ in 0..turns {
                app.clock.advance(2_000);
                app.services.usage.flush().await.unwrap();
            }
        };
        turns(64).await;
        assert_eq!((app.number(lines).await, listed().await), (1, vec![3; 600]));
        assert_eq!(restarted(&app).await, 3);
        // In time, all counts move from the log to the rows.
        turns(8 * 64).await;
        assert_eq!(listed().await, vec![3; 600]);
        let rows = app.number("SELECT CAST(sum(request_count) AS BIGINT) FROM keys").await;
        let hours = app.number("SELECT CAST(sum(count) AS BIGINT) FROM key_hours").await;
        assert_eq!((rows, hours, app.number("SELECT count(*) FROM usage_log").await), (1800, 1800, 0));
    }

    /// A service that caches keys reports their uses. Keys of other organisations are ignored.
    async fn uses_are_reported_in_batches(app) {
        let mut story = Story::new();
        let (ada, bob) = (someone(&app, "ada@example.com").await, someone(&app, "bob@example.com").await);
        let caller = caller(&app, &ada).await;
        let (own, foreign) = (key(&app, &ada, "").await, create(&app, &bob.cookie, r#"{"name": "foreign"}"#).await);
        let report = |body: Value| Call::new(&app, "POST", "/v1/keys/usage").key(&caller).json(&body.to_string());
        report(json!({ "uses": [
            { "key_id": own.field("/id"), "count": 17, "last_used_at": "2026-03-01T11:59:30Z" },
            { "key_id": foreign.field("/id"), "count": 5 },
            { "key_id": "ak_0000000000000000", "count": 5 },
        ] })).tell(&mut story).await;
        report(json!({ "uses": [{ "key_id": "ak_1", "count": 0, "last_used_at": "yesterday" }] })).tell(&mut story).await;
        report(json!({ "uses": [] })).tell(&mut story).await;
        let shown = |id: String, who: &Someone| Call::new(&app, "GET", &format!("/v1/keys/{id}")).cookie(&who.cookie);
        assert_eq!(shown(foreign.field("/id"), &bob).send().await.json()["request_count"], 0);
        shown(own.field("/id"), &ada).tell(&mut story).await;
        story.is("uses_are_reported_in_batches");
    }

    /// A new process on the same database knows the spent limits.
    async fn quotas_and_long_windows_survive_a_restart(app) {
        let ada = someone(&app, "ada@example.com").await;
        let hour = key(&app, &ada, r#", "rate_limit": {"limit": 2, "window_seconds": 3600}"#).await.field("/key");
        let month = key(&app, &ada, r#", "quota": {"limit": 2}"#).await.field("/key");
        let first = reopened(&app).await;
        let ask = latchkey::domain::Ask::default();
        for keys in [&hour, &month] {
            for _ in 0..2 {
                let code = first.checks.verify(keys, &ask, Purpose::Use, |verdict| verdict.code.as_str()).await.unwrap();
                assert_eq!(code, "VALID");
            }
        }
        first.usage.flush().await.unwrap();
        app.clock.advance(60_000);
        let second = reopened(&app).await;
        for (key, expected) in [(&hour, "RATE_LIMITED"), (&month, "QUOTA_EXCEEDED")] {
            let code = second.checks.verify(key, &ask, Purpose::Use, |verdict| verdict.code.as_str()).await.unwrap();
            assert_eq!(code, expected);
        }
        app.clock.advance(1_800_000);
        let code = second.checks.verify(&hour, &ask, Purpose::Use, |verdict| verdict.code.as_str()).await.unwrap();
        assert_eq!(code, "VALID");
    }

    /// A cache with almost no room is slow, but never wrong.
    async fn a_full_cache_is_never_wrong(app, crate::app::Settings {
        policy: Policy { cache_bytes: 1_000, ..Default::default() },
        ..Default::default()
    }) {
        let ada = someone(&app, "ada@example.com").await;
        let caller = caller(&app, &ada).await;
        let mut keys = Vec::new();
        for n in 0..20 {
            keys.push(create(&app, &ada.cookie, &format!(r#"{{"name": "{n}", "rate_limit": {{"limit": 3, "window_seconds": 60}}}}"#)).await);
        }
        for round in 0..4 {
            for key in &keys {
                let expected = if round < 3 { "VALID" } else { "RATE_LIMITED" };
                assert_eq!(code(&app, &caller, &json!({ "key": key.field("/key") })).await, expected);
            }
        }
        let cache = app.services.checks.cache();
        assert!(cache.bytes() <= 1_000 && cache.len() <= 5, "{cache:?}");
        let listed = Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.cookie).send().await;
        for key in listed.json()["api_keys"].as_array().unwrap() {
            let expected = if key["rate_limit"].is_null() { 80 } else { 3 };
            assert_eq!(key["request_count"], expected);
        }
        for key in &keys[..3] {
            Call::new(&app, "DELETE", &format!("/v1/auth/api-keys/{}", key.field("/id"))).cookie(&ada.cookie).send().await;
            assert_eq!(code(&app, &caller, &json!({ "key": key.field("/key") })).await, "REVOKED");
        }
    }

    /// Unknown keys, in any number, do not affect cached keys.
    async fn a_flood_of_unknown_keys_evicts_nothing(app) {
        let ada = someone(&app, "ada@example.com").await;
        let caller = caller(&app, &ada).await;
        let string = key(&app, &ada, "").await.field("/key");
        assert_eq!(code(&app, &caller, &json!({ "key": string })).await, "VALID");
        let before = app.services.checks.cache().len();
        let flood = (0..500).map(|n| {
            let unknown = latchkey::domain::PlainKey::hookstream(latchkey::model::Mode::Live, &latchkey::runtime::entropy::Entropy::seeded(n)).reveal();
            let ask = json!({ "key": unknown });
            let (app, caller) = (&app, &caller);
            async move { code(app, caller, &ask).await }
        });
        let codes = futures::future::join_all(flood).await;
        assert!(codes.iter().all(|code| code == "NOT_FOUND"));
        assert_eq!(app.services.checks.cache().len(), before);
        // A cached key needs no database.
        app.db.close().await;
        assert_eq!(code(&app, &caller, &json!({ "key": string })).await, "VALID");
    }
}
