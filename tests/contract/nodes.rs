//! Several nodes on one PostgreSQL, in one process, each with its own cache
//! (docs/ARCHITECTURE.md, "Why a revoked key is refused at once"). Real processes, which are killed and frozen, are in
//! `tests/cluster`.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use latchkey::accounts::{EmailAddress, Password};
use latchkey::cluster::redis::Redis;
use latchkey::cluster::{JoinError, LEASE, Node, Proof};
use latchkey::domain::{Action, Ask, Caller, Code, Person};
use latchkey::jobs::Jobs;
use latchkey::keys::{self, Edit, Opened, Policy, Purpose, RevokeOnceError};
use latchkey::model::{KeyId, KeyName, Role};
use latchkey::runtime::clock::Clock;
use latchkey::runtime::entropy::Entropy;
use latchkey::store::{Db, Position};
use latchkey::teams::{LeaversKeys, Teams};

use crate::app::{Engine, Settings, TestApp, postgres_schema};
use crate::descendants::family;
use crate::story::{Call, Someone, create, someone};

async fn app() -> TestApp {
    TestApp::new(Engine::Postgres, Settings::default()).await
}

async fn join(app: &TestApp, name: &str, alone: bool) -> Result<Node, JoinError> {
    // No Redis listens here. Redis counts limits, which these tests do not use.
    let redis = Redis::open("redis://127.0.0.1:1").await.expect("a URL");
    Node::join(&app.db, app.clock.clone(), &Entropy::System, name.to_owned(), (!alone).then_some(redis)).await
}

/// Joins a node and opens its keys.
pub async fn node(app: &TestApp, name: &str) -> Opened {
    let node = Arc::new(join(app, name, false).await.expect("no other server holds the database"));
    let (clock, entropy) = (app.clock.clone(), Entropy::System);
    keys::open(app.db.clone(), clock, entropy, Policy::default(), Some(node)).await.expect("the database answers")
}

async fn code(node: &Opened, key: &str) -> Code {
    node.checks.verify(key, &Ask::default(), Purpose::Use, |verdict| verdict.code).await.expect("the database answers")
}

