//! The client against a fake server that the tests control.

mod fake;

use std::time::{Duration, Instant};

use fake::{Fake, refused, until, until_cached};
use latchkey_client::{Check, Client, Code, Environment, Error};

const KEY: &str = "hs_live_1";

fn check() -> Check<'static> {
    Check { scopes: "reports:read", environment: Some(Environment::Live), ..Check::new(KEY) }
}

async fn cache(fake: &Fake, client: &Client) {
    until_cached(fake, async || client.verify(&check()).await.expect("an outcome")).await;
}

#[tokio::test]
async fn a_cacheable_key_is_checked_once_and_every_use_is_counted() {
    let fake = Fake::start().await;
    fake.know(KEY, true);
    let client = fake.client();
    cache(&fake, &client).await;
    let (asked, by_itself) = (fake.checks(KEY), 1);
    for _ in 0..500 {
        let outcome = client.verify(&check()).await.expect("an outcome");
        assert_eq!((outcome.code, outcome.name.as_deref()), (Code::Valid, Some(KEY)));
    }
    assert_eq!(fake.checks(KEY), asked);
    until("the counts are reported", async || fake.reported(KEY) == 500 + by_itself).await;
    client.verify(&check()).await.expect("an outcome");
    client.close().await.expect("the last report");
    assert_eq!(fake.reported(KEY), 501 + by_itself);
    until("the stream is closed", async || fake.listeners() == 0).await;
    client.verify(&check()).await.expect("an outcome");
    assert_eq!(fake.checks(KEY), asked + 1, "a closed client asks the server");
}

#[tokio::test]
async fn checks_that_the_cache_cannot_answer_ask_the_server() {
    let fake = Fake::start().await;
    fake.know(KEY, true);
    fake.know("hs_live_limited", false);
    let client = fake.client();
    cache(&fake, &client).await;
    let mut asked = fake.checks(KEY);
    for check in [
        Check { cost: 0, ..check() },
        Check { cost: 2, ..check() },
        Check { scopes: "reports:write", ..check() },
        Check { scopes: "nonsense", ..check() },
        Check { environment: Some(Environment::Test), ..check() },
    ] {
        client.verify(&check).await.expect("an outcome");
        asked += 1;
        assert_eq!(fake.checks(KEY), asked, "{check:?}");
    }
    client.verify(&Check { ip: Some([127, 0, 0, 1].into()), ..check() }).await.expect("an outcome");
    assert_eq!(fake.checks(KEY), asked, "a cached key has no allowlist");
    for count in 1..4 {
        client.verify(&Check::new("hs_live_limited")).await.expect("an outcome");
        assert_eq!(fake.checks("hs_live_limited"), count);
        let nobody = client.verify(&Check::new("hs_live_nobody")).await.expect("an outcome");
        assert_eq!((nobody.code, fake.checks("hs_live_nobody")), (Code::NotFound, count));
    }
}

#[tokio::test]
async fn a_change_takes_effect_at_once() {
    let fake = Fake::start().await;
    fake.know(KEY, true);
    let client = fake.client();
    cache(&fake, &client).await;
    fake.say(KEY, 200, refused("REVOKED"), false);
    assert!(client.verify(&check()).await.expect("an outcome").is_valid(), "the event was not sent yet");
    fake.change(KEY);
    until("the key is refused", async || client.verify(&check()).await.expect("an outcome").code == Code::Revoked)
        .await;
}

#[tokio::test]
async fn an_answer_in_flight_during_a_change_is_not_cached() {
    let fake = Fake::start().await;
    fake.know(KEY, true);
    fake.know("hs_live_sign", true);
    let client = fake.client();
    until_cached(&fake, async || client.verify(&Check::new("hs_live_sign")).await.expect("an outcome")).await;

    // The server has read the key and does not answer yet.
    fake.held.send_replace(true);
    let asking = tokio::spawn({
        let client = client.clone();
        async move { client.verify(&check()).await }
    });
    until("the check arrives", async || fake.checks(KEY) == 1).await;
    fake.say(KEY, 200, refused("REVOKED"), false);
    fake.change(KEY);
    // Events are sent in order: when the second change has taken effect, so has the first.
    fake.change("hs_live_sign");
    fake.say("hs_live_sign", 200, refused("REVOKED"), false);
    let signs = fake.checks("hs_live_sign");
    until("the second key is checked again", async || {
        drop(tokio::time::timeout(Duration::from_millis(20), client.verify(&Check::new("hs_live_sign"))).await);
        fake.checks("hs_live_sign") > signs
    })
    .await;
    fake.held.send_replace(false);
    assert!(asking.await.expect("no panic").expect("an outcome").is_valid(), "the check began before the change");
    assert_eq!(client.verify(&check()).await.expect("an outcome").code, Code::Revoked);
}

#[tokio::test]
async fn a_silent_stream_is_not_trusted_and_is_resumed_after_its_last_event() {
    let fake = Fake::start().await;
    fake.know(KEY, true);
    let client = fake.client();
    cache(&fake, &client).await;
    fake.change("hs_live_other");
    // One heartbeat may still be in flight.
    fake.silent.send_replace(true);
    let asked = fake.checks(KEY);
    until("the server is asked", async || {
        client.verify(&check()).await.expect("an outcome");
        fake.checks(KEY) > asked
    })
    .await;
    until("the client reconnects", async || fake.seen(|seen| seen.streams.len()) > 1).await;
    let asked = fake.checks(KEY);
    for more in 1..4 {
        client.verify(&check()).await.expect("an outcome");
        assert_eq!(fake.checks(KEY), asked + more, "a connection without a heartbeat is not trusted");
    }
    assert_eq!(fake.seen(|seen| seen.streams[1].clone()).as_deref(), Some("ff-1"));
    fake.silent.send_replace(false);
    cache(&fake, &client).await;
}

