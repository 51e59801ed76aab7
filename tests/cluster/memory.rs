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

/// A node that is cut off keeps its applications from remembering, or they would let in what other nodes have
/// ended long ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_does_not_outlive_the_lease_of_its_node() {
    let mut cluster = Cluster::start(Setup { proxied: true, ..Setup::default() }).await;
    let mut owner = Connection::open(cluster.nodes[0].address).await.expect("it listens");
    let cookie = format!("Cookie: session={}", cluster.account.session);
    let mut made = Vec::new();
    for name in ["application", "user", "another user"] {
        let body = format!(r#"{{"name":"{name}"}}"#);
        let key = owner.call("POST", "/v1/auth/api-keys", &[&cookie], &body).await.expect("an answer").json(201);
        let text = |field: &str| key[field].as_str().expect("text").to_owned();
        made.push((text("id"), text("key")));
    }
    let url = format!("http://{}", cluster.nodes[2].address);
    let client = Client::builder(&url, &made[0].1).timeout(Duration::from_secs(1)).build().expect("a client");
    // It follows node 2, and remembers both.
    for (_, key) in &made[1..] {
        for _ in 0..20 {
            assert!(is_let_in(&client, key).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let revoke = |id: &str| format!("/v1/keys/{id}/revoke");

    // Revoked elsewhere: it hears of it by its node.
    owner.call("POST", &revoke(&made[1].0), &[&cookie], "").await.expect("an answer").json(200);
    let revoked = Instant::now();
    while is_let_in(&client, &made[1].1).await {
        assert!(revoked.elapsed() < TRUST, "the application was not told");
    }

    let fault = Fault::Postgres(2, Network::Silent);
    fault.begin(&mut cluster).await;
    owner.call("POST", &revoke(&made[2].0), &[&cookie], "").await.expect("an answer").json(200);
    tokio::time::sleep(TRUST).await;
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        assert!(!is_let_in(&client, &made[2].1).await, "an ended key was let in");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fault.end(&mut cluster).await;
    let deadline = Instant::now() + PATIENCE;
    let fresh = owner.call("POST", "/v1/auth/api-keys", &[&cookie], r#"{"name":"later"}"#).await.expect("an answer");
    let fresh = fresh.json(201)["key"].as_str().expect("a key").to_owned();
    while !is_let_in(&client, &fresh).await {
        assert!(Instant::now() < deadline, "it does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!is_let_in(&client, &made[2].1).await);
}
