//! The two engines, and the macros that write each body once for both.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quick_cache::sync::Cache;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, PgConnection, Postgres, Sqlite};

use super::pool::Connections;

/// How long somebody waits for the turn to read or write a file.
const SQLITE_PATIENCE: Duration = Duration::from_secs(30);
/// Sources whose ids are known.
const SOURCES: usize = 4096;
/// How long somebody waits for a connection to a server.
const POSTGRES_PATIENCE: Duration = Duration::from_secs(5);
/// The same for what a node has to do in time.
const ASIDE_PATIENCE: Duration = Duration::from_secs(2);

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

    /// Whether a row is at fault, and not the database.
    pub(super) fn is_row_fault(&self) -> bool {
        is_row_fault(&self.0)
    }
}

/// Whether a row is at fault, and not the database: other rows can be written without it.
pub(super) fn is_row_fault(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    let Some(code) = error.code() else { return false };
    match code.parse::<u32>() {
        // SQLite's primary code is the lowest byte: TOOBIG, CONSTRAINT, MISMATCH. PostgreSQL's codes have five characters.
        Ok(number) if code.len() < 5 => matches!(number & 0xff, 18..=20),
        // PostgreSQL: data exceptions and integrity constraint violations.
        _ => code.starts_with("22") || code.starts_with("23"),
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
    pub(super) reader: Connections<Sqlite>,
    pub(super) writer: Connections<Sqlite>,
    /// The lock file, if this process is the one that serves this file.
    lock: Arc<OnceLock<File>>,
    /// The ids of sources that were used lately, by environment and name.
    pub(super) sources: Arc<Cache<(i64, String), i64>>,
}

/// How often a database was changed, by this process and beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Changes {
    own: u64,
    beside: u64,
}

/// The database.
#[derive(Debug, Clone)]
pub enum Db {
    /// A file.
    Sqlite(SqliteFile),
    /// A server.
    Postgres(Connections<Postgres>),
}

/// Runs `$body` with a connection for reading, once for each engine. Leaving the function early, by `?` or
/// `return`, does no harm.
macro_rules! reading {
    ($db:expr, $connection:ident => $body:expr) => {
        match $db {
            $crate::store::Db::Sqlite($crate::store::SqliteFile { reader: connections, .. }) => {
                $crate::store::db::reading!(in connections, $connection => $body)
            }
            $crate::store::Db::Postgres(connections) => {
                $crate::store::db::reading!(in connections, $connection => $body)
            }
        }
    };
    (in $connections:ident, $connection:ident => $body:expr) => {{
        let mut lent = $connections.lend().await?;
        let $connection = lent.connection()?;
        let value = $body;
        lent.done();
        value
    }};
}

