//! The paths of the dashboard, the frame of its pages, and the notice about a key whose creation got no answer.

use latchkey::accounts::Registration;
use latchkey::model::{OrganisationId, Role};
use serde_json::json;

use crate::app::{NOW, Settings, TestApp, on_both_engines};
use crate::events_page::sender;
use crate::story::{Answer, Call, Someone, create, someone};

async fn get(app: &TestApp, cookie: &str, path: &str) -> String {
    Call::new(app, "GET", path).cookie(cookie).send().await.text()
}

async fn answer(app: &TestApp, cookie: &str, path: &str) -> Answer {
    Call::new(app, "GET", path).cookie(cookie).send().await
}

#[track_caller]
fn leads_to(answer: &Answer, location: &str) {
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, location), "{}", answer.text());
}

fn title(page: &str) -> &str {
    page.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).expect("a title").0
}

/// Returns the cookies of the session and of the visited places, as a browser sends them back.
fn with_visited(who: &Someone, answer: &Answer) -> String {
    let set = answer.header("set-cookie");
    assert!(set.starts_with("latchkey-visited=") && set.contains("; HttpOnly; SameSite=Lax; Path=/"), "{set}");
    format!("{}; {}", who.cookie, set.split(';').next().expect("a first part"))
}

/// Returns the part of a page between two texts.
#[track_caller]
fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = page.split_once(from).unwrap_or_else(|| panic!("no {from} in {page}"));
    rest.split_once(to).unwrap_or_else(|| panic!("no {to} in {rest}")).0
}

