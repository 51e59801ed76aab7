//! Benchmarks keys issued a second, each on disk when its request is answered.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::served::{Account, Server, request};
use crate::{Report, median};

const CONNECTIONS: usize = 16;
const ROUNDS: usize = 3;
const TURN: Duration = Duration::from_secs(3);
/// Target, in keys a second.
const MIN_RATE: f64 = 8000.0;

pub async fn run(report: &mut Report) {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(target).expect("a folder");
    let server =
        Server::start(folder.path(), &["--max-keys-per-organisation", "10000000"], &[("LATCHKEY_LOG", "warn")]);
    let mut connection = server.connect().await.expect("it listens");
    let account = Account::register(&mut connection).await;
    let cookie = format!("Cookie: session={}", account.session);
    let request = request("POST", "/v1/auth/api-keys", &[&cookie], r#"{"name":"issued"}"#);
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut connection = server.connect().await.expect("it listens");
            let request = request.clone();
            clients.push(tokio::spawn(async move {
                let mut made = 0.0;
                while began.elapsed() < TURN {
                    assert_eq!(connection.status(&request).await.expect("an answer"), 201);
                    made += 1.0;
                }
                made
            }));
        }
        let mut made = 0.0;
        for client in clients {
            made += client.await.expect("a client does not fail");
        }
        rates.push(made / began.elapsed().as_secs_f64());
    }
    let rate = median(&mut rates);
    let verdict = report.target(&format!("keys issued: {rate:.0}/s, at least {MIN_RATE}"), rate >= MIN_RATE);
    report.line("## Keys issued");
    report.line("");
    report.line(&format!(
        "Keys issued over {CONNECTIONS} connections, each on disk when answered: {rate:.0} a second ({MIN_RATE}: {verdict})."
    ));
    report.line("");
}
