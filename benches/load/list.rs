//! Benchmarks one page of a list of 1,000,000 keys in the server: from the call of the router to the complete response,
//! including the look-up of the Bearer token and the total.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::BodyExt;
use latchkey::accounts::{Accounts, Passwords, Registration};
use latchkey::events::{EventLimits, Events};
use latchkey::jobs::Jobs;
use latchkey::keys::{self, Policy};
use latchkey::runtime::clock::Clock;
use latchkey::runtime::entropy::Entropy;
use latchkey::runtime::lists::Lists;
use latchkey::security_log::limit::LogLimit;
use latchkey::server::router;
use latchkey::store::Db;
use latchkey::teams::Teams;
use latchkey::web::client_address::Peer;
use latchkey::web::{Services, Site};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{Report, median};

const KEYS: i64 = 1_000_000;
/// One of this many keys is revoked.
const REVOKED: i64 = 4;
const ROUNDS: usize = 3;
const FIRST_PAGES: i64 = 15;
const DEEP_PAGES: i64 = 3;
/// Targets in milliseconds, for page 1 and for the deep page.
const TARGETS: [f64; 2] = [2.0, 150.0];

const SORTS: [&str; 5] = ["id", "name", "isActive", "createdAt", "revokedAt"];
/// Filter, deep page, number of matching keys. The deep page is the middle one, the furthest from either end: 50,000
/// without a filter.
const FILTERS: [(&str, i64, i64); 3] = [
    ("", 50_000, KEYS),
    ("&IsActive=true", (KEYS - KEYS / REVOKED) / 20, KEYS - KEYS / REVOKED),
    ("&IsActive=false", KEYS / REVOKED / 20, KEYS / REVOKED),
];

struct Server {
    name: &'static str,
    router: Router,
    token: String,
}

impl Server {
    async fn new(name: &'static str, url: &str) -> Self {
        let db = Db::open(url).await.expect("the database opens");
        db.migrate().await.expect("the schema is made");
        let (clock, entropy) = (Clock::System, Entropy::System);
        let passwords = Passwords::new(entropy.clone());
        let accounts = Accounts::new(db.clone(), clock.clone(), entropy.clone(), passwords, Registration::Open, None);
        let accounts = Arc::new(accounts);
        let policy = Policy::default();
        let opened = keys::open(db.clone(), clock.clone(), entropy.clone(), policy, None).await.expect("it opens");
        let jobs = Jobs::new(db.clone(), clock.clone(), entropy.clone());
        let (keys, people) = (Arc::clone(&opened.keys), Arc::clone(&accounts));
        let teams = Teams::new(db.clone(), clock.clone(), entropy.clone(), keys, people, jobs);
        let services = Services {
            keys: opened.keys,
            changes: opened.changes,
            checks: opened.checks,
            usage: opened.usage,
            limits: opened.limits,
            accounts,
            teams: Arc::new(teams),
            events: Arc::new(Events::new(db.clone(), clock.clone(), entropy.clone(), EventLimits::default())),
            lists: Arc::new(Lists::unbounded()),
            site: Arc::new(Site::default()),
            bodies: Arc::default(),
            log_limit: Arc::new(LogLimit::new(clock.clone())),
            clock: clock.clone(),
            entropy: entropy.clone(),
            stopping: CancellationToken::new(),
        };
        let router = router(services, db, clock, entropy);
        let mut server = Self { name, router, token: String::new() };
        let credentials = r#"{"email":"bench@example.com","password":"correct horse battery"}"#;
        server.post("/v1/auth/register", credentials).await;
        let tokens = server.post("/api/v1/auth/login", credentials).await;
        server.token = format!("Bearer {}", tokens["accessToken"].as_str().expect("a token"));
        server
    }

    async fn post(&self, path: &str, body: &'static str) -> Value {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json").body(Body::from(body));
        serde_json::from_slice(&self.send(request.expect("a request")).await).expect("JSON")
    }

    async fn send(&self, mut request: Request<Body>) -> bytes::Bytes {
        request.extensions_mut().insert(Peer(SocketAddr::from(([127, 0, 0, 1], 50_000))));
        let answer = self.router.clone().oneshot(request).await.expect("the router always answers");
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.into_body().collect().await.expect("a body").to_bytes()
    }

