//! Connections that are kept from one use to the next.
//!
//! Not in the driver's own pool. That one asks each connection that is given back whether it is well, which is a
//! trip for every statement, and its patience has no end: a connection that leads nowhere, because its server or
//! the network went away without a word, keeps its place for ever (sqlx issue 4349), and a node whose places are
//! all taken never comes back. Here a connection on which everything was read to its end goes back unasked, and
//! any other is closed.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult};
use sqlx::{ConnectOptions, Connection, Database};
use tokio::runtime::Handle;
use tracing_mutex::stdsync::Mutex;

use super::file::DatabaseFile;

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
    is_suspended: Arc<AtomicBool>,
}

impl<DB: Database> Connections<DB> {
    /// Connections to a local file; they need no ping.
    pub(super) fn local(options: Options<DB>, file: Arc<DatabaseFile>, most: usize, patience: Duration) -> Self {
        Self::new(options, most, patience, Some(file))
    }

    /// To a server.
    pub(super) fn remote(options: Options<DB>, most: usize, patience: Duration) -> Self {
        Self::new(options, most, patience, None)
    }

    fn new(options: Options<DB>, most: usize, patience: Duration, file: Option<Arc<DatabaseFile>>) -> Self {
        let maker = Maker { options, file, failed: Mutex::default() };
        // The one that was used last is the warmest, and need not be asked.
        let pool = Pool::builder(maker).max_size(most).queue_mode(QueueMode::Lifo).build();
        // Only time limits need a runtime to build, and it has none.
        let pool = pool.unwrap_or_else(|error| unreachable!("{error}"));
        Self { pool, patience, is_suspended: Arc::default() }
    }

    /// How they are made.
    pub(super) fn options(&self) -> &Options<DB> {
        &self.pool.manager().options
    }

    /// One of them.
    pub(super) async fn lend(&self) -> sqlx::Result<Lent<DB>> {
        if self.is_suspended.load(Ordering::Relaxed) {
            return Err(DatabaseFile::displaced().into());
        }
        match tokio::time::timeout(self.patience, self.pool.get()).await {
            Ok(Ok(object)) => Ok(Lent(Some(object))),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(PoolError::Closed)) => Err(sqlx::Error::PoolClosed),
            Ok(Err(_)) | Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// Opens all connections now, instead of on demand.
    pub(super) async fn open_all(&self) -> sqlx::Result<()> {
        let mut open = Vec::new();
        for _ in 0..self.pool.status().max_size {
            open.push(self.lend().await?);
        }
        open.into_iter().for_each(Lent::release);
        Ok(())
    }

    /// Opens a connection that does not belong to the pool.
    pub(super) async fn connect(&self) -> sqlx::Result<DB::Connection> {
        self.pool.manager().create().await
    }

    /// Lends none as long as the file is displaced: what is written to it then is lost at the end of the process.
    pub(super) fn suspend(&self, is_suspended: bool) {
        self.is_suspended.store(is_suspended, Ordering::Relaxed);
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
        Self { pool: self.pool.clone(), patience: self.patience, is_suspended: Arc::clone(&self.is_suspended) }
    }
}

impl<DB: Database> fmt::Debug for Connections<DB> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connections").field("status", &self.pool.status()).finish_non_exhaustive()
    }
}

/// A connection for as long as somebody uses it. When it is dropped before it is [released](Self::release), it ends:
/// something may be under way on it, an answer or a transaction, and the driver does not know of all of them. A `BEGIN` whose
/// answer nobody waited for is none to it (sqlx issues 4385 and 4393), and one that SQLite itself has rolled back goes on.
pub(super) struct Lent<DB: Database>(Option<Object<Maker<DB>>>);

