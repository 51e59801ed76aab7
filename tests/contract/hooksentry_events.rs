//! `/api/v1/events` (docs/CONTRACTS.md, "HookSentry"), and the retention of events.

use latchkey::store::Retention;

use crate::app::{TestApp, Tidy, on_both_engines};
use crate::hooksentry::{Tenant, call, create, get, ingest, tenant};
use crate::story::{Call, Story};

const DAY: i64 = 24 * 3600 * 1000;
const UNKNOWN: &str = "1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d";

async fn send(app: &TestApp, tenant: &Tenant, source: &str, key: &str) -> String {
    let answer = ingest(app, &tenant.id, source, key).json("{}").send().await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.field("/id")
}

async fn total(app: &TestApp, tenant: &Tenant, query: &str) -> i64 {
    let answer = get(app, &fresh(app, tenant).await, &format!("/api/v1/events?Qt=100{query}")).await;
    assert_eq!(
        answer.total(),
        i64::try_from(answer.items("id").len()).unwrap(),
        "the total equals the number of items"
    );
    answer.total()
}

/// Signs in again and returns an access token that has not expired.
async fn fresh(app: &TestApp, tenant: &Tenant) -> String {
    app.clock.advance(30_000); // sign-in is throttled
    crate::hooksentry::log_in(app, &tenant.email, Some(&tenant.id)).await.field("/accessToken")
}

async fn set_retention(app: &TestApp, owner: &Tenant, environment: &str, kept: Retention) {
    let person = app.services.accounts.person(owner.who.user.parse().unwrap()).await.unwrap().unwrap();
    let organisation = owner.who.org.parse().unwrap();
    let membership = person.in_organisation(organisation).unwrap();
    let environment = membership.environment(environment.parse().unwrap()).unwrap();
    let changed = app.services.events.change_retention(&person, organisation, environment, |_| Some(kept)).await;
    assert_eq!(changed.unwrap(), Some(Ok(kept)));
}

