//! A cluster without a fault.

use std::process::Command;
use std::time::Duration;

use crate::load::{Clients, Load};
use crate::nodes::{Cluster, Setup};
use crate::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_healthy_nodes_acknowledge_every_revocation() {
    let cluster = Cluster::start(Setup::default()).await;
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 1).await;
    load.run_until(|history| history.revocations().len() >= 100).await;
    let outcome = load.finish().await;
    for revocation in &outcome.revocations {
        assert_eq!((revocation.nodes, revocation.acknowledged), (3, 3), "{revocation:?}");
        // No revocation waited for a lease.
        assert!(revocation.waited_out.is_empty(), "{revocation:?}");
    }
    assert_eq!(outcome.failures(), Vec::<String>::new());

    for node in 0..3 {
        let view = cluster.wait_for_live(node, 3).await;
        let nodes = view["nodes"].as_array().expect("nodes");
        let own: Vec<&str> =
            nodes.iter().filter(|node| node["is_self"] == true).filter_map(|node| node["name"].as_str()).collect();
        assert_eq!(own, [format!("node-{node}")], "{view}");
        assert!(nodes.iter().all(|node| node["redis"] == true), "{view}");
        assert!(view["last_change"].as_u64().expect("a number") >= 100, "{view}");
    }
    assert!(!cluster.logs().contains("panicked"), "{}", cluster.logs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_redis_cannot_join_a_cluster() {
    let cluster = Cluster::start(Setup { nodes: 1, ..Setup::default() }).await;
    let refused = Command::new(env!("CARGO_BIN_EXE_latchkey"))
        .current_dir(cluster.folder())
        .args(["--listen", "127.0.0.1:0", "--database-url", &Postgres::url_by(cluster.postgres.address)])
        .env("LATCHKEY_LOG", "off")
        .output()
        .expect("the program runs");
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("--redis-url"), "{said}");
    // The running node is not affected.
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.wait_for_live(0, 1).await;
}
