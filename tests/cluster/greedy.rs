//! A tenant that sends as many requests as it can, and its effect on the others.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::history::{Moment, Operation};
use crate::load::Load;
use crate::nodes::Cluster;
use crate::postgres::Postgres;
use crate::served::{Connection, program, request};

const EMAIL: &str = "greedy@example.com";
const PASSWORD: &str = "correct horse battery";
/// Streams of `GET /v1/revocations` on each node, more than an organisation may have.
const STREAMS: usize = 70;
/// Connections of each kind on each node.
const CONNECTIONS: usize = 3;
/// A median that is more than this many times the quiet median is reported as a finding.
const MAX_SLOWDOWN: f64 = 5.0;

/// The greedy tenant and its requests.
pub struct GreedyTenant {
    addresses: Vec<SocketAddr>,
    cookie: String,
    key: String,
    tenant: String,
    /// The organisation and its first environment, as in the path of a page.
    place: String,
    answers: Arc<Mutex<BTreeMap<String, usize>>>,
    is_over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl GreedyTenant {
    pub async fn start(cluster: &Cluster) -> Self {
        let url = Postgres::url_by(cluster.postgres.address);
        let mut adding = Command::new(program())
            .args(["user", "add", EMAIL, "--database-url", &url])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        writeln!(adding.stdin.take().expect("a pipe"), "{PASSWORD}").expect("the program reads");
        assert!(adding.wait().expect("the process ends").success());
        let addresses = cluster.addresses();
        let mut connection = Connection::open(addresses[0]).await.expect("the server listens");
        let body = format!(r#"{{"email":"{EMAIL}","password":"{PASSWORD}"}}"#);
        let me = connection.call("POST", "/v1/auth/login", &[], &body).await.expect("an answer");
        let set = me.header("set-cookie").expect("a cookie").to_owned();
        let me = me.json(200);
        let cookie = format!("Cookie: {}", set.split(';').next().expect("a first part"));
        let id = |pointer: &str| me.pointer(pointer).and_then(|id| id.as_str()).expect("an id");
        let made = connection.call("POST", "/v1/auth/api-keys", &[&cookie], r#"{"name":"greedy"}"#).await;
        let key = made.expect("an answer").json(201)["key"].as_str().expect("a key").to_owned();
        Self {
            addresses,
            cookie,
            key: format!("X-API-Key: {key}"),
            tenant: me["organisations"][0]["tenant_id"].as_str().expect("an id").to_owned(),
            place: format!("{}/{}", id("/organisations/0/id"), id("/organisations/0/environments/0/id")),
            answers: Arc::default(),
            is_over: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    pub fn begin(&mut self) {
        self.is_over = Arc::new(AtomicBool::new(false));
        let ingest = format!("/api/v1/ingest/{}/greedy", self.tenant);
        let event = format!(r#"{{"filler": "{}"}}"#, "x".repeat(1000));
        let wrong = r#"{"email":"nobody@example.com","password":"wrong horse battery"}"#;
        let search = format!("/o/{}/keys?q=e", self.place);
        let requests = [
            ("event", request("POST", &ingest, &[&self.key], &event)),
            ("key", request("POST", "/v1/auth/api-keys", &[&self.cookie], r#"{"name":"one more"}"#)),
            ("search", request("GET", &search, &[&self.cookie], "")),
            ("list", request("GET", "/v1/auth/api-keys?limit=1000", &[&self.cookie], "")),
            ("sign-in", request("POST", "/v1/auth/login", &[], wrong)),
        ];
        for address in self.addresses.clone() {
            for (kind, request) in &requests {
                for number in 0..CONNECTIONS {
                    self.repeat(address, kind, request.clone(), number);
                }
            }
            for number in 0..STREAMS {
                self.hold_stream(address, number % 2 == 0);
            }
        }
    }

    /// Repeats a request without a pause.
    fn repeat(&mut self, address: SocketAddr, kind: &'static str, request: Vec<u8>, number: usize) {
        let (answers, is_over) = (Arc::clone(&self.answers), Arc::clone(&self.is_over));
        // These clients have other addresses than the clients of the load.
        let from = Ipv4Addr::new(127, 66, 0, u8::try_from(number + 1).expect("few"));
        self.tasks.spawn(async move {
            let mut connection = None;
            while !is_over.load(Ordering::SeqCst) {
                let asked = async {
                    let mut open = match connection.take() {
                        Some(open) => open,
                        None => Connection::open_from(from, address).await?,
                    };
                    let status = open.status(&request).await?;
                    connection = Some(open);
                    Ok::<u16, std::io::Error>(status)
                };
                let Ok(Ok(status)) = tokio::time::timeout(Duration::from_secs(5), asked).await else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                count(&answers, kind, status);
                if status >= 400 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
    }

    /// Holds a stream of changes, and reads it only if `reads` is set.
    fn hold_stream(&mut self, address: SocketAddr, reads: bool) {
        let request = request("GET", "/v1/revocations", &[&self.key], "");
        let (answers, is_over) = (Arc::clone(&self.answers), Arc::clone(&self.is_over));
        self.tasks.spawn(async move {
            let Ok(mut stream) = TcpStream::connect(address).await else { return };
            let mut buffer = [0; 4096];
            if stream.write_all(&request).await.is_err() {
                return;
            }
            if let Ok(Ok(length)) = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await
                && let Some(status) = buffer[..length].get(9..12).and_then(|digits| std::str::from_utf8(digits).ok())
            {
                count(&answers, "stream", status.parse().unwrap_or_default());
            }
            while !is_over.load(Ordering::SeqCst) {
                let pause = Duration::from_millis(200);
                if reads {
                    let _ = tokio::time::timeout(pause, stream.read(&mut buffer)).await;
                }
                tokio::time::sleep(pause).await;
            }
        });
    }

    pub async fn end(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("the tasks of the greedy tenant do not panic");
        }
    }

    /// The number of its answers by request and status.
    pub fn answers(&self) -> BTreeMap<String, usize> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn count(answers: &Mutex<BTreeMap<String, usize>>, kind: &str, status: u16) {
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    *answers.entry(format!("greedy {kind} {status}")).or_default() += 1;
}

/// The answers that other tenants got before and during the greedy tenant's requests.
pub struct Round {
    /// The medians of checks and of changes in milliseconds.
    pub quiet: [f64; 2],
    pub greedy: [f64; 2],
    /// Refusals of other tenants' requests, for which there was no reason.
    pub refused: Vec<String>,
}

impl Round {
    pub fn of(load: &Load, quiet: (Moment, Moment), greedy: (Moment, Moment)) -> Self {
        let history = &load.shared.history;
        let medians = |(from, to): (Moment, Moment)| {
            let millis = |event: &crate::history::Event| (event.end.saturating_sub(event.start)).as_secs_f64() * 1000.0;
            let events: Vec<_> =
                history.events().into_iter().filter(|event| event.start > from && event.end < to).collect();
            let checks =
                events.iter().filter(|event| matches!(event.operation, Operation::Check(_))).map(millis).collect();
            let changes = events
                .iter()
                .filter(|event| matches!(event.operation, Operation::Set { done: true, .. }))
                .map(millis)
                .collect();
            [median(checks), median(changes)]
        };
        let refused = history.refused_between(greedy.0, greedy.1);
        Self { quiet: medians(quiet), greedy: medians(greedy), refused }
    }

    /// The factor by which the more affected of the two medians grew.
    pub fn slowdown(&self) -> f64 {
        let factor = |number: usize| self.greedy[number] / self.quiet[number].max(0.01);
        factor(0).max(factor(1))
    }

    pub fn is_finding(&self) -> bool {
        self.slowdown() > MAX_SLOWDOWN
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
