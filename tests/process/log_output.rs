//! Standard error and standard output that cannot be written: full, closed, or a pipe with a stopped reader.

use std::fs::File;
use std::io::{BufRead, BufReader, pipe};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::program::{latchkey, until};
use crate::served::{Connection, Server, free_port};

/// Requests per test; each writes several lines at level `trace`.
const REQUESTS: usize = 400;

fn verbose(folder: &tempfile::TempDir) -> Command {
    let mut command = latchkey(folder.path());
    command.args(["--listen", "127.0.0.1:0"]).env("LATCHKEY_LOG", "trace").env("LATCHKEY_LOG_FORMAT", "json");
    command
}

async fn send_requests(server: &Server, requests: usize) {
    let mut connection = server.connect().await.expect("the server listens");
    for _ in 0..requests {
        let asked = connection.call("GET", "/v1/auth/me", &["Cookie: session=AAAAAAAAAAAAAAAAAAAAAA"], "");
        let answer = tokio::time::timeout(Duration::from_secs(30), asked).await.expect("no answer for 30 s");
        assert_eq!(answer.expect("an answer").status, 401);
    }
    assert_eq!(connection.call("GET", "/healthz", &[], "").await.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_full_log_disk_stops_no_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = verbose(&folder);
    command.stderr(File::options().write(true).open("/dev/full").expect("/dev/full"));
    let server = Server::wait(command, &folder.path().join("log"));
    send_requests(&server, REQUESTS).await;
    server.stop();
}

#[tokio::test]
async fn a_closed_log_pipe_stops_no_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = verbose(&folder);
    let (reader, writer) = pipe().expect("a pipe");
    command.stderr(writer);
    let server = Server::wait(command, &folder.path().join("log"));
    send_requests(&server, 1).await;
    drop(reader);
    send_requests(&server, REQUESTS).await;
    server.stop();
}

/// The reader is stopped by SIGSTOP; the pipe buffers 64 KiB for it.
#[tokio::test]
async fn a_stopped_log_reader_delays_no_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let (reader, writer) = pipe().expect("a pipe");
    let log = File::create(folder.path().join("log")).expect("a log file");
    let mut cat = Command::new("cat").stdin(reader).stdout(log).spawn().expect("cat runs");
    crate::served::signal(cat.id(), "STOP");
    let mut command = verbose(&folder);
    command.stderr(writer);
    let server = Server::wait(command, &folder.path().join("log"));
    send_requests(&server, REQUESTS).await;
    server.stop();
    cat.kill().expect("cat is running");
    cat.wait().expect("the process ends");
}

#[tokio::test]
async fn dropped_lines_are_counted_and_the_count_is_logged_when_the_reader_resumes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = verbose(&folder);
    let (reader, writer) = pipe().expect("a pipe");
    command.stderr(writer);
    let server = Server::wait(command, &folder.path().join("log"));
    // These write more lines than the queue's capacity.
    send_requests(&server, 6000).await;
    let (found, dropped) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut found = Some(found);
        for line in BufReader::new(reader).lines() {
            let line: serde_json::Value = serde_json::from_str(&line.expect("text")).expect("whole lines of JSON");
            if line["message"].as_str().is_some_and(|message| message.contains("log lines were dropped"))
                && let Some(found) = found.take()
            {
                let _ = found.send(line["dropped"].as_u64());
            }
        }
    });
    let dropped = tokio::time::timeout(Duration::from_secs(30), dropped).await.expect("no count for 30 s");
    assert!(dropped.expect("the log continues").is_some_and(|lines| lines > 0));
    server.stop();
}

#[tokio::test]
async fn unwritable_standard_output_does_not_stop_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let (reader, closed) = pipe().expect("a pipe");
    drop(reader);
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    for output in [Stdio::from(full), Stdio::from(closed)] {
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let mut child = latchkey(folder.path())
            .args(["--listen", &listen])
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let address = listen.parse().expect("an address");
        let ready = async || {
            assert!(
                TcpListener::bind(&listen).is_err() || child.try_wait().expect("a status").is_none(),
                "the server ended"
            );
            let mut connection = Connection::open(address).await.ok()?;
            Some(connection.call("GET", "/healthz", &[], "").await.ok()?.status)
        };
        assert_eq!(until(ready, "the server listens").await, 200);
        crate::served::signal(child.id(), "TERM");
        assert_eq!(child.wait().expect("the process ends").code(), Some(0));
    }
}
