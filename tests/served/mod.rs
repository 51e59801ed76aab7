//! The built program in a folder of its own, and a minimal HTTP client: one connection with one request after the
//! other, so that a test knows the order of its requests.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A server process, killed on drop.
pub struct Server {
    pub address: SocketAddr,
    child: Child,
}

#[allow(dead_code, reason = "each program that includes this file uses what it needs")]
impl Server {
    /// Starts the program and waits until it prints its address.
    pub fn start(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_program(&program(), folder, arguments, environment)
    }

    /// Starts another build of the program.
    pub fn start_program(program: &OsStr, folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).expect("a log file");
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log);
        Self::wait(command, &folder.join("log"))
    }

    /// Starts any program that prints its listening address after `http://`.
    pub fn wait(mut command: Command, log: &Path) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut output = String::new();
        let mut stdout = io::BufReader::new(child.stdout.take().expect("a pipe"));
        let address = loop {
            let before = output.len();
            if io::BufRead::read_line(&mut stdout, &mut output).unwrap_or(0) == 0 {
                let status = child.wait();
                let log = std::fs::read_to_string(log).unwrap_or_default();
                panic!("the server ended with {status:?}\n{output}\n{log}");
            }
            if let Some((_, address)) = output[before..].split_once("http://") {
                break address.trim().parse().expect("an address");
            }
        };
        Self { address, child }
    }

    /// The process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL and waits until the process has ended.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process has ended");
    }

    /// Sends the process a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Stops the server with SIGTERM, as a service manager does, so that it saves the data that it holds in memory.
    pub fn stop(mut self) {
        self.signal("TERM");
        let status = self.child.wait().expect("the process ends");
        assert!(status.success(), "{status}");
    }

    pub async fn connect(&self) -> io::Result<Connection> {
        Connection::open(self.address).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program that `LATCHKEY_BINARY` names; by default the one of this build.
pub fn program() -> OsString {
    std::env::var_os("LATCHKEY_BINARY").unwrap_or(env!("CARGO_BIN_EXE_latchkey").into())
}

/// Sends a process a signal, such as `TERM`.
#[allow(dead_code, reason = "each program that includes this file uses what it needs")]
pub fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &process.to_string()]).status().expect("kill runs");
    assert!(sent.success(), "{name} to {process}");
}

/// A free port below the kernel's ephemeral range, so that no outgoing connection takes it before the test's server
/// listens there.
#[allow(dead_code, reason = "each program that includes this file uses what it needs")]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 100).expect("below 100") * 100;
    (0..10_000)
        .map(|_| 15_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("a free port")
}

/// A response: status, head and body.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

#[allow(dead_code, reason = "each program that includes this file uses what it needs")]
impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON. Panics unless the status is the expected one.
    #[track_caller]
    pub fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}{}", self.head, self.text());
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A connection that sends one request at a time.
pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

#[allow(dead_code, reason = "each program that includes this file uses what it needs")]
impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        Self::new(TcpStream::connect(address).await?)
    }

    /// Opens a connection from this client address; on Linux, all of 127.0.0.0/8 is this machine.
    pub async fn open_from(client: Ipv4Addr, address: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((client, 0).into())?;
        Self::new(socket.connect(address).await?)
    }

    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request; headers are lines without CRLF.
    pub async fn call(&mut self, method: &str, path: &str, headers: &[&str], body: &str) -> io::Result<Answer> {
        self.send(&request(method, path, headers, body)).await
    }

    /// Sends serialised request bytes and reads the whole response; returns its status.
    pub async fn status(&mut self, request: &[u8]) -> io::Result<u16> {
        self.exchange(request).await?;
        let status = std::str::from_utf8(&self.read[9..12]).ok().and_then(|status| status.parse().ok());
        status.ok_or(io::ErrorKind::InvalidData.into())
    }

    /// Sends serialised request bytes and reads the whole response; returns its raw bytes.
    pub async fn raw(&mut self, request: &[u8]) -> io::Result<&[u8]> {
        self.exchange(request).await?;
        Ok(&self.read)
    }

    /// Sends a request and reads the whole response; returns the offset and the length of its body.
    async fn exchange(&mut self, request: &[u8]) -> io::Result<(usize, usize)> {
        self.stream.write_all(request).await?;
        self.read.clear();
        let (head, length) = loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break (end + 4, BodyLength::of(&self.read[..end]));
            }
            self.read_more().await?;
        };
        while !length.is_reached(&self.read[head..]) {
            self.read_more().await?;
        }
        Ok((head, self.read.len() - head))
    }

    /// Sends serialised request bytes and reads the whole response.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<Answer> {
        let (head, length) = self.exchange(request).await?;
        let text = String::from_utf8_lossy(&self.read[..head]).into_owned();
        let status = text.get(9..12).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Answer { status, head: text, body: self.read[head..head + length].to_vec() })
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Serialises a request.
pub fn request(method: &str, path: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
    if !body.is_empty() {
        text.push_str("Content-Type: application/json\r\n");
    }
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

/// Decides when a body is complete.
enum BodyLength {
    /// The length in bytes; 0 without `Content-Length`, as for a 204.
    Known(usize),
    /// A page, which is streamed while it is rendered. The body is kept with its chunk sizes, because tests read only
    /// the status of pages.
    Chunked,
}

impl BodyLength {
    fn of(head: &[u8]) -> Self {
        let head = std::str::from_utf8(head).expect("headers are text");
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
        if lines.clone().any(|(name, value)| {
            name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked")
        }) {
            return Self::Chunked;
        }
        let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        Self::Known(length.map_or(0, |(_, value)| value.trim().parse().expect("a length")))
    }

    fn is_reached(&self, body: &[u8]) -> bool {
        match self {
            Self::Known(length) => body.len() >= *length,
            Self::Chunked => body == b"0\r\n\r\n" || body.ends_with(b"\r\n0\r\n\r\n"),
        }
    }
}

/// A registered account with its credentials and IDs.
#[allow(dead_code, reason = "each program that includes this file uses what it needs")]
pub struct Account {
    pub session: String,
    pub access_token: String,
    pub organisation: String,
    pub tenant: String,
    pub environment: String,
}

#[allow(dead_code, reason = "each program that includes this file uses what it needs")]
impl Account {
    /// Registers the first account of a new server.
    pub async fn register(connection: &mut Connection) -> Self {
        Self::register_as(connection, "me@example.com").await
    }

    /// Registers an account.
    pub async fn register_as(connection: &mut Connection, email: &str) -> Self {
        let credentials = &format!(r#"{{"email":"{email}","password":"correct horse battery"}}"#);
        let answer = connection.call("POST", "/v1/auth/register", &[], credentials).await.expect("an answer");
        let me = answer.json(201);
        let cookie = answer.header("set-cookie").expect("a cookie");
        let session = cookie.split(['=', ';']).nth(1).expect("a value").to_owned();
        let tokens =
            connection.call("POST", "/api/v1/auth/login", &[], credentials).await.expect("an answer").json(200);
        let text = |value: &Value, pointer: &str| {
            value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer}: {value}")).to_owned()
        };
        let environments = me["organisations"][0]["environments"].as_array().expect("environments");
        let live = environments.iter().find(|environment| environment["mode"] == "live").expect("Production");
        Self {
            session,
            access_token: text(&tokens, "/accessToken"),
            organisation: text(&me, "/organisations/0/id"),
            tenant: text(&me, "/organisations/0/tenant_id"),
            environment: text(live, "/id"),
        }
    }

    /// The header that a HookSentry client sends.
    pub fn bearer(&self) -> String {
        format!("Authorization: Bearer {}", self.access_token)
    }
}
