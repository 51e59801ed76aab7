//! A client with one connection to each node and a timeout.

use std::net::SocketAddr;
use std::time::Duration;

use crate::served::{Answer, Connection};

/// The timeout of a request, longer than any promised response time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// The reason for a missing response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The connection was refused.
    Refused,
    /// The connection ended before the response.
    Closed,
    TimedOut,
}

pub struct Client {
    addresses: Vec<SocketAddr>,
    connections: Vec<Option<Connection>>,
}

impl Client {
    pub fn new(addresses: &[SocketAddr]) -> Self {
        Self { addresses: addresses.to_vec(), connections: addresses.iter().map(|_| None).collect() }
    }

    /// Sends serialised request bytes once, without a retry.
    pub async fn call(&mut self, node: usize, request: &[u8]) -> Result<Answer, Lost> {
        let asked = async {
            let mut connection = match self.connections[node].take() {
                Some(connection) => connection,
                None => Connection::open(self.addresses[node]).await.map_err(|_| Lost::Refused)?,
            };
            let answer = connection.send(request).await.map_err(|_| Lost::Closed)?;
            if !answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                self.connections[node] = Some(connection);
            }
            Ok(answer)
        };
        tokio::time::timeout(ANSWER_TIMEOUT, asked).await.unwrap_or(Err(Lost::TimedOut))
    }
}
