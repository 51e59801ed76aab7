//! Nodes whose clocks are wrong, and jump (libfaketime: the wall clock alone, as when somebody sets it).

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

/// Sets the clock of the node that has this folder.
pub fn set(folder: &Path, offset: &str) {
    let clock = folder.join("clock");
    let new = clock.with_extension("new");
    fs::write(&new, offset).expect("it can be written");
    fs::rename(new, clock).expect("it can be replaced");
}

/// Makes the node that has this folder go by a clock that can be set, and sets it right.
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
            node.clock_is(offset);
        }
    };
    clocks(["+30m", "-30m"]);
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 10).await;
    load.go_on(1.0).await;
    // Forward, far back, and right at last.
    for offsets in [["+2h", "-2h"], ["-2h", "+2h"], ["+0", "+0"]] {
        clocks(offsets);
        load.go_on(2.0).await;
    }
    clocks(["+1h", "+0"]);
    let outcome = load.finish().await;
    for revocation in &outcome.revocations {
        assert_eq!((revocation.acknowledged, &revocation.waited_out[..]), (3, &[][..]), "{revocation:?}");
    }
    assert_ne!(date_of(&cluster, 0).await, date_of(&cluster, 1).await, "libfaketime does not work here");

    // Shared limits are counted by one clock, too.
    // On a busy machine Redis may take longer than a node waits for it; that node then counts by itself.
    let mut allowed = [0; 3];
    for _ in 0..5 {
        let limited = Limited::new(&cluster, r#""rate_limit":{"limit":30,"window_seconds":3600}"#).await;
        allowed = [limited.ask(0, 30).await, limited.ask(1, 30).await, limited.ask(2, 30).await];
        if allowed == [30, 0, 0] {
            return;
        }
    }
    panic!("{allowed:?}");
}

/// The hour of the node's clock: when it says that it made a key.
async fn date_of(cluster: &Cluster, node: usize) -> String {
    let mut connection = crate::served::Connection::open(cluster.nodes[node].address).await.expect("it listens");
    let cookie = format!("Cookie: session={}", cluster.account.session);
    let made = connection.call("POST", "/v1/auth/api-keys", &[&cookie], r#"{"name":"what time is it"}"#).await;
    let made = made.expect("an answer").json(201);
    made["created_at"].as_str().expect("a time")[..13].to_owned()
}
