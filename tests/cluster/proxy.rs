//! A stretch of network that can be broken: it forwards TCP connections, late, or not at all.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Whole,
    /// Every piece comes so much later.
    Slow(Duration),
    /// Nothing arrives on either side, as where all packets are dropped; what was sent meanwhile arrives when
    /// it is whole again, as TCP sends it anew.
    Silent,
    /// The same in the direction to the client alone: the server hears everything.
    Mute,
    /// The same on connections alone on which the client has said `LISTEN`, and only to the client: PostgreSQL's
    /// notifications do not arrive.
    Deaf,
    /// The same in both directions on connections alone by which the node has renewed its lease: what it reads for
    /// checks goes on.
    Leaseless,
    /// Nothing is ever heard again on the connections that there are; new ones work.
    Amnesic,
    /// Every connection is cut, and none is made.
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// Ends when it is dropped.
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

    pub fn make(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.make(Network::Cut);
    }
}

struct Connection {
    /// Made when the network had forgotten the others.
    is_new: bool,
    /// Whether its client waits for notifications.
    listens: AtomicBool,
    /// Whether its client has renewed a lease.
    renews: AtomicBool,
}

async fn connect(client: TcpStream, server: SocketAddr, network: watch::Receiver<Network>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let connection = Connection {
        is_new: *network.borrow() == Network::Amnesic,
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

/// Forwards until one side has closed.
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
        let says = |word: &[u8]| direction == Direction::ToServer && piece.windows(word.len()).any(|part| part == word);
        if says(b"LISTEN ") {
            connection.listens.store(true, Ordering::SeqCst);
        }
        if says(b"UPDATE nodes SET renewals") {
            connection.renews.store(true, Ordering::SeqCst);
        }
        let passes = |network: &Network| match network {
            Network::Whole | Network::Slow(_) | Network::Cut => true,
            Network::Silent => false,
            Network::Mute => direction == Direction::ToServer,
            Network::Deaf => direction == Direction::ToServer || !connection.listens.load(Ordering::SeqCst),
            Network::Leaseless => !connection.renews.load(Ordering::SeqCst),
            Network::Amnesic => connection.is_new,
        };
        let Ok(now) = network.wait_for(passes).await.map(|network| *network) else { return };
        if let Network::Slow(by) = now {
            tokio::time::sleep(by).await;
        }
        if length == 0 || to.write_all(piece).await.is_err() {
            return;
        }
    }
}
