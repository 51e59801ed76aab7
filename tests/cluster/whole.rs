//! Nothing is broken.

use std::process::Command;
use std::time::Duration;

use crate::load::{Clients, Load};
use crate::nodes::{Cluster, Setup};
use crate::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_are_as_one() {
    let cluster = Cluster::start(Setup::default()).await;
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 1).await;
    load.until(|history| history.revocations().len() >= 100).await;
    let outcome = load.finish().await;
    for revocation in &outcome.revocations {
        assert_eq!((revocation.nodes, revocation.acknowledged), (3, 3), "{revocation:?}");
        // Nobody had to wait for a lease.
        assert!(revocation.waited_out.is_empty(), "{revocation:?}");
    }
    assert_eq!(outcome.failures(), Vec::<String>::new());

    for node in 0..3 {
        let view = cluster.sees(node, 3).await;
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
async fn beside_nodes_that_share_nobody_starts_who_does_not() {
    let cluster = Cluster::start(Setup { nodes: 1, ..Setup::default() }).await;
    let lonely = Command::new(env!("CARGO_BIN_EXE_latchkey"))
        .current_dir(cluster.folder())
        .args(["--listen", "127.0.0.1:0", "--database-url", &Postgres::url_by(cluster.postgres.address)])
        .env("LATCHKEY_LOG", "off")
        .output()
        .expect("it starts");
    assert!(!lonely.status.success());
    let said = String::from_utf8_lossy(&lonely.stderr);
    assert!(said.contains("--redis-url"), "{said}");
    // The one that is there has not noticed.
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.sees(0, 1).await;
}
