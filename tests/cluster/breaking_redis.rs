//! Redis is unavailable, slow, or empty: revocations and keys without a rate limit are not affected.

use std::time::Duration;

use crate::faults::Fault;
use crate::load::{Clients, Load};
use crate::nodes::{Cluster, Setup};
use crate::proxy::Network;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_failures_do_not_affect_keys_without_a_rate_limit() {
    let mut cluster = Cluster::start(Setup { proxied: true, ..Setup::default() }).await;
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 9).await;
    let faults = [
        Fault::RedisPaused,
        Fault::RedisFlushed,
        Fault::Redis(Network::Slow(Duration::from_millis(200))),
        Fault::Redis(Network::Blocked),
        Fault::Redis(Network::Cut),
        // Redis is empty after its restart.
        Fault::RedisStopped,
    ];
    for fault in faults {
        fault.begin(&mut cluster).await;
        load.run_for(2.0).await;
        fault.end(&mut cluster).await;
        load.run_for(0.5).await;
    }
    let outcome = load.finish().await;
    assert_eq!(outcome.failures(), Vec::<String>::new());
    assert!(outcome.revocations.iter().all(|revocation| revocation.waited_out.is_empty()));
}
