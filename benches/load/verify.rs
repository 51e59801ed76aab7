//! Checks of a million keys, beside a server that does nothing with the same request, and beside what
//! people use today.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{any, post};
use bytes::Bytes;
use tokio::net::TcpListener;

use crate::served::{Account, Connection, Server, request};
use crate::{Report, figure, median, million};

const CONNECTIONS: usize = 32;
/// Many short ones: this machine's speed changes by a tenth within a minute.
const ROUNDS: usize = 11;
const TURN: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(300);
/// At what the server takes, over two turns.
const LOOKS: u32 = 80;
/// Keys that do most of the work, as a few do everywhere.
const BUSY: usize = 1_000;
/// Where a key stands in a request.
pub const PLACEHOLDER: &str = "hs_live_????????????????????????????????????????????????????????????????";
/// Least share of the ceiling, and most times its 99th percentile.
const VERIFY: f64 = 0.85;
const FORWARD_AUTH: f64 = 0.9;
const TAIL: f64 = 1.5;
/// Least multiples of the peers.
const BETTER_AUTH: f64 = 50.0;
const DRF_API_KEY: f64 = 30.0;

/// An outcome as long as a real one.
const OUTCOME: &str = r#"{"valid":true,"code":"VALID","key_id":"ak_ae4f85b1c0f7f651","name":"service 123456","org_id":"org_f62827cd32463674","env_id":"env_ee5deba297b13899","environment":"live","scopes":null,"expires_at":null,"metadata":null,"ratelimit":null,"request_id":"f5ef4774cd752a57"}"#;

/// The ceilings: the same requests, read to their ends, and answers of the same size.
pub async fn serve_nothing() {
    let verify = async |_: Bytes| {
        (
            [("content-type", "application/json"), ("cache-control", "no-store"), ("x-request-id", "f5ef4774cd752a57")],
            OUTCOME,
        )
    };
    let forward_auth = async || {
        [
            ("x-auth-key-id", "ak_ae4f85b1c0f7f651"),
            ("x-auth-org", "org_f62827cd32463674"),
            ("x-auth-env", "env_ee5deba297b13899"),
            ("x-auth-scopes", "*"),
        ]
    };
    let router =
        Router::new().route("/v1/keys/verify", post(verify)).route("/v1/forward-auth/{*demand}", any(forward_auth));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("http://{}", listener.local_addr().expect("an address"));
    axum::serve(listener, router).await.expect("it serves");
}

/// A request with a place for a key in it.
#[derive(Clone)]
pub struct Template {
    bytes: Vec<u8>,
    place: Option<usize>,
}

impl Template {
    pub fn new(bytes: Vec<u8>) -> Self {
        let place = bytes.windows(PLACEHOLDER.len()).position(|window| window == PLACEHOLDER.as_bytes());
        Self { bytes, place }
    }

    fn put(&mut self, key: &str) {
        if let Some(place) = self.place {
            self.bytes[place..place + key.len()].copy_from_slice(key.as_bytes());
        }
    }
}

/// What takes its turn in each round.
struct Candidate {
    name: &'static str,
    address: SocketAddr,
    template: Template,
    keys: Arc<Vec<String>>,
    /// What every answer has in it.
    expected: &'static str,
    /// Whether keys come and go meanwhile.
    churn: bool,
    rates: Vec<f64>,
    tails: Vec<f64>,
}

/// Answers a second, and the 99th percentile of their time in milliseconds.
pub async fn load(
    address: SocketAddr,
    template: &Template,
    keys: &Arc<Vec<String>>,
    expected: &'static str,
) -> (f64, f64) {
    let mut clients = Vec::new();
    let began = Instant::now();
    for number in 0..CONNECTIONS {
        let mut connection = Connection::open(address).await.expect("it listens");
        let (mut template, keys) = (template.clone(), Arc::clone(keys));
        clients.push(tokio::spawn(async move {
            let mut times = Vec::with_capacity(100_000);
            let mut random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(number as u64 + 1);
            loop {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                template.put(&keys[usize::try_from(random).unwrap_or_default() % keys.len()]);
                let sent = Instant::now();
                if sent.duration_since(began) > WARM_UP + TURN {
                    return times;
                }
                let answer = connection.raw(&template.bytes).await.expect("an answer");
                let found = answer.windows(expected.len()).any(|window| window == expected.as_bytes());
                assert!(found, "{}", String::from_utf8_lossy(answer));
                if sent.duration_since(began) > WARM_UP {
                    times.push(sent.elapsed());
                }
            }
        }));
    }
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await.expect("a client does not fail"));
    }
    times.sort_unstable();
    let tail = times[times.len() * 99 / 100].as_secs_f64() * 1000.0;
    (figure(times.len()) / TURN.as_secs_f64(), tail)
}

