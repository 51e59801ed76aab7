//! Limits that are counted in Redis, against a real one: two nodes, edits, concurrency; and a Redis that
//! forgets, hangs, or is not there.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use latchkey::accounts::{Accounts, EmailAddress, Password, Passwords, Registration, Throttle};
use latchkey::cluster::limits::{Decision, SharedLimits};
use latchkey::cluster::redis::{Away, Redis, RedisUrlError};
use latchkey::domain::{Ask, Caller, Code, Limits};
use latchkey::keys::{Draft, KeyStringForm, Keys, Limited, Policy, Purpose, WithoutRedis};
use latchkey::model::{KeyId, KeyName, Quota, RateLimit, Scopes, Timestamp};
use latchkey::runtime::clock::Clock;
use latchkey::runtime::entropy::Entropy;
use latchkey::store::Db;

const KEY: KeyId = KeyId(-7);
const HOUR: u32 = 3600;
/// What should be there in a moment is given up after so long.
const TIME_LIMIT: Duration = Duration::from_secs(30);

fn rate(limit: u32, window_seconds: u32) -> RateLimit {
    RateLimit { limit, window_seconds }
}

fn shared_url() -> String {
    std::env::var("LATCHKEY_TEST_REDIS_URL")
        .expect("LATCHKEY_TEST_REDIS_URL names the tests' Redis: `make test` starts one and sets it")
}

/// A namespace of a test's own.
fn namespace() -> String {
    format!("test-{:x}", Entropy::System.id())
}

/// What one node sees of the tests' Redis.
async fn node(namespace: &str) -> SharedLimits {
    SharedLimits::new(Redis::open(&shared_url()).await.expect("a URL"), namespace)
}

/// A client of our own.
async fn raw(url: &str) -> redis::aio::MultiplexedConnection {
    redis::Client::open(url).expect("a URL").get_multiplexed_async_connection().await.expect("a connection")
}

