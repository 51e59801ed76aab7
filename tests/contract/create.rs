//! `POST /v1/auth/api-keys`, in the short and the long form (docs/CONTRACTS.md, "hookstream" and "Key strings").

use crc::{CRC_32_ISO_HDLC, Crc};
use futures::future::join_all;
use latchkey::domain::{Ask, Code};
use latchkey::keys::{Policy, Purpose};
use latchkey::model::{Role, ScopeList};
use sha2::{Digest, Sha256};

use crate::app::{Engine, Settings, TestApp, on_both_engines};
use crate::story::{Answer, Call, Someone, Story, create, someone};

fn at_most(most_per_organisation: i64) -> Settings {
    Settings {
        policy: Policy { most_per_organisation, keys_may_manage_keys: false, ..Policy::default() },
        ..Settings::default()
    }
}

async fn post(app: &TestApp, who: &Someone, body: &str) -> Answer {
    Call::new(app, "POST", "/v1/auth/api-keys").cookie(&who.cookie).json(body).send().await
}

/// Returns the names of an object's fields, in their order on the wire.
fn fields(answer: &Answer) -> Vec<String> {
    let text = answer.text();
    let mut at: Vec<(usize, String)> = answer
        .json()
        .as_object()
        .expect("an object")
        .keys()
        .map(|name| (text.find(&format!("\"{name}\":")).expect("it is there"), name.clone()))
        .collect();
    at.sort();
    at.into_iter().map(|(_, name)| name).collect()
}

