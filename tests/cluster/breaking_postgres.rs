//! PostgreSQL crashes, loses its connections, or cannot be reached from one node.

use std::time::{Duration, Instant};

use latchkey::store::Db;
use sqlx::Executor;
use tokio::task::JoinSet;

use crate::breaking_nodes::assert_without;
use crate::faults::Fault;
use crate::limits::Limited;
use crate::load::{Clients, Load, random};
use crate::nodes::{Cluster, LEASE, PATIENCE, Setup};
use crate::postgres::Postgres;
use crate::proxy::{Network, Proxy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgres_known_keys_go_on_for_a_lease_and_all_comes_back_by_itself() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 4).await;
    let known = Limited::new(&cluster, r#""metadata":{}"#).await;
    for node in 0..3 {
        assert_eq!(known.ask(node, 1).await, 1);
    }
    Fault::PostgresCrashed.begin(&mut cluster).await;
    let gone = load.now();
    for node in 0..3 {
        // A test that is kept waiting for so long by other programs has nothing to say about this.
        if load.now() < gone + Duration::from_secs(2) {
            assert_eq!(known.ask(node, 1).await, 1, "{node}");
        }
    }
    load.go_on(8.0).await;
    let meanwhile = load.now();
    Fault::PostgresCrashed.end(&mut cluster).await;
    let back = load.now();
    load.until(|history| history.revocations().iter().any(|revocation| revocation.start > back)).await;
    // Every key whose making was answered is asked for in the end; none may be lost.
    let outcome = load.finish().await;

    for node in 0..3 {
        // The last news from PostgreSQL was older than `gone`.
        assert_eq!(outcome.let_in(node, gone + LEASE, meanwhile), 0, "node {node} went on without a lease");
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
    // The change log says nothing of it: only a node that reads the key again knows.
    let mut database = cluster.postgres.connect().await.expect("it answers");
    database.execute("UPDATE keys SET disabled_at = 1 WHERE name = 'limited'").await.expect("it is paused");
    Fault::PostgresCrashed.begin(&mut cluster).await;
    Fault::PostgresCrashed.end(&mut cluster).await;
    let deadline = Instant::now() + PATIENCE;
    for node in 0..3 {
        while known.code(node).await.as_deref() != Some("DISABLED") {
            assert!(Instant::now() < deadline, "node {node} still trusts what it cached");
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
        load.go_on(0.4).await;
    }
    let calm = load.now();
    load.until(|history| history.revocations().iter().filter(|revocation| revocation.start > calm).count() >= 20).await;
    cluster.sees(0, 3).await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_postgres_stops_before_its_keys_end() {
    let mut cluster = Cluster::start(Setup { proxied: true, ..Setup::default() }).await;
    // Everything is lost; and only what comes back: PostgreSQL hears every renewal of the lease.
    for (seed, network) in [(6, Network::Silent), (7, Network::Mute)] {
        let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), seed).await;
        let fault = Fault::Postgres(2, network);
        fault.begin(&mut cluster).await;
        let cut = load.now();
        let waiting = load.press(2, Duration::from_secs(8), &mut random(seed, 5000)).await;
        // A transaction that node-2 had open holds its row locks until PostgreSQL ends it after 3 s idle, and then
        // each revocation waits for the lease: on a slow machine 8 s do not suffice for one.
        load.until(|history| history.revocations().iter().any(|revocation| revocation.start > cut)).await;
        let whole = load.now();
        fault.end(&mut cluster).await;
        waiting.join_all().await;
        cluster.sees(0, 3).await;
        let outcome = load.finish().await;

        assert_eq!(outcome.let_in(2, cut + LEASE, whole), 0, "it went on without a lease");
        assert_without(&outcome.revocations(cut, whole), "node-2");
        // The others never stood still.
        for node in 0..2 {
            assert!(outcome.let_in(node, cut + LEASE, whole) > 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hears_no_notification_asks_for_the_news_itself() {
    let mut cluster = Cluster::start(Setup { proxied: true, ..Setup::default() }).await;
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 8).await;
    let fault = Fault::Postgres(2, Network::Deaf);
    fault.begin(&mut cluster).await;
    let deaf = load.now();
    load.until(|history| history.revocations().iter().filter(|revocation| revocation.start > deaf).count() >= 10).await;
    let whole = load.now();
    fault.end(&mut cluster).await;
    let outcome = load.finish().await;
    let meanwhile = outcome.revocations(deaf, whole);
    assert!(meanwhile.iter().any(|revocation| revocation.acknowledged == 3), "{meanwhile:?}");
}

/// As when a firewall has forgotten them, or PostgreSQL's machine was replaced: nobody says that they are dead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_lead_nowhere_are_given_up() {
    let mut cluster = Cluster::start(Setup { proxied: true, ..Setup::default() }).await;
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 12).await;
    Fault::Postgres(2, Network::Amnesic).begin(&mut cluster).await;
    let cut = load.now();
    load.press(2, Duration::from_secs(1), &mut random(12, 5000)).await.join_all().await;
    // It stays so, and new connections work: the clients of this node are served again by itself.
    cluster.sees(0, 3).await;
    cluster.sees(2, 3).await;
    let well = load.now();
    load.until(|history| history.revocations().iter().filter(|one| one.start > well).count() >= 10).await;
    load.finish().await;
    println!("well again after {:?}", well.saturating_sub(cut));
}

/// Every place in a pool may be taken by such a connection; the time-outs of those who asked must free them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_all_lead_nowhere_make_room_for_new_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let postgres = Postgres::start(&folder.path().join("postgres")).await;
    let network = Proxy::start(postgres.address).await;
    let db = Db::open(&Postgres::url_by(network.address)).await.expect("it opens");
    for db in [db.clone(), db.with_dedicated_pool()] {
        let mut asking = JoinSet::new();
        for _ in 0..64 {
            let db = db.clone();
            asking.spawn(async move {
                loop {
                    db.ping().await.expect("it answers");
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        network.make(Network::Amnesic);
        tokio::time::sleep(Duration::from_secs(1)).await;
        asking.shutdown().await;
        let answers = tokio::time::timeout(Duration::from_secs(20), async { while db.ping().await.is_err() {} });
        answers.await.expect("new connections are made");
        network.make(Network::Whole);
        db.close().await;
    }
}
