//! The connection pool.
//!
//! The driver's own pool pings each returned connection, at the cost of a round trip for every statement, and without a
//! timeout: when a server or the network goes away silently, a dead connection keeps its place for ever (sqlx issue
//! 4349), and a node with only dead connections never recovers. This pool takes a connection back without a ping when
//! all its results were read to the end, and closes any other (ADR 19).

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult};
use sqlx::{ConnectOptions, Connection, Database};
use tokio::runtime::Handle;
use tracing_mutex::stdsync::Mutex;

use super::file::DatabaseFile;

/// A connection that was idle for longer is pinged before its use.
const PING_AFTER_IDLE: Duration = Duration::from_millis(200);
/// A connection that does not answer a ping in this time is closed.
const PING_TIMEOUT: Duration = Duration::from_millis(500);
/// An older connection is replaced: a server gives its sessions memory that it frees only at their end.
const MAX_LIFETIME: Duration = Duration::from_mins(30);
/// The longest delay between two attempts to connect to a server that does not listen yet.
const MAX_RETRY_DELAY: Duration = Duration::from_millis(500);
/// The time that [`Connections::close`] waits for connections in use.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

type Options<DB> = <<DB as Database>::Connection as Connection>::Options;

/// A pool of connections with equal options. Callers that wait get connections in the order in which they asked.
pub struct Connections<DB: Database> {
    pool: Pool<Connector<DB>>,
    acquire_timeout: Duration,
    is_suspended: Arc<AtomicBool>,
}

impl<DB: Database> Connections<DB> {
    /// Creates a pool for a local file; its connections need no ping.
    pub(super) fn local(
        options: Options<DB>,
        file: Arc<DatabaseFile>,
        max_connections: usize,
        acquire_timeout: Duration,
    ) -> Self {
        Self::new(options, max_connections, acquire_timeout, Some(file))
    }

    /// Creates a pool for a server.
    pub(super) fn remote(options: Options<DB>, max_connections: usize, acquire_timeout: Duration) -> Self {
        Self::new(options, max_connections, acquire_timeout, None)
    }

    fn new(
        options: Options<DB>,
        max_connections: usize,
        acquire_timeout: Duration,
        file: Option<Arc<DatabaseFile>>,
    ) -> Self {
        let connector = Connector { options, file, failed: Mutex::default() };
        // LIFO: the most recently used connection has the warmest caches and needs no ping.
        let pool = Pool::builder(connector).max_size(max_connections).queue_mode(QueueMode::Lifo).build();
        // The build fails only for timeouts without a runtime, and there are no timeouts.
        let pool = pool.unwrap_or_else(|error| unreachable!("{error}"));
        Self { pool, acquire_timeout, is_suspended: Arc::default() }
    }

    /// Returns the options of the connections.
    pub(super) fn options(&self) -> &Options<DB> {
        &self.pool.manager().options
    }

    /// Waits for a connection.
    pub(super) async fn acquire(&self) -> sqlx::Result<PooledConnection<DB>> {
        if self.is_suspended.load(Ordering::Relaxed) {
            return Err(DatabaseFile::displaced().into());
        }
        match tokio::time::timeout(self.acquire_timeout, self.pool.get()).await {
            Ok(Ok(object)) => Ok(PooledConnection(Some(object))),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(PoolError::Closed)) => Err(sqlx::Error::PoolClosed),
            Ok(Err(_)) | Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// Opens all connections now, instead of on demand.
    pub(super) async fn open_all(&self) -> sqlx::Result<()> {
        let mut open = Vec::new();
        for _ in 0..self.pool.status().max_size {
            open.push(self.acquire().await?);
        }
        open.into_iter().for_each(PooledConnection::release);
        Ok(())
    }

    /// Opens a connection that does not belong to the pool.
    pub(super) async fn connect(&self) -> sqlx::Result<DB::Connection> {
        self.pool.manager().create().await
    }

    /// Refuses connections while the file is displaced: data written to the displaced file is lost at the end of the
    /// process.
    pub(super) fn suspend(&self, is_suspended: bool) {
        self.is_suspended.store(is_suspended, Ordering::Relaxed);
    }

    /// Closes all connections. Waits up to [`CLOSE_TIMEOUT`] for connections in use.
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
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, end).await;
    }
}

