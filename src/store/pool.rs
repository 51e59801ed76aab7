//! Connections that are kept from one use to the next.
//!
//! Not in the driver's own pool. That one asks each connection that is given back whether it is well, which is a
//! trip for every statement, and its patience has no end: a connection that leads nowhere, because its server or
//! the network went away without a word, keeps its place for ever (sqlx issue 4349), and a node whose places are
//! all taken never comes back. Here a connection on which everything was read to its end goes back unasked, and
//! any other is asked, for a moment.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult};
use sqlx::{ConnectOptions, Connection, Database};
use tokio::runtime::Handle;

/// A connection that was not used for so long is asked whether it is still there.
const ASKED_AFTER: Duration = Duration::from_millis(200);
/// And is given up when it does not answer in this time.
const ASKED_FOR: Duration = Duration::from_millis(500);
/// An older one is made anew: a server gives its sessions memory that it takes back only at their end.
const LIFETIME: Duration = Duration::from_mins(30);
/// Between two attempts to connect to a server that does not listen yet, at the most.
const ATTEMPT_EVERY: Duration = Duration::from_millis(500);
/// What is still under way when all ends has so long.
const END_WITHIN: Duration = Duration::from_secs(5);

type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// Connections of the same kind. Those who wait for one get it in the order in which they asked.
pub struct Connections<DB: Database> {
    pool: Pool<Maker<DB>>,
    patience: Duration,
}

impl<DB: Database> Connections<DB> {
    /// To a file in this machine, which does not go away: nobody is asked whether it is still there.
    pub(super) fn local(options: Options<DB>, most: usize, patience: Duration) -> Self {
        Self::new(options, most, patience, false)
    }

    /// To a server.
    pub(super) fn remote(options: Options<DB>, most: usize, patience: Duration) -> Self {
        Self::new(options, most, patience, true)
    }

    fn new(options: Options<DB>, most: usize, patience: Duration, remote: bool) -> Self {
        let maker = Maker { options, remote, failed: Mutex::default() };
        // The one that was used last is the warmest, and need not be asked.
        let pool = Pool::builder(maker).max_size(most).queue_mode(QueueMode::Lifo).build();
        // Only time limits need a runtime to build, and it has none.
        let pool = pool.unwrap_or_else(|error| unreachable!("{error}"));
        Self { pool, patience }
    }

    /// How they are made.
    pub(super) fn options(&self) -> &Options<DB> {
        &self.pool.manager().options
    }

    /// One of them.
    pub(super) async fn lend(&self) -> sqlx::Result<Lent<DB>> {
        match tokio::time::timeout(self.patience, self.pool.get()).await {
            Ok(Ok(object)) => Ok(Lent(Some(object))),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(PoolError::Closed)) => Err(sqlx::Error::PoolClosed),
            Ok(Err(_)) | Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// Ends all of them, after what they still do.
    pub(super) async fn close(&self) {
        let idle = self.pool.retain(|_, _| false).removed;
        self.pool.close();
        let end = async {
            for connection in idle {
                let _ = connection.close().await;
            }
            while self.pool.status().size > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(END_WITHIN, end).await;
    }
}

impl<DB: Database> Clone for Connections<DB> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), patience: self.patience }
    }
}

impl<DB: Database> fmt::Debug for Connections<DB> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connections").field("status", &self.pool.status()).finish_non_exhaustive()
    }
}

/// A connection for as long as somebody uses it. When it is dropped before it is [`done`](Self::done), something
/// may be under way on it, an answer or a transaction: it is asked whether it is well before anybody else has it.
pub(super) struct Lent<DB: Database>(Option<Object<Maker<DB>>>);

impl<DB: Database> Lent<DB> {
    /// The connection itself.
    pub(super) fn connection(&mut self) -> sqlx::Result<&mut DB::Connection> {
        // Only one that was given back has none.
        self.0.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// All went well, and was read to its end: the next one may have it as it is.
    pub(super) fn done(mut self) {
        self.0 = None;
    }
}

impl<DB: Database> Drop for Lent<DB> {
    fn drop(&mut self) {
        let Some(mut object) = self.0.take() else { return };
        let Ok(runtime) = Handle::try_current() else { return drop(Object::take(object)) };
        runtime.spawn(async move {
            let Some(pool) = Object::pool(&object) else { return };
            // It is kept here until it has answered, so nobody finds it in the middle of anything.
            if !pool.manager().is_well(&mut object).await {
                drop(Object::take(object));
            }
        });
    }
}

/// Makes connections, and knows which of them are good.
struct Maker<DB: Database> {
    options: Options<DB>,
    remote: bool,
    /// When one that nobody used was last found to lead nowhere. What happened to it has likely happened to those that
    /// have not been used since: to ask them one after the other would take longer than anybody waits.
    failed: Mutex<Option<Instant>>,
}

impl<DB: Database> Maker<DB> {
    async fn is_well(&self, connection: &mut DB::Connection) -> bool {
        if !self.remote {
            // What is under way in a file comes to its end.
            return connection.ping().await.is_ok();
        }
        matches!(tokio::time::timeout(ASKED_FOR, connection.ping()).await, Ok(Ok(())))
    }

    fn is_suspect(&self, metrics: &Metrics) -> bool {
        let used = metrics.recycled.unwrap_or(metrics.created);
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|failed| used < failed)
    }
}

impl<DB: Database> Manager for Maker<DB> {
    type Type = DB::Connection;
    type Error = sqlx::Error;

    /// Waits for a server that is about to be there, for as long as somebody waits for the connection.
    async fn create(&self) -> sqlx::Result<DB::Connection> {
        let mut pause = Duration::from_millis(10);
        loop {
            match self.options.connect().await {
                Err(error) if is_not_yet(&error) => tokio::time::sleep(pause).await,
                outcome => return outcome,
            }
            pause = (pause * 2).min(ATTEMPT_EVERY);
        }
    }

    async fn recycle(&self, connection: &mut DB::Connection, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if self.remote {
            if metrics.age() > LIFETIME || self.is_suspect(metrics) {
                return Err(RecycleError::message("it is old"));
            }
            if metrics.last_used() >= ASKED_AFTER && !self.is_well(connection).await {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                return Err(RecycleError::message("it does not answer"));
            }
        }
        Ok(())
    }
}

/// Whether a server that could not be connected to is about to be there.
fn is_not_yet(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        // PostgreSQL: too many connections; starting up.
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("53300" | "57P03")),
        _ => false,
    }
}
