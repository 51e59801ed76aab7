//! The built program: its commands and exit codes, its start and stop, and its behaviour on real connections.

mod accounts;
mod commands;
mod connections;
mod end;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const PASSWORD: &str = "correct horse battery";

fn latchkey() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LATCHKEY_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    latchkey().args(arguments).output().expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server on a free port; killed on drop.
struct Server {
    child: Child,
    address: String,
    output: BufReader<std::process::ChildStdout>,
    log: PathBuf,
}

/// A response: status, head and body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn cookie(&self) -> String {
        let line =
            self.head.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie: ")).expect("a cookie");
        line["set-cookie: ".len()..].split(';').next().expect("a name and value").to_owned()
    }
}

fn database(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("latchkey.db").display())
}

impl Server {
    fn start(database: &str, folder: &Path, arguments: &[&str]) -> Self {
        let log = folder.join(format!("log-{}", std::fs::read_dir(folder).expect("a folder").count()));
        let mut child = latchkey()
            .args(["--listen", "127.0.0.1:0", "--database-url", database])
            .args(arguments)
            .env("LATCHKEY_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().expect("its standard output"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let address = line
            .trim()
            .rsplit_once("http://")
            .unwrap_or_else(|| panic!("{line}: {}", std::fs::read_to_string(&log).unwrap_or_default()));
        Self { child, address: address.1.to_owned(), output, log }
    }

    fn connect(&self) -> TcpStream {
        let port = self.address.rsplit_once(':').expect("a port").1;
        TcpStream::connect(format!("127.0.0.1:{port}")).expect("the server accepts")
    }

    /// Sends one request on a connection of its own.
    fn call(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request(method, path, headers, body).as_bytes()).expect("the server reads");
        read(&mut stream)
    }

    fn register(&self, email: &str) -> Answer {
        let body = format!(r#"{{"email": "{email}", "password": "{PASSWORD}"}}"#);
        self.call("POST", "/v1/auth/register", "", &body)
    }

    fn log_in(&self, email: &str, password: &str) -> Answer {
        self.call("POST", "/v1/auth/login", "", &format!(r#"{{"email": "{email}", "password": "{password}"}}"#))
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Sends a signal and waits; returns the exit code, `None` after SIGKILL.
    fn end(mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        self.child.wait().expect("the process ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{kind}content-length: {length}\r\n{headers}\r\n{body}"
    )
}

fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A server that refuses a request before it has read all of it may reset the connection after its answer.
    let _ = stream.read_to_end(&mut bytes);
    let answer = text(&bytes);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn key_of(server: &Server, cookie: &str) -> String {
    let answer = server.call("POST", "/v1/auth/api-keys", &format!("cookie: {cookie}\r\n"), r#"{"name": "key"}"#);
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.json()["key"].as_str().expect("a key").to_owned()
}

fn whoami(server: &Server, key: &str) -> u16 {
    server.call("GET", "/v1/whoami", &format!("x-api-key: {key}\r\n"), "").status
}

fn counted(server: &Server, cookie: &str) -> serde_json::Value {
    let answer = server.call("GET", "/v1/auth/api-keys", &format!("cookie: {cookie}\r\n"), "");
    answer.json()["api_keys"][0]["request_count"].clone()
}
