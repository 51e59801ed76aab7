//! Starts the program for these tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::served::{Account, Answer, Connection, Server, program};

pub const PASSWORD: &str = "correct horse battery";

/// A command of the program without the `LATCHKEY_` variables of this process.
pub fn latchkey(folder: &Path) -> Command {
    wrapped(folder, &[])
}

/// Like `latchkey`, started by another program, such as `prlimit`.
pub fn wrapped(folder: &Path, wrapper: &[&str]) -> Command {
    let mut command = match wrapper.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program());
            command
        }
        None => Command::new(program()),
    };
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LATCHKEY_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must end within 30 s; returns its exit code and its standard error.
pub fn refusal(command: &mut Command) -> (Option<i32>, String) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let began = Instant::now();
    while child.try_wait().expect("a status").is_none() {
        if began.elapsed() > Duration::from_secs(30) {
            child.kill().expect("the process can be killed");
            panic!("still running after 30 s: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("the process has ended");
    (output.status.code(), text(&output.stderr))
}

/// Starts a server that logs to a file in the folder.
pub fn serve(folder: &Path, command: &mut Command) -> Server {
    let log = std::fs::File::options().create(true).append(true).open(log_file(folder)).expect("a log file");
    let mut own = std::mem::replace(command, Command::new("true"));
    own.stderr(log);
    Server::wait(own, &log_file(folder))
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("log")
}

pub fn log(folder: &Path) -> String {
    std::fs::read_to_string(log_file(folder)).unwrap_or_default()
}

/// Starts a server and registers its first account.
pub async fn server_with_account(folder: &Path, command: &mut Command) -> (Server, Connection, Account) {
    let server = serve(folder, command);
    let mut connection = server.connect().await.expect("the server listens");
    let account = Account::register(&mut connection).await;
    (server, connection, account)
}

pub async fn call(connection: &mut Connection, account: &Account, method: &str, path: &str, body: &str) -> Answer {
    let cookie = format!("Cookie: session={}", account.session);
    connection.call(method, path, &[&cookie], body).await.expect("an answer")
}

/// Polls until the result is `Some`, for at most 30 s.
pub async fn until<T>(mut poll: impl AsyncFnMut() -> Option<T>, what: &str) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = poll().await {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until `/readyz` has this status; returns its body.
pub async fn ready_is(connection: &mut Connection, status: u16) -> String {
    until(
        async || {
            let answer = connection.call("GET", "/readyz", &[], "").await.expect("an answer");
            (answer.status == status).then(|| answer.text())
        },
        &format!("/readyz is {status}"),
    )
    .await
}
