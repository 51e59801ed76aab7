//! What can break, by breaking the real thing.

use std::time::Duration;

use crate::nodes::Cluster;
use crate::proxy::Network;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; started again at the end.
    Killed(usize),
    /// SIGTERM; started again at the end.
    Stopped(usize),
    /// SIGSTOP and SIGCONT.
    Frozen(usize),
    /// The whole of PostgreSQL, as by a crash.
    PostgresCrashed,
    /// All connections to PostgreSQL, once.
    ConnectionsCut,
    /// What is between a node and PostgreSQL.
    Postgres(usize, Network),
    /// A node's clock is set wrong by so many minutes, and right again at the end.
    Clock(usize, i32),
    RedisStopped,
    /// SIGSTOP and SIGCONT.
    RedisPaused,
    /// FLUSHALL, once.
    RedisFlushed,
    /// What is between all nodes and Redis.
    Redis(Network),
    /// Nobody reads a node's log any more, and the pipe is full soon.
    LogStalled(usize),
    /// Whoever read a node's log is gone; the node is started again at the end.
    LogClosed(usize),
    /// The disk of the SQLite server beside, while keys with limits are checked there.
    DiskFull,
    /// PostgreSQL is brought back to an earlier state under running nodes: see `restore.rs`.
    Restored,
    /// Nothing: a tenant takes what it can get, which the others must hardly notice.
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
            Self::Postgres(node, network) => cluster.nodes[node].postgres_is(network),
            Self::Clock(node, minutes) => cluster.nodes[node].clock_is(&format!("{minutes:+}m")),
            Self::RedisStopped => cluster.redis.stop(),
            Self::RedisPaused => cluster.redis.pause(),
            Self::RedisFlushed => cluster.redis.flush().await,
            Self::Redis(network) => cluster.nodes.iter().for_each(|node| node.redis_is(network)),
            Self::LogStalled(node) => cluster.nodes[node].log_pipe().stall(),
            Self::LogClosed(node) => cluster.nodes[node].log_pipe().close(),
            Self::DiskFull => cluster.beside().fill(),
            Self::Greedy => cluster.greedy().begin(),
            Self::Restored => unreachable!("it begins and ends between two loads"),
        }
    }

    pub async fn end(self, cluster: &mut Cluster) {
        match self {
            Self::Killed(node) | Self::Stopped(node) => cluster.nodes[node].run(),
            Self::Frozen(node) => cluster.nodes[node].thaw(),
            Self::PostgresCrashed => cluster.postgres.run().await,
            Self::Postgres(node, _) => cluster.nodes[node].postgres_is(Network::Whole),
            Self::Clock(node, _) => cluster.nodes[node].clock_is("+0"),
            Self::RedisStopped => cluster.redis.run().await,
            Self::RedisPaused => cluster.redis.resume(),
            Self::Redis(_) => cluster.nodes.iter().for_each(|node| node.redis_is(Network::Whole)),
            Self::LogStalled(node) => cluster.nodes[node].log_pipe().go_on(),
            Self::LogClosed(node) => {
                cluster.nodes[node].stop();
                cluster.nodes[node].run();
            }
            Self::DiskFull => cluster.beside().make_room().await,
            Self::Greedy => cluster.greedy().end().await,
            Self::ConnectionsCut | Self::RedisFlushed | Self::Restored => {}
        }
    }

    /// Whether it is of the same kind, wherever and however strong.
    pub fn is_like(self, other: Self) -> bool {
        let kind = std::mem::discriminant::<Network>;
        match (self, other) {
            (Self::Postgres(_, one), Self::Postgres(_, other)) | (Self::Redis(one), Self::Redis(other)) => {
                kind(&one) == kind(&other)
            }
            _ => std::mem::discriminant(&self) == std::mem::discriminant(&other),
        }
    }

    /// How long it is worth lasting: some are only interesting for longer than a lease.
    pub fn longest(self) -> Duration {
        match self {
            Self::ConnectionsCut | Self::RedisFlushed => Duration::from_secs(1),
            _ => Duration::from_secs(12),
        }
    }
}
