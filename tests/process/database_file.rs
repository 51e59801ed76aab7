//! A database file that is read-only, missing, moved, replaced, linked or locked.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::future::join_all;

use crate::program::{PASSWORD, call, latchkey, log, ready_is, refusal, serve, server_with_account, text, wrapped};
use crate::served::{Connection, Server};

fn server_command(folder: &Path) -> Command {
    let mut command = latchkey(folder);
    command.args(["--listen", "127.0.0.1:0"]);
    command
}

/// Runs the program as an unprivileged user, because file permissions do not apply to root.
fn as_unprivileged_user(folder: &Path) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("a folder for all");
        chown(folder, Some(65_534), Some(65_534)).expect("the owner is changed");
        for entry in fs::read_dir(folder).expect("the folder") {
            chown(entry.expect("an entry").path(), Some(65_534), Some(65_534)).expect("the owner is changed");
        }
        wrapped(folder, &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    } else {
        latchkey(folder)
    };
    command.args(["--listen", "127.0.0.1:0"]);
    command
}

#[tokio::test]
async fn a_read_only_file_is_refused_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    serve(folder.path(), &mut server_command(folder.path())).stop();
    let file = folder.path().join("latchkey.db");
    let mut command = as_unprivileged_user(folder.path());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).expect("the file is read-only");
    let (code, said) = refusal(&mut command);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("latchkey.db cannot be opened for reading and writing: Permission denied"), "{said}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("the file is writable");
    serve(folder.path(), &mut as_unprivileged_user(folder.path())).stop();
}

/// No file may grow: SQLite's writes fail as on a full disk.
#[tokio::test]
async fn a_database_that_rejects_writes_is_not_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    // With SIGXFSZ ignored, the write fails instead of ending the process.
    let mut command = wrapped(folder.path(), &["sh", "-c", r#"trap '' XFSZ; exec "$0" "$@""#]);
    let server = serve(folder.path(), command.args(["--listen", "127.0.0.1:0"]));
    let limit = |bytes: &str| {
        let process = server.id().to_string();
        let set = Command::new("prlimit").args(["--pid", &process, &format!("--fsize={bytes}:unlimited")]).status();
        assert!(set.expect("prlimit runs").success());
    };
    let mut connection = server.connect().await.expect("the server listens");
    assert_eq!(ready_is(&mut connection, 200).await, r#"{"status":"ready"}"#);
    limit("1");
    let said = ready_is(&mut connection, 503).await;
    assert!(said.contains("disk of the database is full") || said.contains("cannot be read or written"), "{said}");
    assert!(!said.contains(&folder.path().display().to_string()), "{said}");
    assert_eq!(connection.call("GET", "/healthz", &[], "").await.expect("an answer").status, 200);
    limit("unlimited");
    ready_is(&mut connection, 200).await;
    server.stop();
}

#[tokio::test]
async fn a_moved_or_replaced_database_file_rejects_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, mut connection, account) =
        server_with_account(folder.path(), &mut server_command(folder.path())).await;
    let [file, away] = ["latchkey.db", "away.db"].map(|name| folder.path().join(name));
    fs::rename(&file, &away).expect("the file is moved");
    for replace in [false, true] {
        if replace {
            fs::copy(&away, &file).expect("the file is replaced");
        }
        let said = ready_is(&mut connection, 503).await;
        assert!(said.contains("The database file was moved, deleted or replaced."), "{said}");
        let made = call(&mut connection, &account, "POST", "/v1/auth/api-keys", r#"{"name":"lost"}"#).await;
        assert_eq!(made.status, 503, "{}", made.text());
    }
    fs::rename(&away, &file).expect("the file is back");
    ready_is(&mut connection, 200).await;
    call(&mut connection, &account, "POST", "/v1/auth/api-keys", r#"{"name":"kept"}"#).await.json(201);
    server.stop();
    let log = log(folder.path());
    assert!(log.contains("the database file was moved"), "{log}");
    assert!(log.contains("not ready: the database accepts no writes"), "{log}");
    assert!(log.contains("the database file is back"), "{log}");
}

/// A connection that was opened to the replacement file would keep reading it after the original file is back.
#[tokio::test]
async fn a_replacement_of_the_database_file_is_never_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, mut connection, account) =
        server_with_account(folder.path(), &mut server_command(folder.path())).await;
    let [file, away, other] = ["latchkey.db", "away.db", "other.db"].map(|name| folder.path().join(name));
    let made = call(&mut connection, &account, "POST", "/v1/auth/api-keys", r#"{"name":"key"}"#).await.json(201);
    let [id, key] = ["id", "key"].map(|field| made[field].as_str().expect("a text").to_owned());
    let path = format!("/v1/keys/{id}");
    let mut readers = Vec::new();
    for _ in 0..16 {
        readers.push(server.connect().await.expect("the server listens"));
    }
    let read = async |readers: &mut Vec<Connection>| {
        join_all(readers.iter_mut().map(|reader| call(reader, &account, "GET", &path, ""))).await
    };
    // Wait for a checkpoint, so that the copied file has the key; the WAL is not copied.
    tokio::time::sleep(Duration::from_secs(1)).await;
    fs::rename(&file, &away).expect("the file is moved");
    fs::copy(&away, &file).expect("the file is replaced");
    ready_is(&mut connection, 503).await;
    for _ in 0..20 {
        read(&mut readers).await;
    }
    fs::rename(&file, &other).expect("the file is moved");
    fs::rename(&away, &file).expect("the original file is back");
    ready_is(&mut connection, 200).await;
    call(&mut connection, &account, "POST", &format!("{path}/revoke"), "").await.json(200);
    // Wait until a checkpoint moves the revocation from the WAL, which every connection reads, to the database file.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for _ in 0..20 {
        for answer in read(&mut readers).await {
            assert_eq!(answer.json(200)["state"], "revoked");
        }
        let whoami =
            connection.call("GET", "/v1/whoami", &[&format!("X-API-Key: {key}")], "").await.expect("an answer");
        assert_eq!(whoami.status, 401);
    }
    server.stop();
}

