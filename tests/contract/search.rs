//! Search: any case of any script, ids and prefixes, in bounded steps, with places that tenants share fairly.

use std::time::Duration;

use futures::future::{FutureExt, join_all};
use latchkey::domain::{KeyFilter, Owner, Search};
use latchkey::keys::Request;
use latchkey::model::UserId;
use latchkey::runtime::lists::{Lists, Tenant};
use serde_json::json;

use crate::app::{Engine, TestApp, on_both_engines};
use crate::hooksentry::{self, tenant};
use crate::story::{Answer, Call, Someone, create, someone};

async fn search(app: &TestApp, who: &Someone, text: &str) -> Answer {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("q", text).finish();
    Call::new(app, "GET", &who.page(&format!("keys?{query}"))).cookie(&who.cookie).send().await
}

/// Returns the ids of the keys on a page, in their order.
fn listed(page: &Answer) -> Vec<String> {
    assert_eq!(page.status, 200, "{}", page.text());
    let text = page.text();
    let rows = text.split("<tr role=\"row\" id=\"").skip(1);
    rows.map(|row| row.split('"').next().expect("an id").to_owned()).collect()
}

async fn named(app: &TestApp, who: &Someone, name: &str) -> Answer {
    app.clock.advance(1_000);
    create(app, &who.cookie, &json!({ "name": name }).to_string()).await
}

/// Inserts `count` keys of the first environment, past the application. Every `each`th name has "Nadel", the oldest too.
async fn insert_keys(app: &TestApp, who: &Someone, count: i64, each: i64) {
    let (org, env, user) = (database_id(&who.org), database_id(&who.live), database_id(&who.user));
    let name = format!("CASE WHEN n % {each} = 0 THEN 'Nadel ' || n ELSE 'hay ' || n END");
    let columns = "id, uuid, hash, organisation_id, environment_id, created_by, name, name_folded, prefix, created_at";
    let statement = match app.engine {
        Engine::Sqlite => format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {count}) \
             INSERT INTO keys ({columns}) \
             SELECT n + 1, unhex(printf('%012x70008000%012x', 1600000000000 + n, n)), randomblob(32), {org}, {env}, {user}, \
                    {name}, lower({name}), 'hs_live_0000', 1600000000000 + n FROM numbers"
        ),
        Engine::Postgres => format!(
            "INSERT INTO keys ({columns}) \
             SELECT n + 1, CAST(lpad(to_hex(1600000000000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0') AS uuid), \
                    sha256(CAST(gen_random_uuid() AS text)::bytea), {org}, {env}, {user}, \
                    {name}, lower({name}), 'hs_live_0000', 1600000000000 + n FROM generate_series(CAST(0 AS BIGINT), {count} - 1) n"
        ),
    };
    app.execute(&statement).await;
}

/// Converts an id to its number in the database.
fn database_id(id: &str) -> i64 {
    let digits = id.split_once('_').expect("a prefix").1;
    u64::from_str_radix(digits, 16).expect("hex digits").cast_signed()
}

