//! The connection to Redis: one for all, and never in anybody's way.
//!
//! Redis holds what may be lost. So a call has a short time-out, and after the first that fails Redis is
//! *unavailable*: calls fail at once, without waiting, until a probe in the background gets an answer again. A
//! Redis that hangs costs its callers one time-out and not one for each request.

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

/// The most that a call may take. Within a data centre Redis answers in less than a millisecond; this is
/// what a pause of the machine or of the network may cost a request before we go on without it.
const CALL: Duration = Duration::from_millis(50);
/// The most that making a connection may take: name, TCP and greeting. Nobody waits for it.
const CONNECT: Duration = Duration::from_secs(1);
/// How long after a failure, and then how often, we look whether Redis is back. Longer than [`CALL`], so
/// that no call on the old connection is still waiting when there is a new one.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// How often we look whether it is still there, while nobody calls it.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// Commands that wait to be sent at the most; more wait before that.
const PIPELINE: usize = 1024;

/// Redis does not answer, and the caller goes on without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Redis does not answer")]
pub struct RedisUnavailable;

/// It cannot be the address of a Redis.
#[derive(Debug, thiserror::Error)]
pub enum RedisUrlError {
    /// `rediss://`.
    #[error("TLS to Redis (rediss://) is not built in")]
    Tls,
    /// Another form than `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`.
    #[error("not redis://HOST:PORT/DATABASE or redis+unix:///PATH: {0}")]
    Form(RedisError),
}

/// A Redis. Clones share one connection, on which calls do not wait for each other's answers.
#[derive(Clone)]
pub struct Redis(Arc<Shared>);

struct Shared {
    client: Client,
    /// `None` while Redis is unavailable.
    connection: watch::Sender<Option<MultiplexedConnection>>,
    /// The random number that is kept in this Redis, and what it gets if it has none; 0 before it was read.
    identity: AtomicI64,
    new_identity: i64,
}

/// Makes sure that Redis can be written to, and reads which one it is.
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
    /// The Redis at a URL. It need not be there now or at any time: a first attempt is over when this
    /// returns, and is repeated in the background until it succeeds.
    ///
    /// # Errors
    /// When the URL is none.
    pub async fn open(url: &str) -> Result<Self, RedisUrlError> {
        if url.starts_with("rediss:") {
            return Err(RedisUrlError::Tls);
        }
        let info = url.into_connection_info().map_err(RedisUrlError::Form)?;
        // A command is sent when it is there, and not when the answer to the one before it is.
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info).map_err(RedisUrlError::Form)?;
        let (connection, watched) = watch::channel(None);
        let new_identity = Entropy::System.id() | 1;
        let shared = Arc::new(Shared { client, connection, identity: AtomicI64::new(0), new_identity });
        if let Err(error) = shared.probe().await {
            tracing::warn!(redis = %shared, %error, "Redis does not answer: going on without it");
        }
        tokio::spawn(keep(Arc::downgrade(&shared), watched));
        Ok(Self(shared))
    }

    /// Whether calls fail at once, because the last one failed and no probe was answered since.
    pub fn is_unavailable(&self) -> bool {
        self.0.connection.borrow().is_none()
    }

    /// Which Redis it is: a random number that is kept in it, and that all who use it read. `None` before it has
    /// answered.
    pub fn identity(&self) -> Option<i64> {
        Some(self.0.identity.load(Ordering::Relaxed)).filter(|identity| *identity != 0)
    }

    /// Runs a script; its text is sent only if Redis does not have it.
    ///
    /// # Errors
    /// When Redis is unavailable, or was found to be by this call.
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
        timeout(CALL, script.invoke_async(connection))
            .await
            .unwrap_or_else(|elapsed| Err(std::io::Error::from(elapsed).into()))
    }

    /// Makes sure that Redis does what we need of it, which more than a connection shows: it may be
    /// loading, full, or a replica.
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
            tracing::info!(redis = %self, "Redis answers");
        }
        Ok(())
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            // Each call has its own.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Marks Redis as unavailable, and logs that once.
    fn lost(&self, error: &RedisError) {
        if self.connection.send_if_modified(|connection| connection.take().is_some()) {
            tracing::warn!(redis = %self, %error, "Redis does not answer any more: going on without it");
        }
    }
}

/// Looks after the connection, until nobody has it any more.
async fn keep(shared: Weak<Shared>, mut watched: watch::Receiver<Option<MultiplexedConnection>>) {
    loop {
        // A call that fails ends the pause.
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

/// Where it is, without user and password.
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