#[test]
fn a_missing_database_file_with_a_leftover_wal_journal_or_lock_is_refused() {
    for left in ["latchkey.db-wal", "latchkey.db-journal", "latchkey.db.lock"] {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(left), "").expect("a file");
        for command in [&["--listen", "127.0.0.1:0"][..], &["migrate"]] {
            let (code, said) = refusal(latchkey(folder.path()).args(command));
            assert_eq!(code, Some(1), "{left}: {said}");
            assert!(said.contains("latchkey.db is missing") && said.contains(left), "{said}");
        }
        assert!(!folder.path().join("latchkey.db").exists());
    }
}

#[test]
fn an_error_about_a_path_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("folder.db")).expect("a folder");
    fs::write(folder.path().join("text.db"), "no database, but longer than its header would be ".repeat(9))
        .expect("a file");
    for (path, reason) in [
        ("no/such/folder/x.db", "No such file or directory"),
        ("folder.db", "Is a directory"),
        ("text.db", "not a database"),
        ("text.db/x.db", "Not a directory"),
    ] {
        for command in [&["--listen", "127.0.0.1:0"][..], &["migrate"], &["user", "add", "a@example.com"]] {
            let url = format!("sqlite:{path}");
            let (code, said) = refusal(latchkey(folder.path()).args(command).args(["--database-url", &url]));
            assert_eq!(code, Some(1), "{said}");
            // `user add` creates no database file, so it reports a missing one.
            let is_missing = command[0] == "user" && said.contains("there is no database file");
            assert!(said.contains(path) && (said.contains(reason) || is_missing), "{command:?}: {said}");
        }
    }
}