on_both_engines! {
    async fn a_search_ignores_case_and_composition_in_any_script(app) {
        let ada = someone(&app, "ada@example.com").await;
        let mut ids = Vec::new();
        for name in ["Über uns", "Сервер", "Cafe\u{301}", "Straße", "Οδός", "100%_done"] {
            ids.push(named(&app, &ada, name).await.field("/id"));
        }
        for (text, found) in [
            ("über", Some(0)), ("ÜBER UNS", Some(0)), ("u\u{308}ber", Some(0)), ("сервер", Some(1)), ("СЕРВ", Some(1)),
            ("CAFE\u{301}", Some(2)), ("café", Some(2)), ("STRASSE", Some(3)), ("straße", Some(3)), ("ΟΔΌΣ", Some(4)),
            ("100%_", Some(5)), ("100_%", None), ("uber", None), ("\\", None),
        ] {
            let expected: Vec<String> = found.map(|place: usize| ids[place].clone()).into_iter().collect();
            assert_eq!(listed(&search(&app, &ada, text).await), expected, "{text}");
        }
        // The new name is found, and the old one is not.
        let path = format!("/v1/keys/{}", ids[0]);
        Call::new(&app, "PATCH", &path).cookie(&ada.cookie).json(r#"{"name": "Ärger"}"#).send().await;
        assert_eq!(listed(&search(&app, &ada, "äRGER").await), [ids[0].clone()]);
        assert!(listed(&search(&app, &ada, "über").await).is_empty());
    }

    async fn a_key_is_found_by_its_id_and_its_prefix(app) {
        let ada = someone(&app, "ada@example.com").await;
        let made = named(&app, &ada, "one").await;
        named(&app, &ada, "two").await;
        let id = made.field("/id");
        let details = Call::new(&app, "GET", &format!("/v1/keys/{id}")).cookie(&ada.cookie).send().await;
        let uuid = details.field("/uuid");
        for text in [&*id, &id[..12], &uuid, &uuid.to_uppercase(), &uuid.replace('-', ""), &made.field("/key_prefix")] {
            assert_eq!(listed(&search(&app, &ada, text).await), std::slice::from_ref(&id), "{text}");
        }
        assert_eq!(listed(&search(&app, &ada, "hs_live_").await).len(), 2);
        for text in ["ak_0000000000000000", "00000000-0000-7000-8000-000000000000", "hs_test_"] {
            assert!(listed(&search(&app, &ada, text).await).is_empty(), "{text}");
        }
    }

    async fn a_text_that_no_name_can_contain_is_refused(app) {
        let ada = someone(&app, "ada@example.com").await;
        let id = named(&app, &ada, &"a".repeat(100)).await.field("/id");
        assert_eq!(listed(&search(&app, &ada, &"a".repeat(100)).await), std::slice::from_ref(&id));
        for (text, message) in [("a".repeat(101), "at most 100 characters"), ("a\u{0}".to_owned(), "U+0000"), ("\u{200B}".to_owned(), "visible")] {
            let page = search(&app, &ada, &text).await;
            assert_eq!(page.status, 400);
            assert!(page.text().contains(message) && !page.text().contains(&id), "{}", page.text());
        }
        assert_eq!(listed(&search(&app, &ada, " ").await), [id]);
    }

    /// The matches in 2,500 keys lie in three steps. Pages lose none and repeat none, and the oldest key is found.
    async fn a_search_in_steps_finds_every_key_once(app) {
        let ada = someone(&app, "ada@example.com").await;
        insert_keys(&app, &ada, 2_500, 20).await;
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = ada.page(&format!("keys?q=NADEL{cursor}"));
            let page = Call::new(&app, "GET", &path).cookie(&ada.cookie).send().await;
            found.extend(listed(&page));
            let text = page.text();
            let Some((before, _)) = text.split_once(">Older</a>") else { break };
            let next = before.rsplit_once("cursor=").expect("a cursor").1;
            cursor = format!("&cursor={}", next.split('"').next().expect("its end"));
        }
        assert_eq!(found.len(), 125);
        found.dedup();
        assert_eq!(found.len(), 125);
        assert_eq!(listed(&search(&app, &ada, "nadel 0").await).len(), 1);
        assert!(listed(&search(&app, &ada, "straw").await).is_empty());
        assert!(listed(&Call::new(&app, "GET", &ada.page("keys?state=revoked")).cookie(&ada.cookie).send().await).is_empty());
        // The API's list of the keys that a person created is read in steps too.
        let whole = Call::new(&app, "GET", "/v1/auth/api-keys?limit=1000").cookie(&ada.cookie).send().await.json();
        assert_eq!(whole["api_keys"].as_array().unwrap().len(), 1_000);
        assert!(whole["next_cursor"].is_string());
    }

    /// A search in many keys gives its place to others between two of its steps.
    async fn a_long_search_lets_others_in_after_each_step(app) {
        let ada = someone(&app, "ada@example.com").await;
        insert_keys(&app, &ada, 20_000, 50_000).await;
        let lists = Lists::new(1, 1);
        let tenant = |who: i64| Tenant::Person(UserId(who));
        let (searcher, other) = (lists.admit(tenant(1)).await.unwrap(), lists.admit(tenant(2)).await.unwrap());
        let filter = KeyFilter { search: Search::parse("straw").unwrap(), ..KeyFilter::default() };
        let request = Request { owner: Owner::Environment(ada.live.parse().unwrap()), filter, limit: 50, after: None };
        let mut place = other.step().await;
        let mut search = Box::pin(app.services.keys.list(&request, &searcher));
        for turn in 0..15 {
            assert!(search.as_mut().now_or_never().is_none(), "it waits for the place");
            // Queued before the search can ask for its next step, however soon the database answers.
            let mut next = Box::pin(other.step());
            assert!(next.as_mut().now_or_never().is_none(), "it waits behind the search");
            drop(place);
            place = tokio::select! {
                biased;
                page = &mut search => panic!("the search ended in turn {turn}: {page:?}"),
                place = next => place,
            };
        }
        drop(place);
        assert!(search.await.unwrap().keys.is_empty());
    }

    /// A tenant that has used up its places waits, and is refused in the end. Other tenants are unaffected.
    async fn a_greedy_tenant_takes_no_place_of_another_one(app) {
        let ada = tenant(&app, "ada@example.com").await;
        let eve = tenant(&app, "eve@example.com").await;
        insert_keys(&app, &ada.who, 20_000, 50_000).await;
        let greedy = join_all((0..16).map(|_| search(&app, &ada.who, "straw")));
        let others = async {
            let mut statuses = Vec::new();
            for _ in 0..5 {
                statuses.push(search(&app, &eve.who, "straw").await.status.as_u16());
                for path in ["/api/v1/apikeys", "/api/v1/events"] {
                    statuses.push(hooksentry::get(&app, &eve.access, path).await.status.as_u16());
                }
            }
            statuses
        };
        let (greedy, others) = futures::join!(greedy, others);
        assert!(others.iter().all(|status| *status == 200), "{others:?}");
        assert!(greedy.iter().all(|answer| [200, 429].contains(&answer.status.as_u16())));

        let organisation = Tenant::Organisation(ada.who.org.parse().unwrap());
        let mut held = Vec::new();
        while let Ok(Ok(place)) = tokio::time::timeout(Duration::from_millis(200), app.services.lists.admit(organisation)).await {
            held.push(place);
        }
        let list = format!("/v1/auth/api-keys?org_id={}", ada.who.org);
        let refused = join_all([
            Call::new(&app, "GET", &list).cookie(&ada.who.cookie).send(),
            hooksentry::call(&app, &ada.access, "GET", "/api/v1/apikeys").send(),
            hooksentry::call(&app, &ada.access, "GET", "/api/v1/events").send(),
        ]);
        let events = ada.who.page("events");
        let events = Call::new(&app, "GET", &events).cookie(&ada.who.cookie).send();
        let (refused, found, events) = futures::join!(refused, search(&app, &ada.who, "straw"), events);
        assert_eq!((found.status.as_u16(), events.status.as_u16()), (429, 429), "searches and event pages need a place too");
        for answer in refused {
            answer.is_problem(429, "too_many_requests");
            assert_eq!(answer.header("retry-after"), "1");
        }
        // Reading one key needs no place, and other tenants have their own.
        let made = create(&app, &ada.who.cookie, r#"{"name": "key"}"#).await;
        let path = format!("/v1/keys/{}", made.field("/id"));
        assert_eq!(Call::new(&app, "GET", &path).cookie(&ada.who.cookie).send().await.status, 200);
        assert_eq!(hooksentry::get(&app, &eve.access, "/api/v1/apikeys").await.status, 200);
        drop(held);
        assert_eq!(Call::new(&app, "GET", &list).cookie(&ada.who.cookie).send().await.status, 200);
    }
}