    /// Requests some pages and checks the responses; returns the times in milliseconds.
    async fn page(&self, case: &Case, deep: bool) -> Vec<f64> {
        let (filter, deep_page, total) = FILTERS[case.filter];
        let mut times = Vec::new();
        for call in 0..if deep { DEEP_PAGES } else { FIRST_PAGES } {
            // Another page for each call.
            let page = if deep { deep_page - call * 137 } else { 1 };
            let path =
                format!("/api/v1/apikeys?Qt=10&Pg={page}&CpOrd={}&TpOrd={}{filter}", SORTS[case.sort], case.order);
            let request =
                Request::get(&path).header(AUTHORIZATION, &self.token).body(Body::empty()).expect("a request");
            let began = Instant::now();
            let body = self.send(request).await;
            times.push(began.elapsed().as_secs_f64() * 1000.0);
            let answer: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(answer["total"], total, "{path}");
            assert_eq!(answer["items"].as_array().map(Vec::len), Some(10), "{path}");
        }
        times
    }
}

struct Case {
    sort: usize,
    filter: usize,
    order: &'static str,
    /// The times, by server, depth and round.
    times: Vec<[Vec<f64>; 2]>,
}

/// Inserts the keys. Both engines get the same distribution. The keys are inserted in random order, so that the indexes
/// have the gaps of real ones.
async fn load_sqlite(url: &str) {
    let options: sqlx::sqlite::SqliteConnectOptions = url.parse().expect("a URL");
    let options = options.pragma("cache_size", "-2000000").synchronous(sqlx::sqlite::SqliteSynchronous::Off);
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("the file opens");
    sqlx::query(
        "INSERT INTO keys (id, uuid, hash, organisation_id, environment_id, created_by, name, name_folded, prefix, scopes, created_at, revoked_at) \
         WITH RECURSIVE n (i, born) AS (SELECT 1, 1700000000000 UNION ALL \
                                      SELECT i + 1, 1700000000000 + (random() & 0xfffffffff) FROM n WHERE i < $1), \
              named AS MATERIALIZED (SELECT i, born, 'service ' || lower(hex(randomblob(6))) AS name FROM n) \
         SELECT random(), unhex(printf('%012x7%.3s8%.15s', born, hex(randomblob(2)), hex(randomblob(8)))), \
                randomblob(32), e.organisation_id, e.id, m.user_id, \
                n.name, n.name, 'hks_' || lower(hex(randomblob(4))), 'events:write', \
                born, \
                CASE WHEN i % $2 = 0 THEN 1775000000000 + (random() & 0xfffffff) END \
         FROM named n, (SELECT * FROM environments WHERE mode = 'live' LIMIT 1) e JOIN memberships m ON m.organisation_id = e.organisation_id",
    )
    .bind(KEYS)
    .bind(REVOKED)
    .execute(&pool)
    .await
    .expect("the keys are made");
    sqlx::query("UPDATE organisations SET key_count = $1, revoked_count = $1 / $2")
        .bind(KEYS)
        .bind(REVOKED)
        .execute(&pool)
        .await
        .expect("counted");
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&pool).await.expect("a checkpoint");
    pool.close().await;
}

async fn load_postgres(url: &str) {
    let pool = sqlx::PgPool::connect(url).await.expect("PostgreSQL answers");
    sqlx::query(
        "INSERT INTO keys (id, uuid, hash, organisation_id, environment_id, created_by, name, name_folded, prefix, scopes, created_at, revoked_at) \
         SELECT hashint8extended(i, 7), \
                CAST(lpad(to_hex(born), 12, '0') || overlay(overlay(substr(md5(CAST(random() AS text)), 1, 20) PLACING '7' FROM 1) PLACING '8' FROM 5) AS uuid), \
                sha256(CAST(CAST(gen_random_uuid() AS text) AS bytea)), e.organisation_id, e.id, m.user_id, \
                'service ' || substr(md5(CAST(i AS text)), 1, 12), 'service ' || substr(md5(CAST(i AS text)), 1, 12), 'hks_' || substr(md5(CAST(-i AS text)), 1, 8), 'events:write', \
                born, \
                CASE WHEN i % $2 = 0 THEN 1775000000000 + CAST(random() * 268435456 AS bigint) END \
         FROM (SELECT i, 1700000000000 + CAST(random() * 68719476736 AS bigint) AS born \
               FROM generate_series(CAST(1 AS bigint), $1) AS i) AS made, \
              (SELECT * FROM environments WHERE mode = 'live' LIMIT 1) e JOIN memberships m ON m.organisation_id = e.organisation_id",
    )
    .bind(KEYS)
    .bind(REVOKED)
    .execute(&pool)
    .await
    .expect("the keys are made");
    sqlx::query("UPDATE organisations SET key_count = $1, revoked_count = $1 / $2")
        .bind(KEYS)
        .bind(REVOKED)
        .execute(&pool)
        .await
        .expect("counted");
    // Autovacuum would do the same, some time after such a load.
    sqlx::query("VACUUM ANALYZE").execute(&pool).await.expect("a vacuum");
    pool.close().await;
}

