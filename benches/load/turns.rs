//! Compares this build of the program with another one (`LATCHKEY_BASELINE`), in turns. The speed of the machine
//! changes by a tenth within a minute, so separate runs cannot show a difference of a few per cent.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use crate::served::{Account, Server, program, request};
use crate::verify::{PLACEHOLDER, Template};
use crate::{Report, ingest, median, verify};

const ROUNDS: usize = 11;
/// Number of checked keys: more than fit in the processor's caches, and created within seconds.
const KEYS: usize = 20_000;
const CONNECTIONS: usize = 16;

/// One build: its server in its own folder, and the measured requests.
struct Build {
    server: Server,
    verify: Template,
    forward_auth: Template,
    ingest: Vec<u8>,
    keys: Arc<Vec<String>>,
}

impl Build {
    async fn start(program: &OsStr, folder: &Path) -> Self {
        std::fs::create_dir(folder).expect("a folder");
        let server = Server::start_program(program, folder, &[], &[("LATCHKEY_LOG", "warn")]);
        let mut connection = server.connect().await.expect("it listens");
        let account = Account::register(&mut connection).await;
        let cookie = format!("Cookie: session={}", account.session);
        let body = format!(
            r#"{{"name":"caller","scopes":"keys:verify events:write","org_id":"{}","env_id":"{}"}}"#,
            account.organisation, account.environment
        );
        let made = connection.call("POST", "/v1/auth/api-keys", &[&cookie], &body).await.expect("an answer").json(201);
        let caller = format!("X-API-Key: {}", made["key"].as_str().expect("a key"));
        let verify = request("POST", "/v1/keys/verify", &[&caller], &format!(r#"{{"key":"{PLACEHOLDER}"}}"#));
        let path = format!("/v1/forward-auth/{}/live/any", account.organisation);
        let forward_auth = request("GET", &path, &[&format!("X-API-Key: {PLACEHOLDER}")], "");
        let path = format!("/api/v1/ingest/{}/bench", account.tenant);
        Self {
            keys: Arc::new(make_keys(&server, &cookie).await),
            verify: Template::new(verify),
            forward_auth: Template::new(forward_auth),
            ingest: request("POST", &path, &[&caller], &ingest::body()),
            server,
        }
    }

    /// Measures requests a second, and the 99th percentile in milliseconds (NaN for ingest).
    async fn turn(&self, what: &str) -> (f64, f64) {
        let address = self.server.address;
        match what {
            "verify" => verify::load(address, &self.verify, &self.keys, r#"{"valid":true"#).await,
            "forward-auth" => verify::load(address, &self.forward_auth, &self.keys, "200 OK").await,
            _ => (ingest::load(address, &self.ingest).await, f64::NAN),
        }
    }
}

async fn make_keys(server: &Server, cookie: &str) -> Vec<String> {
    let request = request("POST", "/v1/auth/api-keys", &[cookie], r#"{"name":"checked"}"#);
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = server.connect().await.expect("it listens");
        let request = request.clone();
        clients.push(tokio::spawn(async move {
            let mut keys = Vec::new();
            for _ in 0..KEYS / CONNECTIONS {
                let made = connection.send(&request).await.expect("an answer").json(201);
                keys.push(made["key"].as_str().expect("a key").to_owned());
            }
            keys
        }));
    }
    let mut keys = Vec::with_capacity(KEYS);
    for client in clients {
        keys.extend(client.await.expect("a client does not fail"));
    }
    keys
}

pub async fn run(report: &mut Report, baseline: &OsStr) {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(target).expect("a folder");
    let old = Build::start(baseline, &folder.path().join("old")).await;
    let new = Build::start(&program(), &folder.path().join("new")).await;
    report.line("| | old, a second | new, a second | new / old (lowest to highest) | p99 ms, old | p99 ms, new |");
    report.line("|---|---|---|---|---|---|");
    for what in ["verify", "forward-auth", "ingest"] {
        let [mut rates, mut tails] = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
        let mut ratios = Vec::new();
        for round in 0..=ROUNDS {
            // Each build goes first in every other round, because the first turn changes the state of the machine.
            let mut measured = [(f64::NAN, f64::NAN); 2];
            for step in 0..2 {
                let which = (round + step) % 2;
                measured[which] = [&old, &new][which].turn(what).await;
            }
            // The first round warms up.
            if round > 0 {
                ratios.push(measured[1].0 / measured[0].0);
                for (which, (rate, tail)) in measured.into_iter().enumerate() {
                    rates[which].push(rate);
                    tails[which].push(tail);
                }
            }
        }
        let ratio = median(&mut ratios);
        report.line(&format!(
            "| {what} | {:.0} | {:.0} | {ratio:.3} ({:.3} to {:.3}) | {:.2} | {:.2} |",
            median(&mut rates[0]),
            median(&mut rates[1]),
            ratios[0],
            ratios[ROUNDS - 1],
            median(&mut tails[0]),
            median(&mut tails[1]),
        ));
    }
}
