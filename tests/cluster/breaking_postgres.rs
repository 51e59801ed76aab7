//! PostgreSQL crashes, loses its connections, or cannot be reached from one node.

use std::time::{Duration, Instant};

use latchkey::store::Db;
use sqlx::Executor;
use tokio::task::JoinSet;

use crate::breaking_nodes::assert_acknowledged_without;
use crate::faults::Fault;
use crate::limits::Limited;
use crate::load::{Clients, Load, random};
use crate::nodes::{Cluster, LEASE, RECOVERY_TIMEOUT, Setup};
use crate::postgres::Postgres;
use crate::proxy::{Network, Proxy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgres_cached_keys_work_until_the_lease_ends_and_nodes_recover() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 4).await;
    let known = Limited::new(&cluster, r#""metadata":{}"#).await;
    for node in 0..3 {
        assert_eq!(known.ask(node, 1).await, 1);
    }
    Fault::PostgresCrashed.begin(&mut cluster).await;
    let gone = load.now();
    for node in 0..3 {
        // On a busy machine the lease may have ended already; then this proves nothing.
        if load.now() < gone + Duration::from_secs(2) {
            assert_eq!(known.ask(node, 1).await, 1, "{node}");
        }
    }
    load.run_for(8.0).await;
    let meanwhile = load.now();
    Fault::PostgresCrashed.end(&mut cluster).await;
    let back = load.now();
    load.run_until(|history| history.revocations().iter().any(|revocation| revocation.start > back)).await;
    // `finish` checks every created key; none may be lost.
    let outcome = load.finish().await;

    for node in 0..3 {
        // The node's last lease began before `gone`.
        assert_eq!(outcome.let_in(node, gone + LEASE, meanwhile), 0, "node {node} accepted keys without a lease");
    }
    assert_eq!(
        outcome.revocations.iter().filter(|revocation| revocation.start > gone && revocation.end < meanwhile).count(),
        0
    );
    assert!(outcome.shared.history.counted("check 503") > 0, "{:?}", outcome.shared.history.counts());
}

/// A restart may be a failover to a server that lacks some commits, so nothing that was cached before may be used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cached_keys_are_dropped_when_postgres_was_restarted() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let known = Limited::new(&cluster, r#""metadata":{}"#).await;
    for node in 0..3 {
        assert_eq!(known.ask(node, 1).await, 1);
    }
    // This change is not in the change log, so only a node that reads the key again sees it.
    let mut database = cluster.postgres.connect().await.expect("PostgreSQL answers");
    database.execute("UPDATE keys SET disabled_at = 1 WHERE name = 'limited'").await.expect("the key is paused");
    Fault::PostgresCrashed.begin(&mut cluster).await;
    Fault::PostgresCrashed.end(&mut cluster).await;
    let deadline = Instant::now() + RECOVERY_TIMEOUT;
    for node in 0..3 {
        while known.code(node).await.as_deref() != Some("DISABLED") {
            assert!(Instant::now() < deadline, "node {node} still trusts its cache");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_break_no_promise() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 5).await;
    for _ in 0..5 {
        Fault::ConnectionsCut.begin(&mut cluster).await;
        load.run_for(0.4).await;
    }
    let calm = load.now();
    load.run_until(|history| history.revocations().iter().filter(|revocation| revocation.start > calm).count() >= 20)
        .await;
    cluster.wait_for_live(0, 3).await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_postgres_stops_when_its_lease_ends() {
    let mut cluster = Cluster::start(Setup { proxied: true, ..Setup::default() }).await;
    // First both directions are blocked, then only the replies: PostgreSQL then still gets every lease renewal.
    for (seed, network) in [(6, Network::Blocked), (7, Network::RepliesBlocked)] {
        let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), seed).await;
        let fault = Fault::Postgres(2, network);
        fault.begin(&mut cluster).await;
        let cut = load.now();
        let waiting = load.check_recent_keys(2, Duration::from_secs(8), &mut random(seed, 5000)).await;
        // An open transaction of node-2 holds its row locks until PostgreSQL ends it after 3 s, and then each
        // revocation waits for the lease, so 8 s may be too short for one on a slow machine.
        load.run_until(|history| history.revocations().iter().any(|revocation| revocation.start > cut)).await;
        let whole = load.now();
        fault.end(&mut cluster).await;
        waiting.join_all().await;
        cluster.wait_for_live(0, 3).await;
        let outcome = load.finish().await;

        assert_eq!(outcome.let_in(2, cut + LEASE, whole), 0, "node 2 accepted keys without a lease");
        assert_acknowledged_without(&outcome.revocations(cut, whole), "node-2");
        // The other nodes were not affected.
        for node in 0..2 {
            assert!(outcome.let_in(node, cut + LEASE, whole) > 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_notifications_polls_the_change_log() {
    let mut cluster = Cluster::start(Setup { proxied: true, ..Setup::default() }).await;
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 8).await;
    let fault = Fault::Postgres(2, Network::NotificationsBlocked);
    fault.begin(&mut cluster).await;
    let deaf = load.now();
    load.run_until(|history| history.revocations().iter().filter(|revocation| revocation.start > deaf).count() >= 10)
        .await;
    let whole = load.now();
    fault.end(&mut cluster).await;
    let outcome = load.finish().await;
    let meanwhile = outcome.revocations(deaf, whole);
    assert!(meanwhile.iter().any(|revocation| revocation.acknowledged == 3), "{meanwhile:?}");
}

/// Connections may be dead without an error, for example after a firewall lost its state or PostgreSQL's machine was
/// replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_connections_are_closed_and_replaced() {
    let mut cluster = Cluster::start(Setup { proxied: true, ..Setup::default() }).await;
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 12).await;
    Fault::Postgres(2, Network::DeadConnections).begin(&mut cluster).await;
    let cut = load.now();
    load.check_recent_keys(2, Duration::from_secs(1), &mut random(12, 5000)).await.join_all().await;
    // The old connections stay dead and new ones work: the node must recover without help.
    cluster.wait_for_live(0, 3).await;
    cluster.wait_for_live(2, 3).await;
    let recovered = load.now();
    load.run_until(|history| history.revocations().iter().filter(|one| one.start > recovered).count() >= 10).await;
    load.finish().await;
    println!("recovered after {:?}", recovered.saturating_sub(cut));
}

/// Dead connections may fill a whole pool; the timeouts of its users must free every place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_full_of_dead_connections_recovers() {
    let folder = tempfile::tempdir().expect("a folder");
    let postgres = Postgres::start(&folder.path().join("postgres")).await;
    let network = Proxy::start(postgres.address).await;
    let db = Db::open(&Postgres::url_by(network.address)).await.expect("the database opens");
    for db in [db.clone(), db.with_dedicated_pool()] {
        let mut asking = JoinSet::new();
        for _ in 0..64 {
            let db = db.clone();
            asking.spawn(async move {
                loop {
                    db.ping().await.expect("the database answers");
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        network.set(Network::DeadConnections);
        tokio::time::sleep(Duration::from_secs(1)).await;
        asking.shutdown().await;
        let answers = tokio::time::timeout(Duration::from_secs(20), async { while db.ping().await.is_err() {} });
        answers.await.expect("new connections are made");
        network.set(Network::Whole);
        db.close().await;
    }
}
