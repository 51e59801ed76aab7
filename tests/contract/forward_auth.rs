//! `ANY /v1/forward-auth/{org_id}/{mode}/{scopes}[/…]` (docs/CONTRACTS.md, "Native").

use crate::app::{Settings, TestApp, on_both_engines};
use crate::story::{Call, Someone, Story, create, someone};

fn ask<'a>(app: &'a TestApp, ada: &Someone, demand: &str) -> Call<'a> {
    Call::new(app, "GET", &format!("/v1/forward-auth/{}/{demand}", ada.org))
}

on_both_engines! {
    async fn a_gateway_gets_the_outcome_as_status_code(app) {
        let mut story = Story::new();
        let (ada, bob) = (someone(&app, "ada@example.com").await, someone(&app, "bob@example.com").await);
        let key = create(&app, &ada.cookie, &ada.in_env(&ada.live, r#", "scopes": "events:write b:*""#)).await;
        let string = key.field("/key");
        let full = create(&app, &ada.cookie, r#"{"name": "full"}"#).await.field("/key");
        let foreign = create(&app, &bob.cookie, r#"{"name": "foreign"}"#).await.field("/key");
        ask(&app, &ada, "any/any").key(&full).tell(&mut story).await;
        ask(&app, &ada, "live/events:write+b:c").header("authorization", &format!("Bearer {string}")).tell(&mut story).await;
        ask(&app, &ada, "live/any").tell(&mut story).await;
        ask(&app, &ada, "live/any").key(&foreign).tell(&mut story).await;
        ask(&app, &ada, "test/any").key(&string).tell(&mut story).await;
        ask(&app, &ada, "live/events:read+b:c").key(&string).tell(&mut story).await;
        story.say("as Envoy sends it, with the original method and path");
        let path = format!("/v1/forward-auth/{}/live/events%3Awrite/../any/any/caf%E9/orders?compat=caddy&scopes=any", ada.org);
        for method in ["POST", "DELETE", "OPTIONS"] {
            assert_eq!(Call::new(&app, method, &path).key(&string).json("{}").send().await.status, 200, "{method}");
        }
        story.say("a client's query and headers change no requirement");
        ask(&app, &ada, "live/events:read?scopes=any&mode=any").key(&string).header("x-auth-scopes", "*").send().await.is_problem(403, "forbidden");
        story.say("after the revocation");
        Call::new(&app, "DELETE", &format!("/v1/auth/api-keys/{}", key.field("/id"))).cookie(&ada.cookie).send().await;
        ask(&app, &ada, "live/any").key(&string).tell(&mut story).await;
        story.is("a_gateway_gets_the_outcome_as_status_code");
    }

    async fn exceeded_limits_are_a_429_or_a_403_for_nginx(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let body = ada.in_env(&ada.live, r#", "rate_limit": {"limit": 1, "window_seconds": 30}, "quota": {"limit": 2}"#);
        let string = create(&app, &ada.cookie, &body).await.field("/key");
        ask(&app, &ada, "any/any").key(&string).tell(&mut story).await;
        ask(&app, &ada, "any/any").key(&string).tell(&mut story).await;
        ask(&app, &ada, "any/any?compat=nginx").key(&string).tell(&mut story).await;
        app.clock.advance(30_000);
        assert_eq!(ask(&app, &ada, "any/any").key(&string).send().await.status, 200);
        app.clock.advance(30_000);
        ask(&app, &ada, "any/any").key(&string).tell(&mut story).await;
        story.is("exceeded_limits_are_a_429_or_a_403_for_nginx");
    }

    async fn a_wrong_configuration_admits_no_request(app) {
        let mut story = Story::new();
        let ada = someone(&app, "ada@example.com").await;
        let string = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/key");
        for demand in ["prod/any", "live", "live/events"] {
            ask(&app, &ada, demand).key(&string).tell(&mut story).await;
        }
        Call::new(&app, "GET", "/v1/forward-auth/mine/any/any").key(&string).tell(&mut story).await;
        Call::new(&app, "GET", "/v1/forward-auth/").key(&string).send().await.is_problem(404, "not_found");
        story.is("a_wrong_configuration_admits_no_request");
    }

    async fn the_client_address_is_taken_from_a_trusted_proxy(app, Settings {
        site: latchkey::web::Site { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Default::default() },
        ..Default::default()
    }) {
        let ada = someone(&app, "ada@example.com").await;
        let string = create(&app, &ada.cookie, &ada.in_env(&ada.live, r#", "ip_allowlist": ["203.0.113.0/24"]"#)).await.field("/key");
        let from = async |peer: &'static str, forwarded: &str| {
            ask(&app, &ada, "any/any").key(&string).header("x-forwarded-for", forwarded).from(peer).send().await
        };
        assert_eq!(from("10.0.0.1:1", "198.51.100.1, 203.0.113.9").await.status, 200);
        let refused = from("10.0.0.1:1", "203.0.113.9, 198.51.100.1").await;
        refused.is_problem(403, "forbidden");
        assert_eq!(refused.header("x-auth-error"), "FORBIDDEN");
        from("203.0.113.9:1", "203.0.113.9").await.is_problem(403, "forbidden");
        assert_eq!(ask(&app, &ada, "any/any").key(&string).from("203.0.113.9:1").send().await.status, 200);
    }
}
