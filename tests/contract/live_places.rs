//! Limits of pages with live events: the number of streams, and the places that their look-ups share with searches and
//! lists (docs/LIMITS.md, "Streams" and "Searches and lists").

use axum::body::Body;
use axum::http::{Request, Response};
use futures::FutureExt;
use latchkey::model::{Role, UserId};
use latchkey::runtime::lists::Tenant;

use crate::app::{TestApp, on_both_engines};
use crate::events_page::{Live, sender};
use crate::story::{Call, Someone, read, someone};

async fn open(app: &TestApp, who: &Someone, of: &Someone) -> Response<Body> {
    let request = Request::get(of.page("events/live")).header("cookie", &who.cookie);
    app.send(request.body(Body::empty()).expect("a request")).await
}

on_both_engines! {
    async fn live_pages_are_limited_per_person_and_per_organisation(app) {
        let ada = someone(&app, "ada@example.com").await;
        let mut pages = Vec::new();
        for _ in 0..20 {
            pages.push(open(&app, &ada, &ada).await);
        }
        for _ in 0..30 {
            let refused = read(open(&app, &ada, &ada).await).await;
            refused.is_problem(429, "too_many_requests");
            assert_eq!(refused.header("retry-after"), "5");
        }
        let eve = someone(&app, "eve@example.com").await;
        pages.push(open(&app, &eve, &eve).await);
        for number in 0..3 {
            let member = someone(&app, &format!("member{number}@example.com")).await;
            member.join(&app, &ada.org, Role::Member).await;
            for _ in 0..20 {
                pages.push(open(&app, &member, &ada).await);
            }
        }
        let allowed = |pages: &[Response<Body>]| pages.iter().filter(|page| page.status() == 200).count();
        assert_eq!(allowed(&pages), 50 + 1, "the organisation has 50 streams, for all members together");
        pages.push(open(&app, &eve, &eve).await);
        assert_eq!(allowed(&pages), 52);
        pages.clear();
        assert_eq!(open(&app, &ada, &ada).await.status(), 200);
    }

    async fn a_stream_waits_for_a_place_among_the_lists_of_its_organisation(app) {
        let (ada, eve) = (someone(&app, "ada@example.com").await, someone(&app, "eve@example.com").await);
        let event = sender(&app, &ada).await.send(&app, "orders", "{}").await;
        let other = sender(&app, &eve).await.send(&app, "orders", "{}").await;
        let organisation = Tenant::Organisation(ada.org.parse().expect("an id"));
        let mut held = Vec::new();
        while let Some(Ok(place)) = app.services.lists.admit(organisation).now_or_never() {
            held.push(place);
        }
        let mut waiting = Live::open(&app, &ada, "").await;
        for _ in 0..5 {
            let mut live = Live::open(&app, &eve, "").await;
            tokio::select! {
                told = live.reads(&other) => assert!(told, "{}", live.text()),
                _ = waiting.reads(&event) => panic!("it read events without a place: {}", waiting.text()),
            }
        }
        drop(held);
        assert!(waiting.reads(&event).await, "{}", waiting.text());
    }

    async fn a_stream_waits_while_searches_and_lists_have_all_places_of_the_server(app) {
        let ada = someone(&app, "ada@example.com").await;
        let event = sender(&app, &ada).await.send(&app, "orders", "{}").await;
        let busy = app.services.lists.admit(Tenant::Person(UserId(-1))).await.expect("a place");
        let mut held = Vec::new();
        while let Some(place) = busy.step().now_or_never() {
            held.push(place);
        }
        let mut waiting = Live::open(&app, &ada, "").await;
        for _ in 0..20 {
            let other = Call::new(&app, "GET", "/v1/auth/me").cookie(&ada.cookie).send();
            tokio::select! {
                answer = other => assert_eq!(answer.status, 200),
                _ = waiting.reads(&event) => panic!("it read events without a place: {}", waiting.text()),
            }
        }
        drop(held);
        assert!(waiting.reads(&event).await, "{}", waiting.text());
    }
}
