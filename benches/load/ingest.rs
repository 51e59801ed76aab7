//! Benchmarks events a second over 32 connections, compared with a server that only reads the body, and with commits of
//! one row each on the same disk.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use latchkey::store::Db;
use tokio::net::TcpListener;

use crate::served::{Account, Connection, Server, request};
use crate::{Report, median};

const CONNECTIONS: usize = 32;
const ROUNDS: usize = 5;
const TURN: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(300);
/// Target: the rate of ingest as a multiple of the rate of commits of one row.
const MIN_RATIO: f64 = 5.0;

/// Serves the ceiling: the same path, reads the whole body, and sends a response of the same size.
pub async fn serve_nothing() {
    let answer = async |_: Bytes| {
        let body = r#"{"id":"0198c0de-0000-7000-8000-000000000000","status":"Accepted","acceptedAt":"2026-07-03T14:32:00.000Z"}"#;
        (StatusCode::ACCEPTED, [("content-type", "application/json")], body)
    };
    let router = Router::new().route("/api/v1/ingest/{tenant_id}/{source}", post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("http://{}", listener.local_addr().expect("an address"));
    axum::serve(listener, router).await.expect("it serves");
}

/// Measures rows a second, each in its own transaction, one after the other.
macro_rules! commits {
    ($pool:expr) => {{
        let mut connection = $pool.acquire().await.expect("a connection");
        let began = Instant::now();
        let mut rows = 0.0;
        while began.elapsed() < TURN {
            sqlx::query("INSERT INTO single_rows (body) VALUES ($1)")
                .bind(body().as_bytes())
                .execute(&mut *connection)
                .await
                .expect("a row");
            rows += 1.0;
        }
        rows / began.elapsed().as_secs_f64()
    }};
}

/// A measured program. Each round measures every candidate once.
struct Candidate {
    name: &'static str,
    kind: Kind,
    rates: Vec<f64>,
}

enum Kind {
    Http(Server, Vec<u8>),
    SqliteCommits(sqlx::SqlitePool),
    PostgresCommits(sqlx::PgPool),
}

impl Candidate {
    async fn turn(&self) -> f64 {
        match &self.kind {
            Kind::Http(server, request) => load(server.address, request).await,
            Kind::SqliteCommits(pool) => commits!(pool),
            Kind::PostgresCommits(pool) => commits!(pool),
        }
    }
}

/// Returns a webhook of typical size.
pub fn body() -> String {
    format!(r#"{{"action":"opened","number":7,"repository":"latchkey","text":"{}"}}"#, "x".repeat(190))
}

/// Measures requests a second that a server answers with 202. Each connection sends the next request after an answer.
pub async fn load(address: SocketAddr, request: &[u8]) -> f64 {
    let mut clients = Vec::new();
    let began = Instant::now();
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::open(address).await.expect("it listens");
        let request = request.to_vec();
        clients.push(tokio::spawn(async move {
            let mut answered = 0.0;
            while began.elapsed() < WARM_UP + TURN {
                let status = connection.status(&request).await.expect("an answer");
                assert_eq!(status, 202);
                if began.elapsed() > WARM_UP {
                    answered += 1.0;
                }
            }
            answered
        }));
    }
    let mut answered = 0.0;
    for client in clients {
        answered += client.await.expect("a client does not fail");
    }
    answered / TURN.as_secs_f64()
}

async fn latchkey(folder: &Path, name: &'static str, url: &str, log: &str) -> Candidate {
    let folder = folder.join(name.replace([' ', ','], "-"));
    std::fs::create_dir(&folder).expect("a folder");
    let server = Server::start(&folder, &["--registration", "open", "--database-url", url], &[("LATCHKEY_LOG", log)]);
    let mut connection = server.connect().await.expect("it listens");
    let account = Account::register(&mut connection).await;
    let made = connection.call("POST", "/api/v1/apikeys", &[&account.bearer()], r#"{"name":"bench"}"#).await;
    let made = made.expect("an answer").json(201);
    let key = format!("X-Api-Key: {}", made["key"].as_str().expect("a key"));
    let path = format!("/api/v1/ingest/{}/bench", account.tenant);
    Candidate { name, kind: Kind::Http(server, request("POST", &path, &[&key], &body())), rates: Vec::new() }
}

async fn candidates(folder: &Path, postgres: Option<&str>) -> Vec<Candidate> {
    let mut nothing = Command::new(std::env::current_exe().expect("this program"));
    nothing.arg("nothing");
    let nothing = Kind::Http(
        Server::wait(nothing, folder),
        request(
            "POST",
            "/api/v1/ingest/1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d/bench",
            &["X-Api-Key: hks_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c"],
            &body(),
        ),
    );
    let mut all = vec![Candidate { name: "axum, reads the body and does nothing", kind: nothing, rates: Vec::new() }];

    let file = format!("sqlite:{}", folder.join("single.db").display());
    // With the settings of the server: write-ahead log, synchronous=FULL.
    let Db::Sqlite(..) = Db::open(&file).await.expect("the file opens") else { unreachable!("a file") };
    let options: sqlx::sqlite::SqliteConnectOptions = file.parse().expect("a URL");
    let single = sqlx::SqlitePool::connect_with(options.synchronous(sqlx::sqlite::SqliteSynchronous::Full))
        .await
        .expect("the file opens");
    sqlx::query("CREATE TABLE single_rows (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")
        .execute(&single)
        .await
        .expect("a table");
    all.push(latchkey(folder, "ingest, SQLite", "sqlite:latchkey.db", "warn").await);
    all.push(latchkey(folder, "ingest, SQLite, access log on", "sqlite:latchkey.db", "info").await);
    all.push(Candidate { name: "commits of one row, SQLite", kind: Kind::SqliteCommits(single), rates: Vec::new() });

    if let Some(url) = postgres {
        let pool = sqlx::PgPool::connect(url).await.expect("PostgreSQL answers");
        for statement in [
            "DROP SCHEMA IF EXISTS bench_ingest CASCADE",
            "CREATE SCHEMA bench_ingest",
            "DROP TABLE IF EXISTS single_rows",
            "CREATE TABLE single_rows (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body BYTEA NOT NULL)",
        ] {
            sqlx::query(statement).execute(&pool).await.expect("a schema");
        }
        let own = format!("{url}?options[search_path]=bench_ingest");
        all.push(latchkey(folder, "ingest, PostgreSQL", &own, "warn").await);
        all.push(Candidate {
            name: "commits of one row, PostgreSQL",
            kind: Kind::PostgresCommits(pool),
            rates: Vec::new(),
        });
    }
    all
}

pub async fn run(report: &mut Report) {
    // On the disk of the checkout, because a temporary folder may be in memory.
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(target).expect("a folder");
    let postgres = std::env::var("LATCHKEY_BENCH_POSTGRES_URL").ok();
    let mut candidates = candidates(folder.path(), postgres.as_deref()).await;
    for round in 0..=ROUNDS {
        for candidate in &mut candidates {
            let rate = candidate.turn().await;
            // The first round warms up.
            if round > 0 {
                candidate.rates.push(rate);
            }
        }
    }

    report.line(&format!("## Ingest: {CONNECTIONS} connections, bodies of {} bytes", body().len()));
    report.line("");
    report.line(&format!(
        "Medians of {ROUNDS} interleaved rounds of {} s, with the lowest and the highest round. The server, the load generator \
         and the database share the cores.",
        TURN.as_secs()
    ));
    report.line("");
    report.line("| | requests a second | lowest | highest | of the ceiling, % | times the commits of one row, same engine | target |");
    report.line("|---|---|---|---|---|---|---|");
    let medians: Vec<f64> = candidates.iter_mut().map(|candidate| median(&mut candidate.rates)).collect();
    let rate_of = |name: &str| {
        candidates
            .iter()
            .zip(&medians)
            .find(|(candidate, _)| candidate.name == name)
            .map_or(f64::NAN, |(_, rate)| *rate)
    };
    for (candidate, rate) in candidates.iter().zip(&medians) {
        let engine = if candidate.name.contains("PostgreSQL") {
            "commits of one row, PostgreSQL"
        } else {
            "commits of one row, SQLite"
        };
        let (ratio, target) = if candidate.name.starts_with("ingest") {
            let ratio = rate / rate_of(engine);
            let verdict = report
                .target(&format!("{}: {ratio:.1} times, at least {MIN_RATIO}", candidate.name), ratio >= MIN_RATIO);
            (format!("{ratio:.1}"), format!("{MIN_RATIO}: {verdict}"))
        } else {
            (String::new(), String::new())
        };
        let share = rate / rate_of("axum, reads the body and does nothing");
        report.line(&format!(
            "| {} | {rate:.0} | {:.0} | {:.0} | {:.0} | {ratio} | {target} |",
            candidate.name,
            candidate.rates[0],
            candidate.rates[ROUNDS - 1],
            share * 100.0
        ));
    }
    report.line("");
}
