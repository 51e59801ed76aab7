//! Limits that are counted in a real Redis: two nodes, edits, concurrency, and a Redis that loses its data, hangs, or
//! is unavailable.

mod keys;
mod rates;
mod redis_away;
mod sign_in;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use latchkey::cluster::limits::{Decision, SharedLimits};
use latchkey::cluster::redis::{Redis, RedisUnavailable};
use latchkey::model::{KeyId, RateLimit};
use latchkey::runtime::entropy::Entropy;

const KEY: KeyId = KeyId(-7);

const HOUR: u32 = 3600;

/// A test fails when Redis does not answer within this time.
const TIME_LIMIT: Duration = Duration::from_secs(30);

fn rate(limit: u32, window_seconds: u32) -> RateLimit {
    RateLimit { limit, window_seconds }
}

fn shared_url() -> String {
    std::env::var("LATCHKEY_TEST_REDIS_URL")
        .expect("LATCHKEY_TEST_REDIS_URL names the tests' Redis: `make test` starts one and sets it")
}

/// A new namespace for one test.
fn namespace() -> String {
    format!("test-{:x}", Entropy::System.id())
}

/// The shared limits of one node, in the tests' Redis.
async fn node(namespace: &str) -> SharedLimits {
    SharedLimits::new(Redis::open(&shared_url()).await.expect("a URL"), namespace)
}

/// A direct connection to Redis.
async fn raw(url: &str) -> redis::aio::MultiplexedConnection {
    redis::Client::open(url).expect("a URL").get_multiplexed_async_connection().await.expect("a connection")
}

async fn wait_for_answer(limits: &SharedLimits, rate: RateLimit) -> Decision {
    let begun = Instant::now();
    loop {
        match limits.spend(KEY, rate, 1).await {
            Ok(decision) => return decision,
            Err(RedisUnavailable) => assert!(begun.elapsed() < TIME_LIMIT, "Redis does not answer"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A Redis server of one test, on a Unix socket in a folder; killed on drop.
struct Server {
    folder: tempfile::TempDir,
    child: Child,
}

impl Server {
    fn socket(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("redis.sock")
    }

    fn start(folder: tempfile::TempDir) -> Self {
        let socket = Self::socket(&folder);
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--requirepass", "hush"])
            .arg("--unixsocket")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts: tools/setup-test installs it");
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(begun.elapsed() < TIME_LIMIT, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { folder, child }
    }

    fn new() -> Self {
        Self::start(tempfile::tempdir().expect("a folder"))
    }

    fn url_in(folder: &tempfile::TempDir) -> String {
        format!("redis+unix://{}?pass=hush", Self::socket(folder).display())
    }

    fn url(&self) -> String {
        Self::url_in(&self.folder)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    async fn limits(&self) -> (Redis, SharedLimits) {
        let redis = Redis::open(&self.url()).await.expect("a URL");
        (redis.clone(), SharedLimits::new(redis, "test"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
