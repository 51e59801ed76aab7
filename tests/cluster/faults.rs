//! Faults of real processes and networks.

use std::time::Duration;

use crate::nodes::Cluster;
use crate::proxy::Network;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A node gets SIGKILL, and is restarted at the end.
    Killed(usize),
    /// A node gets SIGTERM, and is restarted at the end.
    Stopped(usize),
    /// A node gets SIGSTOP, and SIGCONT at the end.
    Frozen(usize),
    /// PostgreSQL crashes, and is restarted at the end.
    PostgresCrashed,
    /// All connections to PostgreSQL are cut once.
    ConnectionsCut,
    /// The network between a node and PostgreSQL has a fault.
    Postgres(usize, Network),
    /// A node's clock is wrong by this number of minutes, and right again at the end.
    Clock(usize, i32),
    /// Redis is killed, and restarted empty at the end.
    RedisStopped,
    /// Redis gets SIGSTOP, and SIGCONT at the end.
    RedisPaused,
    /// Redis is emptied once (`FLUSHALL`).
    RedisFlushed,
    /// The network between all nodes and Redis has a fault.
    Redis(Network),
    /// The reader of a node's log stops reading, so the pipe fills up.
    LogStalled(usize),
    /// The reader of a node's log closes the pipe; the node is restarted at the end.
    LogClosed(usize),
    /// The disk of the SQLite server is full while keys with limits are checked.
    DiskFull,
    /// PostgreSQL is restored to an earlier state under running nodes (`restore.rs`).
    Restored,
    /// No part fails: a tenant sends as many requests as it can, and the others must hardly notice.
    Greedy,
}

impl Fault {
    pub async fn begin(self, cluster: &mut Cluster) {
        match self {
            Self::Killed(node) => cluster.nodes[node].kill(),
            Self::Stopped(node) => cluster.nodes[node].stop(),
            Self::Frozen(node) => cluster.nodes[node].freeze(),
            Self::PostgresCrashed => cluster.postgres.crash(),
            Self::ConnectionsCut => cluster.postgres.cut_connections().await,
            Self::Postgres(node, network) => cluster.nodes[node].set_postgres_network(network),
            Self::Clock(node, minutes) => cluster.nodes[node].set_clock(&format!("{minutes:+}m")),
            Self::RedisStopped => cluster.redis.stop(),
            Self::RedisPaused => cluster.redis.pause(),
            Self::RedisFlushed => cluster.redis.flush().await,
            Self::Redis(network) => cluster.nodes.iter().for_each(|node| node.set_redis_network(network)),
            Self::LogStalled(node) => cluster.nodes[node].log_pipe().stall(),
            Self::LogClosed(node) => cluster.nodes[node].log_pipe().close(),
            Self::DiskFull => cluster.sqlite_server().fill_disk(),
            Self::Greedy => cluster.greedy().begin(),
            Self::Restored => unreachable!("a restore runs between two loads"),
        }
    }

    pub async fn end(self, cluster: &mut Cluster) {
        match self {
            Self::Killed(node) | Self::Stopped(node) => cluster.nodes[node].run(),
            Self::Frozen(node) => cluster.nodes[node].thaw(),
            Self::PostgresCrashed => cluster.postgres.run().await,
            Self::Postgres(node, _) => cluster.nodes[node].set_postgres_network(Network::Whole),
            Self::Clock(node, _) => cluster.nodes[node].set_clock("+0"),
            Self::RedisStopped => cluster.redis.run().await,
            Self::RedisPaused => cluster.redis.resume(),
            Self::Redis(_) => cluster.nodes.iter().for_each(|node| node.set_redis_network(Network::Whole)),
            Self::LogStalled(node) => cluster.nodes[node].log_pipe().resume(),
            Self::LogClosed(node) => {
                cluster.nodes[node].stop();
                cluster.nodes[node].run();
            }
            Self::DiskFull => cluster.sqlite_server().free_disk().await,
            Self::Greedy => cluster.greedy().end().await,
            Self::ConnectionsCut | Self::RedisFlushed | Self::Restored => {}
        }
    }

    /// Returns whether the faults are of the same kind, on any node and of any strength.
    pub fn is_same_kind(self, other: Self) -> bool {
        let kind = std::mem::discriminant::<Network>;
        match (self, other) {
            (Self::Postgres(_, one), Self::Postgres(_, other)) | (Self::Redis(one), Self::Redis(other)) => {
                kind(&one) == kind(&other)
            }
            _ => std::mem::discriminant(&self) == std::mem::discriminant(&other),
        }
    }

    /// The maximum duration of the fault in a soak: longer than a lease, unless the fault is momentary.
    pub fn max_duration(self) -> Duration {
        match self {
            Self::ConnectionsCut | Self::RedisFlushed => Duration::from_secs(1),
            _ => Duration::from_secs(12),
        }
    }
}
