//! The dashboard's page of one key: its content, and the forms that change the key.

use latchkey::model::Role;

use crate::app::{TestApp, on_both_engines};
use crate::stale_forms::current_version;
use crate::story::{Answer, Call, Someone, create, someone};

const HOUR: i64 = 3_600_000;

/// A key of the first environment, and the path of its page.
struct Made {
    id: String,
    key: String,
    page: String,
}

async fn made(app: &TestApp, who: &Someone, more: &str) -> Made {
    let made = create(app, &who.cookie, &who.in_env(&who.live, more)).await;
    Made { page: who.page(&format!("keys/{}", made.field("/id"))), id: made.field("/id"), key: made.field("/key") }
}

impl Made {
    /// Uses the key and returns the status.
    async fn used(&self, app: &TestApp) -> u16 {
        Call::new(app, "GET", "/v1/whoami").key(&self.key).send().await.status.as_u16()
    }

    /// Returns the key as the API shows it.
    async fn details(&self, app: &TestApp, who: &Someone) -> serde_json::Value {
        Call::new(app, "GET", &format!("/v1/keys/{}", self.id)).cookie(&who.cookie).send().await.json()
    }
}

async fn get(app: &TestApp, who: &Someone, path: &str) -> Answer {
    Call::new(app, "GET", path).cookie(&who.cookie).send().await
}

pub fn form<'a>(app: &'a TestApp, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Call<'a> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    Call::new(app, "POST", path).cookie(cookie).header("content-type", "application/x-www-form-urlencoded").body(body)
}

/// Posts a form like a browser that has just loaded the page of the key: with the version of the form.
async fn post(app: &TestApp, who: &Someone, path: &str, fields: &[(&str, &str)]) -> Answer {
    let version = current_version(app, &who.cookie, path).await;
    let mut fields = fields.to_vec();
    fields.extend(version.iter().map(|version| ("version", version.as_str())));
    form(app, path, &who.cookie, &fields).send().await
}

#[track_caller]
fn shows(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "no {text} in {page}");
    }
}

const LIMITS: &str = r#", "scopes": "events:write keys:verify", "expires_at": "2027-01-01T00:00:00Z",
    "ip_allowlist": ["192.0.2.0/24", "2001:db8::/32"], "rate_limit": {"limit": 1000, "window_seconds": 60},
    "quota": {"limit": 20000}, "metadata": {"team": "<b>billing</b>"}"#;

