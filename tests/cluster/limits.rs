//! All nodes of a cluster share the limits of a key.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::faults::Fault;
use crate::nodes::{Cluster, RECOVERY_TIMEOUT, Setup};
use crate::served::{Connection, request};

/// A key with a limit, and the request that checks it.
pub struct Limited {
    addresses: Vec<SocketAddr>,
    request: Vec<u8>,
}

impl Limited {
    /// Creates a key; `limit` is a part of the JSON body.
    pub async fn new(cluster: &Cluster, limit: &str) -> Self {
        let mut owner = Connection::open(cluster.nodes[0].address).await.expect("the server listens");
        let cookie = format!("Cookie: session={}", cluster.account.session);
        let mut plain = Vec::new();
        for body in [r#"{"name":"service"}"#.to_owned(), format!(r#"{{"name":"limited",{limit}}}"#)] {
            let made = owner.call("POST", "/v1/auth/api-keys", &[&cookie], &body).await.expect("an answer").json(201);
            plain.push(made["key"].as_str().expect("a key").to_owned());
        }
        let service = format!("X-API-Key: {}", plain[0]);
        let request = request("POST", "/v1/keys/verify", &[&service], &format!(r#"{{"key":"{}"}}"#, plain[1]));
        Self { addresses: cluster.addresses(), request }
    }

    /// Checks the key; panics without an answer.
    async fn check(&self, client: &mut Client, node: usize) -> Value {
        client.call(node, &self.request).await.expect("an answer").json(200)
    }

    /// Checks the key; returns the code, or `None` while the node cannot answer.
    pub async fn code(&self, node: usize) -> Option<String> {
        let answer = Client::new(&self.addresses).call(node, &self.request).await.ok()?;
        let outcome = (answer.status == 200).then(|| answer.json(200))?;
        outcome["code"].as_str().map(str::to_owned)
    }

    /// Sends about a thousand checks a second to all nodes for some time. Returns the numbers of checks and of accepted
    /// checks, and the duration in seconds.
    async fn check_for(&self, time: Duration) -> (u32, u32, f64) {
        const CLIENTS: usize = 12;
        let (began, end) = (Instant::now(), Instant::now() + time);
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let limited = Self { addresses: self.addresses.clone(), request: self.request.clone() };
            clients.spawn(async move {
                let (mut asked, mut allowed) = (0, 0);
                while Instant::now() < end {
                    allowed += u32::from(limited.ask(number % 3, 1).await == 1);
                    asked += 1;
                    // Twelve clients with a check every 12 ms send a thousand a second.
                    tokio::time::sleep_until((began + Duration::from_millis(12) * asked).into()).await;
                }
                (asked, allowed)
            });
        }
        let answered = clients.join_all().await;
        let took = began.elapsed().as_secs_f64();
        (answered.iter().map(|(asked, _)| asked).sum(), answered.iter().map(|(_, allowed)| allowed).sum(), took)
    }

    /// Sends this number of checks to a node, one after the other; returns the number of accepted checks.
    pub async fn ask(&self, node: usize, times: usize) -> usize {
        let mut client = Client::new(&self.addresses);
        let mut allowed = 0;
        for _ in 0..times {
            let outcome = self.check(&mut client, node).await;
            match outcome["code"].as_str() {
                Some("VALID") => allowed += 1,
                Some("RATE_LIMITED" | "QUOTA_EXCEEDED") => {
                    assert!(outcome["retry_after"].as_u64().is_some_and(|seconds| seconds > 0), "{outcome}");
                }
                _ => panic!("{outcome}"),
            }
        }
        allowed
    }
}

/// At ten times the allowed rate, three nodes together accept the burst and the refilled requests, within 1 %.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_accept_as_many_requests_as_one_node() {
    const LIMIT: f64 = 500.0;
    const REFILL_PER_SECOND: f64 = 100.0;
    let cluster = Cluster::start(Setup::default()).await;
    // On a busy machine Redis may exceed its timeout, and nodes then count alone, which is another test. Such rounds
    // are repeated.
    let redis_timeouts = || cluster.logs().matches("limits are not shared").count();
    for _ in 0..5 {
        let before = redis_timeouts();
        let limited = Limited::new(&cluster, r#""rate_limit":{"limit":500,"window_seconds":5}"#).await;
        let (asked, allowed, took) = limited.check_for(Duration::from_secs(6)).await;
        let expected = LIMIT + REFILL_PER_SECOND * took;
        println!("{asked} asked in {took:.2} s, {allowed} allowed, {expected:.1} expected");
        if redis_timeouts() > before {
            continue;
        }
        assert!(f64::from(asked) > 2.0 * expected, "too few checks for a result: {asked}");
        assert!((f64::from(allowed) - expected).abs() <= expected * 0.01, "{allowed} instead of {expected:.1}");
        return;
    }
    panic!("Redis exceeded its timeout in every round: nothing was measured");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_node_counts_alone_or_refuses_limited_keys() {
    // Node 2 refuses keys with a rate limit while Redis is unavailable.
    let strict = vec![("LATCHKEY_LIMITS_WITHOUT_REDIS", "closed".to_owned())];
    let environment = vec![Vec::new(), Vec::new(), strict];
    let mut cluster = Cluster::start(Setup { environment, ..Setup::default() }).await;
    // The window is so long that the limit is not refilled during the test.
    let limit = r#""rate_limit":{"limit":10,"window_seconds":86400}"#;
    for fault in [Fault::RedisStopped, Fault::RedisPaused] {
        let limited = Limited::new(&cluster, limit).await;
        let fresh = Limited::new(&cluster, limit).await;
        let before = [limited.ask(0, 4).await, limited.ask(1, 4).await, limited.ask(2, 4).await];
        assert_eq!(before, [4, 4, 2]);

        fault.begin(&mut cluster).await;
        let open = [fresh.ask(0, 20).await, fresh.ask(1, 20).await];
        assert_eq!(open, [10, 10]);
        assert_eq!(fresh.ask(2, 20).await, 0);
        let unlimited = Limited::new(&cluster, r#""metadata":{}"#).await;
        for node in 0..3 {
            assert_eq!(unlimited.ask(node, 20).await, 20);
        }

        fault.end(&mut cluster).await;
        // All nodes share the limit again without help.
        let deadline = Instant::now() + RECOVERY_TIMEOUT;
        loop {
            let again = Limited::new(&cluster, limit).await;
            let afterwards = [again.ask(2, 4).await, again.ask(1, 4).await, again.ask(0, 4).await];
            if afterwards == [4, 4, 2] {
                break;
            }
            assert!(Instant::now() < deadline, "{afterwards:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_spend_a_quota_once_and_completely() {
    const QUOTA: usize = 300;
    let mut cluster = Cluster::start(Setup::default()).await;
    let limited = Limited::new(&cluster, r#""quota":{"limit":300}"#).await;
    let mut allowed = 0;
    let deadline = Instant::now() + RECOVERY_TIMEOUT;
    while allowed < QUOTA {
        let asked = tokio::join!(limited.ask(0, 20), limited.ask(1, 20), limited.ask(2, 20));
        allowed += asked.0 + asked.1 + asked.2;
        assert!(allowed <= QUOTA, "{allowed}");
        assert!(Instant::now() < deadline, "the nodes accept only {allowed} of {QUOTA}");
    }
    for node in 0..3 {
        assert_eq!(limited.ask(node, 20).await, 0);
    }
    // A restart of the nodes does not renew the quota.
    for node in &mut cluster.nodes {
        node.stop();
        node.run();
    }
    for node in 0..3 {
        assert_eq!(limited.ask(node, 5).await, 0);
    }

    // The part that a killed node had reserved may be lost, but is never spent twice.
    let limited = Limited::new(&cluster, r#""quota":{"limit":300}"#).await;
    let mut allowed = limited.ask(0, 50).await + limited.ask(1, 50).await;
    Fault::Killed(1).begin(&mut cluster).await;
    Fault::Killed(1).end(&mut cluster).await;
    for _ in 0..5 {
        for node in 0..3 {
            allowed += limited.ask(node, 40).await;
        }
    }
    println!("{allowed} of {QUOTA} after a node was killed");
    assert!((QUOTA / 2..=QUOTA).contains(&allowed), "{allowed}");
}
