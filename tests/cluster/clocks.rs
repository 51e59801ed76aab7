//! Nodes with clocks that are wrong or jump (libfaketime changes only the wall clock, as if an operator set it).

use std::fs;
use std::path::{Path, PathBuf};

use crate::limits::Limited;
use crate::load::{Clients, Load};
use crate::nodes::{Cluster, Setup};

fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders
        .map(|folder| folder.path().join("faketime/libfaketime.so.1"))
        .find(|library| library.is_file())
        .expect("libfaketime is not installed: tools/setup-test does it")
}

/// Sets the clock of the node in this folder.
pub fn set(folder: &Path, offset: &str) {
    let clock = folder.join("clock");
    let new = clock.with_extension("new");
    fs::write(&new, offset).expect("the file can be written");
    fs::rename(new, clock).expect("the file can be replaced");
}

/// Returns the environment that gives the node in this folder a settable clock, which is right at first.
pub fn variables(folder: &Path) -> [(&'static str, String); 4] {
    set(folder, "+0");
    [
        ("LD_PRELOAD", library().display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", folder.join("clock").display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_clocks_break_no_promise() {
    let cluster = Cluster::start(Setup { clocks: true, ..Setup::default() }).await;
    let clocks = |offsets: [&str; 2]| {
        for (node, offset) in cluster.nodes[1..].iter().zip(offsets) {
            node.set_clock(offset);
        }
    };
    clocks(["+30m", "-30m"]);
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 10).await;
    load.run_for(1.0).await;
    // Clocks jump forward, then far back, then to the right time.
    for offsets in [["+2h", "-2h"], ["-2h", "+2h"], ["+0", "+0"]] {
        clocks(offsets);
        load.run_for(2.0).await;
    }
    clocks(["+1h", "+0"]);
    let outcome = load.finish().await;
    for revocation in &outcome.revocations {
        assert_eq!((revocation.acknowledged, &revocation.waited_out[..]), (3, &[][..]), "{revocation:?}");
    }
    assert_ne!(date_of(&cluster, 0).await, date_of(&cluster, 1).await, "libfaketime does not work here");

    // Shared limits use one clock as well. On a busy machine Redis may exceed its timeout; the node then counts alone,
    // so this is tried several times.
    let mut allowed = [0; 3];
    for _ in 0..5 {
        let limited = Limited::new(&cluster, r#""rate_limit":{"limit":30,"window_seconds":3600}"#).await;
        allowed = [limited.ask(0, 30).await, limited.ask(1, 30).await, limited.ask(2, 30).await];
        if allowed == [30, 0, 0] {
            return;
        }
    }
    panic!("the nodes do not share the limit: {allowed:?}");
}

/// Reads the hour of the node's clock from the creation time of a new key.
async fn date_of(cluster: &Cluster, node: usize) -> String {
    let mut connection =
        crate::served::Connection::open(cluster.nodes[node].address).await.expect("the server listens");
    let cookie = format!("Cookie: session={}", cluster.account.session);
    let made = connection.call("POST", "/v1/auth/api-keys", &[&cookie], r#"{"name":"what time is it"}"#).await;
    let made = made.expect("an answer").json(201);
    made["created_at"].as_str().expect("a time")[..13].to_owned()
}
