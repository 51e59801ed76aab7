//! `GET` and `PATCH /v1/keys/{id}`, `POST /v1/keys/{id}/revoke`, `GET /v1/revocations` (CONTRACTS,
//! Native).

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use latchkey::model::Role;
use sha2::{Digest, Sha256};

use crate::app::{TestApp, on_both_engines};
use crate::story::{Call, Story, create, someone};

/// A stream of server-sent events, read one by one.
struct Stream(Body, String);

impl Stream {
    async fn open(app: &TestApp, key: &str, after: Option<&str>) -> Self {
        let mut request = Request::get("/v1/revocations").header("x-api-key", key);
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        let answer = app.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self(answer.into_body(), String::new())
    }

    /// Returns the next event, its kind, its id and its data, and skips comments. `None` at the end.
    async fn next(&mut self) -> Option<(String, String, serde_json::Value)> {
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

    /// The next one that is no heartbeat.
    async fn change(&mut self) -> Option<(String, String, serde_json::Value)> {
        loop {
            let next = self.next().await?;
            if next.0 != "heartbeat" {
                return Some(next);
            }
        }
    }
}

on_both_engines! {
    async fn a_key_is_shown_changed_and_ended_with_proof(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let made = create(&app, &ada.cookie, &ada.in_env(&ada.live, r#", "scopes": "a:b""#)).await;
        let path = format!("/v1/keys/{}", made.field("/id"));
        let change = |body: &str| Call::new(&app, "PATCH", &path).cookie(&ada.cookie).json(body);
        Call::new(&app, "GET", &path).cookie(&ada.cookie).tell(&mut story).await;
        app.clock.advance(5_000);
        change(r#"{"name": "  renamed ", "scopes": "c:d", "enabled": false, "expires_at": "2027-01-01T00:00:00Z",
            "ip_allowlist": ["203.0.113.9", "::ffff:10.0.0.0/104"], "rate_limit": {"limit": 5, "window_seconds": 1},
            "quota": {"limit": 7}, "metadata": {"a": "b"}}"#).tell(&mut story).await;
        app.clock.advance(5_000);
        story.say("what is left out stays, and switched off twice is switched off since the first time");
        change(r#"{"enabled": false}"#).tell(&mut story).await;
        story.say("null takes away");
        change(r#"{"scopes": null, "enabled": true, "expires_at": null, "ip_allowlist": null, "rate_limit": null,
            "quota": null, "metadata": null}"#).tell(&mut story).await;
        let ended = Call::new(&app, "POST", &format!("{path}/revoke")).cookie(&ada.cookie).tell(&mut story).await;
        assert_eq!(ended.status, 200);
        Call::new(&app, "POST", &format!("{path}/revoke")).cookie(&ada.cookie).tell(&mut story).await;
        change(r#"{"enabled": true}"#).tell(&mut story).await;
        assert_eq!(Call::new(&app, "GET", &path).cookie(&ada.cookie).send().await.field("/state"), "revoked");
        story.is("a_key_is_shown_changed_and_ended_with_proof");
    }

    async fn what_cannot_be_changed_is_said_by_name(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let made = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        let path = format!("/v1/keys/{}", made.field("/id"));
        let before = Call::new(&app, "GET", &path).cookie(&ada.cookie).send().await.text();
        for body in [
            r#"{"name": "", "scopes": "x", "expires_at": "2020-01-01T00:00:00Z", "ip_allowlist": ["a"],
               "rate_limit": {"limit": 0, "window_seconds": 1}, "quota": {"limit": 0}}"#,
            r#"{"ip_allowlist": []}"#,
            r#"{"enabled": "no"}"#,
            r#"{"key": "hs_live_x"}"#,
        ] {
            Call::new(&app, "PATCH", &path).cookie(&ada.cookie).json(body).tell(&mut story).await;
        }
        assert_eq!(Call::new(&app, "GET", &path).cookie(&ada.cookie).send().await.text(), before);
        story.is("what_cannot_be_changed_is_said_by_name");
    }

    async fn who_may_see_and_change_a_key(app) {
        let (ada, bob, eve) = (
            someone(&app, "ada@example.com").await,
            someone(&app, "bob@example.com").await,
            someone(&app, "eve@example.com").await,
        );
        bob.join(&app, &ada.org, Role::Member).await;
        let made = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        let path = format!("/v1/keys/{}", made.field("/id"));
        let call = |method: &str, path: &str, cookie: &str| {
            let call = Call::new(&app, method, path).cookie(cookie);
            if method == "PATCH" { call.json("{}") } else { call }
        };
        for (method, path) in [("GET", path.clone()), ("PATCH", path.clone()), ("POST", format!("{path}/revoke"))] {
            Call::new(&app, method, &path).send().await.is_problem(401, "unauthenticated");
            Call::new(&app, method, &path).key(&made.field("/key")).send().await.is_problem(403, "forbidden");
            call(method, &path, &eve.cookie).send().await.is_problem(404, "not_found");
            let member = call(method, &path, &bob.cookie).send().await;
            if method == "GET" { assert_eq!(member.status, 200) } else { member.is_problem(403, "forbidden") }
            let nowhere = path.replace(&made.field("/id"), "ak_0000000000000001");
            call(method, &nowhere, &ada.cookie).send().await.is_problem(404, "not_found");
            call(method, &path.replace(&made.field("/id"), "x"), &ada.cookie).send().await.is_problem(404, "not_found");
        }
        bob.leave(&app, &ada.org).await;
        bob.join(&app, &ada.org, Role::Admin).await;
        assert_eq!(call("PATCH", &path, &bob.cookie).send().await.status, 200);
    }

    /// Each change is effective at the very next check, on every path.
    async fn a_change_is_effective_when_it_is_answered(app) {
        let ada = someone(&app, "ada@example.com").await;
        let made = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        let path = format!("/v1/keys/{}", made.field("/id"));
        let whoami = || Call::new(&app, "GET", "/v1/whoami").key(&made.field("/key")).send();
        let gateway = || Call::new(&app, "GET", &format!("/v1/forward-auth/{}/any/a:b", ada.org)).key(&made.field("/key")).send();
        for (change, own, gate) in [
            ("{}", 200, 200),
            (r#"{"enabled": false}"#, 401, 401),
            (r#"{"enabled": true}"#, 200, 200),
            (r#"{"scopes": "c:d"}"#, 200, 403),
            (r#"{"scopes": "a:*"}"#, 200, 200),
            (r#"{"ip_allowlist": ["10.0.0.0/8"]}"#, 403, 403),
            (r#"{"ip_allowlist": ["192.0.2.0/24"]}"#, 200, 200),
            (r#"{"rate_limit": {"limit": 1, "window_seconds": 3600}}"#, 200, 429),
            (r#"{"rate_limit": null}"#, 200, 200),
            (r#"{"quota": {"limit": 1}}"#, 200, 429),
            (r#"{"quota": null, "expires_at": "2026-03-01T12:00:01Z"}"#, 200, 200),
        ] {
            let answer = Call::new(&app, "PATCH", &path).cookie(&ada.cookie).json(change).send().await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!((whoami().await.status.as_u16(), gateway().await.status.as_u16()), (own, gate), "{change}");
        }
        app.clock.advance(1_000);
        assert_eq!(whoami().await.status, 401);
    }

    async fn what_ends_or_changes_is_told_to_who_listens(app) {
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

        // Away for a moment: what was missed comes first, and nothing twice.
        let mut again = Stream::open(&app, &caller.field("/key"), Some(&first)).await;
        assert_eq!(again.next().await.unwrap(), ("changed".into(), second.clone(), told(true)));
        assert_eq!(again.next().await.unwrap().0, "heartbeat");
        let mut again = Stream::open(&app, &caller.field("/key"), Some(&start)).await;
        assert_eq!(again.next().await.unwrap().1, first);
        // An id of another start of the server, or none of ours: whoever comes with it knows nothing.
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

    async fn only_who_may_check_keys_may_listen(app) {
        let ada = someone(&app, "ada@example.com").await;
        let narrow = create(&app, &ada.cookie, &ada.in_env(&ada.live, r#", "scopes": "a:b""#)).await.field("/key");
        Call::new(&app, "GET", "/v1/revocations").send().await.is_problem(401, "unauthenticated");
        Call::new(&app, "GET", "/v1/revocations").cookie(&ada.cookie).send().await.is_problem(401, "unauthenticated");
        Call::new(&app, "GET", "/v1/revocations").key(&narrow).send().await.is_problem(403, "forbidden");
    }
}
