//! Nodes that are killed, and nodes that are stopped and resumed.

use std::time::Duration;

use crate::faults::Fault;
use crate::history::{Operation, Revocation, State};
use crate::load::{Clients, Load, random};
use crate::nodes::{Cluster, LEASE, Setup};

/// Asserts that revocations during a node's fault were acknowledged without this node.
pub fn assert_acknowledged_without(revocations: &[&Revocation], node: &str) {
    assert!(!revocations.is_empty(), "nothing was revoked without {node}");
    for revocation in revocations {
        assert!(revocation.acknowledged <= 2, "{revocation:?}");
        assert!(revocation.waited_out.iter().all(|name| name == node), "{revocation:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_is_waited_out_and_named() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 2).await;
    let key = cluster.make_key().await;
    Fault::Killed(2).begin(&mut cluster).await;
    let killed = load.now();
    let answer = cluster.revoke(0, &key).await;
    // A test that was itself delayed cannot know whether the lease had ended.
    if answer["milliseconds"].as_u64().expect("a number") > 1000 || load.now() < killed + Duration::from_secs(2) {
        assert_eq!((&answer["nodes"], &answer["acknowledged"]), (&3.into(), &2.into()), "{answer}");
        assert_eq!(answer["waited_out"], serde_json::json!(["node-2"]), "{answer}");
    }
    load.run_until(|history| {
        let mut revocations = history.revocations().into_iter();
        revocations.any(|revocation| revocation.start > killed + LEASE + Duration::from_secs(1))
    })
    .await;
    // The restarted node acknowledges revocations again.
    Fault::Killed(2).end(&mut cluster).await;
    cluster.wait_for_live(0, 3).await;
    let back = load.now();
    load.run_until(|history| history.revocations().iter().filter(|revocation| revocation.start > back).count() >= 10)
        .await;
    let outcome = load.finish().await;

    let meanwhile = outcome.revocations(killed, back);
    assert!(meanwhile.iter().any(|revocation| revocation.acknowledged == 2), "{meanwhile:?}");
    let afterwards = outcome.revocations(back, outcome.shared.history.now());
    assert!(afterwards.iter().any(|revocation| revocation.acknowledged == 3), "{afterwards:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumed_node_accepts_no_key_that_was_revoked_meanwhile() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 3).await;
    Fault::Frozen(2).begin(&mut cluster).await;
    let frozen = load.now();
    // The kernel accepts connections for the stopped node, which answers these requests as soon as it runs again.
    let waiting = load.check_recent_keys(2, Duration::from_secs(10), &mut random(3, 5000)).await;
    load.run_until(|history| history.revocations().iter().any(|revocation| revocation.start > frozen)).await;
    let thawed = load.now();
    Fault::Frozen(2).end(&mut cluster).await;
    let answered = waiting.join_all().await.into_iter().filter(|answered| *answered).count();
    cluster.wait_for_live(0, 3).await;
    let outcome = load.finish().await;

    assert!(answered > 0, "the resumed node answered no waiting request");
    let waited = outcome.checks(2, frozen, thawed).filter(|event| event.end > thawed);
    let refused = waited.filter(|event| event.operation == Operation::Check(Some(State::Revoked))).count();
    assert!(refused > 0, "no waiting request had a key that was revoked meanwhile");
    let meanwhile = outcome.revocations(frozen, thawed);
    assert_acknowledged_without(&meanwhile, "node-2");
}
