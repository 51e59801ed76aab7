//! `POST /api/v1/ingest/{tenantId}/{source}` (docs/CONTRACTS.md, "HookSentry").

use std::collections::HashSet;
use std::io::Write;

use axum::body::Body;
use futures::future::join_all;

use crate::app::{Tidy, on_both_engines};
use crate::hooksentry::{call, create, get, ingest, revoke, tenant};
use crate::story::{Answer, Call, Story};

const DAY: i64 = 24 * 3600 * 1000;
const UNKNOWN: &str = "1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d";

/// Returns an answer without its request id, which differs each time.
fn without_request_id(answer: &Answer) -> (u16, axum::http::HeaderMap, Vec<u8>) {
    let mut headers = answer.headers.clone();
    assert!(headers.remove("x-request-id").is_some());
    (answer.status.as_u16(), headers, answer.body.clone())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

on_both_engines! {
    async fn events_are_stored_as_their_decoded_json(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let key = create(&app, &ada.access, "key").await.field("/key");
        let json = r#"{"type": "invoice.paid", "é": 1}"#;
        let marked = format!("\u{feff}{json}");
        for (encoding, body) in [
            (None, marked.as_bytes().to_vec()),
            (Some("gzip"), gzip(json.as_bytes())),
            (Some("x-gzip"), gzip(marked.as_bytes())),
            (Some("identity"), json.as_bytes().to_vec()),
        ] {
            let call = ingest(&app, &ada.id, "s", &key).body(body);
            let taken = match encoding { Some(encoding) => call.header("content-encoding", encoding), None => call }.send().await;
            assert_eq!(taken.status, 202, "{encoding:?}: {}", taken.text());
            let one = get(&app, &ada.access, &format!("/api/v1/events/{}", taken.field("/id"))).await;
            assert!(one.text().contains(json) && !one.text().contains('\u{feff}'), "{}", one.text());
        }
        let refused = async |encoding: &'static str, body: Vec<u8>| ingest(&app, &ada.id, "s", &key).header("content-encoding", encoding).body(body).send().await;
        for encoding in ["br", "deflate", "zstd", "gzip, gzip", ""] {
            let answer = refused(encoding, json.as_bytes().to_vec()).await;
            answer.is_problem(415, "unsupported_media_type");
            assert!(answer.text().contains(&format!("`Content-Encoding: {encoding}`")) && answer.text().contains("gzip"), "{}", answer.text());
        }
        // The decoded body is a thousand times as large.
        refused("gzip", gzip(&vec![b' '; 64 << 20])).await.is_problem(413, "payload_too_large");
        let broken = refused("gzip", json.as_bytes().to_vec()).await;
        assert_eq!(broken.status, 400);
        assert!(broken.text().starts_with("\"The body is not gzip: "), "{}", broken.text());
        assert_eq!(refused("gzip", gzip(b"{")).await.status, 400);
        assert_eq!(app.number("SELECT count(*) FROM events").await, 4);
        assert_eq!(app.services.bodies.used(), 0);
    }

    async fn only_events_may_have_compressed_bodies(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let caller = create(&app, &ada.access, "key").await.field("/key");
        for (path, body) in [("/v1/auth/login", "{}"), ("/v1/keys/verify", "{}"), ("/v1/keys/usage", "{}"), ("/api/v1/auth/login", "{}")] {
            let verifier = crate::story::create(&app, &ada.who.cookie, r#"{"name": "verifier"}"#).await.field("/key");
            let call = Call::new(&app, "POST", path).key(&verifier).header("content-type", "application/json");
            let answer = call.header("content-encoding", "gzip").body(gzip(body.as_bytes())).send().await;
            answer.is_problem(415, "unsupported_media_type");
            assert!(answer.text().contains("Content-Encoding"), "{}", answer.text());
        }
        let marked = Call::new(&app, "POST", "/v1/keys/verify").key(&caller).header("content-type", "application/json");
        assert_eq!(marked.body("\u{feff}{}").send().await.status, 403, "a key for events cannot check keys");
        let verifier = crate::story::create(&app, &ada.who.cookie, r#"{"name": "verifier"}"#).await.field("/key");
        let marked = Call::new(&app, "POST", "/v1/keys/verify").key(&verifier).header("content-type", "application/json");
        let body = format!("\u{feff}{{\"key\":\"{caller}\"}}");
        assert_eq!(marked.body(body).send().await.field("/code"), "VALID");
    }

    async fn an_event_is_accepted_and_read_back(app) {
        let mut story = Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        let key = create(&app, &ada.access, "Production Key").await.field("/key");
        app.clock.advance(42);
        let body = r#"{"type": "invoice.paid",  "amount": 12.50, "é": "\u00e9", "a": 1, "a": 2}"#;
        let taken = ingest(&app, &ada.id, "stripe-EU_1", &key).json(body).tell(&mut story).await;
        story.say("the event is on disk");
        assert_eq!(app.number("SELECT count(*) FROM events").await, 1);
        call(&app, &ada.access, "GET", "/api/v1/events").tell(&mut story).await;
        let one = call(&app, &ada.access, "GET", &format!("/api/v1/events/{}", taken.field("/id"))).tell(&mut story).await;
        assert!(one.text().contains(body), "the body is unchanged");
        story.say("an idempotency key is used twice, with different bodies");
        app.clock.advance(1000);
        let again = |body: &str| ingest(&app, &ada.id, "stripe-EU_1", &key).header("x-idempotency-key", "evt_1").json(body);
        again("[]").tell(&mut story).await;
        app.clock.advance(1000);
        again("{}").tell(&mut story).await;
        story.is("an_event_is_accepted_and_read_back");
        assert_eq!(get(&app, &ada.access, "/api/v1/events").await.total(), 2);
    }

    /// A refusal must not reveal whether a key exists, or the reason of the refusal.
    async fn every_bad_key_of_an_event_gets_the_same_401(app) {
        let mut story = Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        let make = async |more: &str| crate::story::create(&app, &ada.who.cookie, &ada.who.in_env(&ada.who.live, more)).await.field("/key");
        let good = make("").await;
        let (revoked, disabled) = (create(&app, &ada.access, "revoked").await, make("").await);
        let expired = make(r#", "expires_at": "2026-03-01T12:00:01Z""#).await;
        let narrow = make(r#", "scopes": "keys:verify", "ip_allowlist": ["10.0.0.0/8"], "expires_at": "2026-03-01T12:00:01Z""#).await;
        revoke(&app, &ada.access, &revoked.field("/id")).await;
        app.execute(&format!("UPDATE keys SET disabled_at = 1 WHERE prefix = '{}'", &disabled[..12])).await;
        app.clock.advance(1000);
        let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(good.as_bytes()));
        let spoilt = format!("{}{}", &good[..71], if good.ends_with('0') { '1' } else { '0' });
        let expected = Call::new(&app, "POST", &format!("/api/v1/ingest/{}/s", ada.id)).json("1").tell(&mut story).await;
        expected.is_problem(401, "unauthenticated");
        story.is("every_bad_key_of_an_event_gets_the_same_401");
        let expected = without_request_id(&expected);
        let revoked = revoked.field("/key");
        let presented = ["", " ", "x", "hks_", "hks_00000000000000000000000000000000", &revoked, &disabled, &expired, &narrow, &spoilt, &hash, &format!("hks_{}", &hash[..32]),
            &format!("hs_live_{hash}"), &ada.access, &ada.refresh, &good.to_uppercase(), &"x".repeat(10_000)];
        // The key is checked before the tenant, the source and the body.
        for path in [format!("/api/v1/ingest/{}/s", ada.id), format!("/api/v1/ingest/{UNKNOWN}/s"), "/api/v1/ingest/x/%20".to_owned(), "/api/v1/ingest/%ff/%ff".to_owned()] {
            for body in ["1", "{"] {
                for key in presented {
                    let call = Call::new(&app, "POST", &path).key(key).body(body);
                    assert_eq!(without_request_id(&call.send().await), expected, "{path} with {key:.50}");
                }
                let post = || Call::new(&app, "POST", &path).body(body);
                for call in [
                    post(), post().key(&good).key(&good), post().cookie(&ada.who.cookie), post().header("authorization", &format!("Bearer {}", ada.access)),
                    post().key("x").header("authorization", &format!("Bearer {good}")), post().header("authorization", "Basic YTpi"), post().header("authorization", &format!("Bearer {revoked}")),
                ] {
                    assert_eq!(without_request_id(&call.send().await), expected, "{path}");
                }
            }
        }
        assert_eq!(app.number("SELECT count(*) FROM events").await + app.number("SELECT count(*) FROM sources").await, 0);
        assert_eq!(ingest(&app, &ada.id, "s", &good).json("1").send().await.status, 202);
    }

    async fn a_valid_key_is_refused_outside_its_tenant_scopes_and_networks(app) {
        let mut story = Story::new();
        let (ada, bob) = (tenant(&app, "ada@example.com").await, tenant(&app, "bob@example.com").await);
        let make = async |more: &str| crate::story::create(&app, &ada.who.cookie, &ada.who.in_env(&ada.who.live, more)).await.field("/key");
        let good = create(&app, &ada.access, "good").await.field("/key");
        story.say("tenants: of another user, unknown, and malformed");
        for tenant in [&bob.id, UNKNOWN, "x"] {
            ingest(&app, tenant, "s", &good).json("1").tell(&mut story).await;
        }
        for tenant in ["%ff", "%00", "%20"] {
            ingest(&app, tenant, "s", &good).json("1").send().await.is_problem(403, "forbidden");
        }
        story.say("a key without the scope");
        let verify = make(r#", "scopes": "keys:verify events:read""#).await;
        ingest(&app, &ada.id, "s", &verify).json("1").tell(&mut story).await;
        ingest(&app, &bob.id, "s", &verify).json("1").tell(&mut story).await;
        story.say("a key that is limited to another address");
        let bound = make(r#", "scopes": "events:write", "ip_allowlist": ["198.51.100.0/24"]"#).await;
        ingest(&app, &ada.id, "s", &bound).json("1").tell(&mut story).await;
        ingest(&app, &ada.id, "s", &bound).header("x-forwarded-for", "198.51.100.7").json("1").tell(&mut story).await;
        story.is("a_valid_key_is_refused_outside_its_tenant_scopes_and_networks");
        let forwarded = ingest(&app, &ada.id, "s", &bound).from("198.51.100.7:1").header("x-forwarded-for", "198.51.100.7").json("1").send().await;
        forwarded.is_problem(403, "forbidden");
        assert_eq!(app.number("SELECT count(*) FROM events").await + app.number("SELECT count(*) FROM sources").await, 0);
        assert_eq!(ingest(&app, &ada.id, "s", &bound).from("198.51.100.7:1").json("1").send().await.status, 202);
        for scopes in ["\"events:write\"", "\"events:*\"", "\"*\"", "null"] {
            let key = make(&format!(r#", "scopes": {scopes}"#)).await;
            assert!(key.starts_with("hs_live_"));
            assert_eq!(ingest(&app, &ada.id, "s", &key).json("1").send().await.status, 202, "{scopes}");
            let bearer = Call::new(&app, "POST", &format!("/api/v1/ingest/{}/s", ada.id.to_uppercase())).header("authorization", &format!("Bearer {key}"));
            assert_eq!(bearer.json("1").send().await.status, 202, "{scopes}");
        }
    }

    async fn invalid_sources_idempotency_keys_and_bodies_are_refused(app) {
        let mut story = Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        let key = create(&app, &ada.access, "key").await.field("/key");
        let long = "a".repeat(65);
        for source in ["a%20b", "a.b", "%C3%A9", "%ff", "%00", "%2F", "a%0A", "*", &long] {
            ingest(&app, &ada.id, source, &key).json("1").tell(&mut story).await.is_sentence();
        }
        let with = |text: &str| ingest(&app, &ada.id, "s", &key).header("x-idempotency-key", text).json("1");
        with("").tell(&mut story).await.is_sentence();
        for text in ["a\tb", &"a".repeat(256)] {
            with(text).send().await.is_sentence();
        }
        with("a").header("x-idempotency-key", "a").tell(&mut story).await.is_sentence();
        for body in ["", " ", "{", "[1,]", "nul", "{} {}", "'a'", "01", "NaN", "Infinity", "[NaN]", "\u{feff}\u{feff}1", "{a: 1}", "\"\n\"", "1 // one", "0x1", "\"\\x41\"", "+1", ".5"] {
            ingest(&app, &ada.id, "s", &key).json(body).tell(&mut story).await.is_sentence();
        }
        for body in [b"\"\xff\"".to_vec(), b"\xff\xfe1\0".to_vec(), b"[\"\xed\xa0\x80\"]".to_vec(), "[".repeat(500_000).into_bytes(), vec![0]] {
            ingest(&app, &ada.id, "s", &key).body(body).send().await.is_sentence();
        }
        let broken = futures::stream::iter([Ok(bytes::Bytes::from("1")), Err(std::io::Error::other("gone"))]);
        ingest(&app, &ada.id, "s", &key).body(Body::from_stream(broken)).send().await.is_sentence();
        story.say("a body of 1 MiB and one byte");
        ingest(&app, &ada.id, "s", &key).body(vec![b' '; 1024 * 1024 + 1]).tell(&mut story).await;
        story.is("invalid_sources_idempotency_keys_and_bodies_are_refused");
        let chunks = futures::stream::iter((0..1025).map(|_| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b'1'; 1024]))));
        ingest(&app, &ada.id, "s", &key).body(Body::from_stream(chunks)).send().await.is_problem(413, "payload_too_large");
        assert_eq!(app.number("SELECT count(*) FROM events").await + app.number("SELECT count(*) FROM sources").await, 0);
        assert_eq!(app.number("SELECT count(*) FROM idempotency_keys").await, 0);
    }

    async fn any_json_is_accepted_and_returned_unchanged(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let key = create(&app, &ada.access, "key").await.field("/key");
        let (deep, long) = (format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000)), format!("\"{}\"", "x".repeat(1024 * 1024 - 2)));
        let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
        assert_eq!(long.len(), 1024 * 1024);
        for body in ["null", "true", "0", "-0.0", "1e400", "1E-400", "123456789012345678901234567890", "\"\"", "\"\\u0000\"", "\"\\ud800\"", "{}", "[]", "{\"b\": 1,\n\t\"a\" :2, \"a\": 3}",
            "\"é🔑\u{2028}\"", "\"<script>\\/\"", "[1.50, 2.0e+3]", &deep, &objects, &long]
        {
            let taken = ingest(&app, &ada.id, &"a".repeat(64), &key).body(body.to_owned()).send().await;
            assert_eq!(taken.status, 202, "{body:.40}: {}", taken.text());
            // Compared as text: parsing the deeply nested bodies would overflow the stack.
            let text = taken.text();
            let id = text.split('"').nth(3).expect("an id");
            let one = get(&app, &ada.access, &format!("/api/v1/events/{id}")).await;
            assert_eq!(one.status, 200, "{body:.40}: {:.100}", one.text());
            assert!(one.text().ends_with(&format!(",\"size\":{},\"body\":{body}}}", body.len())), "{body:.40}: {:.300}", one.text());
        }
        let spaced = ingest(&app, &ada.id, "s", &key).body(" \n{ } \t").send().await;
        let stored = app.bytes("SELECT body FROM events ORDER BY received_at, length(body)").await;
        assert!(stored.contains(&b" \n{ } \t".to_vec()), "the bytes are stored unchanged");
        assert_eq!(get(&app, &ada.access, &format!("/api/v1/events/{}", spaced.field("/id"))).await.json()["body"], serde_json::json!({}));
    }

    async fn a_repeated_event_gets_the_answer_of_the_first_one(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let bob = tenant(&app, "bob@example.com").await;
        let hks = create(&app, &ada.access, "key").await.field("/key");
        let other = create(&app, &ada.access, "other").await.field("/key");
        let test = crate::story::create(&app, &ada.who.cookie, &ada.who.in_env(&ada.who.test, "")).await.field("/key");
        let bobs = create(&app, &bob.access, "bob's").await.field("/key");
        let send = async |tenant: &str, source: &str, key: &str, text: &str| {
            let answer = ingest(&app, tenant, source, key).header("X-Idempotency-Key", text).json("{}").send().await;
            (answer.status.as_u16(), answer.field("/id"), answer.text())
        };
        let (status, id, first) = send(&ada.id, "s", &hks, "k").await;
        assert_eq!(status, 202);
        app.clock.advance(DAY - 1);
        app.services.events.tidy().await.unwrap();
        for key in [&hks, &other] {
            assert_eq!(send(&ada.id, "s", key, "k").await, (200, id.clone(), first.clone()), "the same bytes, with each key of the environment");
        }
        // In another source, environment, tenant, or in another case, the idempotency key is a new one.
        let mut ids = HashSet::from([id.clone()]);
        for (tenant, source, key, text) in [(&ada.id, "S", &hks, "k"), (&ada.id, "s", &test, "k"), (&bob.id, "s", &bobs, "k"), (&ada.id, "s", &hks, "K"), (&ada.id, "s", &hks, &"é".repeat(0)), (&ada.id, "s", &hks, &"k".repeat(255))] {
            if text.is_empty() {
                continue;
            }
            let (status, id, _) = send(tenant, source, key, text).await;
            assert!(status == 202 && ids.insert(id), "{source} {text}");
        }
        assert_eq!(send(&ada.id, "s", &hks, &"k".repeat(255)).await.0, 200);
        app.clock.advance(1);
        let (status, second, _) = send(&ada.id, "s", &hks, "k").await;
        assert!(status == 202 && ids.insert(second.clone()), "a day later it is a new event");
        assert_eq!(send(&ada.id, "s", &hks, "k").await, (200, second.clone(), send(&ada.id, "s", &hks, "k").await.2));
        assert_eq!(send(&ada.id, "s", &hks, "k").await.1, second);
        app.clock.advance(DAY);
        app.services.events.tidy().await.unwrap();
        assert_eq!(app.number("SELECT count(*) FROM idempotency_keys").await, 0);
        assert_eq!(app.number("SELECT count(*) FROM events").await, i64::try_from(ids.len()).unwrap());
        // Without an idempotency key, an equal body is another event.
        let answers = [ingest(&app, &ada.id, "s", &hks).json("{}").send().await, ingest(&app, &ada.id, "s", &hks).json("{}").send().await];
        assert!(answers.iter().all(|answer| answer.status == 202) && answers[0].field("/id") != answers[1].field("/id"));
    }

    async fn a_revoked_key_is_refused_at_once(app) {
        let ada = tenant(&app, "ada@example.com").await;
        for _ in 0..10 {
            let made = create(&app, &ada.access, "key").await;
            let (key, id) = (made.field("/key"), made.field("/id"));
            assert_eq!(ingest(&app, &ada.id, "s", &key).json("1").send().await.status, 202);
            let sent = (0..20).map(|_| ingest(&app, &ada.id, "s", &key).json("1").send());
            let (answers, revoked) = futures::join!(join_all(sent), revoke(&app, &ada.access, &id));
            assert_eq!(revoked.status, 200);
            assert!(answers.iter().all(|answer| [202, 401].contains(&answer.status.as_u16())));
            ingest(&app, &ada.id, "s", &key).json("1").send().await.is_problem(401, "unauthenticated");
        }
    }

    /// A 202 is never lost. An event that cannot be written gets a 503 and leaves no row: the sender may send it again
    /// with the same idempotency key.
    async fn an_event_that_cannot_be_written_is_a_503(app) {
        let mut story = Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        let key = create(&app, &ada.access, "key").await.field("/key");
        let send = || ingest(&app, &ada.id, "s", &key).header("x-idempotency-key", "k").json("{}");
        assert_eq!(ingest(&app, &ada.id, "old", &key).json("{}").send().await.status, 202);
        for table in ["events", "sources", "idempotency_keys"] {
            app.execute(&format!("ALTER TABLE {table} RENAME TO lost")).await;
            let answer = send().send().await;
            answer.is_problem(503, "unavailable");
            assert!(!answer.header("retry-after").is_empty());
            for answer in join_all((0..10).map(|_| send().send())).await {
                answer.is_problem(503, "unavailable");
            }
            app.execute(&format!("ALTER TABLE lost RENAME TO {table}")).await;
            assert_eq!(app.number("SELECT (SELECT count(*) FROM events) * 100 + (SELECT count(*) FROM sources) * 10 + (SELECT count(*) FROM idempotency_keys)").await, 110, "{table}");
            assert_eq!(get(&app, &ada.access, "/api/v1/events").await.total(), 1);
        }
        app.execute("ALTER TABLE events RENAME TO lost").await;
        send().tell(&mut story).await;
        app.execute("ALTER TABLE lost RENAME TO events").await;
        story.say("the database accepts events again");
        send().tell(&mut story).await;
        send().tell(&mut story).await;
        let listed = Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.who.cookie).send().await;
        assert_eq!(listed.json()["api_keys"][0]["request_count"], 3, "failed requests are not counted");
        app.db.close().await;
        story.say("the database is closed");
        send().tell(&mut story).await;
        story.is("an_event_that_cannot_be_written_is_a_503");
    }
}
