//! The two engines, and the macros that write each body once for both.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, PgConnection, PgPool, Sqlite, SqliteConnection, SqlitePool, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// A connection that was not used for so long is asked whether it is still there.
const ASKED_AFTER: Duration = Duration::from_millis(200);
/// And is given up when it does not answer in this time.
const ASKED_FOR: Duration = Duration::from_millis(500);

/// The database itself failed: a full disk, a lost connection, a broken file.
#[derive(Debug, thiserror::Error)]
#[error("database: {0}")]
pub struct StoreError(#[from] sqlx::Error);

impl StoreError {
    /// No answer in the time that it was given.
    pub(crate) fn slow() -> Self {
        Self(sqlx::Error::PoolTimedOut)
    }

    /// Whether the statement broke a uniqueness rule.
    pub fn is_conflict(&self) -> bool {
        matches!(&self.0, sqlx::Error::Database(error) if error.is_unique_violation())
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self(error.into())
    }
}

/// Why a `--database-url` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Neither `sqlite:` nor `postgres:`.
    #[error("`{0}` is not a database this program knows: write sqlite:FILE or postgres://USER@HOST/DATABASE")]
    Scheme(String),
    /// Of a known kind, but not readable.
    #[error("the database URL cannot be read: {0}")]
    Malformed(sqlx::Error),
    /// Readable, but the database does not open.
    #[error("the database cannot be opened: {0}")]
    Unreachable(sqlx::Error),
    /// Another process serves this file.
    #[error("{} is served by another process, and a database has one server at a time: stop the other", .0.display())]
    Locked(PathBuf),
    /// The lock file cannot be made.
    #[error("cannot lock {}: {error}", .path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// An embedded file: several readers, one writer.
#[derive(Debug, Clone)]
pub struct SqliteFile {
    path: PathBuf,
    pub(super) reader: SqlitePool,
    writer: SqlitePool,
    /// The writer's one connection, between two who write. The pool asks a connection that is given back
    /// whether it is well, and everybody waits for the answer; this way it does so only after a failure.
    kept: Arc<Mutex<Option<PoolConnection<Sqlite>>>>,
}

impl SqliteFile {
    /// The turn to write. Turns are given in the order in which they were asked for.
    pub(super) async fn write(&self) -> sqlx::Result<Turn> {
        let mut kept = Arc::clone(&self.kept).lock_owned().await;
        if kept.is_none() {
            *kept = Some(self.writer.acquire().await?);
        }
        Ok(Turn { kept, well: false })
    }
}

/// The turn to write to a file.
pub(super) struct Turn {
    kept: OwnedMutexGuard<Option<PoolConnection<Sqlite>>>,
    well: bool,
}

impl Turn {
    /// The connection.
    pub(super) fn connection(&mut self) -> sqlx::Result<&mut SqliteConnection> {
        // Only a turn that is over has none.
        self.kept.as_deref_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    /// Begins a transaction that is going to write.
    pub(super) async fn begin(&mut self) -> sqlx::Result<Transaction<'_, Sqlite>> {
        self.connection()?.begin_with("BEGIN IMMEDIATE").await
    }

    /// It went well: the next one may have the connection as it is.
    pub(super) fn done(mut self) {
        self.well = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.well {
            *self.kept = None;
        }
    }
}

/// The database.
#[derive(Debug, Clone)]
pub enum Db {
    /// A file.
    Sqlite(SqliteFile),
    /// A server.
    Postgres(PgPool),
}

/// Runs `$body` with a pool for reading, once for each engine.
macro_rules! reading {
    ($db:expr, $pool:ident => $body:expr) => {
        match $db {
            $crate::store::Db::Sqlite(file) => {
                let $pool = &file.reader;
                $body
            }
            $crate::store::Db::Postgres($pool) => $body,
        }
    };
}

/// Runs `$body` in a transaction, once for each engine, and commits. Leaving the function early, by
/// `?` or `return`, rolls back.
macro_rules! writing {
    ($db:expr, $tx:ident => $body:expr) => {
        match $db {
            $crate::store::Db::Sqlite(file) => {
                let mut turn = file.write().await?;
                let mut $tx = turn.begin().await?;
                let value = $body;
                $tx.commit().await?;
                turn.done();
                value
            }
            $crate::store::Db::Postgres(pool) => {
                let mut $tx = pool.begin().await?;
                let value = $body;
                $tx.commit().await?;
                value
            }
        }
    };
}

/// The text of a statement file.
macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!("sql/", $name, ".sql"))
    };
    ($db:expr, $name:literal) => {
        match $db {
            $crate::store::Db::Sqlite(..) => include_str!(concat!("sql/", $name, ".sqlite.sql")),
            $crate::store::Db::Postgres(..) => include_str!(concat!("sql/", $name, ".postgres.sql")),
        }
    };
}

pub(super) use {reading, sql, writing};