fn user(folder: &Path, command: &str, password: &str) -> (Option<i32>, String) {
    let mut child = latchkey(folder)
        .args(["user", command, "me@example.com"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // The process may have ended before it read its input.
    let _ = std::io::Write::write_all(&mut child.stdin.take().expect("its standard input"), password.as_bytes());
    let output = child.wait_with_output().expect("the process ends");
    (output.status.code(), text(&output.stderr))
}

/// Runs a command that must succeed; returns the event of the only line in its log.
fn user_in_log(folder: &Path, command: &str, password: &str) -> String {
    let (code, log) = user(folder, command, password);
    assert_eq!(code, Some(0), "{log}");
    let line: serde_json::Value = serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}"));
    line["event"].as_str().expect("an event").to_owned()
}

#[test]
fn account_commands_create_no_database() {
    let folder = tempfile::tempdir().expect("a folder");
    for command in ["add", "reset-password"] {
        let (code, said) = user(folder.path(), command, PASSWORD);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("there is no database file latchkey.db: `latchkey migrate` makes one"), "{said}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0);
    assert!(latchkey(folder.path()).arg("migrate").stdout(Stdio::null()).status().expect("the program runs").success());
    assert_eq!(user_in_log(folder.path(), "add", PASSWORD), "account.added");
}

fn assert_served_already(folder: &Path, name: &str) {
    let url = format!("sqlite:{name}");
    let (code, said) = refusal(latchkey(folder).args(["--listen", "127.0.0.1:0", "--database-url", &url]));
    assert_eq!(code, Some(1), "{name}: {said}");
    assert!(said.contains("is served by another process"), "{name}: {said}");
}

#[tokio::test]
async fn links_and_a_removed_lock_file_admit_no_second_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, mut connection, account) =
        server_with_account(folder.path(), &mut server_command(folder.path())).await;
    let path = |name: &str| folder.path().join(name);
    fs::hard_link(path("latchkey.db"), path("hard.db")).expect("a link");
    std::os::unix::fs::symlink("latchkey.db", path("symbolic.db")).expect("a link");
    fs::remove_file(path("latchkey.db.lock")).expect("the file is removed");
    for name in ["latchkey.db", "hard.db", "symbolic.db"] {
        assert_served_already(folder.path(), name);
    }
    assert!(!path("hard.db-wal").exists(), "SQLite did not open the file under its other name");
    let (code, said) = refusal(latchkey(folder.path()).args(["migrate", "--database-url", "sqlite:hard.db"]));
    assert_eq!(code, Some(1), "{said}");
    fs::remove_file(path("hard.db")).expect("the file is removed");
    call(&mut connection, &account, "POST", "/v1/auth/api-keys", r#"{"name":"key"}"#).await.json(201);
    server.stop();
    serve(folder.path(), &mut server_command(folder.path())).stop();
}

async fn me(connection: &mut Connection, session: &str) -> u16 {
    let cookie = format!("Cookie: session={session}");
    connection.call("GET", "/v1/auth/me", &[&cookie], "").await.expect("an answer").status
}

async fn log_in(server: &Server, password: &str) -> String {
    let mut connection = server.connect().await.expect("the server listens");
    let body = format!(r#"{{"email":"me@example.com","password":"{password}"}}"#);
    let answer = connection.call("POST", "/v1/auth/login", &[], &body).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("set-cookie").expect("a cookie").split(['=', ';']).nth(1).expect("a value").to_owned()
}

#[tokio::test]
async fn a_password_reset_by_command_ends_the_sessions_of_a_running_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, mut connection, account) =
        server_with_account(folder.path(), &mut server_command(folder.path())).await;
    let mut session = account.session;
    for round in 0..3 {
        assert_eq!(me(&mut connection, &session).await, 200);
        let password = format!("another password {round}");
        assert_eq!(user_in_log(folder.path(), "reset-password", &password), "account.password_reset");
        assert_eq!(me(&mut connection, &session).await, 401, "its sessions have ended");
        session = log_in(&server, &password).await;
    }
    server.stop();
}
