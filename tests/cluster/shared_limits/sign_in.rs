//! Sign-in attempts, which all nodes count together.

use latchkey::accounts::{EmailAddress, Throttle};
use latchkey::model::Timestamp;
use latchkey::runtime::clock::Clock;

use super::{Server, namespace, node, raw, shared_url};
use crate::turn;

#[tokio::test]
async fn nodes_share_sign_in_attempts_and_store_no_names() {
    let _turn = turn::shared();
    let namespace = namespace();
    let clock = Clock::fixed(Timestamp(1_000_000));
    let nodes = [
        Throttle::new(clock.clone(), Some(node(&namespace).await)),
        Throttle::new(clock.clone(), Some(node(&namespace).await)),
    ];
    let address = Some("198.51.100.1".parse().unwrap());
    let (owner, other) =
        (EmailAddress::parse("owner@example.com").unwrap(), EmailAddress::parse("o@example.com").unwrap());
    for attempt in 0..10 {
        assert_eq!(nodes[attempt % 2].attempt(address, Some(&owner)).await, Ok(()));
    }
    for node in &nodes {
        let seconds = node.attempt(address, Some(&owner)).await.unwrap_err();
        assert!((25..=30).contains(&seconds), "{seconds}");
    }
    assert_eq!(nodes[0].attempt(address, Some(&other)).await, Ok(()));
    for attempt in 13..60 {
        assert_eq!(nodes[attempt % 2].attempt(address, None).await, Ok(()));
    }
    for node in &nodes {
        assert!((5..=10).contains(&node.attempt(address, Some(&other)).await.unwrap_err()));
    }

    let mut raw = raw(&shared_url()).await;
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("latchkey:{namespace}:*")).query_async(&mut raw).await.unwrap();
    assert_eq!(keys.len(), 4, "a wide network, an address, and two accounts from it");
    for key in keys {
        let hash = key.strip_prefix(&format!("latchkey:{namespace}:throttle:")).expect("a throttle");
        assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    }
}

#[tokio::test]
async fn a_correct_password_refunds_the_attempt_on_all_nodes() {
    let _turn = turn::shared();
    let namespace = namespace();
    let clock = Clock::fixed(Timestamp(1_000_000));
    let nodes = [
        Throttle::new(clock.clone(), Some(node(&namespace).await)),
        Throttle::new(clock.clone(), Some(node(&namespace).await)),
    ];
    let (address, owner) = (Some("198.51.100.1".parse().unwrap()), EmailAddress::parse("owner@example.com").unwrap());
    for attempt in 0..120 {
        let [one, other] = [&nodes[attempt % 2], &nodes[(attempt + 1) % 2]];
        assert_eq!(one.attempt(address, Some(&owner)).await, Ok(()));
        assert_eq!(one.attempt_from_elsewhere(&owner).await, Ok(()));
        other.refund(address, Some(&owner), true).await;
    }
    for attempt in 0..10 {
        assert_eq!(nodes[attempt % 2].attempt(address, Some(&owner)).await, Ok(()));
    }
    assert!(nodes[0].attempt(address, Some(&owner)).await.is_err(), "a refund does not exceed the spent attempts");
}

#[tokio::test]
async fn without_redis_a_node_throttles_alone_and_allows_no_new_burst() {
    let _turn = turn::shared();
    let server = Server::new();
    let (_, limits) = server.limits().await;
    let throttle = Throttle::new(Clock::fixed(Timestamp(1_000_000)), Some(limits));
    let address = Some("198.51.100.1".parse().unwrap());
    let owner = EmailAddress::parse("owner@example.com").unwrap();
    for _ in 0..6 {
        assert_eq!(throttle.attempt(address, Some(&owner)).await, Ok(()));
    }
    drop(server);
    for _ in 6..10 {
        assert_eq!(throttle.attempt(address, Some(&owner)).await, Ok(()));
    }
    assert_eq!(throttle.attempt(address, Some(&owner)).await, Err(30));
}