impl Db {
    /// Opens the database of a URL; a SQLite file is made if it is not there.
    ///
    /// # Errors
    /// When the URL is not one, or the database does not open.
    pub async fn open(url: &str) -> Result<Self, DatabaseUrlError> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Self::open_sqlite(url).await,
            Some("postgres" | "postgresql") => Self::open_postgres(url).await,
            scheme => Err(DatabaseUrlError::Scheme(scheme.unwrap_or(url).to_owned())),
        }
    }

    async fn open_sqlite(url: &str) -> Result<Self, DatabaseUrlError> {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(DatabaseUrlError::Malformed)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            // What was answered is on disk: a key or a revocation may not be lost with the power.
            .synchronous(SqliteSynchronous::Full)
            .statement_cache_capacity(256)
            // 32 MiB a connection: lists walk far along an index, and new keys touch pages all over. Not mapped
            // into memory, where a failing disk would be a signal and no error.
            .pragma("cache_size", "-32768")
            // What a statement of many rows would undo should it fail, and what it sorts, is kept in no file.
            .pragma("temp_store", "MEMORY")
            // A server makes its checkpoints beside its commits (`checkpoints.rs`); this bounds the log (256 MiB)
            // should that fail.
            .pragma("wal_autocheckpoint", "64000");
        let file = options.get_filename().to_path_buf();
        keep_private(&file);
        let pool = || {
            // Of a file nothing goes away, so no connection is asked whether it is still there.
            SqlitePoolOptions::new().test_before_acquire(false).idle_timeout(None).max_lifetime(None)
        };
        let writer =
            pool().max_connections(1).connect_with(options.clone()).await.map_err(DatabaseUrlError::Unreachable)?;
        let reader = pool().max_connections(4).connect_lazy_with(options.create_if_missing(false));
        // By its real name, so that a link to the file is the same file to the lock.
        let path = std::fs::canonicalize(&file).unwrap_or(file);
        Ok(Self::Sqlite(SqliteFile { path, reader, writer, kept: Arc::default() }))
    }

    async fn open_postgres(url: &str) -> Result<Self, DatabaseUrlError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(DatabaseUrlError::Malformed)?
            .application_name("latchkey")
            // A node that stands still or is cut off in the middle of a transaction keeps its locks, and nobody
            // else could revoke these keys, or any, until it goes on.
            .options([("idle_in_transaction_session_timeout", "3s")]);
        // A pool answers a failed connection with a time-out; a connection says what is wrong.
        let first = PgConnection::connect_with(&options).await.map_err(DatabaseUrlError::Unreachable)?;
        first.close().await.map_err(DatabaseUrlError::Unreachable)?;
        let pool = connections(16, Duration::from_secs(5));
        Ok(Self::Postgres(pool.connect_with(options).await.map_err(DatabaseUrlError::Unreachable)?))
    }

    /// Brings the schema up to date. Safe when several processes start at once.
    ///
    /// # Errors
    /// When the database fails, or was made by a newer version of this program.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(file) => {
                let mut turn = file.write().await?;
                sqlx::migrate!("migrations/sqlite").run(turn.connection()?).await?;
                turn.done();
            }
            Self::Postgres(pool) => sqlx::migrate!("migrations/postgres").run(pool).await?,
        }
        Ok(())
    }

    /// Claims the sole right to serve a file, for as long as the answer is kept; on PostgreSQL, where servers
    /// register as nodes, nothing.
    ///
    /// # Errors
    /// When another process holds it.
    pub fn lock(&self) -> Result<Option<File>, DatabaseUrlError> {
        let Self::Sqlite(file) = self else { return Ok(None) };
        let path = lock_path(&file.path);
        let lock = File::create(&path).map_err(|error| DatabaseUrlError::Lock { path: path.clone(), error })?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(std::fs::TryLockError::WouldBlock) => Err(DatabaseUrlError::Locked(file.path.clone())),
            Err(std::fs::TryLockError::Error(error)) => Err(DatabaseUrlError::Lock { path, error }),
        }
    }

    /// The same with connections of its own, on which nothing of the requests waits.
    #[must_use]
    pub fn aside(&self) -> Self {
        match self {
            Self::Sqlite(..) => self.clone(),
            Self::Postgres(pool) => {
                let options = (*pool.connect_options()).clone();
                Self::Postgres(connections(4, Duration::from_secs(2)).connect_lazy_with(options))
            }
        }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        reading!(self, pool => sqlx::query("SELECT 1").execute(pool).await.map(drop)?);
        Ok(())
    }

    /// Ends all connections, after what they still do.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(file) => {
                file.reader.close().await;
                file.kept.lock().await.take();
                file.writer.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// Connections to a server. One that has not been used for a moment is asked whether it is still there, and
/// must not take long to say so; one that has just been used says so by itself.
fn connections(most: u32, patience: Duration) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(most).acquire_timeout(patience).test_before_acquire(false).before_acquire(
        |connection, used| {
            Box::pin(async move {
                if used.idle_for < ASKED_AFTER {
                    return Ok(true);
                }
                Ok(matches!(tokio::time::timeout(ASKED_FOR, connection.ping()).await, Ok(Ok(()))))
            })
        },
    )
}

/// Makes a new database file readable for its owner only: it holds addresses and password hashes.
/// SQLite gives its other files the same rights. What is wrong with the path, opening it says.
fn keep_private(file: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    let _ = File::options().write(true).create_new(true).mode(0o600).open(file);
}

fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}
