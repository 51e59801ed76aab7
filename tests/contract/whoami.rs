//! `GET /v1/whoami`: the use of a key, its refusals and its count (docs/CONTRACTS.md, "Native").

use futures::future::join_all;
use latchkey::web::Site;
use sha2::{Digest, Sha256};

use crate::app::{Settings, TestApp, on_both_engines};
use crate::story::{Answer, Call, Someone, Story, create, someone};

fn behind_a_proxy() -> Settings {
    let site = Site { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Site::default() };
    Settings { site, ..Settings::default() }
}

async fn use_key(app: &TestApp, key: &str) -> Answer {
    Call::new(app, "GET", "/v1/whoami").key(key).send().await
}

async fn counted(app: &TestApp, who: &Someone) -> (i64, Option<String>) {
    let listed = Call::new(app, "GET", "/v1/auth/api-keys").cookie(&who.cookie).send().await;
    let key = listed.json()["api_keys"][0].clone();
    (key["request_count"].as_i64().expect("a number"), key["last_used_at"].as_str().map(str::to_owned))
}

on_both_engines! {
    async fn without_a_valid_key_whoami_is_a_401(app) {
        let mut story = Story::new();
        Call::new(&app, "GET", "/v1/whoami").tell(&mut story).await;
        Call::new(&app, "GET", "/v1/whoami").key("hs_live_nonsense").tell(&mut story).await;
        Call::new(&app, "GET", "/v1/whoami").cookie("session=abc").tell(&mut story).await;
        story.is("without_a_valid_key_whoami_is_a_401");
    }

    async fn whoami_returns_the_details_of_a_key(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let live = create(&app, &ada.cookie, r#"{"name": "plain"}"#).await.field("/key");
        let more = r#", "scopes": "events:write", "expires_at": "2026-03-02T00:00:00Z""#;
        let test = create(&app, &ada.cookie, &ada.in_env(&ada.test, more)).await.field("/key");
        Call::new(&app, "GET", "/v1/whoami").key(&live).tell(&mut story).await;
        Call::new(&app, "GET", "/v1/whoami").header("authorization", &format!("Bearer {test}")).tell(&mut story).await;
        story.say("with spaces around the key, by HEAD, and beside a session");
        Call::new(&app, "HEAD", "/v1/whoami").key(&format!(" {live} ")).cookie(&ada.cookie).tell(&mut story).await;
        story.is("whoami_returns_the_details_of_a_key");
    }

    async fn every_bad_key_gets_the_same_401(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        let string = key.field("/key");
        let revoked = create(&app, &ada.cookie, r#"{"name": "revoked"}"#).await;
        let path = format!("/v1/auth/api-keys/{}", revoked.field("/id"));
        Call::new(&app, "DELETE", &path).cookie(&ada.cookie).send().await;
        let expired = create(&app, &ada.cookie, r#"{"name": "expired", "expires_at": "2026-03-01T12:00:01Z"}"#).await.field("/key");
        assert_eq!(use_key(&app, &expired).await.status, 200);
        app.clock.advance(1_000);
        let last = if string.ends_with('0') { "1" } else { "0" };
        let hash = hex::encode(Sha256::digest(string.as_bytes()));
        let expected = use_key(&app, &revoked.field("/key")).await;
        expected.is_problem(401, "unauthenticated");
        for bad in [
            expired,
            format!("{}{last}", &string[..71]),
            string.replace("hs_live_", "hs_test_"),
            string.replace("hs_live_", "hks_"),
            string.to_uppercase(),
            string[..71].to_owned(),
            format!("{string}0"),
            hash.clone(),
            format!("hs_live_{hash}"),
            format!("hks_{}", &hash[..32]),
            "hs_live_0123456789abcdef0123456789abcdef0123456789abcdef012345671c637e5a".to_owned(),
            "hks_0123456789abcdef0123456789abcdef".to_owned(),
            key.field("/id"),
            key.field("/key_prefix"),
            ada.cookie.replace("session=", ""),
            "' OR 1=1 --".to_owned(),
            String::new(),
        ] {
            let answer = use_key(&app, &bad).await;
            assert_eq!((answer.status, answer.text()), (expected.status, expected.text()), "{bad}");
            let bearer = format!("Bearer {bad}");
            let answer = Call::new(&app, "GET", "/v1/whoami").header("authorization", &bearer).send().await;
            answer.is_problem(401, "unauthenticated");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
        assert_eq!(use_key(&app, &string).await.status, 200);
    }

    async fn several_credentials_do_not_fall_through(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/key");
        let bearer = format!("Bearer {key}");
        let good = Call::new(&app, "GET", "/v1/whoami").key(&key).header("authorization", "Bearer nonsense").send().await;
        assert_eq!(good.status, 200);
        for call in [
            Call::new(&app, "GET", "/v1/whoami").key("nonsense").header("authorization", &bearer),
            Call::new(&app, "GET", "/v1/whoami").key(&key).key(&key),
            Call::new(&app, "GET", "/v1/whoami").header("authorization", "Bearer nonsense").cookie(&format!("session={key}")),
            Call::new(&app, "GET", "/v1/whoami").cookie(&ada.cookie),
            Call::new(&app, "GET", &format!("/v1/whoami?key={key}&x-api-key={key}")),
        ] {
            call.send().await.is_problem(401, "unauthenticated");
        }
    }

    async fn the_ip_allowlist_is_compared_with_the_peer_address(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let body = r#"{"name": "key", "ip_allowlist": ["192.0.2.0/24", "2001:db8::/32"]}"#;
        let key = create(&app, &ada.cookie, body).await.field("/key");
        let call = || Call::new(&app, "GET", "/v1/whoami").key(&key);
        call().from("198.51.100.1:1000").tell(&mut story).await;
        story.say("with an untrusted `X-Forwarded-For`");
        call().header("x-forwarded-for", "192.0.2.10").tell(&mut story).await;
        story.is("the_ip_allowlist_is_compared_with_the_peer_address");
        for peer in ["192.0.2.10:1000", "[2001:db8::1]:1000", "[::ffff:192.0.2.10]:1000"] {
            assert_eq!(call().from(peer).send().await.status, 200, "{peer}");
        }
        for peer in ["198.51.100.1:1000", "[2001:db9::1]:1000", "[::ffff:198.51.100.1]:1000"] {
            call().from(peer).send().await.is_problem(403, "forbidden");
            call().from(peer).header("x-forwarded-for", "192.0.2.10").send().await.is_problem(403, "forbidden");
        }
        call().header("x-forwarded-for", "").send().await.is_problem(403, "forbidden");
        let id = Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.cookie).send().await.field("/api_keys/0/id");
        let log = crate::app::log();
        let line = log.lines().find(|line| line.contains("--trusted-proxies") && line.contains(&id));
        assert!(line.is_some_and(|line| line.contains("WARN")), "the log says which setting is missing");
        assert_eq!(counted(&app, &ada).await.0, 3, "a refusal does not count as a use");
    }

    async fn behind_a_trusted_proxy_the_right_most_foreign_hop_counts(app, behind_a_proxy()) {
        let ada = someone(&app, "ada@example.com").await;
        // The proxy's own network is on the list too: its address must not stand in for a client's.
        let body = r#"{"name": "key", "ip_allowlist": ["203.0.113.0/24", "10.0.0.0/8"]}"#;
        let key = create(&app, &ada.cookie, body).await.field("/key");
        let from = async |peer: &'static str, hops: &[&[u8]]| {
            let mut request = axum::http::Request::builder().uri("/v1/whoami").header("x-api-key", &key);
            for hop in hops {
                request = request.header("x-forwarded-for", axum::http::HeaderValue::from_bytes(hop).unwrap());
            }
            app.send_from(peer, request.body(axum::body::Body::empty()).unwrap()).await.status().as_u16()
        };
        assert_eq!(from("10.0.0.1:443", &[b"203.0.113.5"]).await, 200);
        assert_eq!(from("10.0.0.1:443", &[b"198.51.100.1, 203.0.113.5"]).await, 200);
        assert_eq!(from("10.0.0.1:443", &[b"198.51.100.1", b"203.0.113.5:4000, 10.9.9.9"]).await, 200);
        assert_eq!(from("[::ffff:10.0.0.1]:443", &[b"203.0.113.5"]).await, 200);
        assert_eq!(from("10.0.0.1:443", &[]).await, 200, "the proxy itself");
        assert_eq!(from("10.0.0.1:443", &[b"203.0.113.5, 198.51.100.1"]).await, 403, "the client itself can write the left-most hop");
        assert_eq!(from("10.0.0.1:443", &[b"203.0.113.5", b"198.51.100.1"]).await, 403);
        assert_eq!(from("10.0.0.1:443", &[b"203.0.113.5, unknown"]).await, 403);
        assert_eq!(from("10.0.0.1:443", &[b""]).await, 403);
        assert_eq!(from("10.0.0.1:443", &[b"203.0.113.5, \xff"]).await, 403, "a hop that is not UTF-8 is not an address");
        assert_eq!(from("10.0.0.1:443", &[b"\xff, 198.51.100.1"]).await, 403, "an invalid hop does not hide another one");
        assert_eq!(from("10.0.0.1:443", &[b"\xff, 203.0.113.5"]).await, 200);
        assert_eq!(from("203.0.113.5:443", &[b"203.0.113.5"]).await, 403, "the peer is not a trusted proxy");
    }

    async fn two_hundred_concurrent_uses_are_all_counted(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/key");
        assert_eq!(counted(&app, &ada).await, (0, None));
        app.clock.advance(60_000);
        let answers = join_all((0..200).map(|_| use_key(&app, &key))).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
        assert_eq!(counted(&app, &ada).await, (200, Some("2026-03-01T12:01:00Z".into())));
        app.services.usage.flush().await.unwrap();
        assert_eq!(counted(&app, &ada).await, (200, Some("2026-03-01T12:01:00Z".into())));
        assert_eq!(app.number("SELECT request_count FROM keys").await, 200);
        app.services.usage.flush().await.unwrap();
        assert_eq!(app.number("SELECT request_count FROM keys").await, 200);
        app.clock.advance(60_000);
        use_key(&app, &key).await;
        assert_eq!(counted(&app, &ada).await, (201, Some("2026-03-01T12:02:00Z".into())));
    }

    /// A reader during a flush sees each use once: never fewer than were answered before, never more than were begun.
    async fn a_count_is_exact_during_a_flush(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/key");
        let done = std::sync::atomic::AtomicI64::new(0);
        let begun = std::sync::atomic::AtomicI64::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        let uses = async {
            for _ in 0..40 {
                begun.fetch_add(5, order);
                join_all((0..5).map(|_| use_key(&app, &key))).await;
                done.fetch_add(5, order);
            }
        };
        let flushes = async {
            while done.load(order) < 200 {
                app.services.usage.flush().await.unwrap();
            }
        };
        let reads = async {
            while done.load(order) < 200 {
                let least = done.load(order);
                let (seen, _) = counted(&app, &ada).await;
                assert!(least <= seen && seen <= begun.load(order), "{least} <= {seen} <= {}", begun.load(order));
            }
        };
        futures::join!(uses, flushes, reads);
        assert_eq!(counted(&app, &ada).await.0, 200);
        app.services.usage.flush().await.unwrap();
        assert_eq!(app.number("SELECT request_count FROM keys").await, 200);
    }
}