impl<DB: Database> Clone for Connections<DB> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            acquire_timeout: self.acquire_timeout,
            is_suspended: Arc::clone(&self.is_suspended),
        }
    }
}

impl<DB: Database> fmt::Debug for Connections<DB> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connections").field("status", &self.pool.status()).finish_non_exhaustive()
    }
}

/// A connection in use. Dropping it without [`release`](Self::release) closes it: a result or a transaction may be
/// pending on it, and the driver does not know about all of them. The driver misses a `BEGIN` with a response that was
/// never awaited (sqlx issues 4385 and 4393), and still sees a transaction that SQLite itself has rolled back.
pub(super) struct PooledConnection<DB: Database>(Option<Object<Connector<DB>>>);

impl<DB: Database> PooledConnection<DB> {
    /// Returns the connection.
    pub(super) fn connection(&mut self) -> sqlx::Result<&mut DB::Connection> {
        // `None` only after the release.
        self.0.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Returns the connection to the pool as it is. The caller has read all results to the end.
    pub(super) fn release(mut self) {
        self.0 = None;
    }
}

impl<DB: Database> Drop for PooledConnection<DB> {
    fn drop(&mut self) {
        let Some(mut object) = self.0.take() else { return };
        let is_local = Object::pool(&object).is_some_and(|pool| pool.manager().file.is_some());
        match Handle::try_current() {
            Ok(runtime) if is_local => {
                // SQLite has one writer: the place stays taken until the running statement has ended.
                runtime.spawn(async move {
                    let _ = object.ping().await;
                    let _ = Object::take(object).close().await;
                });
            }
            // A server notices the closed connection and rolls back.
            _ => drop(Object::take(object)),
        }
    }
}

/// Opens connections, and decides which are reusable.
struct Connector<DB: Database> {
    options: Options<DB>,
    /// The local file, or `None` for a server.
    file: Option<Arc<DatabaseFile>>,
    /// The last moment when an idle connection was found dead. Connections that were not used since have probably the
    /// same fault: pinging them one by one would take longer than any request waits.
    failed: Mutex<Option<Instant>>,
}

impl<DB: Database> Connector<DB> {
    fn is_suspect(&self, metrics: &Metrics) -> bool {
        let used = metrics.recycled.unwrap_or(metrics.created);
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|failed| used < failed)
    }
}

impl<DB: Database> Manager for Connector<DB> {
    type Type = DB::Connection;
    type Error = sqlx::Error;

    /// Retries while a server is starting, for as long as the caller waits for the connection.
    ///
    /// Opens a local file only while its path leads to it. Otherwise the connection would read the file that replaced
    /// it for as long as the process runs, also after the right file is back: a cached key could outlive its
    /// revocation.
    async fn create(&self) -> sqlx::Result<DB::Connection> {
        if let Some(file) = &self.file {
            file.check_in_place()?;
            let connection = self.options.connect().await?;
            if let Err(error) = file.check_in_place() {
                let _ = connection.close_hard().await;
                return Err(error.into());
            }
            return Ok(connection);
        }
        let mut pause = Duration::from_millis(10);
        loop {
            match self.options.connect().await {
                Err(error) if is_starting(&error) => tokio::time::sleep(pause).await,
                outcome => return outcome,
            }
            pause = (pause * 2).min(MAX_RETRY_DELAY);
        }
    }

    async fn recycle(&self, connection: &mut DB::Connection, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if self.file.is_none() {
            if metrics.age() > MAX_LIFETIME || self.is_suspect(metrics) {
                return Err(RecycleError::message("the connection is old"));
            }
            if metrics.last_used() >= PING_AFTER_IDLE
                && !matches!(tokio::time::timeout(PING_TIMEOUT, connection.ping()).await, Ok(Ok(())))
            {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                return Err(RecycleError::message("the connection does not answer"));
            }
        }
        Ok(())
    }
}

