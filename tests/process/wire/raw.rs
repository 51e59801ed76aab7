//! A connection that sends raw bytes and reads any HTTP response.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::served::Answer;

/// The server must answer or close the connection within this time, or the test panics.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub async fn open(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.expect("the server listens"), read: Vec::new() }
    }

    /// Opens a connection from this client address; on Linux, all of 127.0.0.0/8 is this machine.
    pub async fn open_from(client: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((client, 0).into()).expect("an address of this machine");
        Self { stream: socket.connect(address).await.expect("the server listens"), read: Vec::new() }
    }

    /// Sends bytes; returns false when the server has closed the connection.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Sends a head with `Expect: 100-continue`, by default for JSON, and waits for the 100: the server has then
    /// checked the head.
    pub async fn begin(&mut self, method: &str, path: &str, headers: &[&str], length: usize) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n");
        let is_json = !headers.iter().any(|header| header.starts_with("Content-Type:"));
        for header in headers.iter().chain(is_json.then_some(&"Content-Type: application/json")) {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.extend(["Content-Length: ", &length.to_string(), "\r\n\r\n"]);
        assert!(self.send(head.as_bytes()).await);
        let interim = self.head().await.expect("the server answers");
        assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
    }

    /// Reads the next response, to a `GET`.
    pub async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await.expect("an answer")
    }

    /// Reads the next response, to a request with this method.
    pub async fn answer_to(&mut self, method: &str) -> io::Result<Answer> {
        let head = self.head().await?;
        let status: u16 = head.get(9..12).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let mut answer = Answer { status, head, body: Vec::new() };
        let length = answer.header("content-length").map(|length| length.parse::<usize>().expect("a length"));
        let has_body = method != "HEAD" && !matches!(status, 204 | 304);
        answer.body = match length {
            _ if !has_body => Vec::new(),
            Some(length) => self.exactly(length).await?,
            None if answer.header("transfer-encoding") == Some("chunked") => {
                let mut body = Vec::new();
                loop {
                    let line = self.until(b"\r\n").await?;
                    let length = usize::from_str_radix(line.trim_end(), 16).expect("the length of a chunk");
                    body.extend(self.exactly(length).await?);
                    self.until(b"\r\n").await?;
                    if length == 0 {
                        break body;
                    }
                }
            }
            None => Vec::new(),
        };
        Ok(answer)
    }

    /// Returns whether the server closes the connection without a further response.
    pub async fn is_closed(&mut self) -> bool {
        self.read.is_empty() && self.read_more().await.is_err()
    }

    async fn head(&mut self) -> io::Result<String> {
        self.until(b"\r\n\r\n").await
    }

    async fn until(&mut self, end: &[u8]) -> io::Result<String> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end) {
                let text = self.read.drain(..at + end.len()).collect();
                return Ok(String::from_utf8(text).expect("text"));
            }
            self.read_more().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < length {
            self.read_more().await?;
        }
        Ok(self.read.drain(..length).collect())
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match tokio::time::timeout(ANSWER_TIMEOUT, self.stream.read_buf(&mut self.read)).await {
            Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(elapsed) => panic!("no response, and the connection is still open: {elapsed}"),
        }
    }
}
