//! Benchmarks checks of a million keys, compared with a server that does nothing with the same request, and with two
//! other programs that check API keys (`benches/peers`).

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::peer::Peer;
use crate::served::{Account, Connection, Server, request};
use crate::{Report, figure, median, million};

const CONNECTIONS: usize = 32;
/// Many short rounds, because the speed of the machine changes by a tenth within a minute.
const ROUNDS: usize = 11;
const TURN: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(300);
/// Samples of the server's memory over two turns.
const MEMORY_SAMPLES: u32 = 80;
/// Number of keys in the row with busy keys.
const BUSY_KEYS: usize = 1_000;
/// The text that a key replaces in a request.
pub const PLACEHOLDER: &str = "hs_live_????????????????????????????????????????????????????????????????";
/// Targets: shares of the ceiling's rate, and a multiple of its 99th percentile.
const MIN_VERIFY_SHARE: f64 = 0.85;
const MIN_FORWARD_AUTH_SHARE: f64 = 0.9;
const MAX_TAIL_RATIO: f64 = 1.5;
/// Targets: multiples of the peers' rates.
const MIN_BETTER_AUTH_RATIO: f64 = 50.0;
const MIN_DRF_API_KEY_RATIO: f64 = 30.0;

/// A request with a placeholder for a key.
#[derive(Clone)]
pub struct Template {
    bytes: Vec<u8>,
    place: Option<usize>,
}

impl Template {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self::with_placeholder(bytes, PLACEHOLDER)
    }

    /// A request with another placeholder, which has the length of a key.
    pub fn with_placeholder(bytes: Vec<u8>, placeholder: &str) -> Self {
        let place = bytes.windows(placeholder.len()).position(|window| window == placeholder.as_bytes());
        Self { bytes, place }
    }

    fn put(&mut self, key: &str) {
        if let Some(place) = self.place {
            self.bytes[place..place + key.len()].copy_from_slice(key.as_bytes());
        }
    }
}

/// A measured program. Each round measures every candidate once.
struct Candidate {
    name: &'static str,
    address: SocketAddr,
    template: Template,
    keys: Arc<Vec<String>>,
    /// Text that every response must contain.
    expected: &'static str,
    /// Whether keys are created and revoked during the measurement.
    churn: bool,
    rates: Vec<f64>,
    tails: Vec<f64>,
}

/// Measures responses a second, and the 99th percentile of their times in milliseconds.
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

/// A task that creates and revokes a hundred keys a second, until it is stopped.
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

/// Measures the resident memory of the server under load, as the median of many samples: temporary allocations of
/// requests and counts vary by tens of megabytes.
async fn resident_at_work(server: &Server, template: &Template, keys: &Arc<Vec<String>>) -> f64 {
    let samples = async {
        let mut seen = Vec::new();
        for _ in 0..MEMORY_SAMPLES {
            tokio::time::sleep(TURN * 2 / MEMORY_SAMPLES).await;
            seen.push(resident_bytes(server));
        }
        median(&mut seen)
    };
    let work = async {
        load(server.address, template, keys, "VALID").await;
        load(server.address, template, keys, "VALID").await;
    };
    tokio::join!(samples, work).0
}

/// Checks each key of a range once, over all connections; returns checks a second.
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

    // Creates an account and a key with `keys:verify`, then stops the server and loads a million keys.
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
    // First caches a quarter of the keys. After that, the page caches of the database connections no longer grow
    // (144 MiB at most), so that further growth is the memory of keys.
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
    let busy: Arc<Vec<String>> = Arc::new(strings[..BUSY_KEYS].to_vec());
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
        candidates.push(candidate(peer.name(), *address, template, keys, "\"valid\":true"));
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
    // Before `median` below sorts the rounds.
    let shares: Vec<(f64, f64)> = candidates.iter().enumerate().map(share).collect();
    let measured: Vec<(f64, f64)> =
        candidates.iter_mut().map(|candidate| (median(&mut candidate.rates), median(&mut candidate.tails))).collect();
    let hit = measured[1].0;
    for (number, (candidate, (rate, tail))) in candidates.iter().zip(&measured).enumerate() {
        let (share, times) = shares[number];
        let target = match number {
            1 | 4 => {
                let least = if number == 1 { MIN_VERIFY_SHARE } else { MIN_FORWARD_AUTH_SHARE };
                let fast = report.target(
                    &format!("{}: {share:.2} of its ceiling, at least {least}", candidate.name),
                    share >= least,
                );
                let even = report.target(
                    &format!("{}: p99 {times:.2} times the ceiling's, at most {MAX_TAIL_RATIO}", candidate.name),
                    times <= MAX_TAIL_RATIO,
                );
                format!("{least}: {fast}; p99 {times:.2} times, {MAX_TAIL_RATIO}: {even}")
            }
            7 | 8 => {
                let least = if candidate.name == "better-auth" { MIN_BETTER_AUTH_RATIO } else { MIN_DRF_API_KEY_RATIO };
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

/// Measures the time of revocations, one after the other.
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