/// Returns whether a failed connection means that the server is still starting.
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        // PostgreSQL: too many connections; starting up.
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("53300" | "57P03")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Postgres, Row, Sqlite};

    use super::*;

    /// A caller is cancelled at any moment of its `BEGIN`: the next one is in no transaction.
    #[tokio::test]
    async fn the_transaction_of_a_cancelled_caller_is_never_reused() {
        let url = std::env::var("LATCHKEY_TEST_POSTGRES_URL").expect("`make test` starts PostgreSQL and sets it");
        let options: Options<Postgres> = url.parse().expect("a URL");
        let connections = Connections::<Postgres>::remote(options, 1, Duration::from_secs(5));
        for microseconds in 0..400 {
            let begin = async {
                let mut pooled = connections.acquire().await.expect("a connection");
                let begun = pooled.connection().expect("a connection").begin().await;
                begun.expect("a transaction").rollback().await.expect("it is rolled back");
                pooled.release();
            };
            let _ = tokio::time::timeout(Duration::from_micros(microseconds), begin).await;
            let mut pooled = connections.acquire().await.expect("a connection");
            // Inside a transaction, `now()` is the moment of its first statement.
            let row = sqlx::raw_sql("SELECT now() = statement_timestamp()")
                .fetch_one(pooled.connection().expect("a connection"))
                .await
                .expect("an answer");
            pooled.release();
            assert!(row.get::<bool, _>(0), "cancelled after {microseconds} us");
        }
        connections.close().await;
    }

    /// SQLite also rolls back by itself when the disk is full at a commit.
    #[tokio::test]
    async fn a_transaction_that_sqlite_rolled_back_itself_is_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("test.db").display());
        let options: Options<Sqlite> = url.parse().expect("a URL");
        let file = Arc::new(DatabaseFile::open(&folder.path().join("test.db"), true).expect("a file"));
        let connections = Connections::<Sqlite>::local(options, file, 1, Duration::from_secs(5));
        let write = async |statement: &'static str| -> sqlx::Result<()> {
            let mut pooled = connections.acquire().await?;
            let mut transaction = pooled.connection()?.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(statement).execute(&mut *transaction).await?;
            transaction.commit().await?;
            pooled.release();
            Ok(())
        };
        write("CREATE TABLE lines (id INTEGER PRIMARY KEY)").await.expect("a table");
        write("INSERT INTO lines VALUES (1)").await.expect("a line");
        assert!(write("INSERT OR ROLLBACK INTO lines VALUES (1)").await.is_err());
        write("INSERT INTO lines VALUES (2)").await.expect("another line");
        connections.close().await;
    }

    #[tokio::test]
    async fn a_file_put_under_the_name_of_the_database_gets_no_connection() {
        let folder = tempfile::tempdir().expect("a folder");
        let [path, away] = ["test.db", "away.db"].map(|name| folder.path().join(name));
        let file = Arc::new(DatabaseFile::open(&path, true).expect("a file"));
        let options: Options<Sqlite> = format!("sqlite:{}", path.display()).parse().expect("a URL");
        let connections = Connections::<Sqlite>::local(options, file, 2, Duration::from_secs(5));
        let first = connections.acquire().await.expect("a connection");
        std::fs::rename(&path, &away).expect("it is moved");
        for replaced in [false, true] {
            if replaced {
                std::fs::write(&path, "").expect("another file");
            }
            assert!(connections.acquire().await.is_err(), "replaced: {replaced}");
            assert!(connections.connect().await.is_err(), "replaced: {replaced}");
        }
        std::fs::rename(&away, &path).expect("it is back");
        let second = connections.acquire().await.expect("another connection");
        [first, second].into_iter().for_each(PooledConnection::release);
        connections.close().await;
    }
}
