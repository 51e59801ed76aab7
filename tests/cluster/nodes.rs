//! Starts nodes of the built program on one PostgreSQL and one Redis.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::beside::SqliteServer;
use crate::client::Client;
use crate::clocks;
use crate::greedy::GreedyTenant;
use crate::log_pipe::LogPipe;
use crate::postgres::Postgres;
use crate::proxy::{Network, Proxy};
use crate::redis::Redis;
use crate::served::{Account, Answer, Connection, Server, free_port, program, request};
use crate::turn;
use crate::watch::{Liveness, Watch};

/// The maximum time for which a node may answer from its cache without contact to PostgreSQL.
pub const LEASE: Duration = Duration::from_secs(5);
/// A test fails when the cluster has not recovered within this time.
pub const RECOVERY_TIMEOUT: Duration = Duration::from_mins(1);

/// The parts of a cluster.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each switches one part on")]
pub struct Setup {
    pub nodes: usize,
    /// Whether the nodes reach PostgreSQL and Redis through proxies that can fail.
    pub proxied: bool,
    /// Whether the clocks of the nodes can be set.
    pub clocks: bool,
    /// Whether the nodes log every request, through pipes that can fail.
    pub piped: bool,
    /// Whether a separate server on a SQLite file runs too.
    pub sqlite_server: bool,
    /// Whether there is a second tenant, which can be greedy.
    pub greedy: bool,
    pub arguments: &'static [&'static str],
    /// Environment variables of each node.
    pub environment: Vec<Vec<(&'static str, String)>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            nodes: 3,
            proxied: false,
            clocks: false,
            piped: false,
            sqlite_server: false,
            greedy: false,
            arguments: &[],
            environment: Vec::new(),
        }
    }
}

/// The nodes and their services, stopped on drop: nodes first.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub postgres: Postgres,
    pub redis: Redis,
    /// The first account, with a session that is valid on every node.
    pub account: Account,
    sqlite_server: Option<SqliteServer>,
    greedy: Option<GreedyTenant>,
    folder: tempfile::TempDir,
    _turn: fs::File,
}

impl Cluster {
    pub async fn start(setup: Setup) -> Self {
        let turn = turn::exclusive();
        let folder = tempfile::tempdir().expect("a temporary folder");
        // PostgreSQL runs as another user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("the permissions can be set");
        let postgres = Postgres::start(&folder.path().join("postgres")).await;
        let redis = Redis::start(folder.path()).await;
        let mut nodes = Vec::new();
        for number in 0..setup.nodes {
            nodes.push(Node::start(number, &setup, folder.path(), &postgres, &redis).await);
        }
        let mut owner = Connection::open(nodes[0].address).await.expect("the server listens");
        let account = Account::register(&mut owner).await;
        let sqlite_server = if setup.sqlite_server { Some(SqliteServer::start(folder.path()).await) } else { None };
        let mut cluster = Self { nodes, postgres, redis, account, sqlite_server, greedy: None, folder, _turn: turn };
        if setup.greedy {
            cluster.greedy = Some(GreedyTenant::start(&cluster).await);
        }
        cluster
    }

    /// The greedy tenant.
    pub fn greedy(&mut self) -> &mut GreedyTenant {
        self.greedy.as_mut().expect("the setup has a greedy tenant")
    }

    /// The server on a SQLite file.
    pub fn sqlite_server(&mut self) -> &mut SqliteServer {
        self.sqlite_server.as_mut().expect("the setup has a SQLite server")
    }

    pub fn take_sqlite_server(&mut self) -> SqliteServer {
        self.sqlite_server.take().expect("the setup has a SQLite server")
    }

