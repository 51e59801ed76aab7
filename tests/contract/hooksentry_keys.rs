//! `/api/v1/apikeys` (docs/CONTRACTS.md, "HookSentry").

use std::cmp::Ordering;

use futures::future::join_all;
use latchkey::keys::Policy;
use latchkey::model::Role;
use uuid::Uuid;

use crate::app::{Engine, Settings, TestApp, on_both_engines};
use crate::hooksentry::{call, create, get, ingest, log_in, revoke, tenant};
use crate::story::{Call, Story};

const UNKNOWN: &str = "1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d";

/// A key as shown in the answers.
#[derive(Debug, Clone)]
struct Shown {
    id: Uuid,
    name: String,
    created_at: String,
    revoked_at: Option<String>,
}

impl Shown {
    /// Compares in the documented order: bytes, null first, ties in the order of ids.
    fn compare(&self, other: &Self, column: &str) -> Ordering {
        let by_column = match column {
            "id" => Ordering::Equal,
            "name" => self.name.as_bytes().cmp(other.name.as_bytes()),
            "isActive" => self.revoked_at.is_none().cmp(&other.revoked_at.is_none()),
            "createdAt" => self.created_at.cmp(&other.created_at),
            "revokedAt" => self.revoked_at.cmp(&other.revoked_at),
            other => panic!("{other}"),
        };
        by_column.then(self.id.as_bytes().cmp(other.id.as_bytes()))
    }
}

/// Creates sixty keys with awkward names, several at each time, and revokes about half of them, some of these at one
/// time.
async fn sixty(app: &TestApp, access: &str) -> Vec<Shown> {
    let names = [
        "a", "B", "b", "A", "ä", "Ä", "z", "Zoë", "zoe", "é", "e\u{301}", "ß", "ss", "-", "_", "0", "10", "9", "a b",
        "ab", "日本", "🔑", "ÿ", "~",
    ];
    let mut keys = Vec::new();
    for n in 0..60 {
        if n % 4 == 0 {
            app.clock.advance(1 + n % 3);
        }
        let made = create(app, access, names[usize::try_from(n * 7 % 24).unwrap()]).await;
        keys.push(Shown {
            id: made.field("/id").parse().unwrap(),
            name: made.field("/name"),
            created_at: made.field("/createdAt"),
            revoked_at: None,
        });
    }
    for n in (0..60).filter(|n| n % 7 < 3).rev() {
        if n % 5 == 0 {
            app.clock.advance(1);
        }
        let ended = revoke(app, access, &keys[n].id.to_string()).await;
        assert_eq!(ended.status, 200);
        keys[n].revoked_at = Some(ended.field("/revokedAt"));
    }
    keys
}

fn at_most_2_keys() -> Settings {
    Settings {
        policy: Policy { most_per_organisation: 2, keys_may_manage_keys: true, ..Policy::default() },
        ..Settings::default()
    }
}

fn keys_manage_keys() -> Settings {
    Settings {
        policy: Policy { most_per_organisation: 100, keys_may_manage_keys: true, ..Policy::default() },
        ..Settings::default()
    }
}