impl<DB: Database> Lent<DB> {
    /// The connection itself.
    pub(super) fn connection(&mut self) -> sqlx::Result<&mut DB::Connection> {
        // Only one that was given back has none.
        self.0.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// All went well, and was read to its end: the next one may have it as it is.
    pub(super) fn release(mut self) {
        self.0 = None;
    }
}

impl<DB: Database> Drop for Lent<DB> {
    fn drop(&mut self) {
        let Some(mut object) = self.0.take() else { return };
        let is_local = Object::pool(&object).is_some_and(|pool| pool.manager().file.is_some());
        match Handle::try_current() {
            Ok(runtime) if is_local => {
                // Nobody else writes before what is under way has come to its end.
                runtime.spawn(async move {
                    let _ = object.ping().await;
                    let _ = Object::take(object).close().await;
                });
            }
            // A server sees that it was left, and rolls back.
            _ => drop(Object::take(object)),
        }
    }
}

/// Makes connections, and knows which of them are good.
struct Maker<DB: Database> {
    options: Options<DB>,
    /// The local file, or `None` for a server.
    file: Option<Arc<DatabaseFile>>,
    /// When one that nobody used was last found to lead nowhere. What happened to it has likely happened to those that
    /// have not been used since: to ask them one after the other would take longer than anybody waits.
    failed: Mutex<Option<Instant>>,
}

impl<DB: Database> Maker<DB> {
    fn is_suspect(&self, metrics: &Metrics) -> bool {
        let used = metrics.recycled.unwrap_or(metrics.created);
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|failed| used < failed)
    }
}

impl<DB: Database> Manager for Maker<DB> {
    type Type = DB::Connection;
    type Error = sqlx::Error;

    /// Waits for a server that is about to be there, for as long as somebody waits for the connection.
    ///
    /// Opens a local file only while its path leads to it. A connection to a file that was put under the name would
    /// read that file for as long as the process runs, also after the right one is back: a cached key could outlive
    /// its revocation.
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
                Err(error) if is_not_yet(&error) => tokio::time::sleep(pause).await,
                outcome => return outcome,
            }
            pause = (pause * 2).min(ATTEMPT_EVERY);
        }
    }

    async fn recycle(&self, connection: &mut DB::Connection, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if self.file.is_none() {
            if metrics.age() > LIFETIME || self.is_suspect(metrics) {
                return Err(RecycleError::message("it is old"));
            }
            if metrics.last_used() >= ASKED_AFTER
                && !matches!(tokio::time::timeout(ASKED_FOR, connection.ping()).await, Ok(Ok(())))
            {
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

#[cfg(test)]
mod tests {
    use sqlx::{Postgres, Row, Sqlite};

    use super::*;

    /// However early somebody goes away who has begun a transaction, the next one is in none.
    #[tokio::test]
    async fn nobody_finds_the_transaction_of_another() {
        let url = std::env::var("LATCHKEY_TEST_POSTGRES_URL").expect("`make test` starts PostgreSQL and sets it");
        let options: Options<Postgres> = url.parse().expect("a URL");
        let connections = Connections::<Postgres>::remote(options, 1, Duration::from_secs(5));
        for microseconds in 0..400 {
            let begin = async {
                let mut lent = connections.lend().await.expect("a connection");
                let begun = lent.connection().expect("a connection").begin().await;
                begun.expect("a transaction").rollback().await.expect("it is rolled back");
                lent.release();
            };
            let _ = tokio::time::timeout(Duration::from_micros(microseconds), begin).await;
            let mut lent = connections.lend().await.expect("a connection");
            // A transaction has one moment, from its first statement on.
            let row = sqlx::raw_sql("SELECT now() = statement_timestamp()")
                .fetch_one(lent.connection().expect("a connection"))
                .await
                .expect("an answer");
            lent.release();
            assert!(row.get::<bool, _>(0), "left after {microseconds} us");
        }
        connections.close().await;
    }

    /// As a full disk makes SQLite do at a commit.
    #[tokio::test]
    async fn what_sqlite_has_rolled_back_itself_is_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("test.db").display());
        let options: Options<Sqlite> = url.parse().expect("a URL");
        let file = Arc::new(DatabaseFile::open(&folder.path().join("test.db"), true).expect("a file"));
        let connections = Connections::<Sqlite>::local(options, file, 1, Duration::from_secs(5));
        let write = async |statement: &'static str| -> sqlx::Result<()> {
            let mut lent = connections.lend().await?;
            let mut transaction = lent.connection()?.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(statement).execute(&mut *transaction).await?;
            transaction.commit().await?;
            lent.release();
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
        let first = connections.lend().await.expect("a connection");
        std::fs::rename(&path, &away).expect("it is moved");
        for replaced in [false, true] {
            if replaced {
                std::fs::write(&path, "").expect("another file");
            }
            assert!(connections.lend().await.is_err(), "replaced: {replaced}");
            assert!(connections.connect().await.is_err(), "replaced: {replaced}");
        }
        std::fs::rename(&away, &path).expect("it is back");
        let second = connections.lend().await.expect("another connection");
        [first, second].into_iter().for_each(Lent::release);
        connections.close().await;
    }
}