on_both_engines! {
    async fn events_are_paged_and_filtered(app) {
        let mut story = Story::new();
        let (ada, bob) = (tenant(&app, "ada@example.com").await, tenant(&app, "bob@example.com").await);
        let (one, two) = (create(&app, &ada.access, "one").await, create(&app, &ada.access, "two").await);
        let test = crate::story::create(&app, &ada.who.cookie, &ada.who.in_env(&ada.who.test, "")).await.field("/key");
        let bobs = create(&app, &bob.access, "bob's").await.field("/key");
        let mut sent = Vec::new();
        for n in 0..25 {
            app.clock.advance(1000);
            let key = if n % 2 == 0 { one.field("/key") } else { two.field("/key") };
            sent.push(send(&app, &ada, if n % 5 == 0 { "fifth" } else { "other" }, &key).await);
        }
        app.clock.advance(1000);
        sent.push(send(&app, &ada, "fifth", &test).await);
        let strangers = send(&app, &bob, "fifth", &bobs).await;
        let list = async |query: &str| get(&app, &ada.access, &format!("/api/v1/events{query}")).await;
        let newest: Vec<String> = sent.iter().rev().cloned().collect();
        story.say("two events per page");
        call(&app, &ada.access, "GET", "/api/v1/events?Qt=2&Pg=2").tell(&mut story).await;
        assert_eq!(list("").await.items("id"), newest[..10]);
        assert_eq!(list("?Pg=3&QT=10&tpord=DESC&CpOrd=acceptedat").await.items("id"), newest[20..]);
        assert_eq!(list("?TpOrd=Asc&Qt=100&CpOrd=ID").await.items("id"), sent);
        assert_eq!(list("?TpOrd=Asc&Qt=7&Pg=2").await.items("id"), sent[7..14]);
        for (query, expected) in [
            ("", 26), ("?Source=fifth", 6), ("?source=fifth&TpOrd=Asc", 6), ("?Source=Fifth", 0),
            ("?From=2026-03-01T12:00:10Z", 17), ("?To=2026-03-01T12:00:10Z", 9), ("?From=2026-03-01T12:00:10Z&To=2026-03-01T12:00:20Z", 10),
            ("?From=2026-03-01T13:00:10%2B01:00", 17), ("?From=2026-03-01T12:00:10.001Z", 16), ("?From=9999-12-31T23:59:59-23:59", 0), ("?To=0000-01-01T00:00:00Z", 0),
            ("?From=0000-01-01T00:00:00%2B23:59&To=9999-12-31T23:59:59-23:59", 26), ("?From=2026-03-01T12:00:20Z&To=2026-03-01T12:00:10Z", 0),
        ] {
            let answer = list(&format!("{query}{}Qt=100", if query.is_empty() { "?" } else { "&" })).await;
            assert_eq!((answer.total(), answer.items("id").len()), (expected, usize::try_from(expected).unwrap()), "{query}");
        }
        let by_key = |key: &crate::story::Answer| format!("?KeyId={}", key.field("/id"));
        assert_eq!((list(&by_key(&one)).await.total(), list(&by_key(&two)).await.total()), (13, 12));
        let both = list(&format!("{}&Source=fifth&From=2026-03-01T12:00:02Z&TpOrd=Asc", by_key(&two))).await;
        assert_eq!((both.total(), both.items("id")), (2, vec![sent[5].clone(), sent[15].clone()]));
        assert_eq!(list(&format!("?KeyId={UNKNOWN}")).await.total(), 0);
        story.say("a page past the end");
        call(&app, &ada.access, "GET", "/api/v1/events?Pg=4").tell(&mut story).await;
        call(&app, &ada.access, "GET", "/api/v1/events?Pg=2147483647&Qt=100&Source=fifth").tell(&mut story).await;
        story.say("invalid and unknown parameters");
        for query in ["?Qt=0", "?Qt=101", "?Pg=0", "?Pg=2147483648", "?CpOrd=source", "?TpOrd=x", "?KeyId=ak_1", "?KeyId=", "?From=yesterday", "?To=2026-03-01", "?From=", "?IsActive=true", "?Source=a&source=b", "?Source=", "?Source=a.b", "?Source=%00", "?Source=%C3%A9"] {
            call(&app, &ada.access, "GET", &format!("/api/v1/events{query}")).tell(&mut story).await.is_sentence();
        }
        story.say("ids: of another tenant, unknown, and malformed");
        for id in [&strangers, UNKNOWN, "x", &one.field("/id")] {
            call(&app, &ada.access, "GET", &format!("/api/v1/events/{id}")).tell(&mut story).await;
        }
        for id in ["%ff", "%00", &"9".repeat(3000)] {
            get(&app, &ada.access, &format!("/api/v1/events/{id}")).await.is_problem(404, "not_found");
        }
        story.say("without a credential, with a session, and with a key");
        for path in ["/api/v1/events", &format!("/api/v1/events/{}", sent[0])] {
            Call::new(&app, "GET", path).tell(&mut story).await;
            Call::new(&app, "GET", path).cookie(&ada.who.cookie).send().await.is_problem(401, "unauthenticated");
            Call::new(&app, "GET", path).key(&one.field("/key")).tell(&mut story).await.is_problem(403, "forbidden");
        }
        story.is("events_are_paged_and_filtered");
        let bobs = get(&app, &bob.access, "/api/v1/events").await;
        assert_eq!((bobs.total(), bobs.items("id")), (1, vec![strangers]));
    }

    /// An event outlives its key, and keeps the key's name.
    async fn an_event_outlives_its_revoked_key(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let key = create(&app, &ada.access, "gone").await;
        let id = send(&app, &ada, "s", &key.field("/key")).await;
        crate::hooksentry::revoke(&app, &ada.access, &key.field("/id")).await;
        let event = get(&app, &ada.access, &format!("/api/v1/events/{id}")).await;
        assert_eq!((event.field("/keyName"), event.field("/keyId")), ("gone".to_owned(), key.field("/id")));
    }

    async fn events_are_kept_for_a_week(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let key = create(&app, &ada.access, "key").await.field("/key");
        let live = ada.who.live.parse().unwrap();
        assert_eq!(app.services.events.retention(live).await.unwrap(), Some(Retention { event_days: 7, event_limit: 1_000_000 }));
        send(&app, &ada, "a", &key).await;
        app.clock.advance(1);
        send(&app, &ada, "b", &key).await;
        send(&app, &ada, "b", &key).await;
        app.clock.advance(7 * DAY - 1);
        assert_eq!(app.services.events.tidy().await.unwrap(), 0, "an event of exactly a week ago is kept");
        app.clock.advance(1);
        assert_eq!(app.services.events.tidy().await.unwrap(), 1);
        assert_eq!((total(&app, &ada, "").await, total(&app, &ada, "&Source=a").await, total(&app, &ada, "&Source=b").await), (2, 0, 2));
        app.clock.advance(DAY);
        assert_eq!(app.services.events.tidy().await.unwrap(), 2);
        assert_eq!(total(&app, &ada, "").await, 0);
        assert_eq!(app.services.events.tidy().await.unwrap(), 0);
        assert_eq!(app.number("SELECT CAST(sum(event_count) AS BIGINT) FROM sources").await, 0);
    }

    async fn events_above_the_count_limit_are_deleted(app) {
        let (ada, bob) = (tenant(&app, "ada@example.com").await, tenant(&app, "bob@example.com").await);
        let key = create(&app, &ada.access, "key").await.field("/key");
        let bobs = create(&app, &bob.access, "key").await.field("/key");
        let test = crate::story::create(&app, &ada.who.cookie, &ada.who.in_env(&ada.who.test, "")).await.field("/key");
        let keep = async |environment: &str, event_days, event_limit| {
            let kept = Retention { event_days, event_limit };
            let owner = if *environment == bob.who.live { &bob } else { &ada };
            set_retention(&app, owner, environment, kept).await;
            assert_eq!(app.services.events.retention(environment.parse().unwrap()).await.unwrap(), Some(kept));
        };
        keep(&ada.who.live, 7, 5).await;
        let mut sent = Vec::new();
        for n in 0..12 {
            app.clock.advance(1);
            sent.push(send(&app, &ada, ["a", "b", "c"][n % 3], &key).await);
            send(&app, &ada, "a", &test).await;
            send(&app, &bob, "a", &bobs).await;
        }
        assert_eq!(app.services.events.tidy().await.unwrap(), 7);
        assert_eq!(app.services.events.tidy().await.unwrap(), 0);
        assert_eq!((total(&app, &ada, "").await, total(&app, &ada, "&Source=b").await, total(&app, &ada, "&Source=c").await), (17, 2, 2));
        let kept = get(&app, &fresh(&app, &ada).await, "/api/v1/events?Qt=100&TpOrd=Asc").await.items("id");
        assert!(sent[7..].iter().all(|id| kept.contains(id)) && !sent[..7].iter().any(|id| kept.contains(id)), "the newest events are kept");
        // The limit that is reached first applies. A limit of 0 keeps no event.
        keep(&ada.who.live, 1, 4).await;
        assert_eq!(app.services.events.tidy().await.unwrap(), 1);
        keep(&ada.who.test, 7, 0).await;
        assert_eq!(app.services.events.tidy().await.unwrap(), 12);
        app.clock.advance(DAY);
        assert_eq!(app.services.events.tidy().await.unwrap(), 4);
        assert_eq!((total(&app, &ada, "").await, total(&app, &bob, "").await), (0, 12));
        keep(&bob.who.live, 0, 100).await;
        assert_eq!(app.services.events.tidy().await.unwrap(), 12);
    }

    /// The deletion takes more than one transaction, and the totals must be exact in the end.
    async fn many_events_are_removed_in_steps(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let key = create(&app, &ada.access, "key").await.field("/key");
        for _ in 0..5 {
            let sent = (0..500).map(|n| ingest(&app, &ada.id, ["a", "b"][n % 2], &key).json("1").send());
            assert!(futures::future::join_all(sent).await.iter().all(|answer| answer.status == 202));
            app.clock.advance(1);
        }
        let kept = Retention { event_days: 7, event_limit: 100 };
        set_retention(&app, &ada, &ada.who.live, kept).await;
        assert_eq!(app.services.events.tidy().await.unwrap(), 2400);
        assert_eq!(app.number("SELECT count(*) FROM events").await, 100);
        assert_eq!(total(&app, &ada, "").await, 100);
        let by_source = total(&app, &ada, "&Source=a").await + total(&app, &ada, "&Source=b").await;
        assert_eq!(by_source, 100);
    }
}
