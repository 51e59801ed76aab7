//! Nodes that die, and nodes that stand still.

use std::time::Duration;

use crate::faults::Fault;
use crate::history::{Revocation, State, What};
use crate::load::{Clients, Load, random};
use crate::nodes::{Cluster, LEASE, Setup};

/// Revocations that were asked for when a node could not hear of them: each was proven without it.
pub fn assert_without(revocations: &[&Revocation], node: &str) {
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
    // Nothing of it is known to a test that was itself kept waiting.
    if answer["milliseconds"].as_u64().expect("a number") > 1000 || load.now() < killed + Duration::from_secs(2) {
        assert_eq!((&answer["nodes"], &answer["acknowledged"]), (&3.into(), &2.into()), "{answer}");
        assert_eq!(answer["waited_out"], serde_json::json!(["node-2"]), "{answer}");
    }
    load.until(|history| {
        let mut revocations = history.revocations().into_iter();
        revocations.any(|revocation| revocation.start > killed + LEASE + Duration::from_secs(1))
    })
    .await;
    // It comes back, and takes part again.
    Fault::Killed(2).end(&mut cluster).await;
    cluster.sees(0, 3).await;
    let back = load.now();
    load.until(|history| history.revocations().iter().filter(|revocation| revocation.start > back).count() >= 10).await;
    let outcome = load.finish().await;

    let meanwhile = outcome.revocations(killed, back);
    assert!(meanwhile.iter().any(|revocation| revocation.acknowledged == 2), "{meanwhile:?}");
    let afterwards = outcome.revocations(back, outcome.shared.history.now());
    assert!(afterwards.iter().any(|revocation| revocation.acknowledged == 3), "{afterwards:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stood_still_lets_no_ended_key_in_when_it_goes_on() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 3).await;
    Fault::Frozen(2).begin(&mut cluster).await;
    let frozen = load.now();
    // The kernel takes requests for it meanwhile, and it answers them in its first moment.
    let waiting = load.press(2, Duration::from_secs(10), &mut random(3, 5000)).await;
    load.until(|history| history.revocations().iter().any(|revocation| revocation.start > frozen)).await;
    let thawed = load.now();
    Fault::Frozen(2).end(&mut cluster).await;
    let answered = waiting.join_all().await.into_iter().filter(|answered| *answered).count();
    cluster.sees(0, 3).await;
    let outcome = load.finish().await;

    assert!(answered > 0, "it answered nothing of what had waited");
    let waited = outcome.checks(2, frozen, thawed).filter(|event| event.end > thawed);
    let refused = waited.filter(|event| event.what == What::Saw(Some(State::Revoked))).count();
    assert!(refused > 0, "nobody asked for what had ended meanwhile");
    let meanwhile = outcome.revocations(frozen, thawed);
    assert_without(&meanwhile, "node-2");
}