/// Waits until a node has a lease and caches a key.
async fn until_cached(node: &Opened, key: &str) {
    for _ in 0..500 {
        code(node, key).await;
        if !node.checks.cache().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the node has no lease");
}

async fn owner(app: &TestApp, ada: &Someone) -> Caller {
    let id = ada.user.parse().expect("an id");
    let person: Person = app.services.accounts.person(id).await.expect("the database answers").expect("an account");
    Caller::Person(person)
}

async fn key(app: &TestApp, ada: &Someone) -> (KeyId, String) {
    let made = create(app, &ada.cookie, r#"{"name": "key"}"#).await;
    (made.field("/id").parse().expect("an id"), made.field("/key"))
}

#[tokio::test]
async fn a_change_is_answered_once_every_node_has_dropped_the_key() {
    let app = app().await;
    let ada = someone(&app, "ada@example.com").await;
    let (id, string) = key(&app, &ada).await;
    let owner = owner(&app, &ada).await;
    let nodes = [node(&app, "a").await, node(&app, "b").await, node(&app, "c").await];
    for node in &nodes {
        until_cached(node, &string).await;
        assert_eq!(code(node, &string).await, Code::Valid);
    }
    nodes[0]
        .keys
        .edit(&owner, id, Edit { enabled: Some(false), ..Edit::default() }, true)
        .await
        .expect("it is changed");
    for node in &nodes {
        assert_eq!(code(node, &string).await, Code::Disabled);
    }
    let name = Some(KeyName::parse("renamed").expect("a name"));
    nodes[1]
        .keys
        .edit(&owner, id, Edit { enabled: Some(true), name, ..Edit::default() }, true)
        .await
        .expect("it is changed");
    for node in &nodes {
        assert_eq!(code(node, &string).await, Code::Valid);
    }
    let (_, proof) = nodes[2].keys.revoke(&owner, id, true).await.expect("it is revoked");
    assert_eq!(proof, Proof { nodes: 3, acknowledged: 3, waited_out: Vec::new() });
    for node in &nodes {
        assert_eq!(code(node, &string).await, Code::Revoked);
    }
    // A revocation does not wait for a node that has left.
    nodes[0].changes.leave().await.expect("the database answers");
    let (_, proof) = nodes[1].keys.revoke(&owner, id, true).await.expect("a repeated revocation succeeds");
    assert_eq!(proof, Proof { nodes: 2, acknowledged: 2, waited_out: Vec::new() });
    assert_eq!(code(&nodes[0], &string).await, Code::Revoked, "a node without a lease reads the database");
}

/// People are read from the database by each request; the keys that they made are cached by each node.
#[tokio::test]
async fn a_removal_and_a_deletion_are_answered_once_every_node_refuses_the_keys() {
    let app = app().await;
    let (ada, bob) = (someone(&app, "ada@example.com").await, someone(&app, "bob@example.com").await);
    bob.join(&app, &ada.org, Role::Member).await;
    let bobs = create(&app, &bob.cookie, &ada.in_env(&ada.live, "")).await.field("/key");
    let (_, adas) = key(&app, &ada).await;
    let nodes = [node(&app, "a").await, node(&app, "b").await, node(&app, "c").await];
    for node in &nodes {
        for key in [&bobs, &adas] {
            until_cached(node, key).await;
            assert_eq!(code(node, key).await, Code::Valid);
        }
    }
    let (clock, entropy) = (app.clock.clone(), Entropy::System);
    let jobs = Jobs::new(app.db.clone(), clock.clone(), entropy.clone());
    let (keys, accounts) = (Arc::clone(&nodes[0].keys), Arc::clone(&app.services.accounts));
    let teams = Teams::new(app.db.clone(), clock, entropy, keys, accounts, jobs);
    let Caller::Person(owner) = owner(&app, &ada).await else { unreachable!("a person") };
    let org = ada.org.parse().expect("an id");
    let user = bob.user.parse().expect("an id");
    let ended = teams.remove_member(&owner, org, user, Some(LeaversKeys::Revoke)).await.expect("he is removed");
    let everywhere = Proof { nodes: 3, acknowledged: 3, waited_out: Vec::new() };
    assert_eq!((ended.keys, ended.proof), (1, everywhere.clone()));
    for node in &nodes {
        assert_eq!(code(node, &bobs).await, Code::Revoked);
        assert_eq!(code(node, &adas).await, Code::Valid);
    }
    let ended = teams.delete(&owner, org, "ada's organisation").await.expect("it is deleted");
    assert_eq!((ended.keys, ended.proof), (1, everywhere));
    for node in &nodes {
        assert_eq!(code(node, &adas).await, Code::Revoked);
    }
}

#[tokio::test]
async fn descendants_are_dropped_by_every_node_before_the_answer() {
    let settings =
        Settings { policy: Policy { keys_may_manage_keys: true, ..Policy::default() }, ..Settings::default() };
    let app = TestApp::new(Engine::Postgres, settings).await;
    let ada = someone(&app, "ada@example.com").await;
    let owner = owner(&app, &ada).await;
    let nodes = [node(&app, "a").await, node(&app, "b").await];
    for is_revoked in [false, true] {
        let family = family(&app, &ada).await;
        for node in &nodes {
            until_cached(node, &family[0].string).await;
            for key in &family {
                assert_eq!(code(node, &key.string).await, Code::Valid);
            }
        }
        let id = family[0].id.parse().expect("an id");
        let expected = if is_revoked {
            let (_, proof) = nodes[0].keys.revoke(&owner, id, true).await.expect("it is revoked");
            assert_eq!(proof, Proof { nodes: 2, acknowledged: 2, waited_out: Vec::new() });
            Code::Revoked
        } else {
            let edit = Edit { enabled: Some(false), ..Edit::default() };
            nodes[0].keys.edit(&owner, id, edit, true).await.expect("it is changed");
            Code::Disabled
        };
        for node in &nodes {
            for key in &family {
                assert_eq!(code(node, &key.string).await, expected);
            }
        }
    }
}

#[tokio::test]
async fn a_revocation_waits_for_a_silent_node_until_its_lease_ends() {
    let app = app().await;
    let ada = someone(&app, "ada@example.com").await;
    let (id, _) = key(&app, &ada).await;
    let owner = owner(&app, &ada).await;
    let Opened { keys, changes, .. } = node(&app, "a").await;
    // This node holds a lease, but neither renews it nor follows the change log.
    let silent = join(&app, "silent", false).await.expect("no other server holds the database");
    let mut revoking = tokio::spawn({
        let (keys, owner) = (Arc::clone(&keys), owner.clone());
        async move { keys.revoke(&owner, id, true).await }
    });
    let early = tokio::time::timeout(Duration::from_millis(700), &mut revoking).await;
    assert!(early.is_err(), "the silent node may still accept the key");
    app.clock.advance(i64::try_from(LEASE.as_millis()).expect("it is short") + 1);
    let (_, proof) = revoking.await.expect("it ends").expect("it is revoked");
    assert_eq!(proof, Proof { nodes: 2, acknowledged: 1, waited_out: vec!["silent".to_owned()] });
    // The clock jumped by more than a lease, so the first node must renew before it counts as live again.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let seen = changes.nodes().await.expect("the database answers");
    let mut states: Vec<_> = seen.nodes.iter().map(|node| (node.name.as_str(), node.lease_left.is_zero())).collect();
    states.sort_unstable();
    assert_eq!(states, [("a", false), ("silent", true)]);
    // Revocations no longer wait for the silent node. When it wakes, its renewal succeeds as usual.
    let (_, proof) = keys.revoke(&owner, id, true).await.expect("a repeated revocation succeeds");
    assert_eq!(proof, Proof { nodes: 1, acknowledged: 1, waited_out: Vec::new() });
    assert!(silent.renew(Position::default()).await.expect("the database answers").is_some());
}

/// HookSentry's second call for a key is a 404, which promises the same as the first answer: no node accepts the key.
#[tokio::test]
async fn a_second_revocation_also_waits_for_a_silent_node() {
    let app = app().await;
    let ada = someone(&app, "ada@example.com").await;
    let (id, _) = key(&app, &ada).await;
    let owner = owner(&app, &ada).await;
    let keys = node(&app, "a").await.keys;
    let made = keys.get(id).await.expect("the database answers").expect("a key");
    let _silent = join(&app, "silent", false).await.expect("no other server holds the database");
    let end = || {
        let (keys, owner) = (Arc::clone(&keys), owner.clone());
        tokio::spawn(async move { keys.revoke_once(&owner, made.organisation, made.uuid, true).await })
    };
    let first = end();
    while app.number("SELECT count(*) FROM keys WHERE revoked_at IS NOT NULL").await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut second = end();
    let early = tokio::time::timeout(Duration::from_millis(700), &mut second).await;
    assert!(early.is_err(), "the silent node may still accept the key: {early:?}");
    app.clock.advance(i64::try_from(LEASE.as_millis()).expect("it is short") + 1);
    first.await.expect("it ends").expect("it is revoked");
    let second = second.await.expect("it ends");
    assert!(matches!(second, Err(RevokeOnceError::NotFound)), "{second:?}");
}

#[tokio::test]
async fn a_single_server_excludes_a_second_one() {
    let app = app().await;
    let first = Arc::new(join(&app, "first", true).await.expect("no other server holds the database"));
    let renewing = tokio::spawn({
        let first = Arc::clone(&first);
        async move {
            loop {
                first.renew(Position::default()).await.expect("the database answers");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    for alone in [true, false] {
        let refused = join(&app, "second", alone).await.expect_err("the first server still runs");
        assert!(refused.to_string().contains("the node first"), "{refused}");
    }
    // After the first server dies, the second one waits for the end of its lease and takes its place.
    renewing.abort();
    let mut taking = Box::pin(join(&app, "second", true));
    let early = tokio::time::timeout(Duration::from_millis(900), &mut taking).await;
    assert!(early.is_err(), "the first server may still trust its cache");
    app.clock.advance(i64::try_from(LEASE.as_millis()).expect("it is short") + 1);
    let second = taking.await.expect("no other server holds the database");
    // When the first server continues, its renewal gets no lease, because the second server has replaced it.
    assert_eq!(first.renew(Position::default()).await.expect("the database answers"), None);
    second.leave().await.expect("the database answers");
    assert!(first.renew(Position::default()).await.expect("the database answers").is_some());
}

#[tokio::test]
async fn the_operator_sees_the_nodes_and_owners_of_organisations_do_not() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let app = TestApp::new(engine, Settings::default()).await;
        let (ada, bob) = (someone(&app, "ada@example.com").await, someone(&app, "bob@example.com").await);
        let shown = Call::new(&app, "GET", "/v1/cluster").cookie(&ada.cookie).send().await;
        assert_eq!(shown.status, 200, "{}", shown.text());
        let shown = shown.json();
        assert_eq!(shown["nodes"][0]["state"], "live");
        assert_eq!(shown["nodes"][0]["is_self"], true);
        assert_eq!(shown["nodes"][0]["lag"], 0);
        assert_eq!(shown["last_change"], 0);
        let page = Call::new(&app, "GET", "/server").cookie(&ada.cookie).send().await;
        assert_eq!(page.status, 200);
        assert!(page.text().contains("the only server"));
        let link = async |cookie: &str| {
            Call::new(&app, "GET", "/docs/api").cookie(cookie).send().await.text().contains("href=\"/server\"")
        };
        assert!(link(&ada.cookie).await);
        // An owner of an organisation is refused, even of the first organisation.
        bob.join(&app, &ada.org, Role::Owner).await;
        Call::new(&app, "GET", "/v1/cluster").cookie(&bob.cookie).send().await.is_problem(403, "forbidden");
        assert_eq!(Call::new(&app, "GET", "/server").cookie(&bob.cookie).send().await.status, 403);
        assert!(!link(&bob.cookie).await);
        Call::new(&app, "GET", "/v1/cluster").send().await.is_problem(401, "unauthenticated");
        // The operator's role in an organisation does not matter.
        app.execute("UPDATE memberships SET role = 'member'").await;
        assert_eq!(Call::new(&app, "GET", "/v1/cluster").cookie(&ada.cookie).send().await.status, 200);
    }
}

/// The account that `latchkey user add` creates on an empty server also counts as the first one.
#[tokio::test]
async fn the_first_account_is_the_operators_also_from_the_command_line() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let app = TestApp::new(engine, Settings::default()).await;
        let email = EmailAddress::parse("ada@example.com").expect("an address");
        let password = || Password::new("correct horse battery".to_owned()).expect("a password");
        let added = app.services.accounts.add(&email, password()).await.expect("an account");
        let bob = someone(&app, "bob@example.com").await;
        let person = async |id| app.services.accounts.person(id).await.expect("it answers").expect("a person");
        assert!(person(added).await.may(Action::SeeServer));
        assert!(!person(bob.user.parse().expect("an id")).await.may(Action::SeeServer));
    }
}

/// Two databases of one Redis stand for two Redis servers here, which share no keys.
#[tokio::test]
async fn a_node_with_another_redis_does_not_join() {
    let app = app().await;
    let redis = std::env::var("LATCHKEY_TEST_REDIS_URL")
        .expect("LATCHKEY_TEST_REDIS_URL names the tests' Redis: `make test` starts one and sets it");
    let join = async |name: &str, database: u8| {
        let redis = Redis::open(&format!("{redis}/{database}")).await.expect("a URL");
        Node::join(&app.db, app.clock.clone(), &Entropy::System, name.to_owned(), Some(redis)).await
    };
    let first = Arc::new(join("first", 0).await.expect("no other server holds the database"));
    let renewing = tokio::spawn({
        let first = Arc::clone(&first);
        async move {
            loop {
                first.renew(Position::default()).await.expect("the database answers");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let refused = join("second", 1).await.expect_err("keys could use their limits twice");
    assert!(matches!(&refused, JoinError::OtherRedis(name) if name == "first"), "{refused}");
    assert!(refused.to_string().contains("--redis-url"), "{refused}");
    join("third", 0).await.expect("it has the same").leave().await.expect("the database answers");
    // No node is left that uses the first Redis.
    renewing.abort();
    first.leave().await.expect("the database answers");
    join("fourth", 1).await.expect("no other server holds the database");
}

#[tokio::test]
async fn ten_nodes_may_start_at_once_on_an_empty_database() {
    let url = postgres_schema().await;
    let clock = Clock::System;
    let start = async |number: usize| {
        let db = Db::open(&url).await.expect("the database opens");
        db.migrate().await.expect("one of them makes the schema, and the others wait for it");
        let redis = Redis::open("redis://127.0.0.1:1").await.expect("a URL");
        let node = Node::join(&db, clock.clone(), &Entropy::System, format!("node {number}"), Some(redis)).await;
        Arc::new(node.expect("no other server holds the database"))
    };
    let nodes = join_all((0..10).map(start)).await;
    assert_eq!(nodes[0].members().await.expect("the database answers").len(), 10);
}
