//! Signals and resource limits of the process.

use crate::program::{call, latchkey, log, serve, server_with_account, wrapped};

#[tokio::test]
async fn sighup_is_ignored_and_loses_no_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = latchkey(folder.path());
    let (server, mut connection, account) =
        server_with_account(folder.path(), command.args(["--listen", "127.0.0.1:0"])).await;
    let key = call(&mut connection, &account, "POST", "/v1/auth/api-keys", r#"{"name":"key"}"#).await.json(201);
    let header = format!("X-API-Key: {}", key["key"].as_str().expect("a key"));
    for _ in 0..20 {
        let answer = connection.call("GET", "/v1/whoami", &[&header], "").await.expect("an answer");
        assert_eq!(answer.status, 200);
        server.signal("HUP");
    }
    let list = call(&mut connection, &account, "GET", "/v1/auth/api-keys", "").await.json(200);
    assert_eq!(list["api_keys"][0]["request_count"], 20);
    server.stop();
    assert!(log(folder.path()).contains("SIGHUP is ignored"), "{}", log(folder.path()));
}

#[tokio::test]
async fn the_open_file_limit_is_raised_and_a_shortfall_is_logged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = wrapped(folder.path(), &["prlimit", "--nofile=256:1128"]);
    let server = serve(folder.path(), command.args(["--listen", "127.0.0.1:0", "--max-connections", "5000"]));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).expect("its limits");
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).expect("the limit");
    let numbers: Vec<&str> = open_files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["1128", "1128"]);
    // More connections than the initial soft limit, fewer than the hard limit.
    let mut connections = Vec::new();
    for _ in 0..500 {
        let mut connection = server.connect().await.expect("a connection");
        assert_eq!(connection.call("GET", "/healthz", &[], "").await.expect("an answer").status, 200);
        connections.push(connection);
    }
    drop(connections);
    server.stop();
    let log = log(folder.path());
    assert!(log.contains("the limit of open files is too low for --max-connections"), "{log}");
    assert!(log.contains(r#""fitting":1000"#), "{log}");
}

#[tokio::test]
async fn a_sufficient_open_file_limit_is_not_logged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = latchkey(folder.path());
    let server = serve(folder.path(), command.args(["--listen", "127.0.0.1:0", "--max-connections", "100"]));
    server.stop();
    assert!(!log(folder.path()).contains("open files"), "{}", log(folder.path()));
}
