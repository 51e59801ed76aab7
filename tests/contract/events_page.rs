//! The dashboard's pages of events: the list, one event, its body, the retention form, and the stream of new events.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use futures::StreamExt;
use latchkey::model::Role;

use crate::app::{TestApp, on_both_engines};
use crate::story::{Answer, Call, Someone, create, read, someone};

/// A key of a person's first environment, and the ingest path of its tenant.
pub struct Sender {
    key: String,
    key_id: String,
    ingest: String,
}

pub async fn sender(app: &TestApp, who: &Someone) -> Sender {
    let made = create(app, &who.cookie, r#"{"name": "Billing <worker>"}"#).await;
    let person = app.services.accounts.person(who.user.parse().unwrap()).await.unwrap().unwrap();
    let tenant = person.in_organisation(who.org.parse().unwrap()).unwrap().uuid;
    Sender { key: made.field("/key"), key_id: made.field("/id"), ingest: format!("/api/v1/ingest/{tenant}") }
}

impl Sender {
    /// Sends an event and returns its id.
    pub async fn send(&self, app: &TestApp, source: &str, body: &str) -> String {
        let answer =
            Call::new(app, "POST", &format!("{}/{source}", self.ingest)).key(&self.key).json(body).send().await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.field("/id")
    }
}

async fn get(app: &TestApp, who: &Someone, path: &str) -> Answer {
    Call::new(app, "GET", path).cookie(&who.cookie).send().await
}

async fn post(app: &TestApp, cookie: &str, path: &str, form: &str) -> Answer {
    Call::new(app, "POST", path)
        .cookie(cookie)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.to_owned())
        .send()
        .await
}

/// Returns the form's body, as filled in from the version `days limit`.
fn retention_from(version: &str, days: &str, limit: &str) -> String {
    format!("version={version}&event_days={days}&event_limit={limit}")
}

fn retention(days: &str, limit: &str) -> String {
    retention_from("30+5000", days, limit)
}

/// The stream of an organisation's new events.
pub struct Live {
    body: BodyDataStream,
    text: String,
}

