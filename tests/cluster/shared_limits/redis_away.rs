//! A Redis that loses its data, hangs, or is unavailable.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::FutureExt;
use latchkey::cluster::limits::SharedLimits;
use latchkey::cluster::redis::{Redis, RedisUnavailable, RedisUrlError};

use super::{HOUR, KEY, Server, TIME_LIMIT, rate, raw, wait_for_answer};
use crate::turn;

#[tokio::test]
async fn limits_work_after_redis_was_emptied_or_restarted() {
    let _turn = turn::shared();
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
    assert_eq!(limits.spend(KEY, rate, 1).await, Err(RedisUnavailable));
    assert!(redis.is_unavailable());
    let folder = std::mem::replace(&mut server.folder, tempfile::tempdir().unwrap());
    let _server = Server::start(folder);
    assert_eq!(wait_for_answer(&limits, rate).await.remaining, 4);
    assert!(!redis.is_unavailable());
}

#[tokio::test]
async fn a_redis_that_starts_later_is_found() {
    let _turn = turn::shared();
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::open(&Server::url_in(&folder)).await.unwrap();
    let limits = SharedLimits::new(redis.clone(), "test");
    assert!(redis.is_unavailable());
    assert_eq!(limits.spend(KEY, rate(5, HOUR), 1).await, Err(RedisUnavailable));
    let _server = Server::start(folder);
    assert_eq!(wait_for_answer(&limits, rate(5, HOUR)).await.remaining, 4);
}

/// The log of all tests in this process; a test finds its lines by its socket.
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
async fn a_hanging_redis_costs_one_timeout_and_recovers() {
    let _turn = turn::shared();
    tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init();
    let server = Server::new();
    let (redis, limits) = server.limits().await;
    assert_eq!(limits.spend(KEY, rate(5, HOUR), 1).await.unwrap().remaining, 4);
    assert!(!redis.is_unavailable());

    server.signal("STOP");
    assert_eq!(limits.spend(KEY, rate(5, HOUR), 1).await, Err(RedisUnavailable));
    assert!(redis.is_unavailable());
    // Further requests do not wait for a timeout.
    for _ in 0..1000 {
        assert_eq!(limits.spend(KEY, rate(5, HOUR), 1).now_or_never(), Some(Err(RedisUnavailable)));
    }
    // Probes fail while Redis hangs, so it stays unavailable.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(limits.spend(KEY, rate(5, HOUR), 1).await, Err(RedisUnavailable));

    server.signal("CONT");
    // The request during the hang may have been counted, but only once.
    let remaining = wait_for_answer(&limits, rate(5, HOUR)).await.remaining;
    assert!((2..=3).contains(&remaining), "{remaining}");

    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    let socket = Server::socket(&server.folder).display().to_string();
    let log = log.lines().filter(|line| line.contains(&socket)).collect::<Vec<_>>().join("\n");
    assert_eq!(log.matches("does not answer any more").count(), 1, "{log}");
    assert_eq!(log.matches("Redis answers").count(), 2, "{log}");
    assert!(!log.contains("hush"), "{log}");
}

#[tokio::test]
async fn the_loss_of_an_idle_redis_is_noticed() {
    let _turn = turn::shared();
    let server = Server::new();
    let (redis, _) = server.limits().await;
    drop(server);
    let begun = Instant::now();
    while !redis.is_unavailable() {
        assert!(begun.elapsed() < TIME_LIMIT);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_replica_counts_as_unavailable() {
    let _turn = turn::shared();
    let server = Server::new();
    let mut raw = raw(&server.url()).await;
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg("1").exec_async(&mut raw).await.unwrap();
    let (redis, limits) = server.limits().await;
    assert!(redis.is_unavailable(), "a replica cannot be written");
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut raw).await.unwrap();
    assert_eq!(wait_for_answer(&limits, rate(5, HOUR)).await.remaining, 4);
}

#[tokio::test]
async fn debug_output_and_errors_hide_the_password() {
    let _turn = turn::shared();
    let redis = Redis::open("redis://ada:hush@127.0.0.1:1/2").await.unwrap();
    assert_eq!(format!("{redis:?}"), "Redis(127.0.0.1:1, unavailable)");
    let limits = SharedLimits::new(redis, "test");
    assert!(!format!("{limits:?}").contains("hush"));
    assert!(matches!(Redis::open("rediss://:hush@example.com").await, Err(RedisUrlError::Tls)));
    for url in ["redis://:hush@", "redis://:hush@host:port", "redis://:hush@host/x", "http://:hush@host", ":hush@", ""]
    {
        let error = Redis::open(url).await.expect_err(url);
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
}