on_both_engines! {
    async fn the_page_of_a_key_shows_its_settings_and_usage(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = made(&app, &ada, LIMITS).await;
        let list = get(&app, &ada, &ada.page("keys?state=active")).await.text();
        let link = format!("{}?state=active", key.page);
        shows(&list, &[&link]);

        let unused = get(&app, &ada, &link).await;
        assert_eq!((unused.status.as_u16(), unused.header("cache-control")), (200, "no-store"));
        let unused = unused.text();
        let uuid = key.details(&app, &ada).await["uuid"].as_str().unwrap().to_owned();
        let back = format!("href=\"{}\"", ada.page("keys?state=active"));
        shows(&unused, &[
            "<h1><bdi>key</bdi></h1>", &key.id, &uuid, &key.key[..12], ">Active<", "badge live", &back,
            "events:write", "keys:verify", "1 January 2027, 00:00:00 UTC", "1 March 2026, 12:00:00 UTC", "by you",
            "192.0.2.0/24", "2001:db8::/32", "1,000 requests in 60 seconds", "20,000 requests a month",
            "20,000 left until 1 Apr 2026", "&lt;b&gt;billing&lt;/b&gt;", "Never used", "None yet.",
            "No requests in the last 48 hours", "revoke=ak_", "Pause: requests get 401 until you resume it.",
        ]);
        assert!(!unused.contains("<svg width") && !unused.contains("<b>billing"), "{unused}");
        // The content security policy forbids inline styles.
        assert!(!unused.contains(" style="), "{unused}");

        for _ in 0..3 { assert_eq!(key.used(&app).await, 200); }
        app.clock.advance(HOUR);
        assert_eq!(key.used(&app).await, 200);
        for (scope, status) in [("events:write", 200), ("other:scope", 403)] {
            let path = format!("/v1/forward-auth/{}/any/{scope}", ada.org);
            assert_eq!(Call::new(&app, "GET", &path).key(&key.key).send().await.status, status, "{scope}");
        }
        app.clock.advance(HOUR);
        let page = get(&app, &ada, &key.page).await.text();
        shows(&page, &[
            "aria-label=\"Requests by the hour in the last 48 hours: 5 accepted, 1 rejected. The table below has the numbers.\"",
            "<title>1 Mar, 12:00: 3 accepted, 0 rejected</title>",
            "<title>1 Mar, 13:00: 2 accepted, 1 rejected</title>",
            "<title>1 Mar, 14:00: no requests</title>", "1 scope missing", "url(#hatch)",
            "192.0.2.10", "1 hour ago", "19,995 left until 1 Apr 2026",
        ]);
        assert_eq!(page.matches("class=\"hour\"").count(), 48);
        assert_eq!(page.matches("<tr>").count(), 3, "a head and the two hours with requests");
        app.clock.advance(48 * HOUR);
        let later = get(&app, &ada, &key.page).await.text();
        shows(&later, &["No requests in the last 48 hours", "2 days ago"]);
        assert!(!page.contains(&key.key) && !later.contains(&key.key[12..]), "the key string is on the page");
    }

    async fn a_saved_change_is_in_effect(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = made(&app, &ada, "").await;
        let place = format!("{}?state=active", key.page);
        let fields = [
            ("name", " Billing & <worker> "),
            ("access", "restricted"),
            ("scopes", "events:write  keys:*"),
            ("expires_at", "2026-03-02T12:00"),
            ("rate_limit", "5"),
            ("window_seconds", "10"),
            ("quota", "7"),
            ("ip_allowlist", "192.0.2.0/24\r\n\r\n ::ffff:203.0.113.9 \r\n"),
            ("metadata", "team = billing\r\nnote=a=b"),
        ];
        let saved = post(&app, &ada, &place, &fields).await;
        let form = format!("{place}#edit");
        assert_eq!((saved.status.as_u16(), saved.header("location")), (303, form.as_str()), "{}", saved.text());
        let details = key.details(&app, &ada).await;
        assert_eq!(details["name"], "Billing & <worker>");
        assert_eq!(details["scopes"], "events:write keys:*");
        assert_eq!(details["expires_at"], "2026-03-02T12:00:00Z");
        assert_eq!(details["rate_limit"], serde_json::json!({"limit": 5, "window_seconds": 10}));
        assert_eq!(details["quota"], serde_json::json!({"limit": 7}));
        assert_eq!(details["ip_allowlist"], serde_json::json!(["192.0.2.0/24", "203.0.113.9/32"]));
        assert_eq!(details["metadata"], serde_json::json!({"team": "billing", "note": "a=b"}));
        let page = get(&app, &ada, &place).await.text();
        shows(&page, &[
            "role=\"status\"", "Key “<bdi>Billing &amp; &lt;worker&gt;</bdi>” saved", "In effect on every node",
            "value=\"2026-03-02T12:00:00\"", "note=a=b\nteam=billing</textarea>",
        ]);
        assert!(!page.contains("<worker>"), "{page}");
        let again = get(&app, &ada, &place).await.text();
        assert!(!again.contains("role=\"status\""), "the message is shown once");

        // A field that is not sent keeps its value.
        assert_eq!(post(&app, &ada, &place, &[("name", "short")]).await.status, 303);
        let renamed = key.details(&app, &ada).await;
        assert_eq!((&renamed["name"], &renamed["quota"]), (&"short".into(), &details["quota"]));
        // An emptied field is removed.
        let empty = fields.map(|(field, _)| (field, match field { "name" => "short", "access" => "full", _ => "" }));
        assert_eq!(post(&app, &ada, &place, &empty).await.status, 303);
        let details = key.details(&app, &ada).await;
        for field in ["scopes", "expires_at", "rate_limit", "quota", "ip_allowlist", "metadata"] {
            assert!(details[field].is_null(), "{field}: {details}");
        }
    }

    async fn errors_are_shown_beside_their_fields(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = made(&app, &ada, "").await;
        let before = key.details(&app, &ada).await;
        let wrong = post(&app, &ada, &key.page, &[
            ("name", " "),
            ("access", "restricted"),
            ("scopes", "events\"><i>"),
            ("expires_at", "2020-01-01T00:00"),
            ("rate_limit", "0"),
            ("window_seconds", "sixty"),
            ("quota", "-1"),
            ("ip_allowlist", "10.0.0.0/8\r\n</textarea><script>alert(1)</script>"),
            ("metadata", "a&lt;b"),
        ]).await;
        assert_eq!(wrong.status, 400);
        let page = wrong.text();
        shows(&page, &[
            "Nothing was saved", "Enter a name.", "is not a scope: write ", "Choose a date and a time in the future",
            "is not a network: write 203.0.113.0/24 or 2001:db8::/32.", "which “a&amp;lt;b” is not",
            "value=\"2020-01-01T00:00\"", "value=\"sixty\"", "value=\"-1\"",
            "10.0.0.0/8\n&lt;/textarea>&lt;script>", "a&amp;lt;b</textarea>", "value=\"events&quot;&gt;&lt;i&gt;\"",
        ]);
        assert_eq!(page.matches("aria-invalid=\"true\"").count(), 8, "{page}");
        assert_eq!(page.matches(" autofocus").count(), 1, "{page}");
        assert!(!page.contains("<script>alert") && !page.contains("<i>"), "{page}");
        assert_eq!(key.details(&app, &ada).await, before);

        // An untouched field is not validated.
        assert_eq!(post(&app, &ada, &key.page, &[("expires_at", "2026-03-01T13:00")]).await.status, 303);
        app.clock.advance(2 * HOUR);
        shows(&get(&app, &ada, &key.page).await.text(), &[">Expired<", "A later date brings it back."]);
        let renamed = post(&app, &ada, &key.page, &[("name", "new"), ("expires_at", "2026-03-01T13:00")]).await;
        assert_eq!(renamed.status, 303);
        assert_eq!(key.used(&app).await, 401);
        assert_eq!(post(&app, &ada, &key.page, &[("expires_at", "")]).await.status, 303);
        assert_eq!(key.used(&app).await, 200);

        for fields in [
            &[("name", "a"), ("name", "b")][..],
            &[("enabled", "false")],
            &[("key", "hs_live_x")],
            &[("name", "changed"), ("<i>", "")],
        ] {
            let refused = post(&app, &ada, &key.page, fields).await;
            assert_eq!(refused.status, 400, "{fields:?}");
            assert!(!refused.text().contains("<i>"), "{}", refused.text());
        }
        assert_eq!(key.details(&app, &ada).await["name"], "new");
    }

    /// The form has one `name=value` per line, which cannot express all metadata of the API.
    async fn metadata_that_the_form_cannot_express_is_kept(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = made(&app, &ada, r#", "metadata": {"note": "one\ntwo=three", "a=b": " c"}"#).await;
        let page = get(&app, &ada, &key.page).await.text();
        shows(&page, &["Use the API.", "one\ntwo=three"]);
        assert!(!page.contains("name=\"metadata\""), "{page}");
        assert_eq!(post(&app, &ada, &key.page, &[("name", "new")]).await.status, 303);
        let details = key.details(&app, &ada).await;
        assert_eq!(details["metadata"], serde_json::json!({"note": "one\ntwo=three", "a=b": " c"}));
    }

    async fn a_key_is_paused_and_resumed(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = made(&app, &ada, "").await;
        let switch = format!("{}/enabled?q=key", key.page);
        let page = format!("{}?q=key", key.page);
        assert_eq!(key.used(&app).await, 200);
        let paused = post(&app, &ada, &switch, &[("enabled", "false")]).await;
        assert_eq!((paused.status.as_u16(), paused.header("location")), (303, page.as_str()));
        assert_eq!(key.used(&app).await, 401);
        let shown = get(&app, &ada, &page).await.text();
        shows(&shown, &["Key “<bdi>key</bdi>” paused", ">Paused<", ">Resume<", "value=\"true\"", "1 paused"]);
        for fields in [&[][..], &[("enabled", "yes")], &[("enabled", "true"), ("name", "x")], &[("enabled", "true"), ("enabled", "true")]] {
            assert_eq!(post(&app, &ada, &switch, fields).await.status, 400, "{fields:?}");
        }
        assert_eq!(key.used(&app).await, 401);
        assert_eq!(post(&app, &ada, &switch, &[("enabled", "true")]).await.status, 303);
        assert_eq!(key.used(&app).await, 200);
        shows(&get(&app, &ada, &page).await.text(), &["Key “<bdi>key</bdi>” resumed", ">Active<", ">Pause<"]);
    }

    async fn permissions_to_see_and_change_a_key_on_its_page(app) {
        let ada = someone(&app, "ada@example.com").await;
        let bob = someone(&app, "bob@example.com").await;
        let eve = someone(&app, "eve@example.com").await;
        bob.join(&app, &ada.org, Role::Member).await;
        let key = made(&app, &ada, LIMITS).await;
        let switch = format!("{}/enabled", key.page);
        let before = key.details(&app, &ada).await;

        let seen = get(&app, &bob, &key.page).await;
        assert_eq!(seen.status, 200);
        shows(&seen.text(), &[&key.id, "by <bdi>ada@example.com</bdi>", "can change this key", "20,000 requests a month"]);
        for absent in ["<textarea", "name=\"name\"", "Pause", "revoke="] {
            assert!(!seen.text().contains(absent), "{absent}");
        }
        assert_eq!(post(&app, &bob, &key.page, &[("name", "bob's")]).await.status, 403);
        assert_eq!(post(&app, &bob, &key.page, &[("name", "")]).await.status, 403);
        assert_eq!(post(&app, &bob, &switch, &[("enabled", "false")]).await.status, 403);

        for path in [
            key.page.clone(),
            eve.page(&format!("keys/{}", key.id)),
            format!("/o/{}/{}/keys/{}", eve.org, ada.live, key.id),
        ] {
            let hidden = get(&app, &eve, &path).await;
            assert_eq!(hidden.status, 404, "{path}");
            assert!(!hidden.text().contains("events:write") && !hidden.text().contains(&key.key[..12]), "{path}");
        }
        assert_eq!(post(&app, &eve, &key.page, &[("name", "eve's")]).await.status, 404);
        assert_eq!(post(&app, &eve, &switch, &[("enabled", "false")]).await.status, 404);
        let elsewhere = ada.test_page(&format!("keys/{}", key.id));
        for path in [&ada.page("keys/ak_0000000000000001"), &ada.page("keys/7"), &ada.page("keys/ak_%3Cb%3E"), &elsewhere] {
            assert_eq!(get(&app, &ada, path).await.status, 404, "{path}");
            assert_eq!(post(&app, &ada, path, &[("name", "x")]).await.status, 404, "{path}");
        }
        for page in ["enabled", "revoke"] {
            let path = format!("{elsewhere}/{page}");
            assert_eq!(form(&app, &path, &ada.cookie, &[("enabled", "false")]).send().await.status, 404, "{path}");
        }

        let signed_out = Call::new(&app, "GET", &key.page).send().await;
        assert_eq!(signed_out.header("location"), format!("/sign-in?next={}", key.page.replace('/', "%2F")));
        for path in [&key.page, &switch] {
            let fields = [("enabled", "false")];
            let over = form(&app, path, "session=nothing", &fields).send().await;
            assert_eq!((over.status.as_u16(), over.header("location")), (401, ""));
            shows(&over.text(), &["Your session is over, and nothing was changed.", "value=\"enabled=false\""]);
            assert_eq!(form(&app, path, "a=b", &fields).key(&key.key).send().await.status, 403, "a key cannot use the form");
            for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
                let foreign = form(&app, path, &ada.cookie, &fields).header("host", "127.0.0.1:3000").header(name, value);
                assert_eq!(foreign.send().await.status, 403, "{name}");
            }
            let json = Call::new(&app, "POST", path).cookie(&ada.cookie).json("{}").send().await;
            assert_eq!(json.status, 415);
        }
        assert_eq!(key.details(&app, &ada).await, before);

        bob.leave(&app, &ada.org).await;
        bob.join(&app, &ada.org, Role::Admin).await;
        assert_eq!(post(&app, &bob, &key.page, &[("name", "bob's")]).await.status, 303);
        assert_eq!(post(&app, &bob, &switch, &[("enabled", "false")]).await.status, 303);
        assert_eq!(key.used(&app).await, 401);
    }

    async fn a_revoked_key_is_read_only(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = made(&app, &ada, LIMITS).await;
        assert_eq!(key.used(&app).await, 200);
        let revoked = post(&app, &ada, &format!("{}/revoke", key.page), &[("return_to", &key.page)]).await;
        assert_eq!((revoked.status.as_u16(), revoked.header("location")), (303, key.page.as_str()));
        assert_eq!(key.used(&app).await, 401);
        let page = get(&app, &ada, &key.page).await.text();
        shows(&page, &[
            "Key “<bdi>key</bdi>” revoked", ">Revoked<", "A revoked key cannot be restored",
            "A revoked key cannot be changed.",
            "1 accepted, 1 rejected", "1 revoked", "20,000 requests a month", "192.0.2.10",
        ]);
        for absent in ["<textarea", "name=\"name\"", ">Pause<", "revoke=", &key.key] {
            assert!(!page.contains(absent), "{absent}");
        }
        let before = key.details(&app, &ada).await;
        for (path, fields) in [
            (key.page.clone(), [("name", "back")]),
            (key.page.clone(), [("name", "")]),
            (format!("{}/enabled", key.page), [("enabled", "true")]),
        ] {
            assert_eq!(post(&app, &ada, &path, &fields).await.status, 303, "{path}");
            shows(&get(&app, &ada, &key.page).await.text(), &["role=\"alert\"", "The key was not changed"]);
        }
        assert_eq!(key.details(&app, &ada).await, before);
    }
}
