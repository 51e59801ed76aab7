//! Nodes of the built program on one PostgreSQL and one Redis.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::beside::Beside;
use crate::client::Client;
use crate::clocks;
use crate::greedy::Greedy;
use crate::log_pipe::LogPipe;
use crate::postgres::Postgres;
use crate::proxy::{Network, Proxy};
use crate::redis::Redis;
use crate::served::{Account, Answer, Connection, Server, free_port, program, request};
use crate::turn;
use crate::watch::{Liveness, Watch};

/// How long a node may answer from its memory without hearing from PostgreSQL, at most.
pub const LEASE: Duration = Duration::from_secs(5);
/// What must happen by itself is given up after so long.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// What a cluster is to be like.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each switches one part on")]
pub struct Setup {
    pub nodes: usize,
    /// Whether there is a network between the nodes and their services that can be broken.
    pub proxied: bool,
    /// Whether the nodes' clocks can be set.
    pub clocks: bool,
    /// Whether the nodes log through pipes that can be broken, each request as well.
    pub piped: bool,
    /// Whether there is a server on a SQLite file beside them.
    pub beside: bool,
    /// Whether there is a second tenant, who can be greedy.
    pub greedy: bool,
    pub arguments: &'static [&'static str],
    /// Variables of the nodes, by number.
    pub environment: Vec<Vec<(&'static str, String)>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            nodes: 3,
            proxied: false,
            clocks: false,
            piped: false,
            beside: false,
            greedy: false,
            arguments: &[],
            environment: Vec::new(),
        }
    }
}

/// All of it, stopped when it is dropped: nodes first.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub postgres: Postgres,
    pub redis: Redis,
    /// The first account, with a session that is good on every node.
    pub account: Account,
    beside: Option<Beside>,
    greedy: Option<Greedy>,
    folder: tempfile::TempDir,
    _turn: fs::File,
}

impl Cluster {
    pub async fn start(setup: Setup) -> Self {
        let turn = turn::alone();
        let folder = tempfile::tempdir().expect("a temporary folder");
        // PostgreSQL runs as somebody else.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let postgres = Postgres::start(&folder.path().join("postgres")).await;
        let redis = Redis::start(folder.path()).await;
        let mut nodes = Vec::new();
        for number in 0..setup.nodes {
            nodes.push(Node::start(number, &setup, folder.path(), &postgres, &redis).await);
        }
        let mut owner = Connection::open(nodes[0].address).await.expect("it listens");
        let account = Account::register(&mut owner).await;
        let beside = if setup.beside { Some(Beside::start(folder.path()).await) } else { None };
        let mut cluster = Self { nodes, postgres, redis, account, beside, greedy: None, folder, _turn: turn };
        if setup.greedy {
            cluster.greedy = Some(Greedy::start(&cluster).await);
        }
        cluster
    }

    /// The tenant that takes what it can get.
    pub fn greedy(&mut self) -> &mut Greedy {
        self.greedy.as_mut().expect("there is one")
    }

    /// The server on a SQLite file.
    pub fn beside(&mut self) -> &mut Beside {
        self.beside.as_mut().expect("there is one")
    }

    pub fn take_beside(&mut self) -> Beside {
        self.beside.take().expect("there is one")
    }

    /// Watches whether all servers answer that should.
    pub fn watch(&self) -> Watch {
        let beside = self.beside.iter().map(|beside| Arc::clone(&beside.liveness));
        Watch::start(self.nodes.iter().map(|node| Arc::clone(&node.liveness)).chain(beside))
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

    /// Makes a key beside those of the load; its id.
    pub async fn make_key(&self) -> String {
        let mut connection = Connection::open(self.nodes[0].address).await.expect("it listens");
        let made = connection.call("POST", "/v1/auth/api-keys", &[&self.cookie()], r#"{"name":"a key"}"#).await;
        made.expect("an answer").json(201)["id"].as_str().expect("an id").to_owned()
    }

    /// Revokes one; the answer.
    pub async fn revoke(&self, node: usize, id: &str) -> Value {
        let mut connection = Connection::open(self.nodes[node].address).await.expect("it listens");
        let revoked = connection.call("POST", &format!("/v1/keys/{id}/revoke"), &[&self.cookie()], "").await;
        revoked.expect("an answer").json(200)
    }

    /// What `GET /v1/cluster` of a node says, once it is answered and is as it should be.
    pub async fn seen_by(&self, node: usize, as_it_should_be: impl Fn(&[Value]) -> bool) -> Value {
        let request = request("GET", "/v1/cluster", &[&self.cookie()], "");
        let mut client = Client::new(&self.addresses());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = client.call(node, &request).await;
            let said = format!("{:?}", answer.as_ref().map(Answer::text));
            if let Ok(answer) = answer
                && answer.status == 200
            {
                let view = answer.json(200);
                if view["nodes"].as_array().is_some_and(|nodes| as_it_should_be(nodes)) {
                    return view;
                }
            }
            assert!(Instant::now() < deadline, "{} never sees what it should: {said}", self.nodes[node].name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a node sees so many live ones.
    pub async fn sees(&self, node: usize, live: usize) -> Value {
        let is_live = |node: &&Value| node["state"] == "live";
        self.seen_by(node, |nodes| nodes.iter().filter(is_live).count() == live).await
    }

    /// What the nodes had to say.
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
                eprintln!("--- the log of {} ends with\n{last}", node.name);
            }
        }
    }
}

/// A node; it keeps its address and its name.
pub struct Node {
    pub name: String,
    pub address: SocketAddr,
    /// The ways to PostgreSQL and Redis, if there is something between.
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

    /// Starts it, again perhaps.
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
        self.liveness.is_running(true);
    }

    pub fn log_pipe(&self) -> &LogPipe {
        self.log_pipe.as_ref().expect("it logs through a pipe")
    }

    fn server(&mut self) -> &mut Server {
        self.server.as_mut().expect("it runs")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.liveness.is_running(false);
        self.server().kill();
        self.server = None;
    }

    /// SIGTERM, and all that comes of it.
    pub fn stop(&mut self) {
        self.liveness.is_running(false);
        self.server.take().expect("it runs").stop();
    }

    /// Nothing of it runs until it is thawed; the kernel goes on accepting connections for it.
    pub fn freeze(&mut self) {
        self.liveness.is_running(false);
        self.server().signal("STOP");
    }

    pub fn thaw(&mut self) {
        self.server().signal("CONT");
        self.liveness.is_running(true);
    }

    /// Changes what is between it and PostgreSQL.
    pub fn postgres_is(&self, network: Network) {
        self.to_postgres.as_ref().expect("something between").make(network);
    }

    /// Changes what is between it and Redis.
    pub fn redis_is(&self, network: Network) {
        self.to_redis.as_ref().expect("something between").make(network);
    }

    /// Sets its clock: so much before or after the right time, `+30m`.
    pub fn clock_is(&self, offset: &str) {
        clocks::set(&self.folder, offset);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}
