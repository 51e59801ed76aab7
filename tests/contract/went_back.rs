//! A database that goes back to an earlier state under running servers: a restored backup, or a failover that lost
//! commits.

use std::sync::Arc;

use futures::FutureExt;
use latchkey::cluster::redis::Redis;
use latchkey::cluster::{LEASE, Node, Proof};
use latchkey::domain::{Ask, Caller, Code, Person};
use latchkey::keys::{self, Notification, Opened, Policy, Purpose, Start, Subscription};
use latchkey::runtime::clock::Clock;
use latchkey::runtime::entropy::Entropy;

use crate::app::{Engine, Settings, TestApp, on_both_engines};
use crate::revocations::Stream;
use crate::story::{Call, Someone, create, register, someone};

/// A change that another server commits before this one reads the change log.
const CHANGE: &str = "
    UPDATE changes_last SET number = number + 1, previous = token, token = 4711;
    INSERT INTO changes (number, organisation_id, key_id, hash, revoked, changed_at, token, previous, organisation_number)
    SELECT l.number, k.organisation_id, k.id, k.hash, 0, 1772366400000, l.token, l.previous, 1 FROM changes_last l, keys k
    WHERE k.name = 'other'";

/// Waits until a condition holds.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

async fn code(node: &Opened, key: &str) -> Code {
    node.checks.verify(key, &Ask::default(), Purpose::Use, |verdict| verdict.code).await.expect("the database answers")
}