    /// Starts the hang detector for all servers.
    pub fn watch(&self) -> Watch {
        let sqlite_server = self.sqlite_server.iter().map(|server| Arc::clone(&server.liveness));
        Watch::start(self.nodes.iter().map(|node| Arc::clone(&node.liveness)).chain(sqlite_server))
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn cookie(&self) -> String {
        format!("Cookie: session={}", self.account.session)
    }

    /// Creates a key that the load does not use; returns its ID.
    pub async fn make_key(&self) -> String {
        let mut connection = Connection::open(self.nodes[0].address).await.expect("the server listens");
        let made = connection.call("POST", "/v1/auth/api-keys", &[&self.cookie()], r#"{"name":"a key"}"#).await;
        made.expect("an answer").json(201)["id"].as_str().expect("an id").to_owned()
    }

    /// Revokes a key; returns the answer.
    pub async fn revoke(&self, node: usize, id: &str) -> Value {
        let mut connection = Connection::open(self.nodes[node].address).await.expect("the server listens");
        let revoked = connection.call("POST", &format!("/v1/keys/{id}/revoke"), &[&self.cookie()], "").await;
        revoked.expect("an answer").json(200)
    }

    /// Polls `GET /v1/cluster` of a node until its nodes meet a condition; returns the answer.
    pub async fn wait_for_view(&self, node: usize, is_met: impl Fn(&[Value]) -> bool) -> Value {
        let request = request("GET", "/v1/cluster", &[&self.cookie()], "");
        let mut client = Client::new(&self.addresses());
        let deadline = Instant::now() + RECOVERY_TIMEOUT;
        loop {
            let answer = client.call(node, &request).await;
            let said = format!("{:?}", answer.as_ref().map(Answer::text));
            if let Ok(answer) = answer
                && answer.status == 200
            {
                let view = answer.json(200);
                if view["nodes"].as_array().is_some_and(|nodes| is_met(nodes)) {
                    return view;
                }
            }
            assert!(
                Instant::now() < deadline,
                "the cluster view of {} does not reach the condition: {said}",
                self.nodes[node].name
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a node sees this number of live nodes.
    pub async fn wait_for_live(&self, node: usize, live: usize) -> Value {
        let is_live = |node: &&Value| node["state"] == "live";
        self.wait_for_view(node, |nodes| nodes.iter().filter(is_live).count() == live).await
    }

    /// The logs of all nodes.
    pub fn logs(&self) -> String {
        let log = |node: &Node| format!("--- {}\n{}\n", node.name, node.log());
        self.nodes.iter().map(log).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                let log = node.log();
                let lines: Vec<&str> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(60)..].join("\n");
                eprintln!("--- the end of the log of {}\n{last}", node.name);
            }
        }
    }
}

/// A node, which keeps its address and name over restarts.
pub struct Node {
    pub name: String,
    pub address: SocketAddr,
    /// The proxies to PostgreSQL and Redis, with `Setup::proxied`.
    pub to_postgres: Option<Proxy>,
    pub to_redis: Option<Proxy>,
    pub liveness: Arc<Liveness>,
    folder: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    piped: bool,
    log_pipe: Option<LogPipe>,
    server: Option<Server>,
}

impl Node {
    async fn start(number: usize, setup: &Setup, folder: &Path, postgres: &Postgres, redis: &Redis) -> Self {
        let name = format!("node-{number}");
        let folder = folder.join(&name);
        fs::create_dir(&folder).expect("a folder");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (mut to_postgres, mut to_redis) = (None, None);
        if setup.proxied {
            to_postgres = Some(Proxy::start(postgres.address).await);
            to_redis = Some(Proxy::start(redis.address).await);
        }
        let postgres = to_postgres.as_ref().map_or(postgres.address, |proxy| proxy.address);
        let redis = to_redis.as_ref().map_or(redis.address, |proxy| proxy.address);
        let mut arguments = vec![
            "--listen".to_owned(),
            address.to_string(),
            "--database-url".to_owned(),
            Postgres::url_by(postgres),
            "--redis-url".to_owned(),
            format!("redis://{redis}"),
            "--node-name".to_owned(),
            name.clone(),
        ];
        arguments.extend(setup.arguments.iter().map(|&argument| argument.to_owned()));
        let mut environment = setup.environment.get(number).cloned().unwrap_or_default();
        if setup.clocks {
            environment.extend(clocks::variables(&folder));
        }
        let mut node = Self {
            liveness: Liveness::stopped(&name, address),
            name,
            address,
            to_postgres,
            to_redis,
            folder,
            arguments,
            environment,
            piped: setup.piped,
            log_pipe: None,
            server: None,
        };
        node.run();
        node
    }

    /// Starts or restarts the node.
    pub fn run(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.folder.join("log")).expect("a log file");
        let mut command = Command::new(program());
        command
            .current_dir(&self.folder)
            .args(&self.arguments)
            .env("LATCHKEY_LOG", if self.piped { "info" } else { "warn,latchkey::cluster=info" })
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        if self.piped {
            let (writer, pipe) = LogPipe::open(log);
            command.stderr(writer);
            self.log_pipe = Some(pipe);
        } else {
            command.stderr(log);
        }
        self.server = Some(Server::wait(command, &self.folder.join("log")));
        self.liveness.set_running(true);
    }

    pub fn log_pipe(&self) -> &LogPipe {
        self.log_pipe.as_ref().expect("the node logs through a pipe")
    }

    fn server(&mut self) -> &mut Server {
        self.server.as_mut().expect("the node runs")
    }

    /// Kills the node with SIGKILL.
    pub fn kill(&mut self) {
        self.liveness.set_running(false);
        self.server().kill();
        self.server = None;
    }

    /// Stops the node with SIGTERM and waits for its end.
    pub fn stop(&mut self) {
        self.liveness.set_running(false);
        self.server.take().expect("the node runs").stop();
    }

    /// Stops the node with SIGSTOP, until it is thawed; the kernel still accepts connections for it.
    pub fn freeze(&mut self) {
        self.liveness.set_running(false);
        self.server().signal("STOP");
    }

    pub fn thaw(&mut self) {
        self.server().signal("CONT");
        self.liveness.set_running(true);
    }

    /// Sets the state of the network between the node and PostgreSQL.
    pub fn set_postgres_network(&self, network: Network) {
        self.to_postgres.as_ref().expect("the setup has proxies").set(network);
    }

    /// Sets the state of the network between the node and Redis.
    pub fn set_redis_network(&self, network: Network) {
        self.to_redis.as_ref().expect("the setup has proxies").set(network);
    }

    /// Sets the node's clock to an offset from the right time, such as `+30m`.
    pub fn set_clock(&self, offset: &str) {
        clocks::set(&self.folder, offset);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}