impl Live {
    pub async fn open(app: &TestApp, who: &Someone, query: &str) -> Self {
        let uri = who.page(&format!("events/live?{query}"));
        let request = Request::get(uri).header("cookie", &who.cookie).body(Body::empty()).unwrap();
        let response = app.send(request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// Reads until a text has arrived. Returns whether it arrived before the end of the stream.
    pub async fn reads(&mut self, text: &str) -> bool {
        let read = async {
            while !self.text.contains(text) {
                match self.body.next().await {
                    Some(chunk) => self.text.push_str(&String::from_utf8_lossy(&chunk.expect("a chunk"))),
                    None => return false,
                }
            }
            true
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("something within 20 s")
    }

    /// Returns the text received so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    async fn ends(&mut self) {
        assert!(!self.reads("never said").await, "{}", self.text);
    }
}

on_both_engines! {
    async fn the_list_is_filtered_and_paged(app) {
        let ada = someone(&app, "ada@example.com").await;
        let empty = get(&app, &ada, &ada.page("events")).await.text();
        assert!(empty.contains("No events in"), "{empty}");
        let sender = sender(&app, &ada).await;
        assert!(empty.contains(&sender.ingest), "the sample command has the tenant's own address");

        for n in 0..60 {
            sender.send(&app, if n % 3 == 0 { "stripe" } else { "orders" }, "{}").await;
            app.clock.advance(1000);
        }
        app.clock.advance(24 * 3600 * 1000);
        let last = sender.send(&app, "orders", "[1]").await;
        let rows = |answer: &Answer| answer.text().matches("role=\"rowheader\"").count();
        let all = get(&app, &ada, &ada.page("events")).await;
        assert_eq!((all.status.as_u16(), rows(&all)), (200, 50));
        assert!(all.text().contains("61 events") && all.text().contains(&last));
        assert!(all.text().contains("Billing &lt;worker&gt;") && !all.text().contains("<worker>"));
        for (query, count) in [
            ("page=2", 11),
            ("page=3", 0),
            ("source=stripe", 20),
            ("source=nobody", 0),
            ("from=2026-03-02", 1),
            ("to=2026-03-01", 50),
            ("from=2026-03-01&to=2026-03-01&page=2", 10),
            ("from=2026-03-03", 0),
            (format!("key={}", sender.key_id).as_str(), 50),
            ("source=%3Cscript%3E&page=-1&from=x", 50),
        ] {
            let answer = get(&app, &ada, &ada.page(&format!("events?{query}"))).await;
            assert_eq!((answer.status.as_u16(), rows(&answer)), (200, count), "{query}");
        }
    }

    async fn an_event_is_shown_unchanged(app) {
        let ada = someone(&app, "ada@example.com").await;
        let sender = sender(&app, &ada).await;
        let body = r#"{"z":12345678901234567890.10,"a":"</code><script>alert(1)</script>","z":[]}"#;
        let id = sender.send(&app, "orders", body).await;
        let page = get(&app, &ada, &ada.page(&format!("events/{id}"))).await.text();
        assert!(page.contains("12345678901234567890.10"), "{page}");
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>alert"), "{page}");
        let (_, page) = page.split_once("<main").expect("the page below its bar");
        assert!(page.find("&quot;z&quot;").or(page.find("\"z\"")) < page.find("&quot;a&quot;").or(page.find("\"a\"")));

        let file = get(&app, &ada, &ada.page(&format!("events/{id}/body"))).await;
        assert_eq!(file.text(), body);
        assert_eq!(file.header("content-type"), "application/json");
        assert_eq!(file.header("content-disposition"), format!("attachment; filename=\"event-{id}.json\""));
        assert_eq!(file.header("cache-control"), "no-store");

        let large = format!("[{}0]", "\"<b>\",".repeat(150_000));
        let id = sender.send(&app, "orders", &large).await;
        let page = get(&app, &ada, &ada.page(&format!("events/{id}"))).await.text();
        assert!(page.contains("The body is cut.") && page.len() < 1_000_000, "{}", page.len());
        assert_eq!(get(&app, &ada, &ada.page(&format!("events/{id}/body"))).await.text(), large);
    }

    async fn events_of_another_organisation_are_not_found(app) {
        let ada = someone(&app, "ada@example.com").await;
        let eve = someone(&app, "eve@example.com").await;
        let sender = sender(&app, &ada).await;
        let id = sender.send(&app, "orders", "\"secret\"").await;
        for path in [
            ada.page("events"),
            eve.page(&format!("events?key={}", sender.key_id)),
            ada.page("events/live"),
            eve.page(&format!("events/live?key={}", sender.key_id)),
            format!("/o/{}/{}/events", eve.org, ada.live),
            ada.page(&format!("events/{id}")),
            ada.page(&format!("events/{id}/body")),
            eve.page(&format!("events/{id}")),
            eve.page(&format!("events/{id}/body")),
            eve.page("events/7"),
            "/o/7/8/events".to_owned(),
            format!("/o/{}/events", eve.org),
        ] {
            let answer = get(&app, &eve, &path).await;
            assert_eq!(answer.status, 404, "{path}");
            assert!(!answer.text().contains("secret") && !answer.text().contains("orders"), "{path}");
        }
        for page in ["events", "events/7", "events/7/body"] {
            let path = ada.page(page);
            let answer = Call::new(&app, "GET", &path).send().await;
            assert_eq!(answer.status, 303, "{path}");
            let next: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
            assert_eq!(answer.header("location"), format!("/sign-in?next={next}"));
        }
    }

    async fn the_retention_of_events_is_set_by_owners_and_admins(app) {
        let ada = someone(&app, "ada@example.com").await;
        let bob = someone(&app, "bob@example.com").await;
        let eve = someone(&app, "eve@example.com").await;
        bob.join(&app, &ada.org, Role::Member).await;
        let kept = async || app.services.events.retention(ada.live.parse().unwrap()).await.unwrap().unwrap();

        let path = ada.retention();
        let settings = ada.settings(&format!("/environments/{}", ada.live));
        let version = format!("{}+{}", kept().await.event_days, kept().await.event_limit);
        let saved = post(&app, &ada.cookie, &path, &retention_from(&version, "30", "5000")).await;
        assert_eq!((saved.status.as_u16(), saved.header("location")), (303, settings.as_str()));
        assert_eq!((kept().await.event_days, kept().await.event_limit), (30, 5000));
        let page = get(&app, &ada, &settings).await.text();
        assert!(page.contains("<bdi>Production</bdi> keeps events for 30 days"), "{page}");
        assert!(page.contains("value=\"5000\""), "{page}");
        let events = get(&app, &ada, &ada.page("events")).await.text();
        assert!(events.contains(" keeps events for 30 days") && events.contains(&format!("href=\"{settings}#retention\"")));

        for (days, limit) in [("0", "1"), ("3651", "1"), ("1", "0"), ("1", "100000001"), ("", ""), ("%3Cb%3E", "1e9")] {
            let wrong = post(&app, &ada.cookie, &path, &retention(days, limit)).await;
            assert_eq!(wrong.status, 400, "{days} {limit}");
            assert!(wrong.text().contains("aria-invalid=\"true\"") && !wrong.text().contains("<b>"), "{}", wrong.text());
        }
        let wrong = post(&app, &ada.cookie, &path, &retention("14", "many")).await.text();
        assert!(wrong.contains("value=\"14\"") && wrong.contains("value=\"many\""), "no typed text is lost");

        let form = retention("1", "1");
        assert_eq!(post(&app, &bob.cookie, &path, &form).await.status, 403);
        for page in [ada.page("events"), settings] {
            let seen = get(&app, &bob, &page).await.text();
            assert!(seen.contains("30 days") && !seen.contains("event_days") && !seen.contains("#retention"), "{seen}");
        }
        assert_eq!(post(&app, &eve.cookie, &path, &form).await.status, 404);
        let mixed = eve.settings(&format!("/environments/{}/retention", ada.live));
        assert_eq!(post(&app, &eve.cookie, &mixed, &form).await.status, 404);
        let over = post(&app, "session=nothing", &path, &form).await;
        assert_eq!(over.status, 401);
        assert!(over.text().contains("Your session is over") && over.text().contains("event_days=1"), "{}", over.text());
        assert_eq!((kept().await.event_days, kept().await.event_limit), (30, 5000));
        bob.leave(&app, &ada.org).await;
        bob.join(&app, &ada.org, Role::Admin).await;
        assert_eq!(post(&app, &bob.cookie, &path, &form).await.status, 303);
        assert_eq!((kept().await.event_days, kept().await.event_limit), (1, 1));
        // Another environment has its own.
        let other = app.services.events.retention(ada.test.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(other.event_days, 7);
    }

    async fn a_retention_that_deletes_events_is_confirmed_first(app) {
        let ada = someone(&app, "ada@example.com").await;
        let sender = sender(&app, &ada).await;
        for _ in 0..3 {
            sender.send(&app, "orders", "{}").await;
        }
        app.clock.advance(3 * 24 * 3600 * 1000);
        sender.send(&app, "orders", "{}").await;
        let kept = async || app.services.events.retention(ada.live.parse().unwrap()).await.unwrap().unwrap();
        for (days, limit, events) in [("2", "1000000", "3 events"), ("7", "2", "2 events"), ("1", "1", "3 events")] {
            let asked = post(&app, &ada.cookie, &ada.retention(), &retention_from("7+1000000", days, limit)).await;
            assert_eq!(asked.status, 409, "{days} {limit}");
            let text = asked.text();
            assert!(text.contains(&format!("Delete {events} of “<bdi>Production</bdi>”?")), "{text}");
            assert_eq!(kept().await.event_days, 7);
        }
        // A larger retention, and one that deletes nothing, need no confirmation.
        for (version, days, limit) in [("7+1000000", "6", "1000000"), ("6+1000000", "9", "2000000")] {
            let saved = post(&app, &ada.cookie, &ada.retention(), &retention_from(version, days, limit)).await;
            assert_eq!(saved.status, 303);
        }
        let confirmed = format!("{}&confirmed=true", retention_from("9+2000000", "2", "1000000"));
        assert_eq!(post(&app, &ada.cookie, &ada.retention(), &confirmed).await.status, 303);
        assert_eq!(kept().await.event_days, 2);
    }

    async fn new_events_are_streamed_once(app) {
        let ada = someone(&app, "ada@example.com").await;
        let sender = sender(&app, &ada).await;
        let seen = sender.send(&app, "orders", "{}").await;
        app.clock.advance(60_000);
        let missed = sender.send(&app, "orders", "{}").await;

        let mut live = Live::open(&app, &ada, &format!("source=orders&after={seen}")).await;
        assert!(live.reads(&format!("id: {missed}\n")).await, "events from before the stream are sent");
        app.clock.advance(60_000);
        let other = sender.send(&app, "stripe", "{}").await;
        let id = sender.send(&app, "orders", "{}").await;
        assert!(live.reads(&format!("id: {id}\n")).await);
        assert!(live.reads("\n\n").await && live.text.contains("event: row"));
        assert!(live.text.contains("Billing &lt;worker&gt;") && live.text.contains("class=\"fresh\""), "{}", live.text);
        assert!(!live.text.contains(&other), "events of other sources are not sent");
        assert_eq!(live.text.matches(&format!("id: {missed}\n")).count(), 1, "each event is sent once");
    }

    /// Firefox opens an `EventSource` when the first bytes of the body arrive. The heartbeat is the comment `:`,
    /// which differs from this one.
    async fn a_stream_of_events_begins_with_a_comment(app) {
        let ada = someone(&app, "ada@example.com").await;
        let mut live = Live::open(&app, &ada, "").await;
        let first = live.body.next().await.expect("a chunk").expect("bytes");
        assert_eq!(first, ": open\n\n");
    }

    async fn a_burst_of_events_is_streamed_in_part_with_a_count_of_missed_ones(app) {
        let ada = someone(&app, "ada@example.com").await;
        let sender = sender(&app, &ada).await;
        let mut live = Live::open(&app, &ada, "").await;
        for _ in 0..300 {
            sender.send(&app, "orders", "{}").await;
        }
        assert!(live.reads("event: missed").await, "{}", live.text);
    }

    /// Rows of the last 2 s are sent again, because ids are not exactly in commit order; the page drops rows that it
    /// has. A count of missed events has no id, so the page could not drop a repeated one.
    async fn a_resumed_stream_counts_no_event_twice(app) {
        let ada = someone(&app, "ada@example.com").await;
        let sender = sender(&app, &ada).await;
        let mut ids = Vec::new();
        for _ in 0..300 {
            ids.push(sender.send(&app, "orders", "{}").await);
        }
        // Ids of one millisecond are in no order.
        ids.sort();
        let newest = &ids[299];
        for (after, missed) in [(299, None), (100, None), (49, Some("data: 50\n"))] {
            let mut live = Live::open(&app, &ada, &format!("&after={}", ids[after])).await;
            assert!(live.reads(&format!("id: {newest}\n")).await, "{}", live.text);
            match missed {
                None => assert!(!live.text.contains("event: missed"), "after {after}: {:.300}", live.text),
                Some(count) => assert!(live.text.contains(&format!("event: missed\n{count}")), "{:.300}", live.text),
            }
        }
    }

    async fn a_stream_ends_when_its_reader_loses_access(app) {
        let ada = someone(&app, "ada@example.com").await;
        let bob = someone(&app, "bob@example.com").await;
        bob.join(&app, &ada.org, Role::Member).await;
        let sender = sender(&app, &ada).await;

        let request = Request::get(ada.page("events/live")).header("cookie", &bob.cookie);
        let response = app.send(request.body(Body::empty()).unwrap()).await;
        let mut gone = Live { body: response.into_body().into_data_stream(), text: String::new() };
        let seen = sender.send(&app, "orders", "{}").await;
        assert!(gone.reads(&format!("id: {seen}\n")).await);
        bob.leave(&app, &ada.org).await;
        let unseen = sender.send(&app, "orders", "{}").await;
        gone.ends().await;
        assert!(!gone.text.contains(&unseen), "{}", gone.text);

        let mut signed_out = Live::open(&app, &ada, "").await;
        Call::new(&app, "POST", "/sign-out").cookie(&ada.cookie).header("content-type", "application/x-www-form-urlencoded").send().await;
        sender.send(&app, "orders", "{}").await;
        signed_out.ends().await;
        assert!(!signed_out.text.contains("orders"), "{}", signed_out.text);
    }

    async fn a_stream_does_not_delay_the_shutdown_of_the_server(app) {
        let ada = someone(&app, "ada@example.com").await;
        let mut live = Live::open(&app, &ada, "").await;
        app.services.stopping.cancel();
        live.ends().await;
        let mut late = Live::open(&app, &ada, "").await;
        late.ends().await;
    }

    async fn a_stream_needs_a_session(app) {
        let ada = someone(&app, "ada@example.com").await;
        let sender = sender(&app, &ada).await;
        let path = ada.page("events/live");
        Call::new(&app, "GET", &path).send().await.is_problem(401, "unauthenticated");
        Call::new(&app, "GET", &path).cookie("session=AAAAAAAAAAAAAAAAAAAAAA").send().await.is_problem(401, "unauthenticated");
        Call::new(&app, "GET", &path).key(&sender.key).send().await.is_problem(403, "forbidden");
        Call::new(&app, "GET", "/o/org_0000000000000001/env_0000000000000002/events/live").cookie(&ada.cookie).send().await.is_problem(404, "not_found");
        let head = Request::head(&path).header("cookie", &ada.cookie).body(Body::empty()).unwrap();
        assert_eq!(read(app.send(head).await).await.status, 200);
    }
}
