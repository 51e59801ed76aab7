//! The connection to Redis: shared by all requests, with a circuit breaker.
//!
//! Redis holds only data that may be lost. So a call has a short timeout, and after a failed call Redis is
//! *unavailable*: calls fail immediately until a background probe gets an answer. A Redis that hangs costs its callers
//! one timeout, not one for each request.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo, RedisError, Script, ScriptInvocation};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::runtime::entropy::Entropy;

/// The timeout of a call. Within a data centre Redis answers in less than a millisecond; the rest allows for a pause of
/// the machine or the network. After the timeout, the request continues without Redis.
const CALL_TIMEOUT: Duration = Duration::from_millis(50);
/// The timeout of a connection attempt: name resolution, TCP and handshake. No request waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time between a failure and the first probe, and between probes. Longer than [`CALL_TIMEOUT`], so that no call still
/// waits on the old connection when there is a new one.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// Time between probes while Redis is available.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// Commands in the send buffer of the connection; further calls wait, within their timeout.
const SEND_BUFFER_CAPACITY: usize = 1024;

/// Redis does not answer; the caller continues without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Redis does not answer")]
pub struct RedisUnavailable;

/// The error for a text that is no Redis URL.
#[derive(Debug, thiserror::Error)]
pub enum RedisUrlError {
    /// The URL asks for TLS (`rediss://`).
    #[error("TLS to Redis (rediss://) is not built in")]
    Tls,
    /// The form is not `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`.
    #[error("not redis://HOST:PORT/DATABASE or redis+unix:///PATH: {0}")]
    Form(RedisError),
}

/// A Redis server. Clones share one connection, which pipelines the calls.
#[derive(Clone)]
pub struct Redis(Arc<Shared>);

struct Shared {
    client: Client,
    /// `None` while Redis is unavailable.
    connection: watch::Sender<Option<MultiplexedConnection>>,
    /// The random number that identifies this Redis and is stored in it; 0 until it was read.
    identity: AtomicI64,
    /// The number to store if this Redis has none.
    new_identity: i64,
}

/// Checks that Redis accepts writes, and reads its identity.
static PROBE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "redis.call('SET', KEYS[1], '', 'PX', 1000)
         local identity = redis.call('GET', KEYS[2])
         if not identity then
           identity = ARGV[1]
           redis.call('SET', KEYS[2], identity)
         end
         return identity",
    )
});

impl Redis {
    /// Opens the Redis at a URL. Redis may be unavailable: the first attempt to connect has ended when this returns,
    /// and further attempts follow in the background until one succeeds.
    ///
    /// # Errors
    /// When the URL is invalid.
    pub async fn open(url: &str) -> Result<Self, RedisUrlError> {
        if url.starts_with("rediss:") {
            return Err(RedisUrlError::Tls);
        }
        let info = url.into_connection_info().map_err(RedisUrlError::Form)?;
        // No Nagle's algorithm: a command is sent immediately, also while an earlier reply is outstanding.
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info).map_err(RedisUrlError::Form)?;
        let (connection, watched) = watch::channel(None);
        let new_identity = Entropy::System.id() | 1;
        let shared = Arc::new(Shared { client, connection, identity: AtomicI64::new(0), new_identity });
        if let Err(error) = shared.probe().await {
            tracing::warn!(
                redis = %shared,
                %error,
                "Redis does not answer; limits are not shared between nodes until it does"
            );
        }
        tokio::spawn(keep(Arc::downgrade(&shared), watched));
        Ok(Self(shared))
    }

    /// Returns whether calls fail immediately, because a call has failed and no probe was answered since.
    pub fn is_unavailable(&self) -> bool {
        self.0.connection.borrow().is_none()
    }

    /// Returns the identity of this Redis: a random number that is stored in it, the same for all nodes that use it.
    /// `None` until Redis has answered.
    pub fn identity(&self) -> Option<i64> {
        Some(self.0.identity.load(Ordering::Relaxed)).filter(|identity| *identity != 0)
    }

    /// Runs a script. Its source is sent only if Redis does not have it.
    ///
    /// # Errors
    /// When Redis is unavailable, or this call fails.
    pub(super) async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, RedisUnavailable> {
        let connection = self.0.connection.borrow().clone();
        self.0.ask(&mut connection.ok_or(RedisUnavailable)?, script).await.map_err(|error| {
            self.0.lost(&error);
            RedisUnavailable
        })
    }
}

impl Shared {
    async fn ask<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        timeout(CALL_TIMEOUT, script.invoke_async(connection))
            .await
            .unwrap_or_else(|elapsed| Err(std::io::Error::from(elapsed).into()))
    }

    /// Checks that Redis executes the commands that this server needs. A connection alone does not show that: Redis may
    /// be loading its data, out of memory, or a read-only replica.
    async fn probe(&self) -> Result<(), RedisError> {
        let current = self.connection.borrow().clone();
        let is_new = current.is_none();
        let mut connection = match current {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut probe = PROBE.key("latchkey:probe");
        probe.key("latchkey:identity").arg(self.new_identity);
        let identity = self.ask::<i64>(&mut connection, &probe).await?;
        self.identity.store(identity, Ordering::Relaxed);
        if is_new {
            self.connection.send_replace(Some(connection));
            tracing::info!(redis = %self, "Redis answers; limits are shared between nodes");
        }
        Ok(())
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            // Each call has a timeout of its own.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(SEND_BUFFER_CAPACITY);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Marks Redis as unavailable, and logs the change once.
    fn lost(&self, error: &RedisError) {
        if self.connection.send_if_modified(|connection| connection.take().is_some()) {
            tracing::warn!(
                redis = %self,
                %error,
                "Redis does not answer any more; limits are not shared between nodes until it does"
            );
        }
    }
}

/// Probes the connection, and reconnects after a failure, until the last `Redis` is dropped.
async fn keep(shared: Weak<Shared>, mut watched: watch::Receiver<Option<MultiplexedConnection>>) {
    loop {
        // A failed call ends the wait.
        let _ = timeout(HEARTBEAT_EVERY, watched.wait_for(Option::is_none)).await;
        tokio::time::sleep(PROBE_EVERY).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        if let Err(error) = shared.probe().await {
            shared.lost(&error);
        }
    }
}

/// The address, without user and password.
impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.get_connection_info().addr().fmt(f)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis({}{})", self.0, if self.is_unavailable() { ", unavailable" } else { "" })
    }
}
