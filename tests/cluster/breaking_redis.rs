//! Redis is away, slow, or has forgotten everything: revocations and keys without a limit do not notice.

use std::time::Duration;

use crate::faults::Fault;
use crate::load::{Clients, Load};
use crate::nodes::{Cluster, Setup};
use crate::proxy::Network;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_happens_to_redis_is_noticed_by_keys_without_a_limit() {
    let mut cluster = Cluster::start(Setup { proxied: true, ..Setup::default() }).await;
    let load = Load::start(cluster.addresses(), &cluster.account, Clients::default(), 9).await;
    let faults = [
        Fault::RedisPaused,
        Fault::RedisFlushed,
        Fault::Redis(Network::Slow(Duration::from_millis(200))),
        Fault::Redis(Network::Silent),
        Fault::Redis(Network::Cut),
        // And it comes back empty.
        Fault::RedisStopped,
    ];
    for fault in faults {
        fault.begin(&mut cluster).await;
        load.go_on(2.0).await;
        fault.end(&mut cluster).await;
        load.go_on(0.5).await;
    }
    let outcome = load.finish().await;
    assert_eq!(outcome.failures(), Vec::<String>::new());
    assert!(outcome.revocations.iter().all(|revocation| revocation.waited_out.is_empty()));
}
