//! How many pages may show live events at once (docs/LIMITS.md, "Streams").

use axum::body::Body;
use axum::http::{Request, Response};
use latchkey::model::Role;

use crate::app::{TestApp, on_both_engines};
use crate::story::{Someone, read, someone};

async fn open(app: &TestApp, who: &Someone, org: &str) -> Response<Body> {
    let request = Request::get(format!("/events/live?org={org}")).header("cookie", &who.cookie);
    app.send(request.body(Body::empty()).expect("a request")).await
}

on_both_engines! {
    async fn neither_a_person_nor_an_organisation_takes_the_live_pages_of_others(app) {
        let ada = someone(&app, "ada@example.com").await;
        let mut pages = Vec::new();
        for _ in 0..20 {
            pages.push(open(&app, &ada, &ada.org).await);
        }
        for _ in 0..30 {
            let refused = read(open(&app, &ada, &ada.org).await).await;
            refused.is_problem(429, "too_many_requests");
            assert_eq!(refused.header("retry-after"), "5");
        }
        let eve = someone(&app, "eve@example.com").await;
        pages.push(open(&app, &eve, &eve.org).await);
        for number in 0..3 {
            let member = someone(&app, &format!("member{number}@example.com")).await;
            member.join(&app, &ada.org, Role::Member).await;
            for _ in 0..20 {
                pages.push(open(&app, &member, &ada.org).await);
            }
        }
        let allowed = |pages: &[Response<Body>]| pages.iter().filter(|page| page.status() == 200).count();
        assert_eq!(allowed(&pages), 50 + 1, "the organisation has 50, whoever of its members came");
        pages.push(open(&app, &eve, &eve.org).await);
        assert_eq!(allowed(&pages), 52);
        pages.clear();
        assert_eq!(open(&app, &ada, &ada.org).await.status(), 200);
    }
}