async fn edit(app: &TestApp, cookie: &str, id: &str, body: &str) {
    let answer = Call::new(app, "PATCH", &format!("/v1/keys/{id}")).cookie(cookie).json(body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

on_both_engines! {
    async fn keys_cached_from_a_lost_history_are_dropped(app) {
        let ada = someone(&app, "ada@example.com").await;
        let made = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
        let other = create(&app, &ada.cookie, r#"{"name": "other"}"#).await;
        let (id, key) = (made.field("/id"), made.field("/key"));
        let whoami = async |key: &str| Call::new(&app, "GET", "/v1/whoami").key(key).send().await.status.as_u16();
        // When the server next reads it, the restored log may have fewer changes than before, as many, or more.
        for more in ["", CHANGE, &format!("{CHANGE}; {CHANGE}")] {
            edit(&app, &ada.cookie, &id, r#"{"enabled": false}"#).await;
            app.back_up().await;
            let mut stream = Stream::open(&app, &other.field("/key"), None).await;
            assert_eq!(stream.next().await.expect("an event").0, "heartbeat");
            edit(&app, &ada.cookie, &id, r#"{"enabled": true}"#).await;
            let (_, lost, _) = stream.change().await.expect("a change");
            assert_eq!(whoami(&key).await, 200);
            app.restore_and(more).await;
            until("the key is what the database says", async || whoami(&key).await == 401).await;
            assert_eq!(stream.change().await.expect("an event").0, "reset");
            let mut again = Stream::open(&app, &other.field("/key"), Some(&lost)).await;
            assert_eq!(again.next().await.expect("an event").0, "reset", "with the id of a lost change");
            // From here on, changes work as usual.
            edit(&app, &ada.cookie, &id, r#"{"enabled": true}"#).await;
            assert_eq!(whoami(&key).await, 200);
            assert_eq!(again.change().await.expect("an event").0, "changed");
            app.remove_back_up().await;
        }
        assert!(crate::app::log().contains("restored to an earlier state"));
    }

    /// The lost log had higher numbers. The revocation must not be taken for a change that was read before.
    async fn a_revocation_right_after_a_restore_is_broadcast_before_it_is_answered(app) {
        let ada = someone(&app, "ada@example.com").await;
        let id = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/id");
        app.back_up().await;
        for name in ["one", "two", "three"] {
            edit(&app, &ada.cookie, &id, &format!(r#"{{"name": "{name}"}}"#)).await;
        }
        let organisation = ada.org.parse().expect("an id");
        let mut stream = app.services.changes.subscribe(organisation, Start::Now).await.expect("a subscription");
        app.restore_and("").await;
        let path = format!("/v1/keys/{id}/revoke");
        assert_eq!(Call::new(&app, "POST", &path).cookie(&ada.cookie).send().await.status, 200);
        assert!(stream.changed().now_or_never().is_some(), "the stream has a change");
    }

    async fn sessions_and_sources_of_a_lost_history_are_forgotten(app) {
        let ada = someone(&app, "ada@example.com").await;
        let key = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/key");
        let tenant = Call::new(&app, "GET", "/v1/auth/me").cookie(&ada.cookie).send().await.field("/organisations/0/tenant_id");
        edit(&app, &ada.cookie, &create(&app, &ada.cookie, r#"{"name": "changed"}"#).await.field("/id"), "{}").await;
        app.back_up().await;
        let bob = register(&app, "bob@example.com").await;
        let me = async |cookie: &str| Call::new(&app, "GET", "/v1/auth/me").cookie(cookie).send().await.status.as_u16();
        assert_eq!(me(&bob).await, 200);
        let ingest = async || {
            let path = format!("/api/v1/ingest/{tenant}/shop");
            let answer = Call::new(&app, "POST", &path).key(&key).json("{}").send().await;
            assert_eq!(answer.status, 202, "{}", answer.text());
        };
        // The second event uses the source's id, which the first event left in the cache.
        ingest().await;
        ingest().await;
        edit(&app, &ada.cookie, &create(&app, &ada.cookie, r#"{"name": "lost"}"#).await.field("/id"), "{}").await;
        let mut stream = Stream::open(&app, &key, None).await;
        // The session that the restore will lose is valid until then.
        assert_eq!(me(&bob).await, 200);
        app.restore_and("").await;
        assert_eq!(stream.change().await.expect("an event").0, "reset");
        assert_eq!((me(&bob).await, me(&ada.cookie).await), (401, 200));
        ingest().await;
        assert_eq!(app.number("SELECT count(*) FROM events e JOIN sources s ON s.id = e.source_id").await, 1);
        assert_eq!(app.number("SELECT event_count FROM sources").await, 1);
    }
}

async fn node(app: &TestApp, name: &str) -> Opened {
    let redis = Redis::open("redis://127.0.0.1:1").await.expect("a URL");
    let node = Node::join(&app.db, Clock::System, &Entropy::System, name.to_owned(), Some(redis)).await;
    let node = Arc::new(node.expect("nobody is in the way"));
    let opened = keys::open(app.db.clone(), Clock::System, Entropy::System, Policy::default(), Some(node)).await;
    opened.expect("the database answers")
}

async fn owner(app: &TestApp, ada: &Someone) -> Caller {
    let id = ada.user.parse().expect("an id");
    let person: Person = app.services.accounts.person(id).await.expect("the database answers").expect("an account");
    Caller::Person(person)
}

/// Waits until a node has a key in its cache.
async fn until_cached(node: &Opened, key: &str) {
    until("it has a lease", async || {
        code(node, key).await;
        !node.checks.cache().is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_revocation_after_a_restore_reaches_every_node_before_it_is_answered() {
    let app = TestApp::new(Engine::Postgres, Settings::default()).await;
    let ada = someone(&app, "ada@example.com").await;
    let owner = owner(&app, &ada).await;
    let made = create(&app, &ada.cookie, r#"{"name": "key"}"#).await;
    let (id, key) = (made.field("/id"), made.field("/key"));
    let nodes = [node(&app, "a").await, node(&app, "b").await];
    app.back_up().await;
    for name in ["one", "two", "three"] {
        edit(&app, &ada.cookie, &id, &format!(r#"{{"name": "{name}"}}"#)).await;
    }
    for node in &nodes {
        until_cached(node, &key).await;
        assert_eq!(code(node, &key).await, Code::Valid);
    }
    app.restore_and("").await;
    // The nodes may or may not have noticed the restore by now.
    let (_, proof) = nodes[0].keys.revoke(&owner, id.parse().expect("an id"), false).await.expect("it is revoked");
    assert_eq!(code(&nodes[1], &key).await, Code::Revoked, "{proof:?}");
    assert_eq!(code(&nodes[0], &key).await, Code::Revoked);
    assert_eq!(proof, Proof { nodes: 2, acknowledged: 2, waited_out: Vec::new() });
}

/// The copy may be older than a node that has joined since, which may trust its cache until its lease ends.
#[tokio::test]
async fn a_revocation_after_a_restore_waits_for_nodes_that_the_database_may_have_forgotten() {
    let app = TestApp::new(Engine::Postgres, Settings::default()).await;
    let ada = someone(&app, "ada@example.com").await;
    let owner = owner(&app, &ada).await;
    let id = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/id");
    let keys = crate::nodes::node(&app, "a").await.keys;
    app.back_up().await;
    edit(&app, &ada.cookie, &id, r#"{"name": "lost"}"#).await;
    app.restore_and("").await;
    let mut revoking = tokio::spawn({
        let (keys, id) = (Arc::clone(&keys), id.parse().expect("an id"));
        async move { keys.revoke(&owner, id, false).await }
    });
    let early = tokio::time::timeout(std::time::Duration::from_millis(700), &mut revoking).await;
    assert!(early.is_err(), "a node that the database lost may still accept the key: {early:?}");
    app.clock.advance(i64::try_from(LEASE.as_millis()).expect("it is short") + 1);
    revoking.await.expect("it ends").expect("it is revoked");
}

/// The change log has no entry for a new key: nodes detect the restore by their own lost renewals.
#[tokio::test]
async fn a_key_whose_creation_was_lost_is_unknown_to_every_node() {
    let app = TestApp::new(Engine::Postgres, Settings::default()).await;
    let ada = someone(&app, "ada@example.com").await;
    let nodes = [node(&app, "a").await, node(&app, "b").await];
    app.back_up().await;
    let key = create(&app, &ada.cookie, r#"{"name": "lost"}"#).await.field("/key");
    for node in &nodes {
        until_cached(node, &key).await;
    }
    // Each node must have renewed its lease since the copy.
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    app.restore_and("").await;
    for node in &nodes {
        until("it is unknown", async || code(node, &key).await == Code::NotFound).await;
    }
}

/// The doubt is reported once, and the first attempt to act on it fails.
#[tokio::test]
async fn a_lost_key_is_unknown_even_if_the_database_fails_when_the_restore_is_detected() {
    let app = TestApp::new(Engine::Postgres, Settings::default()).await;
    let ada = someone(&app, "ada@example.com").await;
    let node = node(&app, "a").await;
    app.back_up().await;
    let key = create(&app, &ada.cookie, r#"{"name": "lost"}"#).await.field("/key");
    until_cached(&node, &key).await;
    let copied = app.number("SELECT renewals FROM backup_nodes").await;
    let renewals = async || app.number("SELECT renewals FROM nodes").await;
    until("it has renewed its lease since the copy", async || renewals().await > copied + 2).await;
    // Renewals succeed, but the end of the change log cannot be read.
    app.restore_and("ALTER TABLE changes_last RENAME COLUMN epoch TO hidden").await;
    until("it has renewed its lease since the restore", async || renewals().await > copied + 1).await;
    app.execute("ALTER TABLE changes_last RENAME COLUMN hidden TO epoch").await;
    until("it has a lease", async || node.checks.trusts_cache()).await;
    until("it is unknown", async || code(&node, &key).await == Code::NotFound).await;
}

/// Subscribes to the changes of an organisation.
async fn subscribe(node: &Opened, ada: &Someone) -> Subscription {
    node.changes.subscribe(ada.org.parse().expect("an id"), Start::Now).await.expect("a subscription")
}

/// Waits until a subscriber is told to drop its cache.
async fn reset(stream: &mut Subscription) {
    let told = tokio::time::timeout(std::time::Duration::from_secs(20), stream.changed());
    assert_eq!(told.await.expect("it is told something"), None);
    assert_eq!(stream.catch_up().await.expect("the database answers"), Some(Notification::Reset));
}

/// A node's row is gone when other nodes removed it as dead, or when the database is restored to a time before it
/// joined.
#[tokio::test]
async fn a_node_that_the_database_does_not_know_drops_what_it_cached() {
    let app = TestApp::new(Engine::Postgres, Settings::default()).await;
    let ada = someone(&app, "ada@example.com").await;
    let key = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/key");
    let node = node(&app, "a").await;
    let mut stream = subscribe(&node, &ada).await;
    until_cached(&node, &key).await;
    // The change log has no entry for this change.
    app.execute("UPDATE keys SET disabled_at = 1; DELETE FROM nodes").await;
    until("the key is what the database says", async || code(&node, &key).await == Code::Disabled).await;
    reset(&mut stream).await;
}

#[tokio::test]
async fn a_revocation_waits_for_nodes_that_the_database_may_not_know_either() {
    let app = TestApp::new(Engine::Postgres, Settings::default()).await;
    let ada = someone(&app, "ada@example.com").await;
    let owner = owner(&app, &ada).await;
    let id = create(&app, &ada.cookie, r#"{"name": "key"}"#).await.field("/id");
    let node = crate::nodes::node(&app, "a").await;
    let mut stream = subscribe(&node, &ada).await;
    app.execute("DELETE FROM nodes").await;
    // The reset comes after the node has begun to distrust the others.
    reset(&mut stream).await;
    let mut revoking = tokio::spawn({
        let (keys, id) = (Arc::clone(&node.keys), id.parse().expect("an id"));
        async move { keys.revoke(&owner, id, false).await }
    });
    let early = tokio::time::timeout(std::time::Duration::from_millis(700), &mut revoking).await;
    assert!(early.is_err(), "a node that the database lost may still accept the key: {early:?}");
    app.clock.advance(i64::try_from(LEASE.as_millis()).expect("it is short") + 1);
    revoking.await.expect("it ends").expect("it is revoked");
}
