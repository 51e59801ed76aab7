//! A Redis that forgets, hangs, or is not there.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::FutureExt;
use latchkey::cluster::limits::SharedLimits;
use latchkey::cluster::redis::{Redis, RedisUnavailable, RedisUrlError};

use super::{HOUR, KEY, Server, TIME_LIMIT, rate, raw, until_it_answers};
use crate::turn::beside_others;

#[tokio::test]
async fn an_emptied_or_restarted_redis_goes_on() {
    let _turn = beside_others();
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
    assert_eq!(until_it_answers(&limits, rate).await.remaining, 4);
    assert!(!redis.is_unavailable());
}

#[tokio::test]
async fn a_redis_that_is_not_there_yet_is_found_when_it_is() {
    let _turn = beside_others();
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::open(&Server::url_in(&folder)).await.unwrap();
    let limits = SharedLimits::new(redis.clone(), "test");
    assert!(redis.is_unavailable());
    assert_eq!(limits.spend(KEY, rate(5, HOUR), 1).await, Err(RedisUnavailable));
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
    let _turn = beside_others();
    tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init();
    let server = Server::new();
    let (redis, limits) = server.limits().await;
    assert_eq!(limits.spend(KEY, rate(5, HOUR), 1).await.unwrap().remaining, 4);
    assert!(!redis.is_unavailable());

    server.signal("STOP");
    assert_eq!(limits.spend(KEY, rate(5, HOUR), 1).await, Err(RedisUnavailable));
    assert!(redis.is_unavailable());
    // No request waits for a second time-out.
    for _ in 0..1000 {
        assert_eq!(limits.spend(KEY, rate(5, HOUR), 1).now_or_never(), Some(Err(RedisUnavailable)));
    }
    // Probes do not succeed, and are not mistaken for an answer.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(limits.spend(KEY, rate(5, HOUR), 1).await, Err(RedisUnavailable));

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
    let _turn = beside_others();
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
async fn a_replica_is_as_good_as_away() {
    let _turn = beside_others();
    let server = Server::new();
    let mut raw = raw(&server.url()).await;
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg("1").exec_async(&mut raw).await.unwrap();
    let (redis, limits) = server.limits().await;
    assert!(redis.is_unavailable(), "it can be read and not written");
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut raw).await.unwrap();
    assert_eq!(until_it_answers(&limits, rate(5, HOUR)).await.remaining, 4);
}

#[tokio::test]
async fn no_password_is_shown() {
    let _turn = beside_others();
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
