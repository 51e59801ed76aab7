//! A client that keeps one connection to each node, and gives up in the end.

use std::net::SocketAddr;
use std::time::Duration;

use crate::served::{Answer, Connection};

/// Longer than anything that is promised takes.
const GIVE_UP: Duration = Duration::from_secs(20);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Nobody accepts.
    Refused,
    /// The connection ended before the answer.
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

    /// Sends a request that is written out already; once, whatever becomes of it.
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
        tokio::time::timeout(GIVE_UP, asked).await.unwrap_or(Err(Lost::TimedOut))
    }
}