on_both_engines! {
    async fn the_start_leads_to_the_place_that_was_visited_last(app) {
        let ada = someone(&app, "ada@example.com").await;
        let eve = someone(&app, "eve@example.com").await;
        let signed_out = Call::new(&app, "GET", "/").send().await;
        leads_to(&signed_out, "/sign-in");
        leads_to(&answer(&app, &ada.cookie, "/").await, &ada.page("keys"));

        let visit = answer(&app, &ada.cookie, &ada.test_page("events")).await;
        let cookie = with_visited(&ada, &visit);
        leads_to(&answer(&app, &cookie, "/").await, &ada.test_page("keys"));
        leads_to(&answer(&app, &cookie, &format!("/o/{}", ada.org)).await, &ada.test_page("keys"));
        assert_eq!(answer(&app, &cookie, &ada.test_page("keys")).await.header("set-cookie"), "", "the cookie already has this place");
        // Pages of no environment stay in it.
        for path in ["/docs/api", "/server", "/no/such/page"] {
            let page = get(&app, &cookie, path).await;
            for section in ["keys", "events"] {
                assert!(page.contains(&format!("<a href=\"{}\"", ada.test_page(section))), "{path}: {page}");
            }
        }
        // Places of others, and text that names no place, are ignored.
        for visited in [format!("{}/{}", eve.org, eve.live), format!("{}/{}", ada.org, eve.live), "x./.<b>".to_owned()] {
            let cookie = format!("{}; latchkey-visited={visited}", ada.cookie);
            leads_to(&answer(&app, &cookie, "/").await, &ada.page("keys"));
            let page = get(&app, &cookie, "/docs/api").await;
            assert!(!page.contains(&eve.org) && !page.contains(&eve.live), "{page}");
        }
        // A page that is not theirs is not remembered.
        assert_eq!(answer(&app, &ada.cookie, &eve.page("keys")).await.header("set-cookie"), "");
    }

    async fn an_address_without_a_page_leads_to_the_keys(app) {
        let ada = someone(&app, "ada@example.com").await;
        let eve = someone(&app, "eve@example.com").await;
        for path in [format!("/o/{}", ada.org), ada.page(""), ada.page("").trim_end_matches('/').to_owned()] {
            leads_to(&answer(&app, &ada.cookie, &path).await, &ada.page("keys"));
        }
        for path in [
            format!("/o/{}", eve.org), eve.page(""), format!("/o/{}/{}", ada.org, eve.live), "/o/x".to_owned(),
            "/o/%ff".to_owned(), format!("/o/{}/settings/nothing", ada.org), "/o".to_owned(), ada.page("nothing"),
        ] {
            assert_eq!(answer(&app, &ada.cookie, &path).await.status, 404, "{path}");
        }
    }

    async fn old_addresses_lead_to_the_new_ones_and_keep_their_query(app) {
        let ada = someone(&app, "ada@example.com").await;
        let eve = someone(&app, "eve@example.com").await;
        let (org, live, test) = (&ada.org, &ada.live, &ada.test);
        let key = create(&app, &ada.cookie, &ada.in_env(test, "")).await.field("/id");
        let event = sender(&app, &ada).await.send(&app, "orders", "{}").await;
        for (old, new) in [
            ("/keys".to_owned(), ada.page("keys")),
            (format!("/keys?org={org}"), ada.page("keys")),
            (format!("/keys?env={test}"), ada.test_page("keys")),
            (format!("/keys?q=a%20b&org={org}&state=active&env={test}&utm=%2F"), ada.test_page("keys?q=a%20b&state=active&utm=%2F")),
            (format!("/events?org={org}&env={live}&source=a"), ada.page("events?source=a")),
            (format!("/keys/{key}"), ada.test_page(&format!("keys/{key}"))),
            (format!("/keys/{key}?org={org}&env={test}&state=active"), ada.test_page(&format!("keys/{key}?state=active"))),
            (format!("/events/{event}?source=a"), ada.page(&format!("events/{event}?source=a"))),
            (format!("/events/{event}/body?org={org}"), ada.page(&format!("events/{event}/body"))),
            (format!("/events?event={event}"), ada.page(&format!("events/{event}"))),
            ("/cluster".to_owned(), "/server".to_owned()),
        ] {
            let moved = answer(&app, &ada.cookie, &old).await;
            leads_to(&moved, &new);
            assert_eq!(answer(&app, &ada.cookie, &new).await.status, 200, "{new}");
            // A deep link survives signing in.
            if old != "/cluster" {
                let next: String = form_urlencoded::byte_serialize(old.as_bytes()).collect();
                leads_to(&Call::new(&app, "GET", &old).send().await, &format!("/sign-in?next={next}"));
            }
        }
        for old in [
            format!("/keys?org={org}"), format!("/keys?env={live}"), "/keys?org=7".to_owned(), "/keys?env=prod".to_owned(),
            format!("/keys?org={}&env={live}", eve.org), format!("/keys/{key}"), "/keys/7".to_owned(),
            format!("/events/{event}"), format!("/events/{event}/body"), "/events/7".to_owned(), format!("/events?event={event}"),
        ] {
            assert_eq!(answer(&app, &eve.cookie, &old).await.status, 404, "{old}");
        }
        for old in [format!("/keys/{key}?env={live}"), format!("/keys/{key}?org={}", eve.org)] {
            assert_eq!(answer(&app, &ada.cookie, &old).await.status, 404, "{old}");
        }
        // Forms are sent to the new addresses only.
        for old in [format!("/keys/{key}"), format!("/keys/{key}/revoke"), "/keys/search".to_owned(), "/events/retention".to_owned()] {
            let call = Call::new(&app, "POST", &old).cookie(&ada.cookie);
            let refused = call.header("content-type", "application/x-www-form-urlencoded").body("name=x").send().await;
            assert!([404, 405].contains(&refused.status.as_u16()), "{old}: {}", refused.status);
        }
        let details = answer(&app, &ada.cookie, &format!("/v1/keys/{key}")).await;
        assert_eq!((details.field("/name"), details.field("/state")), ("key".to_owned(), "active".to_owned()));
    }

    async fn titles_name_the_page_the_environment_and_the_organisation(app) {
        let ada = someone(&app, "ada@example.com").await;
        app.execute("UPDATE organisations SET name = 'Acme <1>'").await;
        let key = create(&app, &ada.cookie, r#"{"name": "Billing"}"#).await.field("/id");
        let event = sender(&app, &ada).await.send(&app, "orders", "{}").await;
        for (path, expected) in [
            (ada.page("keys"), "API keys · Production · Acme &lt;1> · Latchkey"),
            (ada.test_page("keys"), "API keys · Development · Acme &lt;1> · Latchkey"),
            (ada.page(&format!("keys/{key}")), "Billing · Production · Acme &lt;1> · Latchkey"),
            (ada.page("events"), "Events · Production · Acme &lt;1> · Latchkey"),
            (ada.page(&format!("events/{event}")), "Event from orders · Production · Acme &lt;1> · Latchkey"),
            ("/docs/api".to_owned(), "API reference · Latchkey"),
            ("/server".to_owned(), "Server · Latchkey"),
            ("/no/such/page".to_owned(), "Not found · Latchkey"),
        ] {
            assert_eq!(title(&get(&app, &ada.cookie, &path).await).replace("&gt;", ">"), expected, "{path}");
        }
    }

    async fn the_bar_tells_the_environment_and_its_mode(app) {
        let ada = someone(&app, "ada@example.com").await;
        let live = get(&app, &ada.cookie, &ada.page("keys")).await;
        let test = get(&app, &ada.cookie, &ada.test_page("events")).await;
        for (page, mode, name) in [(&live, "live", "Production"), (&test, "test", "Development")] {
            assert!(page.contains(&format!("<header data-mode=\"{mode}\" class=\"topbar\"")), "{page}");
            let menu = between(page, "class=\"menu environment\"", "</summary>");
            assert!(menu.contains(&format!("class=\"mode {mode}\"")) && menu.contains(&format!("<bdi>{name}</bdi>")), "{menu}");
        }
        // The other environment is entered at the same page.
        let menu = between(&test, "aria-label=\"Environments\"", "</nav>");
        assert!(menu.contains(&format!("href=\"{}\"", ada.page("events"))), "{menu}");
        assert_eq!(menu.matches("aria-current=\"true\"").count(), 1, "{menu}");
        for (page, current) in [(&live, "keys"), (&test, "events")] {
            let side = between(page, "class=\"sidebar\"", "</nav>");
            assert_eq!(side.matches("<a ").count(), 6, "only links to existing pages are shown: {side}");
            assert_eq!(side.matches("aria-current=\"page\"").count(), 1, "{side}");
            let (before, _) = side.split_once("aria-current=\"page\"").unwrap();
            assert!(before.rsplit("href=\"").next().unwrap().contains(current), "{side}");
        }
    }

    async fn an_archived_environment_is_marked_and_not_opened_unasked(app) {
        let ada = someone(&app, "ada@example.com").await;
        let cookie = with_visited(&ada, &answer(&app, &ada.cookie, &ada.test_page("keys")).await);
        assert!(!get(&app, &cookie, &ada.test_page("keys")).await.contains("environment is archived"));
        app.execute(&format!("UPDATE environments SET archived_at = {} WHERE mode = 'test'", NOW.0)).await;
        leads_to(&answer(&app, &cookie, "/").await, &ada.page("keys"));
        let page = get(&app, &cookie, &ada.test_page("keys")).await;
        let menu = between(&page, "aria-label=\"Environments\"", "</nav>");
        assert!(menu.contains(">archived<") && menu.contains(">live<"), "{menu}");
        assert!(page.contains("This environment is archived") && !page.contains("data-create-key class="), "{page}");
    }

    async fn the_menu_of_organisations_has_the_last_ones_first(app) {
        let ada = someone(&app, "ada@example.com").await;
        let few = get(&app, &ada.cookie, &ada.page("keys")).await;
        assert!(!few.contains("class=\"menu-search"), "{few}");
        let mut others = Vec::new();
        for n in 0..9 {
            let other = someone(&app, &format!("other{n}@example.com")).await;
            let id: OrganisationId = other.org.parse().unwrap();
            app.execute(&format!("UPDATE organisations SET name = 'Org {}' WHERE id = {}", 9 - n, id.0)).await;
            ada.join(&app, &other.org, Role::Member).await;
            others.push(other);
        }
        let mut cookie = ada.cookie.clone();
        for other in [&others[4], &others[7]] {
            let visit = answer(&app, &cookie, &other.test_page("keys")).await;
            assert_eq!(visit.status, 200);
            cookie = with_visited(&ada, &visit);
        }
        let page = get(&app, &cookie, &ada.page("events")).await;
        let menu = between(&page, "aria-label=\"Organisations\"", "</nav>");
        assert!(menu.contains("class=\"menu-search"), "{menu}");
        let names: Vec<&str> = menu.split("<bdi>").skip(1).map(|entry| entry.split("</bdi>").next().unwrap()).collect();
        assert_eq!(names[1..], ["Org 2", "Org 5", "Org 1", "Org 3", "Org 4", "Org 6", "Org 7", "Org 8", "Org 9"]);
        assert!(menu.contains(">owner<") && menu.contains(">member<"), "{menu}");
        // An organisation is entered at the same page, in the environment that was visited last.
        assert!(menu.contains(&format!("href=\"{}\"", others[7].test_page("events"))), "{menu}");
        assert!(menu.contains(&format!("href=\"{}\"", others[0].page("events"))), "{menu}");
    }

    async fn errors_of_somebody_who_is_signed_in_keep_the_frame_and_name_the_request(app) {
        let ada = someone(&app, "ada@example.com").await;
        let bob = someone(&app, "bob@example.com").await;
        app.execute("ALTER TABLE sources RENAME TO sources_away").await;
        for (path, status) in [("/no/such/page".to_owned(), 404), (bob.page("keys/7"), 404), ("/server".to_owned(), 403), (bob.page("events"), 503)] {
            let failed = answer(&app, &bob.cookie, &path).await;
            assert_eq!(failed.status, status, "{path}");
            let page = failed.text();
            assert!(page.contains("class=\"sidebar\"") && page.contains("bob@example.com"), "{path}: {page}");
            let id = failed.header("x-request-id");
            assert!(!id.is_empty() && page.contains(&format!("<code>{id}</code>")), "{path}: {page}");
        }
        let nobody = Call::new(&app, "GET", "/no/such/page").send().await.text();
        assert!(!nobody.contains("sidebar") && !nobody.contains(&ada.org), "{nobody}");
    }

    async fn a_server_without_an_account_opens_on_its_set_up(app, Settings { registration: Registration::First, ..Settings::default() }) {
        for path in ["/sign-in", "/register", "/sign-in?next=%2Fkeys"] {
            leads_to(&Call::new(&app, "GET", path).send().await, "/setup");
        }
        let page = Call::new(&app, "GET", "/setup").send().await;
        assert_eq!((page.status.as_u16(), title(&page.text())), (200, "Set up · Latchkey"));
        assert!(page.text().contains("Welcome. Create the owner account of this server."), "{}", page.text());
        assert!(page.text().contains("action=\"/setup\"") && !page.text().contains("/sign-in"), "{}", page.text());

        let post = async |path: &str, body: &'static str| {
            Call::new(&app, "POST", path).header("content-type", "application/x-www-form-urlencoded").body(body).send().await
        };
        let wrong = post("/setup", "email=ada&password=short").await;
        assert_eq!(wrong.status, 400);
        assert!(wrong.text().contains("action=\"/setup\"") && wrong.text().contains("value=\"ada\""), "{}", wrong.text());
        let made = post("/setup", "email=ada%40example.com&password=correct+horse+battery").await;
        leads_to(&made, "/");
        let keys = answer(&app, &made.cookie(), "/").await;
        assert!(get(&app, &made.cookie(), keys.header("location")).await.contains("href=\"/server\""), "the owner operates the server");
        leads_to(&answer(&app, &made.cookie(), "/setup").await, "/");

        leads_to(&Call::new(&app, "GET", "/setup").send().await, "/sign-in");
        leads_to(&post("/setup", "email=eve%40example.com&password=correct+horse+battery").await, "/sign-in");
        assert_eq!(app.number("SELECT count(*) FROM users").await, 1);
        assert_eq!(Call::new(&app, "GET", "/register").send().await.status, 403);
        let sign_in = Call::new(&app, "GET", "/sign-in").send().await;
        assert!(sign_in.status == 200 && !sign_in.text().contains("/register"), "{}", sign_in.text());
    }

    async fn signing_in_goes_on_to_a_path_of_this_server_and_nowhere_else(app) {
        let ada = someone(&app, "ada@example.com").await;
        let keys = ada.page("keys?state=active");
        for (next, location) in [
            (keys.as_str(), keys.as_str()),
            ("//evil.example/", "/"),
            ("/\\evil.example", "/"),
            ("\\\\evil.example", "/"),
            ("https://evil.example/", "/"),
            ("javascript:alert(1)", "/"),
            ("/\t/evil.example", "/"),
            ("/keys\r\nset-cookie: a=b", "/"),
            ("/\u{0}", "/"),
            ("evil", "/"),
        ] {
            let fields = [("email", "ada@example.com"), ("password", "correct horse battery"), ("next", next)];
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            let call = Call::new(&app, "POST", "/sign-in").header("content-type", "application/x-www-form-urlencoded");
            leads_to(&call.body(body).send().await, location);
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
            let page = Call::new(&app, "GET", &format!("/sign-in?{query}")).send().await.text();
            assert_eq!(page.contains("name=\"next\""), location != "/", "{next:?}: {page}");
            assert!(!page.contains("evil"), "{next:?}: {page}");
        }
    }

    /// Events of one environment do not stand among those of another.
    async fn events_are_those_of_the_environment(app) {
        let ada = someone(&app, "ada@example.com").await;
        let sender = sender(&app, &ada).await;
        let id = sender.send(&app, "orders", "{}").await;
        let live = get(&app, &ada.cookie, &ada.page("events")).await;
        assert!(live.contains(&id) && live.contains("1 event<") && live.contains(">orders</option>"), "{live}");
        for query in ["", "?from=2026-01-01", "?source=orders"] {
            let test = get(&app, &ada.cookie, &ada.test_page(&format!("events{query}"))).await;
            assert!(!test.contains(&id) && !test.contains(">orders</option>"), "{query}: {test}");
        }
        for page in [format!("events/{id}"), format!("events/{id}/body")] {
            assert_eq!(answer(&app, &ada.cookie, &ada.test_page(&page)).await.status, 404, "{page}");
        }
    }

    /// Otherwise a right-to-left name reorders the words beside it.
    async fn the_name_of_the_organisation_is_isolated_in_the_bar(app) {
        let ada = someone(&app, "ada@example.com").await;
        app.execute("UPDATE organisations SET name = 'שלום 7'").await;
        let page = get(&app, &ada.cookie, &ada.page("keys")).await;
        assert!(page.contains("<span class=\"label\"><bdi>שלום 7</bdi></span>"), "{page}");
    }

    async fn a_key_created_before_the_request_is_not_reported_as_lost(app) {
        let ada = someone(&app, "ada@example.com").await;
        let named = async || create(&app, &ada.cookie, &json!({ "name": "Billing" }).to_string()).await.field("/id");
        let look = |since: i64| ada.page(&format!("keys?lost=Billing&since={since}"));
        let good = named().await;
        app.clock.advance(60_000);
        let asked = NOW.0 + 60_000;
        let page = get(&app, &ada.cookie, &look(asked)).await;
        assert!(page.contains("You created no key") && !page.contains("string did not arrive"), "{page}");
        let (_, notice) = page.split_once("You created no key").expect("the notice");
        assert!(notice.find(&format!("revoke={good}")) > notice.find("<table"), "{page}");

        app.clock.advance(1_000);
        let lost = named().await;
        let page = get(&app, &ada.cookie, &look(asked)).await;
        assert!(page.contains("its string did not arrive"), "{page}");
        let (_, notice) = page.split_once("its string did not arrive").expect("the notice");
        assert!(notice.find(&format!("revoke={lost}")) < notice.find("<table"), "{page}");
    }
}