#[tokio::test]
async fn a_closed_stream_ends_trust_before_the_timeout() {
    let fake = Fake::start().await;
    fake.know(KEY, true);
    let client = fake.client();
    cache(&fake, &client).await;
    fake.full.send_replace(true);
    // An event just before the cut, after which the cache would be trusted for up to 3 s more.
    fake.change("hs_live_other");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (asked, cut) = (fake.checks(KEY), Instant::now());
    fake.cut();
    until("the server is asked", async || {
        client.verify(&check()).await.expect("an outcome");
        fake.checks(KEY) > asked
    })
    .await;
    assert!(cut.elapsed() < Duration::from_secs(2), "{:?}", cut.elapsed());
    fake.full.send_replace(false);
    cache(&fake, &client).await;
}

#[tokio::test]
async fn the_cache_survives_a_reconnect_but_not_a_reset() {
    let fake = Fake::start().await;
    fake.know(KEY, true);
    fake.know("hs_live_sign", true);
    let client = fake.client();
    cache(&fake, &client).await;
    fake.cut();
    until("the client reconnects", async || fake.seen(|seen| seen.streams.len()) == 2).await;
    // An answer is cached only when the cache is trusted again.
    until_cached(&fake, async || client.verify(&Check::new("hs_live_sign")).await.expect("an outcome")).await;
    let asked = fake.checks(KEY);
    client.verify(&check()).await.expect("an outcome");
    assert_eq!(fake.checks(KEY), asked);
    fake.tell("id: ee-0\nevent: reset\ndata: {}\n\n");
    until("the server is asked", async || {
        client.verify(&check()).await.expect("an outcome");
        fake.checks(KEY) > asked
    })
    .await;
}

#[tokio::test]
async fn counts_are_kept_when_a_report_fails() {
    let fake = Fake::start().await;
    fake.know(KEY, true);
    let client = fake.client();
    cache(&fake, &client).await;
    fake.refuse_reports(&[503, 500, 503]);
    for _ in 0..9 {
        client.verify(&check()).await.expect("an outcome");
    }
    until("the counts arrive", async || fake.reported(KEY) == 10).await;
    client.verify(&check()).await.expect("an outcome");
    // A 400 means that the clocks differ: the report is sent again without times.
    fake.refuse_reports(&[400]);
    client.close().await.expect("the last report");
    assert_eq!(fake.reported(KEY), 11);
    let last = fake.seen(|seen| seen.reports.last().cloned()).expect("a report");
    assert_eq!(last["uses"][0].get("last_used_at"), None);
}

#[tokio::test]
async fn close_can_be_repeated_after_a_failed_report() {
    let fake = Fake::start().await;
    fake.know(KEY, true);
    let client = fake.client();
    cache(&fake, &client).await;
    fake.refuse_reports(&[503; 2]);
    let mut tries = 0;
    until("the report is accepted", async || {
        tries += 1;
        client.close().await.is_ok()
    })
    .await;
    assert_eq!(fake.reported(KEY), 1);
    assert!(tries > 1);
}

#[tokio::test]
async fn every_failure_is_an_error_and_not_an_outcome() {
    let fake = Fake::start().await;
    let client =
        Client::builder(&fake.url, fake::OWN_KEY).timeout(Duration::from_millis(300)).build().expect("a client");
    let why = async |client: &Client| client.verify(&check()).await.expect_err("no outcome");
    for (status, body) in [(200, "{}".into()), (200, fake::valid("x")["name"].clone()), (200, refused("VALID"))] {
        fake.say(KEY, status, body, true);
        assert!(matches!(why(&client).await, Error::Unreadable));
    }
    fake.say(KEY, 200, "x".repeat(100_000).into(), true);
    assert!(matches!(why(&client).await, Error::Unreachable(_)), "a response that is too large");
    for status in [400, 429, 500, 503, 201] {
        fake.say(KEY, status, fake::valid(KEY), true);
        assert!(matches!(why(&client).await, Error::Status(said) if said == status));
    }
    fake.held.send_replace(true);
    assert!(matches!(why(&client).await, Error::Timeout(_)));
    let mistaken = Client::new(&fake.url, "hs_live_other").expect("a client");
    assert!(matches!(why(&mistaken).await, Error::Refused(status) if status == 401));
    let nowhere = Client::new("http://127.0.0.1:1", fake::OWN_KEY).expect("a client");
    let error = why(&nowhere).await;
    assert!(matches!(error, Error::Unreachable(_)));
    assert!(!format!("{error} {error:?}").contains(KEY));
}

#[tokio::test]
async fn a_client_without_a_cache_opens_no_stream() {
    let fake = Fake::start().await;
    fake.know(KEY, true);
    let client = Client::builder(&fake.url, fake::OWN_KEY).remember(0).build().expect("a client");
    for count in 1..4 {
        client.verify(&check()).await.expect("an outcome");
        assert_eq!(fake.checks(KEY), count);
    }
    assert_eq!(fake.seen(|seen| seen.streams.len()), 0);
    client.close().await.expect("nothing to report");
}

#[tokio::test]
async fn dropping_the_last_clone_closes_the_stream() {
    let fake = Fake::start().await;
    let client = fake.client();
    let clone = client.clone();
    until("the stream is open", async || fake.listeners() == 1).await;
    drop(client);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fake.listeners(), 1);
    drop(clone);
    until("the stream is closed", async || fake.listeners() == 0).await;
}
