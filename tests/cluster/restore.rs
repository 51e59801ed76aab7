//! PostgreSQL brought back to an earlier state under running nodes. After it, only what was committed after the copy
//! may be missing, and every node says what the database says.

use std::collections::BTreeMap;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::checker::judge;
use crate::history::{Event, Moment, State, What};
use crate::load::{Clients, Load, random};
use crate::nodes::{Cluster, LEASE, Setup};
use crate::outcome::Outcome;

/// What came of it: what clients saw before, and which promises the restore broke.
pub struct Restored {
    pub before: Outcome,
    pub broken: Vec<String>,
}

/// Copies the database under load, goes on for a while, ends the load and brings the copy back.
pub async fn restore(cluster: &mut Cluster, load: Load, random: &mut ChaCha8Rng) -> Restored {
    let copied = load.now();
    cluster.postgres.back_up().await;
    load.go_on(random.random_range(2.0..5.0)).await;
    // It asks every node for every key at last: all of them are cached.
    let before = load.stop().await;
    cluster.postgres.restore().await;
    for node in 0..cluster.nodes.len() {
        cluster.sees(node, cluster.nodes.len()).await;
    }
    // By then each node has renewed its lease, or has none.
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
        let truth = stored.get(&key.id).copied();
        // A key may be missing when its creation was answered after the copy.
        let is_older = history.iter().any(|event| event.key == key.number && event.end < copied);
        if truth.is_some() || is_older {
            history.push(Event { key: key.number, node: 0, start: now, end: now, what: What::Saw(truth) });
        }
        for node in 0..cluster.nodes.len() {
            let said = before.shared.state_by(&mut client, node, &key).await;
            if said != Some(truth) {
                broken.push(format!("after the restore node {node} says {said:?} of {}, which is {truth:?}", key.id));
            }
        }
    }
    broken.extend(judge(&history).violations.iter().map(|lost| format!("the restore lost what it may not: {lost}")));
    broken
}

/// What is known of an event by the time of the copy: a change that was answered later may be in it, or not.
fn as_copied(event: &Event, copied: Moment) -> Option<Event> {
    match event.what {
        What::Saw(_) => None,
        What::Set { to, done } => Some(Event { what: What::Set { to, done: done && event.end < copied }, ..*event }),
    }
}

/// What the database has.
async fn stored(cluster: &Cluster) -> BTreeMap<String, State> {
    let mut connection = cluster.postgres.connect().await.expect("it answers");
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
async fn a_restored_database_under_running_nodes_loses_only_what_came_after_the_copy() {
    let mut cluster = Cluster::start(Setup::default()).await;
    let clients = Clients::default();
    let load = Load::start(cluster.addresses(), &cluster.account, clients, 21).await;
    load.go_on(2.0).await;
    let restored = restore(&mut cluster, load, &mut random(21, 0)).await;
    assert_eq!(restored.broken, Vec::<String>::new());
    let shown: Vec<String> = restored.before.judgement.violations.iter().map(ToString::to_string).collect();
    assert_eq!(shown, Vec::<String>::new());
    // Revocations reach every node again.
    let load = Load::start(cluster.addresses(), &cluster.account, clients, 22).await;
    load.go_on(3.0).await;
    let outcome = load.finish().await;
    assert!(outcome.revocations.iter().any(|one| one.acknowledged == 3), "{:?}", outcome.revocations);
    assert!(cluster.logs().contains("restored to an earlier state"));
}
