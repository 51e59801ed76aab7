//! Applications that cache keys (`clients/rust`) and follow one node of a cluster.

use std::time::{Duration, Instant};

use latchkey_client::{Check, Client};

use crate::faults::Fault;
use crate::nodes::{Cluster, RECOVERY_TIMEOUT, Setup};
use crate::proxy::Network;
use crate::served::Connection;

/// An application trusts its cache for this time after the last heartbeat.
const TRUST_PERIOD: Duration = Duration::from_secs(3);

async fn is_let_in(client: &Client, key: &str) -> bool {
    client.verify(&Check::new(key)).await.is_ok_and(|outcome| outcome.is_valid())
}

/// Checks a key until the application follows its node and has cached the key: 40 successes in a row.
async fn wait_until_cached(client: &Client, (_, key): &(String, String)) {
    let deadline = Instant::now() + RECOVERY_TIMEOUT;
    let mut in_a_row = 0;
    while in_a_row < 40 {
        in_a_row = if is_let_in(client, key).await { in_a_row + 1 } else { 0 };
        assert!(Instant::now() < deadline, "the key is not accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Otherwise, an application of a node that is cut off would accept keys that were revoked on other nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_stops_trusting_its_cache_when_its_node_has_no_lease() {
    let mut cluster = Cluster::start(Setup { proxied: true, ..Setup::default() }).await;
    let mut owner = Connection::open(cluster.nodes[0].address).await.expect("the server listens");
    let cookie = format!("Cookie: session={}", cluster.account.session);
    let mut made = Vec::new();
    for name in ["application", "user", "another user", "a third user"] {
        let body = format!(r#"{{"name":"{name}"}}"#);
        let key = owner.call("POST", "/v1/auth/api-keys", &[&cookie], &body).await.expect("an answer").json(201);
        let text = |field: &str| key[field].as_str().expect("text").to_owned();
        made.push((text("id"), text("key")));
    }
    let url = format!("http://{}", cluster.nodes[2].address);
    let client = Client::builder(&url, &made[0].1).timeout(Duration::from_secs(1)).build().expect("a client");
    // The application follows node 2.
    wait_until_cached(&client, &made[1]).await;
    let revoke = |id: &str| format!("/v1/keys/{id}/revoke");

    // A revocation on another node reaches the application through node 2.
    owner.call("POST", &revoke(&made[1].0), &[&cookie], "").await.expect("an answer").json(200);
    // The cache is trusted while the node has a lease, so a lost revocation would make this time out.
    let deadline = Instant::now() + RECOVERY_TIMEOUT;
    while is_let_in(&client, &made[1].1).await {
        assert!(Instant::now() < deadline, "the application still accepts the revoked key");
    }

    // Node 2 is cut off from PostgreSQL, or cannot renew its lease while its reads work. In the second case it could
    // still serve checks and send heartbeats.
    for (network, ended) in [Network::Blocked, Network::RenewalsBlocked].into_iter().zip(&made[2..]) {
        wait_until_cached(&client, ended).await;
        let (id, key) = ended;
        let fault = Fault::Postgres(2, network);
        fault.begin(&mut cluster).await;
        owner.call("POST", &revoke(id), &[&cookie], "").await.expect("an answer").json(200);
        tokio::time::sleep(TRUST_PERIOD).await;
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            assert!(!is_let_in(&client, key).await, "a revoked key was accepted: {network:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        fault.end(&mut cluster).await;
        cluster.wait_for_live(0, 3).await;
    }
    let deadline = Instant::now() + RECOVERY_TIMEOUT;
    let fresh = owner.call("POST", "/v1/auth/api-keys", &[&cookie], r#"{"name":"later"}"#).await.expect("an answer");
    let fresh = fresh.json(201)["key"].as_str().expect("a key").to_owned();
    while !is_let_in(&client, &fresh).await {
        assert!(Instant::now() < deadline, "the application does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (_, key) in &made[1..] {
        assert!(!is_let_in(&client, key).await);
    }
}
