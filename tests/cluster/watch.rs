//! The hang detector: every server that the test has not stopped, frozen or killed must answer `/healthz` within 3 s,
//! under any fault.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// A server, and whether it should answer at the moment.
#[derive(Debug)]
pub struct Liveness {
    name: String,
    address: SocketAddr,
    /// The number of starts and stops; odd while the server is stopped.
    transitions: AtomicU64,
}

impl Liveness {
    pub fn stopped(name: &str, address: SocketAddr) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), address, transitions: AtomicU64::new(1) })
    }

    pub fn set_running(&self, running: bool) {
        let transitions = self.transitions.load(Ordering::SeqCst);
        if transitions.is_multiple_of(2) != running {
            self.transitions.store(transitions + 1, Ordering::SeqCst);
        }
    }

    /// Requests `/healthz`; returns whether the server failed to answer although it was running all the time.
    fn hangs(&self) -> bool {
        let before = self.transitions.load(Ordering::SeqCst);
        let should_answer = before.is_multiple_of(2);
        should_answer && healthz(self.address).is_err() && self.transitions.load(Ordering::SeqCst) == before
    }
}

/// Polls from its own threads, so that a busy test runtime does not delay it.
pub struct Watch {
    is_over: Arc<AtomicBool>,
    found: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    pub fn start(servers: impl IntoIterator<Item = Arc<Liveness>>) -> Self {
        let (is_over, found) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let began = Instant::now();
        let watch = |server: Arc<Liveness>| {
            let (is_over, found) = (Arc::clone(&is_over), Arc::clone(&found));
            thread::spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    let asked = began.elapsed().as_secs_f64();
                    if server.hangs() {
                        let hang =
                            format!("{} did not answer /healthz within 3 s, requested at {asked:.1} s", server.name);
                        println!("HANG: {hang}");
                        found.lock().unwrap_or_else(PoisonError::into_inner).push(hang);
                    }
                    thread::sleep(POLL_INTERVAL);
                }
            })
        };
        let threads = servers.into_iter().map(watch).collect();
        Self { is_over, found, threads }
    }

    /// Stops the detector; returns the hangs that it has found.
    pub fn stop(self) -> Vec<String> {
        self.is_over.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("the thread does not panic");
        }
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn healthz(address: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&address, left())?;
    stream.set_write_timeout(Some(left()))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    stream.set_read_timeout(Some(left()))?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    if status.ends_with(b" 200") { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

#[test]
fn a_hanging_server_is_reported_and_a_stopped_one_is_not() {
    let answering = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = answering.local_addr().expect("an address");
    let (is_over, hangs) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let server = thread::spawn({
        let (is_over, hangs) = (Arc::clone(&is_over), Arc::clone(&hangs));
        move || {
            let mut kept = Vec::new();
            while !is_over.load(Ordering::SeqCst) {
                let (mut stream, _) = answering.accept().expect("a connection");
                if !hangs.load(Ordering::SeqCst) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
                kept.push(stream);
            }
        }
    });
    let liveness = Liveness::stopped("one", address);
    assert!(!liveness.hangs(), "a stopped server need not answer");
    liveness.set_running(true);
    assert!(!liveness.hangs());
    hangs.store(true, Ordering::SeqCst);
    assert!(liveness.hangs());
    liveness.set_running(false);
    assert!(!liveness.hangs());
    is_over.store(true, Ordering::SeqCst);
    let _ = TcpStream::connect(address);
    server.join().expect("the server ends");
}