on_both_engines! {
    async fn both_forms_answer_with_the_documented_fields(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let post = |body: &str| Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie).json(body);
        story.say("the short form");
        let simple = post(r#"{"name": "Production Backend"}"#).tell(&mut story).await;
        story.say("the long form, without scopes and with full access");
        let placed = post(&ada.in_env(&ada.live, "")).tell(&mut story).await;
        post(&ada.in_env(&ada.live, r#", "scopes": "*""#)).tell(&mut story).await;
        story.say("in a test environment");
        post(&ada.in_env(&ada.test, "")).tell(&mut story).await;
        story.is("both_forms_answer_with_the_documented_fields");
        for answer in [simple, placed] {
            assert_eq!(fields(&answer), ["id", "name", "key", "key_prefix", "scopes", "created_at"]);
        }
    }

    /// Both servers have one seed, so their first keys would have equal ids.
    async fn a_taken_id_is_not_assigned_again(app) {
        let other = TestApp::new(app.engine, Settings::default()).await;
        let eve = someone(&other, "ada@example.com").await;
        let made = post(&other, &eve, r#"{"name": "first"}"#).await;
        let (taken, key) = (made.field("/id"), made.field("/key"));
        let ada = someone(&app, "ada@example.com").await;
        let id = u64::from_str_radix(taken.trim_start_matches("ak_"), 16).expect("16 hex digits").cast_signed();
        let (uuid, hash) = match app.engine {
            Engine::Sqlite => ("randomblob(16)", "randomblob(32)"),
            Engine::Postgres => ("gen_random_uuid()", "sha256(gen_random_uuid()::text::bytea)"),
        };
        app.execute(&format!(
            "INSERT INTO keys (id, uuid, hash, organisation_id, environment_id, name, name_folded, prefix, created_at)
             SELECT {id}, {uuid}, {hash}, organisation_id, id, 'in the way', 'in the way', 'hs_live_0000', 0 FROM environments WHERE mode = 'live'"
        ))
        .await;
        // The first key here, so that it draws the same random bytes as the first key of the other server.
        let answer = post(&app, &ada, r#"{"name": "first"}"#).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_ne!(answer.field("/id"), taken);
        // The string is drawn before the id and is equal, so the id would have been equal too.
        assert_eq!(answer.field("/key"), key);
    }

    async fn scopes_are_honoured_in_both_forms(app) {
        let ada = someone(&app, "ada@example.com").await;
        for (given, without_place, with_place) in [
            ("", None, Some("*")),
            (r#", "scopes": null"#, None, None),
            (r#", "scopes": "*""#, Some("*"), Some("*")),
            (r#", "scopes": "events:write keys:verify""#, Some("events:write keys:verify"), Some("events:write keys:verify")),
            (r#", "scopes": "  keys:verify   keys:verify ""#, Some("keys:verify"), Some("keys:verify")),
            (r#", "scopes": "events:* api-keys:write""#, Some("events:* api-keys:write"), Some("events:* api-keys:write")),
        ] {
            let simple = create(&app, &ada.cookie, &format!(r#"{{"name": "key"{given}}}"#)).await;
            assert_eq!(simple.json()["scopes"].as_str(), without_place, "{given}");
            let placed = create(&app, &ada.cookie, &ada.in_env(&ada.live, given)).await;
            assert_eq!(placed.json()["scopes"].as_str(), with_place, "{given}");
            // The list has the scopes of the answer.
            let listed = Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.cookie).send().await;
            let item = |answer: &Answer| {
                let keys = listed.json()["api_keys"].as_array().unwrap().clone();
                keys.into_iter().find(|key| key["id"] == answer.json()["id"]).expect("listed")
            };
            assert_eq!(item(&simple)["scopes"].as_str(), without_place);
            assert_eq!(item(&placed)["scopes"].as_str(), with_place);
        }
    }

    async fn optional_fields_appear_only_if_set(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let post = |body: &str| Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie).json(body);
        post(r#"{"name": "all", "expires_at": "2026-03-02T01:30:00+01:30", "ip_allowlist": ["192.0.2.7/24", "2001:DB8::1/32", "198.51.100.4"],
            "rate_limit": {"limit": 100, "window_seconds": 60}, "quota": {"limit": 9223372036854775807},
            "metadata": {"team": "payments", "note": "ünï\n\u0000"}}"#).tell(&mut story).await;
        post(r#"{"name": "one", "quota": {"limit": 1}}"#).tell(&mut story).await;
        story.say("null and empty metadata count as absent");
        let none = post(r#"{"name": "none", "expires_at": null, "ip_allowlist": null, "rate_limit": null, "quota": null,
            "metadata": {}, "org_id": null, "env_id": null}"#).tell(&mut story).await;
        assert_eq!(fields(&none), ["id", "name", "key", "key_prefix", "scopes", "created_at"]);
        app.clock.advance(1000);
        Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.cookie).tell(&mut story).await;
        story.is("optional_fields_appear_only_if_set");
    }

    async fn every_unusable_field_is_named(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let post = |body: &str| Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie).json(body);
        story.say("several invalid fields in one request");
        post(r#"{"name": " ", "org_id": "x", "scopes": "events", "expires_at": "tomorrow", "ip_allowlist": ["10.0.0.0/33"],
            "rate_limit": {"limit": 0, "window_seconds": 1}, "quota": {"limit": 0}}"#).tell(&mut story).await;
        for body in [
            "{}",
            r#"{"name": null}"#,
            r#"{"name": "key", "env_id": "env_0000000000000001"}"#,
            r#"{"name": "key", "scope": "events:write", "expire_at": "2027-01-01T00:00:00Z"}"#,
            r#"{"name": "key", "rate_limit": {"limit": 1, "window_seconds": 1, "burst": 2}}"#,
            r#"{"name": "key", "scopes": ["events:write"]}"#,
            r#"{"name": "key", "metadata": {"a": {"b": "c"}}}"#,
            r#"{"name": "key", "name": "other"}"#,
        ] {
            post(body).tell(&mut story).await;
        }
        story.is("every_unusable_field_is_named");
        let keys = Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.cookie).send().await;
        assert_eq!(keys.text(), r#"{"api_keys":[]}"#);
    }

    async fn each_field_has_its_bounds(app) {
        let ada = someone(&app, "ada@example.com").await;
        let networks = |count: usize| format!("[{}]", vec![r#""10.0.0.0/8""#; count].join(","));
        let metadata = |bytes: usize| format!(r#"{{"k":"{}"}}"#, "x".repeat(bytes - 8));
        let scopes = |count: usize| (0..count).map(|n| format!("r{n}:a")).collect::<Vec<_>>().join(" ");
        for (field, good, bad) in [
            ("scopes", format!(r#""{}""#, scopes(50)), format!(r#""{}""#, scopes(51))),
            ("scopes", r#""a:b""#.into(), r#""* a:b""#.into()),
            ("scopes", r#""a:*""#.into(), r#""""#.into()),
            ("scopes", format!(r#""{}:b""#, "a".repeat(98)), format!(r#""{}:b""#, "a".repeat(99))),
            ("expires_at", r#""2026-03-01T12:00:01Z""#.into(), r#""2026-03-01T12:00:00Z""#.into()),
            ("expires_at", r#""9999-12-31T23:59:59Z""#.into(), r#""2026-03-02""#.into()),
            ("expires_at", r#""2026-03-01T13:00:00.5+01:00""#.into(), r#""2026-03-01T12:59:59+01:00""#.into()),
            // In UTC, its year has five digits, which RFC 3339 cannot express.
            ("expires_at", r#""9999-12-31T00:00:00-23:00""#.into(), r#""9999-12-31T23:59:59-23:00""#.into()),
            ("ip_allowlist", networks(100), networks(101)),
            ("ip_allowlist", r#"["::/0"]"#.into(), "[]".into()),
            ("ip_allowlist", r#"["10.1.2.3"]"#.into(), r#"["example.com"]"#.into()),
            ("metadata", metadata(4096), metadata(4097)),
            ("rate_limit", r#"{"limit": 1000000000, "window_seconds": 86400}"#.into(), r#"{"limit": 1000000001, "window_seconds": 1}"#.into()),
            ("rate_limit", r#"{"limit": 1, "window_seconds": 1}"#.into(), r#"{"limit": 1, "window_seconds": 86401}"#.into()),
            ("rate_limit", r#"{"limit": 1, "window_seconds": 2}"#.into(), r#"{"limit": 1, "window_seconds": 0}"#.into()),
            ("quota", r#"{"limit": 9223372036854775807}"#.into(), r#"{"limit": 9223372036854775808}"#.into()),
        ] {
            let body = |value: &str| format!(r#"{{"name": "key", "{field}": {value}}}"#);
            let answer = post(&app, &ada, &body(&bad)).await;
            assert_eq!(answer.wrong_fields(), [field], "{bad}");
            let answer = create(&app, &ada.cookie, &body(&good)).await;
            assert_ne!(answer.json()[field], "", "{good}");
        }
    }

    async fn a_name_has_one_to_a_hundred_visible_characters(app) {
        let ada = someone(&app, "ada@example.com").await;
        let quoted = |name: &str| format!(r#"{{"name": {}}}"#, serde_json::json!(name));
        for name in ["", "  ", "\t\n", "\u{3000}", "a\nb", "a\u{0}b", "a\u{7f}b", "a\u{85}b", &"é".repeat(101)] {
            assert_eq!(post(&app, &ada, &quoted(name)).await.wrong_fields(), ["name"], "{name:?}");
        }
        for (name, kept) in [("x", "x"), ("  two words\u{3000}", "two words"), ("🔑 '\"<b>&%_\\", "🔑 '\"<b>&%_\\")] {
            assert_eq!(create(&app, &ada.cookie, &quoted(name)).await.field("/name"), kept);
        }
        let longest = "é".repeat(100);
        assert_eq!(create(&app, &ada.cookie, &quoted(&longest)).await.field("/name"), longest);
        post(&app, &ada, r#"{"name": "\ud800"}"#).await.is_problem(400, "invalid_request");
    }

    async fn a_foreign_environment_is_not_found(app) {
        let mut story = Story::new();
        let (ada, bob) = (someone(&app, "ada@example.com").await, someone(&app, "bob@example.com").await);
        let place = |org: &str, env: &str| format!(r#"{{"name": "key", "org_id": "{org}", "env_id": "{env}"}}"#);
        story.say("an environment of another organisation");
        Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie).json(&place(&bob.org, &bob.live)).tell(&mut story).await;
        story.is("a_foreign_environment_is_not_found");
        let expected = post(&app, &ada, &place(&bob.org, &bob.live)).await;
        assert_eq!(expected.field("/detail"), "Environment not found");
        for (org, env) in [
            (bob.org.as_str(), ada.live.as_str()),
            (&ada.org, &bob.live),
            (&ada.org, "env_0123456789abcdef"),
            ("org_0123456789abcdef", &ada.live),
            (&ada.live, &ada.org),
            (&ada.org, ""),
            ("string", "string"),
        ] {
            let answer = post(&app, &ada, &place(org, env)).await;
            assert_eq!((answer.status, answer.text()), (expected.status, expected.text()), "{org} {env}");
        }
        bob.join(&app, &ada.org, Role::Member).await;
        assert_eq!(post(&app, &bob, &place(&ada.org, &ada.live)).await.status, 201);
        story_of_two_organisations(&app, &ada, &bob).await;
    }

    async fn a_key_string_has_the_documented_form(app) {
        let ada = someone(&app, "ada@example.com").await;
        let mut seen = std::collections::BTreeSet::new();
        for (env, form) in [(&ada.live, "hs_live_"), (&ada.test, "hs_test_")] {
            for _ in 0..20 {
                let answer = create(&app, &ada.cookie, &ada.in_env(env, "")).await;
                let key = answer.field("/key");
                let hex = key.strip_prefix(form).expect("the environment's form");
                assert!(hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{key}");
                let (body, checksum) = hex.split_at(56);
                assert_eq!(checksum, format!("{:08x}", Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(body.as_bytes())));
                assert_eq!(answer.field("/key_prefix"), key[..12]);
                assert_eq!(answer.header("cache-control"), "no-store");
                let id = answer.field("/id");
                assert!(id.len() == 19 && id.starts_with("ak_"), "{id}");
                assert!(seen.insert(key) && seen.insert(id));
            }
        }
        let hashes = app.bytes("SELECT hash FROM keys").await;
        for key in seen.iter().filter(|text| text.starts_with("hs_")) {
            assert!(hashes.contains(&Sha256::digest(key.as_bytes()).to_vec()));
        }
        assert_eq!(hashes.len(), 40);
    }

    async fn a_key_above_the_limit_of_the_organisation_is_refused(app, at_most(2)) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let first = create(&app, &ada.cookie, r#"{"name": "first"}"#).await;
        create(&app, &ada.cookie, &ada.in_env(&ada.test, "")).await;
        Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie).json(r#"{"name": "third"}"#).tell(&mut story).await;
        story.say("the limit holds for each organisation separately");
        let bob = someone(&app, "bob@example.com").await;
        create(&app, &bob.cookie, r#"{"name": "bob's"}"#).await;
        story.say("revoking a key twice makes room for one key");
        for _ in 0..2 {
            let path = format!("/v1/auth/api-keys/{}", first.field("/id"));
            Call::new(&app, "DELETE", &path).cookie(&ada.cookie).send().await;
        }
        create(&app, &ada.cookie, r#"{"name": "third"}"#).await;
        Call::new(&app, "POST", "/v1/auth/api-keys").cookie(&ada.cookie).json(r#"{"name": "fourth"}"#).tell(&mut story).await;
        story.is("a_key_above_the_limit_of_the_organisation_is_refused");
    }

    async fn the_limit_of_keys_holds_for_concurrent_requests(app, at_most(3)) {
        let ada = someone(&app, "ada@example.com").await;
        let answers = join_all((0..12).map(|_| post(&app, &ada, r#"{"name": "key"}"#))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 3);
        answers.iter().filter(|answer| answer.status != 201).for_each(|answer| answer.is_problem(403, "forbidden"));
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 3);
        assert_eq!(app.number("SELECT CAST(sum(key_count) AS BIGINT) FROM organisations").await, 3);
    }

    /// Small and large batches are stored by different statements. The rows must be equal.
    async fn a_single_key_is_stored_like_a_key_of_a_batch(app, at_most(1000)) {
        let ada = someone(&app, "ada@example.com").await;
        let body = r#"{"name": "key", "scopes": "a:b c:*", "expires_at": "2099-01-01T00:00:00Z", "ip_allowlist": ["10.0.0.0/8"],
            "metadata": {"team": "a"}, "rate_limit": {"limit": 5, "window_seconds": 60}, "quota": {"limit": 7}}"#;
        let mut answers = vec![post(&app, &ada, body).await];
        answers.extend(join_all((0..10).map(|_| post(&app, &ada, body))).await);
        answers.extend(join_all((0..100).map(|_| post(&app, &ada, body))).await);
        let ask = Ask { scopes: ScopeList::constant("a:b"), address: "10.1.2.3".parse().ok(), ..Ask::default() };
        for answer in &answers {
            assert_eq!(answer.status, 201, "{}", answer.text());
            let code = app.services.checks.verify(&answer.field("/key"), &ask, Purpose::Use, |verdict| verdict.code).await;
            assert_eq!(code, Ok(Code::Valid));
        }
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 111);
        let alike = "SELECT count(*) FROM (SELECT DISTINCT organisation_id, environment_id, created_by, parent_id, name, scopes, \
            expires_at, ip_allowlist, metadata, rate_limit, rate_window_seconds, quota_limit FROM keys \
            WHERE rate_limit = 5 AND rate_window_seconds = 60 AND quota_limit = 7) AS alike";
        assert_eq!(app.number(alike).await, 1);
        assert_eq!(app.number("SELECT CAST(sum(key_count) AS BIGINT) FROM organisations").await, 111);
    }

    async fn a_person_without_an_organisation_cannot_create_a_key(app) {
        let ada = someone(&app, "ada@example.com").await;
        ada.leave(&app, &ada.org).await;
        let answer = post(&app, &ada, r#"{"name": "key"}"#).await;
        answer.is_problem(404, "not_found");
        assert_eq!(answer.field("/detail"), "Environment not found");
        let listed = Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.cookie).send().await;
        assert_eq!(listed.text(), r#"{"api_keys":[]}"#);
    }
}

/// Without `org_id`, a key is created in the organisation of the caller's oldest membership.
async fn story_of_two_organisations(app: &TestApp, ada: &Someone, bob: &Someone) {
    create(app, &bob.cookie, r#"{"name": "bob's own"}"#).await;
    let of = async |org: &str, who: &Someone| {
        let path = format!("/v1/auth/api-keys?org_id={org}");
        let answer = Call::new(app, "GET", &path).cookie(&who.cookie).send().await;
        let keys = answer.json()["api_keys"].as_array().expect("a list").clone();
        keys.iter().map(|key| key["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(of(&ada.org, ada).await.contains(&"key".to_owned()));
    let whose = if of(&bob.org, bob).await.is_empty() { &ada.org } else { &bob.org };
    let me = Call::new(app, "GET", "/v1/auth/me").cookie(&bob.cookie).send().await;
    assert_eq!(&me.field("/organisations/0/id"), whose, "the key is in the first organisation of `me`");
}
