//! PostgreSQL is restored to an earlier state under running nodes. Afterwards, only commits after the copy may be
//! missing, and every node agrees with the database.

use std::collections::BTreeMap;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::checker::judge;
use crate::history::{Event, Moment, Operation, State};
use crate::load::{Clients, Load, random};
use crate::nodes::{Cluster, LEASE, Setup};
use crate::outcome::Outcome;

/// The outcome of the load before the restore, and the promises that the restore broke.
pub struct Restored {
    pub before: Outcome,
    pub broken: Vec<String>,
}

/// Copies the database under load, stops the load some seconds later, and restores the copy.
pub async fn restore(cluster: &mut Cluster, load: Load, random: &mut ChaCha8Rng) -> Restored {
    let copied = load.now();
    cluster.postgres.back_up().await;
    load.run_for(random.random_range(2.0..5.0)).await;
    // `stop` checks every key on every node, so all keys are cached.
    let before = load.stop().await;
    cluster.postgres.restore().await;
    for node in 0..cluster.nodes.len() {
        cluster.wait_for_live(node, cluster.nodes.len()).await;
    }
    // Wait until each node has renewed its lease or has none.
    tokio::time::sleep(LEASE).await;
    let broken = compare(cluster, &before, copied).await;
    Restored { before, broken }
}

async fn compare(cluster: &Cluster, before: &Outcome, copied: Moment) -> Vec<String> {
    let stored = stored(cluster).await;
    let now = before.shared.history.now();
    let mut history: Vec<Event> = before.events.iter().filter_map(|event| as_copied(event, copied)).collect();
    let (mut broken, mut client) = (Vec::new(), before.shared.client());
    for key in before.shared.all_keys() {
        let state = stored.get(&key.id).copied();
        // A key may be missing when its creation was answered after the copy.
        let is_older = history.iter().any(|event| event.key == key.number && event.end < copied);
        if state.is_some() || is_older {
            history.push(Event { key: key.number, node: 0, start: now, end: now, operation: Operation::Check(state) });
        }
        for node in 0..cluster.nodes.len() {
            let said = before.shared.state_by(&mut client, node, &key).await;
            if said != Some(state) {
                broken
                    .push(format!("after the restore node {node} returns {said:?} for {}, which is {state:?}", key.id));
            }
        }
    }
    broken.extend(
        judge(&history).violations.iter().map(|lost| format!("the restore lost a change from before the copy: {lost}")),
    );
    broken
}

/// The event as known at the time of the copy: a change that was answered later may be in the copy or not.
fn as_copied(event: &Event, copied: Moment) -> Option<Event> {
    match event.operation {
        Operation::Check(_) => None,
        Operation::Set { to, done } => {
            Some(Event { operation: Operation::Set { to, done: done && event.end < copied }, ..*event })
        }
    }
}

/// Reads the state of every key from the database.
async fn stored(cluster: &Cluster) -> BTreeMap<String, State> {
    let mut connection = cluster.postgres.connect().await.expect("PostgreSQL answers");
    let rows: Vec<(i64, bool, bool)> =
        sqlx::query_as("SELECT id, revoked_at IS NOT NULL, disabled_at IS NOT NULL FROM keys")
            .fetch_all(&mut connection)
            .await
            .expect("keys");
    let state = |(id, revoked, disabled): (i64, bool, bool)| {
        let state = match (revoked, disabled) {
            (true, _) => State::Revoked,
            (_, true) => State::Disabled,
            _ => State::Live,
        };
        (format!("ak_{id:016x}"), state)
    };
    rows.into_iter().map(state).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_restored_under_running_nodes_loses_only_changes_after_the_copy() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let clients = Clients::default();
    let load = Load::start(cluster.addresses(), &cluster.account, clients, 21).await;
    load.run_for(2.0).await;
    let restored = restore(&mut cluster, load, &mut random(21, 0)).await;
    assert_eq!(restored.broken, Vec::<String>::new());
    let shown: Vec<String> = restored.before.verdict.violations.iter().map(ToString::to_string).collect();
    assert_eq!(shown, Vec::<String>::new());
    // Every node acknowledges revocations again.
    let load = Load::start(cluster.addresses(), &cluster.account, clients, 22).await;
    load.run_for(3.0).await;
    let outcome = load.finish().await;
    assert!(outcome.revocations.iter().any(|one| one.acknowledged == 3), "{:?}", outcome.revocations);
    assert!(cluster.logs().contains("restored to an earlier state"));
}
