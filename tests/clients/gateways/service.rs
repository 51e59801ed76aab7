//! A fake HTTP server that records its requests: the service behind the gateway, or, with other responses, an
//! authorizer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWriteExt;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request as it arrived.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Method and target, `GET /orders?page=2`.
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    /// Returns the value of a header. Panics if the request has it twice.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice: {self:?}");
        value
    }
}

pub type Answer = fn(&Request) -> String;

pub struct Service {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Service {
    pub async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let requests = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let requests = Arc::clone(&requests);
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(request) = read(&mut stream).await {
                        let answer = answer(&request);
                        requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            break;
                        }
                        if answer.starts_with("HTTP/1.1 101 ") {
                            echo(&mut stream).await;
                            break;
                        }
                    }
                });
            }
        });
        Self { address, seen }
    }

    /// Takes the requests since the last call.
    pub fn seen(&self) -> Vec<Request> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Sends every byte back until the connection ends.
async fn echo(stream: &mut BufReader<TcpStream>) {
    let mut bytes = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut bytes).await
        && stream.write_all(&bytes[..length]).await.is_ok()
    {}
}

/// Reads the next request; returns `None` when the connection is closed.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
    let mut request =
        Request { line: line.rsplit_once(' ').expect("a request line").0.to_owned(), ..Request::default() };
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
        let Some((name, value)) = line.split_once(':') else { break };
        request.headers.push((name.to_owned(), value.trim().to_owned()));
    }
    assert_eq!(request.header("transfer-encoding"), None, "this server reads only bodies with Content-Length");
    let length = request.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    request.body = String::from_utf8(body).expect("text");
    Some(request)
}