/// A peer of `benches/peers`, started by its script.
struct Peer(&'static str);

impl Peer {
    fn start(name: &'static str) -> Option<(Self, SocketAddr, Template, Arc<Vec<String>>)> {
        let out = Command::new("tools/peers").args([name, "start"]).output().expect("the script runs");
        if !out.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&out.stderr));
            return None;
        }
        let peer = Self(name);
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let line = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let url = line("url ").trim_start_matches("http://");
        let (address, path) = url.split_once('/').expect("a path");
        let keys: Vec<String> =
            std::fs::read_to_string(line("keys ")).expect("keys").lines().map(str::to_owned).collect();
        // All keys are as long as the first.
        let placeholder = "?".repeat(keys[0].len());
        let body = line("body ").replace("KEY", &placeholder);
        let header = line("header ").replace("KEY", &placeholder);
        let header = if header.starts_with("Content-Type") { Vec::new() } else { vec![header.as_str()] };
        let bytes = request("POST", &format!("/{path}"), &header, &body);
        let place = bytes.windows(placeholder.len()).position(|window| window == placeholder.as_bytes());
        let template = Template { bytes, place };
        Some((peer, address.parse().expect("an address"), template, Arc::new(keys)))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = Command::new("tools/peers").args([self.0, "stop"]).output();
    }
}

/// A hundred keys a second are made and revoked again, until this is dropped.
struct Churn(Arc<AtomicBool>, tokio::task::JoinHandle<()>);

impl Churn {
    fn start(address: SocketAddr, cookie: String) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let task = tokio::spawn(async move {
            let mut connection = Connection::open(address).await.expect("it listens");
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            while !seen.load(Ordering::Relaxed) {
                tick.tick().await;
                let made = connection.call("POST", "/v1/auth/api-keys", &[&cookie], r#"{"name":"short-lived"}"#).await;
                let id = made.expect("an answer").json(201)["id"].as_str().expect("an id").to_owned();
                let path = format!("/v1/auth/api-keys/{id}");
                connection.call("DELETE", &path, &[&cookie], "").await.expect("an answer").json(200);
            }
        });
        Self(over, task)
    }

    async fn stop(self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.await.expect("it went well");
    }
}

fn resident_bytes(server: &Server) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().split(' ').next().and_then(|kilobytes| kilobytes.parse().ok()).unwrap_or(f64::NAN) * 1024.0
}

/// What the server takes while it works, median of many looks: what requests and counts leave behind for a moment goes
/// up and down by tens of megabytes.
async fn resident_at_work(server: &Server, template: &Template, keys: &Arc<Vec<String>>) -> f64 {
    let looks = async {
        let mut seen = Vec::new();
        for _ in 0..LOOKS {
            tokio::time::sleep(TURN * 2 / LOOKS).await;
            seen.push(resident_bytes(server));
        }
        median(&mut seen)
    };
    let work = async {
        load(server.address, template, keys, "VALID").await;
        load(server.address, template, keys, "VALID").await;
    };
    tokio::join!(looks, work).0
}

/// Asks about every key from one to another once, over all connections; how many a second.
async fn once_each(
    address: SocketAddr,
    template: &Template,
    keys: &Arc<Vec<String>>,
    range: Range<usize>,
    expected: &'static str,
) -> f64 {
    let began = Instant::now();
    let mut clients = Vec::new();
    for number in 0..CONNECTIONS {
        let mut connection = Connection::open(address).await.expect("it listens");
        let (mut template, keys, range) = (template.clone(), Arc::clone(keys), range.clone());
        clients.push(tokio::spawn(async move {
            for key in keys[range].iter().skip(number).step_by(CONNECTIONS) {
                template.put(key);
                let answer = connection.raw(&template.bytes).await.expect("an answer");
                let found = answer.windows(expected.len()).any(|window| window == expected.as_bytes());
                assert!(found, "{}", String::from_utf8_lossy(answer));
            }
        }));
    }
    for client in clients {
        client.await.expect("a client does not fail");
    }
    figure(range.len()) / began.elapsed().as_secs_f64()
}

