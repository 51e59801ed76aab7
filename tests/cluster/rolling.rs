//! A rolling restart behind a load balancer with `examples/balancer/haproxy.cfg`, in which only the addresses are
//! replaced.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::checker::Violation;
use crate::load::{Clients, Load};
use crate::nodes::{Cluster, RECOVERY_TIMEOUT, Setup};
use crate::served::{Connection, free_port};

/// A `haproxy` process, killed on drop.
struct Balancer {
    address: SocketAddr,
    statistics: SocketAddr,
    child: Child,
}

impl Balancer {
    async fn start(folder: &Path, nodes: &[SocketAddr]) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let statistics = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/balancer/haproxy.cfg");
        let mut text = fs::read_to_string(example).expect("the example");
        let places = ["10.0.0.11:3000", "10.0.0.12:3000", "10.0.0.13:3000", ":8080", "127.0.0.1:8404"];
        let own = [nodes[0], nodes[1], nodes[2], address, statistics];
        for (place, own) in places.iter().zip(own) {
            assert!(text.contains(place), "the example does not mention {place}");
            text = text.replace(place, &own.to_string());
        }
        let configuration = folder.join("haproxy.cfg");
        fs::write(&configuration, text).expect("the file can be written");
        let log = fs::File::create(folder.join("haproxy.log")).expect("a log file");
        let child = Command::new(program())
            .args(["-db", "-f"])
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("haproxy starts");
        let balancer = Self { address, statistics, child };
        balancer.wait_for_nodes(3).await;
        balancer
    }

    /// Waits until the balancer considers this number of nodes as up.
    async fn wait_for_nodes(&self, nodes: usize) {
        let deadline = Instant::now() + RECOVERY_TIMEOUT;
        loop {
            let said = self.statistics().await.unwrap_or_default();
            let servers = said.lines().filter(|line| line.starts_with("latchkey,node-"));
            let up = servers.filter(|line| line.split(',').nth(17) == Some("UP")).count();
            if up == nodes {
                return;
            }
            assert!(Instant::now() < deadline, "the balancer does not have {nodes} nodes up:\n{said}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Reads the balancer's statistics as comma-separated values.
    async fn statistics(&self) -> Option<String> {
        let mut stream = tokio::net::TcpStream::connect(self.statistics).await.ok()?;
        let mut said = String::new();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /;csv HTTP/1.0\r\n\r\n").await.ok()?;
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut said).await.ok()?;
        Some(said)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join("haproxy"))
        .find(|program| program.is_file())
        .expect("haproxy is not installed: tools/setup-test does it")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_request() {
    let mut cluster = Cluster::start(Setup { arguments: &["--drain-seconds", "2"], ..Setup::default() }).await;
    let balancer = Balancer::start(cluster.folder(), &cluster.addresses()).await;
    // Clients know only the balancer's address.
    let load = Load::start(vec![balancer.address], &cluster.account, Clients::default(), 11).await;
    for node in 0..3 {
        cluster.nodes[node].stop();
        load.run_for(0.5).await;
        cluster.nodes[node].run();
        // The next node is stopped when the balancer has this one again.
        balancer.wait_for_nodes(3).await;
    }
    let outcome = load.stop().await;
    // Successive checks may reach different nodes, and nodes learn of a revocation at different times. `TakenBack` is
    // therefore allowed here until the revocation is answered.
    let broken: Vec<_> =
        outcome.verdict.violations.iter().filter(|one| matches!(one, Violation::Impossible(_))).collect();
    assert!(broken.is_empty(), "{broken:?}");
    assert_eq!(outcome.shared.history.unexpected(), Vec::<String>::new());
    assert_eq!(outcome.failures(), Vec::<String>::new());
    assert!(
        outcome.revocations.iter().all(|revocation| revocation.waited_out.is_empty()),
        "a node stopped without leaving the cluster"
    );
    let mut connection = Connection::open(balancer.address).await.expect("the server listens");
    assert_eq!(connection.call("GET", "/readyz", &[], "").await.expect("an answer").status, 200);
}