/// Runs `$body` in a transaction, once for each engine, and commits. Leaving the function early, by
/// `?` or `return`, rolls back.
macro_rules! writing {
    ($db:expr, $tx:ident => $body:expr) => {
        match $db {
            $crate::store::Db::Sqlite(file) => {
                $crate::store::db::writing!(in file.writer, "BEGIN IMMEDIATE", $tx => $body)
            }
            $crate::store::Db::Postgres(connections) => {
                $crate::store::db::writing!(in connections, "BEGIN", $tx => $body)
            }
        }
    };
    (in $connections:expr, $begin:literal, $tx:ident => $body:expr) => {{
        let mut lent = $connections.lend().await?;
        let mut $tx = sqlx::Connection::begin_with(lent.connection()?, $begin).await?;
        let value = $body;
        $tx.commit().await?;
        lent.done();
        value
    }};
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
            // 32 MiB a connection: lists walk far along an index. Not mapped into memory, where a failing disk would
            // be a signal and no error.
            .pragma("cache_size", "-32768")
            // What a statement of many rows would undo should it fail, and what it sorts, is kept in no file.
            .pragma("temp_store", "MEMORY")
            // A server makes its checkpoints beside its commits (`checkpoints.rs`); this bounds the log (256 MiB)
            // should that fail.
            .pragma("wal_autocheckpoint", "64000");
        let file = options.get_filename().to_path_buf();
        keep_private(&file);
        // SQLite looks through all pages that it keeps at each commit that parted one: fewer are quicker.
        let writing = options.clone().pragma("cache_size", "-16384");
        let writer = Connections::local(writing, 1, SQLITE_PATIENCE);
        // Says what is wrong with the file, if anything is.
        writer.lend().await.map_err(DatabaseUrlError::Unreachable)?.done();
        let reader = Connections::local(options.create_if_missing(false), 4, SQLITE_PATIENCE);
        // By its real name, so that a link to the file is the same file to the lock.
        let path = std::fs::canonicalize(&file).unwrap_or(file);
        Ok(Self::Sqlite(SqliteFile {
            path,
            reader,
            writer,
            lock: Arc::default(),
            sources: Arc::new(Cache::new(SOURCES)),
        }))
    }

    async fn open_postgres(url: &str) -> Result<Self, DatabaseUrlError> {
        let options = PgConnectOptions::from_str(url)
            .map_err(DatabaseUrlError::Malformed)?
            .application_name("latchkey")
            .statement_cache_capacity(256)
            // A node that stands still or is cut off in the middle of a transaction keeps its locks, and nobody
            // else could revoke these keys, or any, until it goes on.
            .options([("idle_in_transaction_session_timeout", "3s")]);
        // One that serves nobody says at once what is wrong, without waiting for a server that is not there yet.
        let first = PgConnection::connect_with(&options).await.map_err(DatabaseUrlError::Unreachable)?;
        first.close().await.map_err(DatabaseUrlError::Unreachable)?;
        Ok(Self::Postgres(Connections::remote(options, 16, POSTGRES_PATIENCE)))
    }

    /// Brings the schema up to date. Safe when several processes start at once.
    ///
    /// # Errors
    /// When the database fails, or was made by a newer version of this program.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(file) => {
                let mut lent = file.writer.lend().await?;
                sqlx::migrate!("migrations/sqlite").run(lent.connection()?).await?;
                lent.done();
            }
            Self::Postgres(connections) => {
                let mut lent = connections.lend().await?;
                sqlx::migrate!("migrations/postgres").run(lent.connection()?).await?;
                lent.done();
            }
        }
        Ok(())
    }

    /// Claims the sole right to serve a file, for as long as this `Db` is there; on PostgreSQL, where servers
    /// register as nodes, nothing.
    ///
    /// # Errors
    /// When another process holds it.
    pub fn lock(&self) -> Result<(), DatabaseUrlError> {
        let Self::Sqlite(file) = self else { return Ok(()) };
        let lock = open_lock(file)?;
        match lock.try_lock() {
            Ok(()) => {
                // One that holds it already keeps its own.
                let _ = file.lock.set(lock);
                Ok(())
            }
            Err(std::fs::TryLockError::WouldBlock) => Err(DatabaseUrlError::Locked(file.path.clone())),
            Err(std::fs::TryLockError::Error(error)) => {
                Err(DatabaseUrlError::Lock { path: lock_path(&file.path), error })
            }
        }
    }

    /// How often the database was changed, new keys and events left out: what was read when this was something else may
    /// be different now. `None` where others change it and do not say so.
    pub(crate) fn changes(&self) -> Option<Changes> {
        let Self::Sqlite(file) = self else { return None };
        let beside = file.lock.get()?.metadata().ok()?.len();
        Some(Changes { own: file.writer.uses(), beside })
    }

    /// Tells the server of a file, if there is one, that accounts are changed beside it: its lock file grows. To be
    /// called before they are, so that nothing goes unnoticed whenever this process ends, and after.
    ///
    /// # Errors
    /// When the lock file cannot be written.
    pub fn announce_change(&self) -> Result<(), DatabaseUrlError> {
        let Self::Sqlite(file) = self else { return Ok(()) };
        let said = open_lock(file)?.write_all(b".");
        said.map_err(|error| DatabaseUrlError::Lock { path: lock_path(&file.path), error })
    }

    /// Drops what this process has cached of the database beside the keys: the database is not the one that it was.
    pub(crate) fn forget(&self) {
        let Self::Sqlite(file) = self else { return };
        file.sources.clear();
        // Sessions that were read before this are read again.
        if let Err(error) = self.announce_change() {
            tracing::error!(%error, "sessions that are cached may be trusted for up to a minute");
        }
    }

    /// The same with connections of its own, on which nothing of the requests waits.
    #[must_use]
    pub fn aside(&self) -> Self {
        match self {
            Self::Sqlite(..) => self.clone(),
            Self::Postgres(connections) => {
                Self::Postgres(Connections::remote(connections.options().clone(), 4, ASIDE_PATIENCE))
            }
        }
    }

    /// The free bytes of the file system that a SQLite file is on; `None` on PostgreSQL, whose disk is elsewhere.
    pub(crate) fn free_bytes(&self) -> Option<std::io::Result<u64>> {
        let Self::Sqlite(file) = self else { return None };
        let folder = file.path.parent().unwrap_or(Path::new("."));
        let disk = rustix::fs::statvfs(folder).map_err(std::io::Error::from);
        Some(disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        reading!(self, connection => sqlx::query("SELECT 1").execute(connection).await.map(drop)?);
        Ok(())
    }

    /// Ends all connections, after what they still do.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(file) => {
                file.reader.close().await;
                file.writer.close().await;
            }
            Self::Postgres(connections) => connections.close().await,
        }
    }
}

/// Makes a new database file readable for its owner only: it holds addresses and password hashes.
/// SQLite gives its other files the same rights. What is wrong with the path, opening it says.
fn keep_private(file: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    let _ = File::options().write(true).create_new(true).mode(0o600).open(file);
}

/// Not emptied: its length is how often somebody has said that he changed something.
fn open_lock(file: &SqliteFile) -> Result<File, DatabaseUrlError> {
    let path = lock_path(&file.path);
    File::options().create(true).append(true).open(&path).map_err(|error| DatabaseUrlError::Lock { path, error })
}

fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}