pub async fn run(report: &mut Report) {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(target).expect("a folder");
    let (strings, strangers) = (million::strings(), million::strangers());

    // An account and a key that may check others; then, with the server away, a million keys.
    let environment = [("LATCHKEY_LOG", "warn")];
    let arguments = ["--max-keys-per-organisation", "10000000"];
    let server = Server::start(folder.path(), &arguments, &environment);
    let mut connection = server.connect().await.expect("it listens");
    let account = Account::register(&mut connection).await;
    let cookie = format!("Cookie: session={}", account.session);
    let body = format!(
        r#"{{"name":"caller","scopes":"keys:verify","org_id":"{}","env_id":"{}"}}"#,
        account.organisation, account.environment
    );
    let made = connection.call("POST", "/v1/auth/api-keys", &[&cookie], &body).await.expect("an answer").json(201);
    let caller = format!("X-API-Key: {}", made["key"].as_str().expect("a key"));
    drop((connection, server));
    let began = Instant::now();
    million::load(&format!("sqlite:{}", folder.path().join("latchkey.db").display()), &strings).await;
    println!("{} keys in SQLite after {:.0} s", million::KEYS, began.elapsed().as_secs_f64());

    let began = Instant::now();
    let server = Server::start(folder.path(), &arguments, &environment);
    let ready = began.elapsed();
    let verify =
        Template::new(request("POST", "/v1/keys/verify", &[&caller], &format!(r#"{{"key":"{PLACEHOLDER}"}}"#)));
    let path = format!("/v1/forward-auth/{}/live/any", account.organisation);
    let forward_auth = Template::new(request("GET", &path, &[&format!("X-API-Key: {PLACEHOLDER}")], ""));
    // A quarter of them first, after which the pages that each connection to the database keeps are as many as ever:
    // they are 144 MiB at the most, and no key's.
    let filled = million::KEYS / 4;
    once_each(server.address, &verify, &strings, 0..filled, "VALID").await;
    let before = resident_at_work(&server, &verify, &Arc::new(strings[..filled].to_vec())).await;
    let cold = once_each(server.address, &verify, &strings, filled..million::KEYS, "VALID").await;
    let each = (resident_at_work(&server, &verify, &strings).await - before) / figure(million::KEYS - filled);

    let mut nothing = Command::new(std::env::current_exe().expect("this program"));
    nothing.arg("nothing-to-verify");
    let nothing = Server::wait(nothing, folder.path());
    let candidate = |name, address, template: &Template, keys: &Arc<Vec<String>>, expected| Candidate {
        name,
        address,
        template: template.clone(),
        keys: Arc::clone(keys),
        expected,
        churn: false,
        rates: Vec::new(),
        tails: Vec::new(),
    };
    let busy: Arc<Vec<String>> = Arc::new(strings[..BUSY].to_vec());
    let mut candidates = vec![
        candidate("verify: axum, does nothing", nothing.address, &verify, &strings, "VALID"),
        candidate("verify, any of 1,000,000 keys", server.address, &verify, &strings, r#"{"valid":true"#),
        candidate("verify, unknown keys", server.address, &verify, &strangers, "NOT_FOUND"),
        candidate("forward-auth: axum, does nothing", nothing.address, &forward_auth, &strings, "200 OK"),
        candidate("forward-auth, any of 1,000,000 keys", server.address, &forward_auth, &strings, "200 OK"),
    ];
    candidates.push(candidate("verify, any of 1,000 busy keys", server.address, &verify, &busy, r#"{"valid":true"#));
    candidates.push(Candidate {
        churn: true,
        ..candidate(
            "verify, while 100 keys/s are made and revoked",
            server.address,
            &verify,
            &strings,
            r#"{"valid":true"#,
        )
    });
    let peers: Vec<_> = ["better-auth", "drf-api-key"].into_iter().filter_map(Peer::start).collect();
    for (peer, address, template, keys) in &peers {
        candidates.push(candidate(peer.0, *address, template, keys, "\"valid\":true"));
    }

    for round in 0..=ROUNDS {
        for candidate in &mut candidates {
            let churn = candidate.churn.then(|| Churn::start(candidate.address, cookie.clone()));
            let (rate, tail) = load(candidate.address, &candidate.template, &candidate.keys, candidate.expected).await;
            if let Some(churn) = churn {
                churn.stop().await;
            }
            // The first round warms up.
            if round > 0 {
                candidate.rates.push(rate);
                candidate.tails.push(tail);
            }
        }
    }

    table(report, &mut candidates, cold);
    drop(peers);
    let verdict = report.target(&format!("memory: {each:.0} bytes a key, at most 250"), each <= 250.0);
    report.line(&format!(
        "A cached key takes {each:.0} bytes (250: {verdict}): the growth of the process at work from {filled} to {}.",
        million::KEYS
    ));
    report.line(&format!("From start to ready with {} keys: {:.0} ms.", million::KEYS, ready.as_secs_f64() * 1000.0));
    revoke(report, &server, &cookie).await;
    report.line("");
}

fn table(report: &mut Report, candidates: &mut [Candidate], cold: f64) {
    report.line(&format!("## Verify: {CONNECTIONS} connections"));
    report.line("");
    report.line(&format!(
        "Medians of {ROUNDS} interleaved rounds of {} s, with the lowest and the highest round. Each request checks another key, \
         which is therefore in no cache of the processor.",
        TURN.as_secs()
    ));
    report.line("");
    report.line("| | requests a second | lowest | highest | p99, ms | of its ceiling, % | target |");
    report.line("|---|---|---|---|---|---|---|");
    let beside = |own: &[f64], ceiling: &[f64]| {
        median(&mut own.iter().zip(ceiling).map(|(own, ceiling)| own / ceiling).collect::<Vec<_>>())
    };
    let share = |(number, own): (usize, &Candidate)| {
        let ceiling = &candidates[if number == 3 || number == 4 { 3 } else { 0 }];
        (beside(&own.rates, &ceiling.rates), beside(&own.tails, &ceiling.tails))
    };
    // Before the medians below put the rounds out of their order.
    let shares: Vec<(f64, f64)> = candidates.iter().enumerate().map(share).collect();
    let measured: Vec<(f64, f64)> =
        candidates.iter_mut().map(|candidate| (median(&mut candidate.rates), median(&mut candidate.tails))).collect();
    let hit = measured[1].0;
    for (number, (candidate, (rate, tail))) in candidates.iter().zip(&measured).enumerate() {
        let (share, times) = shares[number];
        let target = match number {
            1 | 4 => {
                let least = if number == 1 { VERIFY } else { FORWARD_AUTH };
                let fast = report.target(
                    &format!("{}: {share:.2} of its ceiling, at least {least}", candidate.name),
                    share >= least,
                );
                let even = report.target(
                    &format!("{}: p99 {times:.2} times the ceiling's, at most {TAIL}", candidate.name),
                    times <= TAIL,
                );
                format!("{least}: {fast}; p99 {times:.2} times, {TAIL}: {even}")
            }
            7 | 8 => {
                let least = if candidate.name == "better-auth" { BETTER_AUTH } else { DRF_API_KEY };
                let times = hit / rate;
                let verdict = report.target(
                    &format!("verify beside {}: {times:.0} times, at least {least}", candidate.name),
                    times >= least,
                );
                format!("verify is {times:.0} times as fast, {least}: {verdict}")
            }
            _ => String::new(),
        };
        report.line(&format!(
            "| {} | {rate:.0} | {:.0} | {:.0} | {tail:.2} | {:.0} | {target} |",
            candidate.name,
            candidate.rates[0],
            candidate.rates[ROUNDS - 1],
            share * 100.0
        ));
    }
    report.line(&format!(
        "| verify, every key for the first time | {cold:.0} | | | | {:.0} | |",
        cold / measured[0].0 * 100.0
    ));
    report.line("");
}

/// How long a revocation takes, one after the other.
async fn revoke(report: &mut Report, server: &Server, cookie: &str) {
    let mut connection = server.connect().await.expect("it listens");
    let mut times = Vec::new();
    for _ in 0..200 {
        let made = connection.call("POST", "/v1/auth/api-keys", &[cookie], r#"{"name":"short-lived"}"#).await;
        let id = made.expect("an answer").json(201)["id"].as_str().expect("an id").to_owned();
        let began = Instant::now();
        let path = format!("/v1/auth/api-keys/{id}");
        connection.call("DELETE", &path, &[cookie], "").await.expect("an answer").json(200);
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    report.line(&format!("A revocation, on disk and effective: {:.2} ms, p99 {:.2} ms.", times[100], times[198]));
}