async fn until_it_answers(limits: &SharedLimits, rate: RateLimit) -> Decision {
    let begun = Instant::now();
    loop {
        match limits.spend(KEY, rate, 1).await {
            Ok(decision) => return decision,
            Err(Away) => assert!(begun.elapsed() < TIME_LIMIT, "Redis comes back"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A Redis of a test's own, behind a socket in a folder.
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
            assert!(begun.elapsed() < TIME_LIMIT, "redis-server answers");
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

#[tokio::test]
async fn the_burst_is_the_limit_and_all_nodes_share_it() {
    let namespace = namespace();
    let nodes = [node(&namespace).await, node(&namespace).await];
    let rate = rate(5, HOUR);
    for (spent, remaining) in (0..5).rev().enumerate() {
        let decision = nodes[spent % 2].spend(KEY, rate, 1).await.unwrap();
        assert_eq!((decision.remaining, decision.retry_after), (remaining, None));
    }
    for node in &nodes {
        let decision = node.spend(KEY, rate, 1).await.unwrap();
        assert_eq!(decision.remaining, 0);
        assert!((3590..=3600).contains(&decision.reset), "{decision:?}");
        assert!((710..=720).contains(&decision.retry_after.unwrap()), "{decision:?}");
    }
    // Another key, and another installation on the same Redis.
    assert_eq!(nodes[0].spend(KeyId(8), rate, 1).await.unwrap().remaining, 4);
    assert_eq!(node("another").await.spend(KEY, rate, 0).await.unwrap().remaining, 5);
}

#[tokio::test]
async fn what_was_spent_comes_back_with_time() {
    let limits = node(&namespace()).await;
    let rate = rate(4, 1);
    let begun = Instant::now();
    // The first quarter of a second has room for the burst; from then on it is one each quarter.
    for _ in 0..8 {
        while limits.spend(KEY, rate, 1).await.unwrap().retry_after.is_some() {
            assert!(begun.elapsed() < TIME_LIMIT);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(begun.elapsed() >= Duration::from_secs(1), "four more than the burst take a second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tasks_never_get_more_than_the_limit() {
    let namespace = namespace();
    let nodes = [node(&namespace).await, node(&namespace).await];
    let tasks: Vec<_> = (0..100)
        .map(|task| {
            let node = nodes[task % 2].clone();
            tokio::spawn(async move {
                let mut allowed = 0;
                for _ in 0..10 {
                    allowed += u32::from(node.spend(KEY, rate(321, 86_400), 1).await.unwrap().retry_after.is_none());
                }
                allowed
            })
        })
        .collect();
    let allowed: u32 = futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(allowed, 321);
}

#[tokio::test]
async fn what_is_not_let_through_spends_nothing_and_a_cost_of_nothing_only_looks() {
    let limits = node(&namespace()).await;
    let rate = rate(3, HOUR);
    assert_eq!(limits.spend(KEY, rate, 0).await.unwrap(), Decision { remaining: 3, reset: 0, retry_after: None });
    assert!(limits.spend(KEY, rate, 4).await.unwrap().retry_after.is_some());
    assert_eq!(limits.spend(KEY, rate, 2).await.unwrap().remaining, 1);
    assert!(limits.spend(KEY, rate, 2).await.unwrap().retry_after.is_some());
    assert_eq!(limits.spend(KEY, rate, 0).await.unwrap().remaining, 1);
    assert_eq!(limits.spend(KEY, rate, 1).await.unwrap().remaining, 0);
    assert_eq!(limits.spend(KEY, rate, 0).await.unwrap().retry_after, None, "nothing can always be had");
}

#[tokio::test]
async fn an_edited_limit_keeps_what_was_spent() {
    let limits = node(&namespace()).await;
    assert_eq!(limits.spend(KEY, rate(3, HOUR), 3).await.unwrap().remaining, 0);
    assert_eq!(limits.spend(KEY, rate(6, 86_400), 1).await.unwrap().remaining, 2);
    let decision = limits.spend(KEY, rate(1, 1000), 1).await.unwrap();
    assert!((3990..=4000).contains(&decision.retry_after.unwrap()), "{decision:?}");
    assert!(limits.spend(KEY, rate(1, 1000), 0).await.unwrap().retry_after.is_some(), "it is over the limit");
}

#[tokio::test]
async fn the_largest_limits_are_counted_to_the_request() {
    let limits = node(&namespace()).await;
    let rate = rate(1_000_000_000, 86_400);
    assert_eq!(limits.spend(KEY, rate, 999_999_999).await.unwrap().retry_after, None);
    let decision = limits.spend(KEY, rate, 0).await.unwrap();
    // It comes back with more than ten thousand a second.
    assert!((1..2_000_000).contains(&decision.remaining), "{decision:?}");
    assert!((86_300..=86_400).contains(&decision.reset), "{decision:?}");
    assert!(limits.spend(KEY, rate, u32::MAX).await.unwrap().retry_after.is_some());
}

#[tokio::test]
async fn redis_keeps_little_and_nothing_for_ever() {
    let namespace = namespace();
    let limits = node(&namespace).await;
    let mut raw = raw(&shared_url()).await;
    let bucket = format!("latchkey:{namespace}:rate:fffffffffffffff9");
    limits.spend(KEY, rate(10, HOUR), 0).await.unwrap();
    let mut left = async || redis::cmd("PTTL").arg(&bucket).query_async::<i64>(&mut raw).await.unwrap();
    assert_eq!(left().await, -2, "a look writes nothing");
    limits.spend(KEY, rate(10, HOUR), 1).await.unwrap();
    assert!((350_000..=360_000).contains(&left().await), "it is empty after a tenth of the window");
}

#[tokio::test]
async fn what_somebody_else_wrote_is_no_bucket() {
    let namespace = namespace();
    let limits = node(&namespace).await;
    let mut raw = raw(&shared_url()).await;
    let bucket = format!("latchkey:{namespace}:rate:fffffffffffffff9");
    for command in [["SET", "what"], ["LPUSH", "what"], ["SET", "12 x"]] {
        redis::cmd("DEL").arg(&bucket).exec_async(&mut raw).await.unwrap();
        redis::cmd(command[0]).arg(&bucket).arg(command[1]).exec_async(&mut raw).await.unwrap();
        assert_eq!(limits.spend(KEY, rate(10, HOUR), 1).await.unwrap().remaining, 9);
        assert_eq!(limits.spend(KEY, rate(10, HOUR), 1).await.unwrap().remaining, 8);
    }
}

#[tokio::test]
async fn an_emptied_or_restarted_redis_goes_on() {
    let server = Server::new();
    let (redis, limits) = server.limits().await;
    let mut raw = raw(&server.url()).await;
    let rate = rate(5, HOUR);
    assert_eq!(limits.spend(KEY, rate, 2).await.unwrap().remaining, 3);
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut raw).await.unwrap();
    assert_eq!(limits.spend(KEY, rate, 1).await.unwrap().remaining, 2, "the script is sent again");
    redis::cmd("FLUSHALL").exec_async(&mut raw).await.unwrap();
    assert_eq!(limits.spend(KEY, rate, 1).await.unwrap().remaining, 4);
    drop(raw);

    let mut server = server;
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    assert_eq!(limits.spend(KEY, rate, 1).await, Err(Away));
    assert!(redis.is_away());
    let folder = std::mem::replace(&mut server.folder, tempfile::tempdir().unwrap());
    let _server = Server::start(folder);
    assert_eq!(until_it_answers(&limits, rate).await.remaining, 4);
    assert!(!redis.is_away());
}

#[tokio::test]
async fn a_redis_that_is_not_there_yet_is_found_when_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::open(&Server::url_in(&folder)).await.unwrap();
    let limits = SharedLimits::new(redis.clone(), "test");
    assert!(redis.is_away());
    assert_eq!(limits.spend(KEY, rate(5, HOUR), 1).await, Err(Away));
    let _server = Server::start(folder);
    assert_eq!(until_it_answers(&limits, rate(5, HOUR)).await.remaining, 4);
}

/// What all tests log: whose it is, is told by the socket.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_redis_that_hangs_costs_one_time_out_and_comes_back() {
    tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init();
    let server = Server::new();
    let (redis, limits) = server.limits().await;
    assert_eq!(limits.spend(KEY, rate(5, HOUR), 1).await.unwrap().remaining, 4);
    assert!(!redis.is_away());

    server.signal("STOP");
    let begun = Instant::now();
    for _ in 0..1000 {
        assert_eq!(limits.spend(KEY, rate(5, HOUR), 1).await, Err(Away));
    }
    // A thousand time-outs would take fifty seconds.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(redis.is_away());
    // Probes do not succeed, and are not mistaken for an answer.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(limits.spend(KEY, rate(5, HOUR), 1).await, Err(Away));

    server.signal("CONT");
    // What was asked while it hung may have been counted: once.
    let remaining = until_it_answers(&limits, rate(5, HOUR)).await.remaining;
    assert!((2..=3).contains(&remaining), "{remaining}");

    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    let socket = Server::socket(&server.folder).display().to_string();
    let log = log.lines().filter(|line| line.contains(&socket)).collect::<Vec<_>>().join("\n");
    assert_eq!(log.matches("does not answer any more").count(), 1, "{log}");
    assert_eq!(log.matches("Redis answers").count(), 2, "{log}");
    assert!(!log.contains("hush"), "{log}");
}

#[tokio::test]
async fn an_idle_redis_that_goes_is_noticed() {
    let server = Server::new();
    let (redis, _) = server.limits().await;
    drop(server);
    let begun = Instant::now();
    while !redis.is_away() {
        assert!(begun.elapsed() < TIME_LIMIT);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_replica_is_as_good_as_away() {
    let server = Server::new();
    let mut raw = raw(&server.url()).await;
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg("1").exec_async(&mut raw).await.unwrap();
    let (redis, limits) = server.limits().await;
    assert!(redis.is_away(), "it can be read and not written");
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut raw).await.unwrap();
    assert_eq!(until_it_answers(&limits, rate(5, HOUR)).await.remaining, 4);
}

#[tokio::test]
async fn no_password_is_shown() {
    let redis = Redis::open("redis://ada:hush@127.0.0.1:1/2").await.unwrap();
    assert_eq!(format!("{redis:?}"), "Redis(127.0.0.1:1, away)");
    let limits = SharedLimits::new(redis, "test");
    assert!(!format!("{limits:?}").contains("hush"));
    assert!(matches!(Redis::open("rediss://:hush@example.com").await, Err(RedisUrlError::Tls)));
    for url in ["redis://:hush@", "redis://:hush@host:port", "redis://:hush@host/x", "http://:hush@host", ":hush@", ""]
    {
        let error = Redis::open(url).await.expect_err(url);
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
}

#[tokio::test]
async fn attempts_to_sign_in_are_counted_together_and_without_names() {
    let namespace = namespace();
    let clock = Clock::fixed(Timestamp(1_000_000));
    let nodes = [
        Throttle::new(clock.clone(), Some(node(&namespace).await)),
        Throttle::new(clock.clone(), Some(node(&namespace).await)),
    ];
    let address = Some("198.51.100.1".parse().unwrap());
    let (owner, other) =
        (EmailAddress::parse("owner@example.com").unwrap(), EmailAddress::parse("o@example.com").unwrap());
    for attempt in 0..10 {
        assert_eq!(nodes[attempt % 2].attempt(address, Some(&owner)).await, Ok(()));
    }
    for node in &nodes {
        let seconds = node.attempt(address, Some(&owner)).await.unwrap_err();
        assert!((25..=30).contains(&seconds), "{seconds}");
    }
    assert_eq!(nodes[0].attempt(address, Some(&other)).await, Ok(()));
    for attempt in 13..60 {
        assert_eq!(nodes[attempt % 2].attempt(address, None).await, Ok(()));
    }
    for node in &nodes {
        assert!((5..=10).contains(&node.attempt(address, Some(&other)).await.unwrap_err()));
    }

    let mut raw = raw(&shared_url()).await;
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("latchkey:{namespace}:*")).query_async(&mut raw).await.unwrap();
    assert_eq!(keys.len(), 4, "a wide network, an address, and two accounts from it");
    for key in keys {
        let hash = key.strip_prefix(&format!("latchkey:{namespace}:throttle:")).expect("a throttle");
        assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    }
}

#[tokio::test]
async fn a_right_password_gives_an_attempt_back_to_all_nodes() {
    let namespace = namespace();
    let clock = Clock::fixed(Timestamp(1_000_000));
    let nodes = [
        Throttle::new(clock.clone(), Some(node(&namespace).await)),
        Throttle::new(clock.clone(), Some(node(&namespace).await)),
    ];
    let (address, owner) = (Some("198.51.100.1".parse().unwrap()), EmailAddress::parse("owner@example.com").unwrap());
    for attempt in 0..120 {
        let [one, other] = [&nodes[attempt % 2], &nodes[(attempt + 1) % 2]];
        assert_eq!(one.attempt(address, Some(&owner)).await, Ok(()));
        assert_eq!(one.attempt_from_elsewhere(&owner).await, Ok(()));
        other.refund(address, &owner, true).await;
    }
    for attempt in 0..10 {
        assert_eq!(nodes[attempt % 2].attempt(address, Some(&owner)).await, Ok(()));
    }
    assert!(nodes[0].attempt(address, Some(&owner)).await.is_err(), "no more than was taken comes back");
}

#[tokio::test]
async fn without_redis_a_node_throttles_by_itself_and_gives_no_new_burst() {
    let server = Server::new();
    let (_, limits) = server.limits().await;
    let throttle = Throttle::new(Clock::fixed(Timestamp(1_000_000)), Some(limits));
    let address = Some("198.51.100.1".parse().unwrap());
    let owner = EmailAddress::parse("owner@example.com").unwrap();
    for _ in 0..6 {
        assert_eq!(throttle.attempt(address, Some(&owner)).await, Ok(()));
    }
    drop(server);
    for _ in 6..10 {
        assert_eq!(throttle.attempt(address, Some(&owner)).await, Ok(()));
    }
    assert_eq!(throttle.attempt(address, Some(&owner)).await, Err(30));
}

/// The keys of a database, as several nodes know them.
struct Nodes {
    _folder: tempfile::TempDir,
    db: Db,
    caller: Caller,
    id: KeyId,
    string: String,
}

impl Nodes {
    async fn new(limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let db = Db::open(&format!("sqlite:{}", folder.path().join("latchkey.db").display())).await.expect("it opens");
        db.migrate().await.expect("the schema is made");
        let entropy = Entropy::System;
        let passwords = Passwords::cheap(entropy.clone());
        let accounts = Accounts::new(db.clone(), Clock::System, entropy.clone(), passwords, Registration::Open, None);
        let email = EmailAddress::parse("ada@example.com").expect("an address");
        let password = Password::new("correct horse battery".to_owned()).expect("a password");
        let user = accounts.add(&email, password).await.expect("an account");
        let caller = Caller::Person(accounts.person(user).await.expect("an answer").expect("somebody"));
        let draft = Draft {
            name: KeyName::parse("Billing worker").expect("a name"),
            place: caller.place(None).expect("a place"),
            scopes: None,
            default_scopes: Scopes::All,
            limits,
            metadata: None,
            form: KeyStringForm::Hookstream,
        };
        let first = Keys::open(db.clone(), Clock::System, entropy, Policy::default(), None).await.expect("it opens");
        let key = first.issue(&caller, draft).await.expect("a key");
        Self { _folder: folder, db, caller, id: key.key.id, string: key.plain.reveal() }
    }

    async fn node(&self, limits: SharedLimits, without: WithoutRedis) -> Keys {
        let keys = Keys::open(self.db.clone(), Clock::System, Entropy::System, Policy::default(), None)
            .await
            .expect("it opens");
        keys.share_limits(limits, without);
        keys
    }

    /// The outcome of a check, what is left of the rate limit, and the limit that was met.
    async fn check(&self, keys: &Keys) -> (Code, Option<u64>, Option<Limited>) {
        let told = keys
            .check(&self.string, &Ask::default(), Purpose::Use, |verdict| {
                (verdict.code, verdict.limits.rate.map(|rate| rate.remaining), verdict.limited)
            })
            .await;
        told.expect("an answer")
    }
}

#[tokio::test]
async fn a_keys_rate_limit_is_one_for_all_nodes() {
    let nodes = Nodes::new(Limits { rate_limit: Some(rate(3, HOUR)), ..Limits::default() }).await;
    let namespace = namespace();
    let one = nodes.node(node(&namespace).await, WithoutRedis::Closed).await;
    let other = nodes.node(node(&namespace).await, WithoutRedis::Closed).await;
    assert_eq!(nodes.check(&one).await, (Code::Valid, Some(2), None));
    assert_eq!(nodes.check(&other).await, (Code::Valid, Some(1), None));
    assert_eq!(nodes.check(&one).await, (Code::Valid, Some(0), None));
    let (code, remaining, limited) = nodes.check(&other).await;
    assert_eq!((code, remaining), (Code::RateLimited, Some(0)));
    assert!(matches!(limited, Some(Limited::Rate(1190..=1200))), "{limited:?}");
}

#[tokio::test]
async fn a_request_that_the_quota_refuses_spends_no_shared_limit() {
    let limits = Limits { rate_limit: Some(rate(3, HOUR)), quota: Some(Quota { limit: 1 }), ..Limits::default() };
    let nodes = Nodes::new(limits).await;
    let keys = nodes.node(node(&namespace()).await, WithoutRedis::Closed).await;
    assert_eq!(nodes.check(&keys).await, (Code::Valid, Some(2), None));
    for _ in 0..3 {
        let (code, remaining, _) = nodes.check(&keys).await;
        assert_eq!((code, remaining), (Code::QuotaExceeded, Some(2)));
    }
}

#[tokio::test]
async fn without_redis_a_node_counts_by_itself_or_refuses() {
    let nodes = Nodes::new(Limits { rate_limit: Some(rate(3, HOUR)), ..Limits::default() }).await;
    let server = Server::new();
    let (_, limits) = server.limits().await;
    let open = nodes.node(limits.clone(), WithoutRedis::Open).await;
    let closed = nodes.node(limits, WithoutRedis::Closed).await;
    assert_eq!(nodes.check(&open).await, (Code::Valid, Some(2), None));
    drop(server);
    for remaining in [1, 0] {
        assert_eq!(nodes.check(&open).await, (Code::Valid, Some(remaining), None), "what Redis counted is known here");
    }
    assert_eq!(nodes.check(&open).await.0, Code::RateLimited);
    assert_eq!(nodes.check(&closed).await, (Code::RateLimited, Some(0), Some(Limited::Rate(1))));
}

#[tokio::test]
async fn a_key_that_ends_while_redis_is_asked_has_ended() {
    let nodes = Nodes::new(Limits { rate_limit: Some(rate(3, HOUR)), ..Limits::default() }).await;
    let server = Server::new();
    let (_, limits) = server.limits().await;
    let keys = nodes.node(limits, WithoutRedis::Open).await;
    assert_eq!(nodes.check(&keys).await.0, Code::Valid);
    server.signal("STOP");
    let has_ended = std::cell::Cell::new(false);
    let check = async {
        let code = nodes.check(&keys).await.0;
        // Where revoking took longer than Redis's time-out, the check may have come first.
        assert!(code == Code::Revoked || !has_ended.get(), "{code:?}");
    };
    let end = async {
        keys.revoke(&nodes.caller, nodes.id, true).await.expect("it is revoked");
        has_ended.set(true);
    };
    tokio::join!(check, end);
    assert_eq!(nodes.check(&keys).await.0, Code::Revoked);
}