on_both_engines! {
    /// The calls of the HookSentry contract, with every documented field.
    async fn a_hooksentry_key_is_made_listed_and_revoked(app) {
        let mut story = Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        app.clock.advance(7);
        let made = call(&app, &ada.access, "POST", "/api/v1/apikeys").json(r#"{"name": "Production Key"}"#).tell(&mut story).await;
        let (id, key) = (made.field("/id"), made.field("/key"));
        assert!(key.len() == 36 && key.starts_with("hks_") && key[4..].bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{key}");
        let list = "/api/v1/apikeys?Qt=10&Pg=1&CpOrd=id&TpOrd=Desc";
        call(&app, &ada.access, "GET", list).tell(&mut story).await;
        story.say("the scopes of the key");
        Call::new(&app, "GET", "/v1/whoami").key(&key).tell(&mut story).await;
        story.say("ten minutes later");
        app.clock.advance(600_123);
        call(&app, &ada.access, "DELETE", &format!("/api/v1/apikeys/{id}")).tell(&mut story).await;
        call(&app, &ada.access, "DELETE", &format!("/api/v1/apikeys/{id}")).tell(&mut story).await;
        call(&app, &ada.access, "GET", list).tell(&mut story).await;
        Call::new(&app, "GET", "/v1/whoami").key(&key).send().await.is_problem(401, "unauthenticated");
        ingest(&app, &ada.id, "s", &key).json("1").send().await.is_problem(401, "unauthenticated");
        story.is("a_hooksentry_key_is_made_listed_and_revoked");
    }

    async fn an_invalid_name_is_refused_with_a_sentence(app) {
        let mut story = Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        let long = "é".repeat(101);
        let post = |body: &str| call(&app, &ada.access, "POST", "/api/v1/apikeys").json(body);
        for body in [
            "{}", r#"{"name": null}"#, r#"{"name": ""}"#, r#"{"name": "  "}"#, r#"{"name": "a\u0000b"}"#, r#"{"name": "a\nb"}"#, r#"{"name": 7}"#,
            r#"{"name": "a", "name": "b"}"#, r#"{"name": "a", "scope": "x"}"#, r#"{"Name": "a"}"#, r#"["a"]"#, "null", "{", "",
        ] {
            post(body).tell(&mut story).await.is_sentence();
        }
        let answer = post(&format!(r#"{{"name": "{long}"}}"#)).send().await;
        assert_eq!(answer.is_sentence(), "`name` must have at most 100 characters");
        story.say("a body of another content type, and one that is too long");
        call(&app, &ada.access, "POST", "/api/v1/apikeys").header("content-type", "text/plain").body(r#"{"name": "a"}"#).tell(&mut story).await;
        call(&app, &ada.access, "POST", "/api/v1/apikeys").header("content-type", "application/json").body(vec![b' '; 64 * 1024 + 1]).tell(&mut story).await;
        story.is("an_invalid_name_is_refused_with_a_sentence");
        assert_eq!(app.number("SELECT count(*) FROM keys").await, 0);
        let made = post(&format!(r#"{{"name": "  {} "}}"#, "é".repeat(100))).send().await;
        assert_eq!((made.status.as_u16(), made.field("/name")), (201, "é".repeat(100)));
        assert_eq!(made.header("location"), format!("/api/v1/apikeys/{}", made.field("/id")));
    }

    async fn keys_are_refused_without_a_token(app) {
        let mut story = Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        let key = create(&app, &ada.access, "key").await;
        let id = key.field("/id");
        for (method, path) in [("GET", "/api/v1/apikeys"), ("POST", "/api/v1/apikeys"), ("DELETE", &format!("/api/v1/apikeys/{id}")), ("DELETE", "/api/v1/apikeys/x")] {
            Call::new(&app, method, path).json(r#"{"name": "a"}"#).tell(&mut story).await;
            let bearer = |token: &str| call(&app, token, method, path).json(r#"{"name": "a"}"#);
            bearer("lka_0").send().await.is_problem(401, "unauthenticated");
            bearer("eyJhbGciOiJIUzI1NiJ9.e30.x").send().await.is_problem(401, "unauthenticated");
            bearer("hks_00000000000000000000000000000000").send().await.is_problem(401, "unauthenticated");
            Call::new(&app, method, path).cookie(&ada.who.cookie).json(r#"{"name": "a"}"#).send().await.is_problem(401, "unauthenticated");
            story.say("a key is refused with an explanation");
            bearer(&key.field("/key")).tell(&mut story).await.is_problem(403, "forbidden");
        }
        story.is("keys_are_refused_without_a_token");
        assert_eq!(app.number("SELECT count(*) FROM keys WHERE revoked_at IS NULL").await, 1);
    }

    async fn the_parameters_of_a_listing(app) {
        let mut story = Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        for n in 0..12 {
            let made = create(&app, &ada.access, &format!("key {n}")).await;
            if n % 3 == 0 {
                revoke(&app, &ada.access, &made.field("/id")).await;
            }
        }
        let list = async |query: &str| get(&app, &ada.access, &format!("/api/v1/apikeys{query}")).await;
        let same = async |one: &str, other: &str| {
            let (one, other) = (list(one).await, list(other).await);
            assert_eq!((one.status.as_u16(), one.text()), (200, other.text()));
        };
        same("", "?Qt=10&Pg=1&CpOrd=id&TpOrd=Desc").await;
        same("?", "?QT=10&pg=1&cpord=ID&TPORD=DESC").await;
        same("?qt=3&PG=2&CPORD=createdat&tpord=asc&isactive=TRUE", "?Qt=3&Pg=2&CpOrd=createdAt&TpOrd=Asc&IsActive=true").await;
        same("?CpOrd=REVOKEDAT&TpOrd=aSC&IsActive=False", "?CpOrd=revokedAt&TpOrd=Asc&IsActive=false").await;
        same("?CpOrd=NAME&TpOrd=Asc", "?TpOrd=Asc&CpOrd=name").await;
        same("?CpOrd=isActive&TpOrd=Asc", "?CpOrd=iSaCTIVE&TpOrd=Asc").await;
        assert_eq!((list("").await.total(), list("").await.items("id").len()), (12, 10), "by default: both states, ten items");
        assert_eq!((list("?IsActive=true").await.total(), list("?IsActive=false").await.total()), (8, 4));
        assert_eq!((list("?Qt=100").await.items("id").len(), list("?Qt=1").await.items("id").len()), (12, 1));
        assert_eq!(list("?Pg=2").await.items("id").len(), 2);
        story.say("a page past the end");
        for query in ["?Pg=3", "?Pg=2147483647&Qt=100", "?Pg=2&IsActive=true", "?Pg=4&Qt=2&IsActive=false"] {
            call(&app, &ada.access, "GET", &format!("/api/v1/apikeys{query}")).tell(&mut story).await;
        }
        story.say("invalid and unknown parameters");
        for query in [
            "?Qt=0", "?Qt=101", "?Qt=-1", "?Qt=1.5", "?Qt=ten", "?Qt=", "?Qt=99999999999999999999", "?Pg=0", "?Pg=-1", "?Pg=2147483648", "?Pg=x",
            "?Pg=1&pg=2", "?CpOrd=key", "?CpOrd=", "?CpOrd=name;drop", "?TpOrd=up", "?IsActive=1", "?IsActive=", "?IsActive=yes", "?Search=a", "?Q%74=0", "?%ff=1",
        ] {
            call(&app, &ada.access, "GET", &format!("/api/v1/apikeys{query}")).tell(&mut story).await.is_sentence();
        }
        story.is("the_parameters_of_a_listing");
    }

    /// Every order, filter and page of sixty keys, against a plain sort.
    async fn every_page_in_every_order_equals_a_plain_sort(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let bob = tenant(&app, "bob@example.com").await;
        create(&app, &bob.access, "a stranger's").await;
        let keys = sixty(&app, &ada.access).await;
        if app.engine == Engine::Postgres {
            let collation = app.bytes("SELECT collation_name::text::bytea FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = 'keys' AND column_name = 'name'").await;
            assert_eq!(collation, [b"C"], "text is compared by bytes");
        }
        for column in ["id", "name", "isActive", "createdAt", "revokedAt"] {
            for descending in [false, true] {
                for active in [None, Some(true), Some(false)] {
                    let mut expected: Vec<Shown> = keys.iter().filter(|key| active.is_none_or(|active| active == key.revoked_at.is_none())).cloned().collect();
                    expected.sort_by(|one, other| one.compare(other, column));
                    if descending {
                        expected.reverse();
                    }
                    for size in [1, 7, 59, 100] {
                        if size == 1 && column != "revokedAt" {
                            continue;
                        }
                        for (page, expected) in expected.chunks(size).enumerate() {
                            let direction = if descending { "Desc" } else { "Asc" };
                            let filter = active.map(|active| format!("&IsActive={active}")).unwrap_or_default();
                            let query = format!("?Qt={size}&Pg={}&CpOrd={column}&TpOrd={direction}{filter}", page + 1);
                            let answer = get(&app, &ada.access, &format!("/api/v1/apikeys{query}")).await;
                            let total = keys.iter().filter(|key| active.is_none_or(|active| active == key.revoked_at.is_none())).count();
                            let items: Vec<serde_json::Value> = expected.iter().map(|key| serde_json::json!({
                                "id": key.id, "name": key.name, "isActive": key.revoked_at.is_none(), "createdAt": key.created_at, "revokedAt": key.revoked_at,
                            })).collect();
                            assert_eq!(answer.json(), serde_json::json!({ "total": total, "items": items }), "{query}");
                        }
                    }
                }
            }
        }
    }

    /// An unknown id (404) comes before another tenant (403), and that before the rights of a member (403).
    async fn a_revocation_is_checked_in_the_documented_order(app) {
        let mut story = Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        let bob = tenant(&app, "bob@example.com").await;
        bob.who.join(&app, &ada.who.org, Role::Member).await;
        let member = log_in(&app, &bob.email, Some(&ada.id)).await.field("/accessToken");
        let (adas, bobs, members) = (create(&app, &ada.access, "ada's").await, create(&app, &bob.access, "bob's").await, create(&app, &member, "the member's").await);
        let (adas, bobs, members) = (adas.field("/id"), bobs.field("/id"), members.field("/id"));
        let delete = |access: &str, id: &str| call(&app, access, "DELETE", &format!("/api/v1/apikeys/{id}"));
        story.say("ids: unknown, and malformed");
        delete(&ada.access, UNKNOWN).tell(&mut story).await;
        for id in ["x", "ak_0123456789abcdef", "%ff", "%00", &"9".repeat(2000), "1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d5"] {
            delete(&ada.access, id).send().await.is_problem(404, "not_found");
        }
        story.say("a key of another tenant, also for a member of both");
        delete(&ada.access, &bobs).tell(&mut story).await;
        delete(&member, &bobs).tell(&mut story).await;
        delete(&bob.access, &adas).tell(&mut story).await;
        story.say("a key of another member");
        delete(&member, &adas).tell(&mut story).await;
        assert_eq!(app.number("SELECT count(*) FROM keys WHERE revoked_at IS NOT NULL").await, 0);
        story.say("members revoke their own keys, owners every key");
        delete(&member, &members).tell(&mut story).await;
        delete(&ada.access, &adas.to_uppercase()).tell(&mut story).await;
        delete(&bob.access, &bobs).tell(&mut story).await;
        story.say("a revoked key is a 404 for every caller");
        delete(&ada.access, &bobs).tell(&mut story).await;
        for (access, id) in [(&member, &adas), (&ada.access, &adas), (&bob.access, &adas), (&ada.access, &members)] {
            delete(access, id).send().await.is_problem(404, "not_found");
        }
        story.is("a_revocation_is_checked_in_the_documented_order");
    }

    async fn one_of_several_concurrent_revocations_gets_a_200(app) {
        let ada = tenant(&app, "ada@example.com").await;
        for _ in 0..5 {
            let id = create(&app, &ada.access, "key").await.field("/id");
            let answers = join_all((0..8).map(|_| revoke(&app, &ada.access, &id))).await;
            assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
            answers.iter().filter(|answer| answer.status != 200).for_each(|answer| answer.is_problem(404, "not_found"));
        }
        assert_eq!(get(&app, &ada.access, "/api/v1/apikeys?IsActive=true").await.total(), 0);
        assert_eq!(get(&app, &ada.access, "/api/v1/apikeys?IsActive=false").await.total(), 5);
        assert_eq!(app.number("SELECT key_count * 100 + revoked_count FROM organisations").await, 505);
    }

    /// Both contracts show and revoke the same keys, whichever contract created them.
    async fn both_contracts_show_the_same_keys(app) {
        let mut story = Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        let hs = crate::story::create(&app, &ada.who.cookie, r#"{"name": "hookstream's"}"#).await;
        app.clock.advance(1500);
        let hks = create(&app, &ada.access, "HookSentry's").await;
        let development = ada.who.in_env(&ada.who.test, "");
        app.clock.advance(1500);
        let test = crate::story::create(&app, &ada.who.cookie, &development).await;
        call(&app, &ada.access, "GET", "/api/v1/apikeys?CpOrd=createdAt&TpOrd=Asc").tell(&mut story).await;
        Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.who.cookie).tell(&mut story).await;
        for key in [&hs, &hks, &test] {
            assert_eq!(Call::new(&app, "GET", "/v1/whoami").key(&key.field("/key")).send().await.status, 200);
        }
        story.say("each contract revokes the other's keys");
        app.clock.advance(1500);
        let ids = get(&app, &ada.access, "/api/v1/apikeys?CpOrd=createdAt&TpOrd=Asc").await.items("id");
        let listed = Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.who.cookie).send().await;
        assert_eq!(revoke(&app, &ada.access, &ids[0]).await.status, 200);
        let hookstreams = format!("/v1/auth/api-keys/{}", listed.field("/api_keys/1/id"));
        assert_eq!(call(&app, &ada.access, "DELETE", &hookstreams).send().await.status, 200);
        call(&app, &ada.access, "GET", "/api/v1/apikeys?CpOrd=createdAt&TpOrd=Asc").tell(&mut story).await;
        Call::new(&app, "GET", "/v1/auth/api-keys").cookie(&ada.who.cookie).tell(&mut story).await;
        for (key, status) in [(&hs, 401), (&hks, 401), (&test, 200)] {
            assert_eq!(Call::new(&app, "GET", "/v1/whoami").key(&key.field("/key")).send().await.status, status);
        }
        revoke(&app, &ada.access, &ids[1]).await.is_problem(404, "not_found");
        story.is("both_contracts_show_the_same_keys");
    }

    async fn a_key_above_the_limit_of_the_tenant_is_refused(app, at_most_2_keys()) {
        let mut story = Story::new();
        let ada = tenant(&app, "ada@example.com").await;
        let first = create(&app, &ada.access, "one").await;
        create(&app, &ada.access, "two").await;
        call(&app, &ada.access, "POST", "/api/v1/apikeys").json(r#"{"name": "three"}"#).tell(&mut story).await;
        story.is("a_key_above_the_limit_of_the_tenant_is_refused");
        revoke(&app, &ada.access, &first.field("/id")).await;
        create(&app, &ada.access, "three").await;
    }

    /// With `keys_may_manage_keys`, a key manages the keys of its own environment, and reads no events.
    async fn a_key_manages_the_keys_of_its_own_environment(app, keys_manage_keys()) {
        let ada = tenant(&app, "ada@example.com").await;
        let production = create(&app, &ada.access, "production").await;
        let manager = crate::story::create(&app, &ada.who.cookie, &ada.who.in_env(&ada.who.test, r#", "scopes": "api-keys:write events:write""#)).await;
        let key = manager.field("/key");
        let by_key = |method: &str, path: &str| Call::new(&app, method, path).key(&key);
        let child = by_key("POST", "/api/v1/apikeys").json(r#"{"name": "child"}"#).send().await;
        assert_eq!(child.status, 201, "{}", child.text());
        let who = Call::new(&app, "GET", "/v1/whoami").key(&child.field("/key")).send().await;
        assert_eq!((who.field("/environment").as_str(), who.field("/scopes").as_str()), ("test", "events:write"));
        let mut seen = by_key("GET", "/api/v1/apikeys").send().await.items("name");
        seen.sort();
        assert_eq!(seen, ["child", "key"], "no key of Production is listed");
        assert_eq!(by_key("GET", "/api/v1/apikeys?Qt=1&Pg=2&IsActive=true&CpOrd=name&TpOrd=Asc").send().await.items("name"), ["key"]);
        assert_eq!(by_key("GET", "/api/v1/apikeys?IsActive=false").send().await.total(), 0);
        let delete = |id: String| by_key("DELETE", &format!("/api/v1/apikeys/{id}"));
        delete(production.field("/id")).send().await.is_problem(404, "not_found");
        assert_eq!(delete(child.field("/id")).send().await.status, 200);
        assert_eq!(by_key("GET", "/api/v1/apikeys?IsActive=false&Pg=2&Qt=1").send().await.total(), 1);
        for path in ["/api/v1/events", &format!("/api/v1/events/{UNKNOWN}")] {
            by_key("GET", path).send().await.is_problem(403, "forbidden");
        }
        // Without `events:write`, the key has no scope to pass on.
        let narrow = crate::story::create(&app, &ada.who.cookie, r#"{"name": "narrow", "scopes": "api-keys:write"}"#).await;
        Call::new(&app, "POST", "/api/v1/apikeys").key(&narrow.field("/key")).json(r#"{"name": "x"}"#).send().await.is_sentence();
        let all = crate::story::create(&app, &ada.who.cookie, r#"{"name": "all", "scopes": "*"}"#).await;
        Call::new(&app, "GET", "/api/v1/apikeys").key(&all.field("/key")).send().await.is_problem(403, "forbidden");
        Call::new(&app, "GET", "/api/v1/events").key(&all.field("/key")).send().await.is_problem(403, "forbidden");
    }
}
