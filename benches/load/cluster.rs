//! Benchmarks three nodes on one PostgreSQL: the time of a confirmed revocation, and the rate of checks on one node
//! compared with a single server.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::served::{Account, Connection, Server, request};
use crate::verify::{PLACEHOLDER, Template, load};
use crate::{Report, figure, median};

const NODES: usize = 3;
/// Number of checked keys, few enough to create them with the API.
const KEYS: usize = 500;
const ROUNDS: usize = 3;
const REVOCATIONS: usize = 300;
/// Target for the 99th percentile of revocations, in milliseconds.
const MAX_REVOCATION_P99_MS: f64 = 25.0;
/// Target for the rate of checks, as a share of the rate of a single server.
const MIN_SHARE: f64 = 0.8;

/// Servers on their own schema, and a key with the right to check keys.
struct Cluster {
    nodes: Vec<Server>,
    cookie: String,
    caller: String,
    keys: Arc<Vec<String>>,
}

impl Cluster {
    async fn start(folder: &Path, url: &str, schema: &str, redis: Option<&str>, nodes: usize) -> Self {
        let pool = sqlx::PgPool::connect(url).await.expect("PostgreSQL answers");
        for statement in [format!("DROP SCHEMA IF EXISTS {schema} CASCADE"), format!("CREATE SCHEMA {schema}")] {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&pool).await.expect("a schema");
        }
        let own = format!("{url}?options[search_path]={schema}");
        let mut arguments = vec!["--registration", "open", "--database-url", &own];
        arguments.extend(redis.into_iter().flat_map(|redis| ["--redis-url", redis]));
        let nodes: Vec<Server> =
            (0..nodes).map(|_| Server::start(folder, &arguments, &[("LATCHKEY_LOG", "warn")])).collect();
        let mut connection = nodes[0].connect().await.expect("it listens");
        let account = Account::register(&mut connection).await;
        let cookie = format!("Cookie: session={}", account.session);
        let caller = make(&mut connection, &cookie).await.1;
        let mut keys = Vec::with_capacity(KEYS);
        for _ in 0..KEYS {
            keys.push(make(&mut connection, &cookie).await.1);
        }
        Self { nodes, cookie, caller: format!("X-API-Key: {caller}"), keys: Arc::new(keys) }
    }

    /// Measures checks a second on the last node.
    async fn checks(&self) -> f64 {
        let body = format!(r#"{{"key":"{PLACEHOLDER}"}}"#);
        let template = Template::new(request("POST", "/v1/keys/verify", &[&self.caller], &body));
        let node = self.nodes.last().expect("there is one");
        load(node.address, &template, &self.keys, r#"{"valid":true"#).await.0
    }
}

/// Creates a key; returns its id and its string.
async fn make(connection: &mut Connection, cookie: &str) -> (String, String) {
    let made = connection.call("POST", "/v1/auth/api-keys", &[cookie], r#"{"name":"bench"}"#).await;
    let made = made.expect("an answer").json(201);
    let text = |field: &str| made[field].as_str().expect("a text").to_owned();
    (text("id"), text("key"))
}

pub async fn run(report: &mut Report) {
    let (Ok(postgres), Ok(redis)) =
        (std::env::var("LATCHKEY_BENCH_POSTGRES_URL"), std::env::var("LATCHKEY_BENCH_REDIS_URL"))
    else {
        println!("the cluster is not measured: no PostgreSQL or no Redis was named");
        return;
    };
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target");
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(target).expect("a folder");
    let alone = Cluster::start(folder.path(), &postgres, "bench_alone", None, 1).await;
    let three = Cluster::start(folder.path(), &postgres, "bench_three", Some(&redis), NODES).await;

    let (mut by_itself, mut as_node) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let rates = (alone.checks().await, three.checks().await);
        // The first round warms up.
        if round > 0 {
            by_itself.push(rates.0);
            as_node.push(rates.1);
        }
    }
    let (by_itself, as_node) = (median(&mut by_itself), median(&mut as_node));

    let mut connection = three.nodes[0].connect().await.expect("it listens");
    let (mut halves, mut tails) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut times = Vec::with_capacity(REVOCATIONS);
        for _ in 0..REVOCATIONS {
            let (id, key) = make(&mut connection, &three.cookie).await;
            // Every node caches the key.
            for node in &three.nodes {
                let mut connection = node.connect().await.expect("it listens");
                let told = connection.call("GET", "/v1/whoami", &[&format!("X-API-Key: {key}")], "").await;
                assert_eq!(told.expect("an answer").status, 200);
            }
            let began = Instant::now();
            let told = connection.call("POST", &format!("/v1/keys/{id}/revoke"), &[&three.cookie], "").await;
            times.push(began.elapsed().as_secs_f64() * 1000.0);
            assert_eq!(told.expect("an answer").json(200)["acknowledged"], NODES);
        }
        times.sort_by(f64::total_cmp);
        halves.push(times[REVOCATIONS / 2]);
        tails.push(times[REVOCATIONS * 99 / 100]);
    }
    let (half, tail) = (median(&mut halves), median(&mut tails));

    report.line(&format!("## Cluster: {NODES} nodes, PostgreSQL and Redis on the same machine"));
    report.line("");
    let share = as_node / by_itself;
    let verdict = report.target(
        &format!("verify on a warm node: {share:.2} of a server that is alone, at least {MIN_SHARE}"),
        share >= MIN_SHARE,
    );
    report.line(&format!(
        "Checks on one of the nodes, any of {} keys: {as_node:.0} a second, {share:.2} of a server that is alone on \
         PostgreSQL ({by_itself:.0}), medians of {ROUNDS} interleaved rounds ({MIN_SHARE}: {verdict}).",
        figure(KEYS)
    ));
    let verdict = report.target(
        &format!("a proven revocation: p99 {tail:.1} ms, at most {MAX_REVOCATION_P99_MS}"),
        tail <= MAX_REVOCATION_P99_MS,
    );
    report.line(&format!(
        "A revocation that all {NODES} nodes have acknowledged, of {REVOCATIONS} one after the other: {half:.1} ms, p99 \
         {tail:.1} ms ({MAX_REVOCATION_P99_MS}: {verdict}); medians of {ROUNDS} rounds with p99 of {:.1} to {:.1}.",
        tails[0],
        tails[ROUNDS - 1]
    ));
    report.line("");
}
