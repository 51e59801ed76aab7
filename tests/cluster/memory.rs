//! Applications that remember keys (`clients/rust`) and follow a node of a cluster.

use std::time::{Duration, Instant};

use latchkey_client::{Check, Client};

use crate::faults::Fault;
use crate::nodes::{Cluster, PATIENCE, Setup};
use crate::proxy::Network;
use crate::served::Connection;

/// How long an application may believe its memory without hearing anything.
const TRUST: Duration = Duration::from_secs(3);

async fn is_let_in(client: &Client, key: &str) -> bool {
    client.verify(&Check::new(key)).await.is_ok_and(|outcome| outcome.is_valid())
}

/// Has a key checked until the application follows its node and goes by its memory.
async fn remembers(client: &Client, (_, key): &(String, String)) {
    let deadline = Instant::now() + PATIENCE;
    let mut in_a_row = 0;
    while in_a_row < 40 {
        in_a_row = if is_let_in(client, key).await { in_a_row + 1 } else { 0 };
        assert!(Instant::now() < deadline, "it is not let in");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A node that is cut off keeps its applications from remembering, or they would let in what other nodes have
/// ended long ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_does_not_outlive_the_lease_of_its_node() {
    let mut cluster = Cluster::start(Setup { proxied: true, ..Setup::default() }).await;
    let mut owner = Connection::open(cluster.nodes[0].address).await.expect("it listens");
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
    // It follows node 2.
    remembers(&client, &made[1]).await;
    let revoke = |id: &str| format!("/v1/keys/{id}/revoke");

    // Revoked elsewhere: it hears of it by its node.
    owner.call("POST", &revoke(&made[1].0), &[&cookie], "").await.expect("an answer").json(200);
    // Its memory is believed for as long as the node has a lease: one that is not told lets the key in for ever.
    let deadline = Instant::now() + PATIENCE;
    while is_let_in(&client, &made[1].1).await {
        assert!(Instant::now() < deadline, "the application was not told");
    }

    // It hears nothing at all; or only what it needs for checks, by which it could go on telling its
    // applications that all is well.
    for (network, ended) in [Network::Silent, Network::Leaseless].into_iter().zip(&made[2..]) {
        remembers(&client, ended).await;
        let (id, key) = ended;
        let fault = Fault::Postgres(2, network);
        fault.begin(&mut cluster).await;
        owner.call("POST", &revoke(id), &[&cookie], "").await.expect("an answer").json(200);
        tokio::time::sleep(TRUST).await;
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            assert!(!is_let_in(&client, key).await, "an ended key was let in: {network:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        fault.end(&mut cluster).await;
        cluster.sees(0, 3).await;
    }
    let deadline = Instant::now() + PATIENCE;
    let fresh = owner.call("POST", "/v1/auth/api-keys", &[&cookie], r#"{"name":"later"}"#).await.expect("an answer");
    let fresh = fresh.json(201)["key"].as_str().expect("a key").to_owned();
    while !is_let_in(&client, &fresh).await {
        assert!(Instant::now() < deadline, "it does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (_, key) in &made[1..] {
        assert!(!is_let_in(&client, key).await);
    }
}