async fn servers(folder: &Path) -> Vec<Server> {
    let began = Instant::now();
    let url = format!("sqlite:{}", folder.join("million.db").display());
    let mut servers = vec![Server::new("SQLite", &url).await];
    load_sqlite(&url).await;
    println!("{KEYS} keys in SQLite after {:.0} s", began.elapsed().as_secs_f64());
    if let Ok(url) = std::env::var("LATCHKEY_BENCH_POSTGRES_URL") {
        let pool = sqlx::PgPool::connect(&url).await.expect("PostgreSQL answers");
        for statement in ["DROP SCHEMA IF EXISTS bench_list CASCADE", "CREATE SCHEMA bench_list"] {
            sqlx::query(statement).execute(&pool).await.expect("a schema");
        }
        pool.close().await;
        let url = format!("{url}?options[search_path]=bench_list");
        servers.push(Server::new("PostgreSQL", &url).await);
        load_postgres(&url).await;
        println!("{KEYS} keys in PostgreSQL after {:.0} s", began.elapsed().as_secs_f64());
    }
    servers
}

pub async fn run(report: &mut Report) {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(target).expect("a folder");
    let servers = servers(folder.path()).await;
    let mut cases = Vec::new();
    for filter in 0..FILTERS.len() {
        for sort in 0..SORTS.len() {
            for order in ["Asc", "Desc"] {
                cases.push(Case { sort, filter, order, times: vec![Default::default(); servers.len()] });
            }
        }
    }
    for round in 0..=ROUNDS {
        for case in &mut cases {
            for (number, server) in servers.iter().enumerate() {
                for deep in [false, true] {
                    let mut times = server.page(case, deep).await;
                    // The first round warms up.
                    if round > 0 {
                        case.times[number][usize::from(deep)].push(median(&mut times));
                    }
                }
            }
        }
    }

    report.line(&format!("## `GET /api/v1/apikeys` with {KEYS} keys in one tenant, `Qt=10`"));
    report.line("");
    report.line(&format!(
        "Milliseconds in the server, `total` included, one request at a time: the median of {ROUNDS} interleaved rounds, of the two \
         directions the slower. One key in {REVOKED} is revoked. The deep page is 50,000; with a filter, the middle page of \
         the result (page {} and page {}), which is the furthest from either end.",
        FILTERS[1].1, FILTERS[2].1
    ));
    report.line("");
    let names: Vec<String> = servers.iter().map(|server| format!(" {0}, page 1 | {0}, deep |", server.name)).collect();
    report.line(&format!("| order, filter |{}", names.concat()));
    report.line(&format!("|---|{}", "---|---|".repeat(servers.len())));
    let mut worst = vec![[0.0_f64; 2]; servers.len()];
    for pair in cases.chunks_mut(2) {
        let mut row = format!("| {}{} |", SORTS[pair[0].sort], FILTERS[pair[0].filter].0.replace('&', ", "));
        for (number, worst) in worst.iter_mut().enumerate() {
            for (depth, worst) in worst.iter_mut().enumerate() {
                let milliseconds =
                    pair.iter_mut().map(|case| median(&mut case.times[number][depth])).fold(0.0, f64::max);
                *worst = worst.max(milliseconds);
                let _ = write!(row, " {milliseconds:.2} |");
            }
        }
        report.line(&row);
    }
    let mut row = "| **worst, target** |".to_owned();
    for (server, worst) in servers.iter().zip(&worst) {
        for (depth, what) in ["page 1", "deep page"].iter().enumerate() {
            let what = format!("list, {}, {what}: {:.2} ms, at most {}", server.name, worst[depth], TARGETS[depth]);
            let verdict = report.target(&what, worst[depth] <= TARGETS[depth]);
            let _ = write!(row, " {:.2}, {}: {verdict} |", worst[depth], TARGETS[depth]);
        }
    }
    report.line(&row);
    report.line("");
}
