//! A TCP proxy that simulates network faults: delayed or blocked bytes, and cut connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The state of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Whole,
    /// Each piece is delayed by this time.
    Slow(Duration),
    /// Both directions are blocked, as if all packets were dropped. Bytes that were sent meanwhile arrive when the
    /// network is whole again, like TCP retransmissions.
    Blocked,
    /// Only the direction to the client is blocked; the server still gets every request.
    RepliesBlocked,
    /// Only the direction to the client is blocked, and only on connections that sent `LISTEN`: PostgreSQL's
    /// notifications do not arrive.
    NotificationsBlocked,
    /// Both directions are blocked, but only on connections that renewed the node's lease; its reads for checks work.
    RenewalsBlocked,
    /// Existing connections are dead without an error; new ones work.
    DeadConnections,
    /// Every connection is cut, and new ones are refused.
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// A running proxy, stopped on drop.
pub struct Proxy {
    pub address: SocketAddr,
    network: Arc<watch::Sender<Network>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let network = Arc::new(watch::Sender::new(Network::Whole));
        let state = Arc::clone(&network);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *state.borrow() != Network::Cut {
                    tokio::spawn(connect(client, server, state.subscribe()));
                }
            }
        });
        Self { address, network, accepting }
    }

    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(Network::Cut);
    }
}

struct Connection {
    /// Whether the connection was opened while the older ones were dead.
    is_new: bool,
    /// Whether the client has sent `LISTEN`.
    listens: AtomicBool,
    /// Whether the client has renewed a lease.
    renews: AtomicBool,
}

async fn connect(client: TcpStream, server: SocketAddr, network: watch::Receiver<Network>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let connection = Connection {
        is_new: *network.borrow() == Network::DeadConnections,
        listens: AtomicBool::new(false),
        renews: AtomicBool::new(false),
    };
    let mut cut = network.clone();
    tokio::select! {
        _ = cut.wait_for(|network| *network == Network::Cut) => {}
        () = forward(from_client, to_server, Direction::ToServer, network.clone(), &connection) => {}
        () = forward(from_server, to_client, Direction::ToClient, network, &connection) => {}
    }
}

/// Forwards one direction until a side closes the connection.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    mut network: watch::Receiver<Network>,
    connection: &Connection,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        let piece = &buffer[..length];
        let contains =
            |word: &[u8]| direction == Direction::ToServer && piece.windows(word.len()).any(|part| part == word);
        if contains(b"LISTEN ") {
            connection.listens.store(true, Ordering::SeqCst);
        }
        if contains(b"UPDATE nodes SET renewals") {
            connection.renews.store(true, Ordering::SeqCst);
        }
        let is_open = |network: &Network| match network {
            Network::Whole | Network::Slow(_) | Network::Cut => true,
            Network::Blocked => false,
            Network::RepliesBlocked => direction == Direction::ToServer,
            Network::NotificationsBlocked => {
                direction == Direction::ToServer || !connection.listens.load(Ordering::SeqCst)
            }
            Network::RenewalsBlocked => !connection.renews.load(Ordering::SeqCst),
            Network::DeadConnections => connection.is_new,
        };
        let Ok(now) = network.wait_for(is_open).await.map(|network| *network) else { return };
        if let Network::Slow(delay) = now {
            tokio::time::sleep(delay).await;
        }
        if length == 0 || to.write_all(piece).await.is_err() {
            return;
        }
    }
}
