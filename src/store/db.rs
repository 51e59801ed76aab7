//! The two engines, and the macros that expand one body for both.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, PgConnection, Postgres, Sqlite};

pub(super) use super::error::is_row_fault;
pub use super::error::{DatabaseUrlError, StoreError};
use super::file::DatabaseFile;
use super::pool::Connections;
use super::url;
use crate::runtime::lists::Lists;

/// Reading connections to a SQLite file.
const SQLITE_READERS: usize = 4;
/// Connections of a node to a PostgreSQL server.
const POSTGRES_CONNECTIONS: usize = 16;
/// The longest wait for a connection to a SQLite file; then the call fails.
const SQLITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Sources in the cache of their ids.
const SOURCE_CACHE_CAPACITY: usize = 4096;
/// The longest wait for a connection to a PostgreSQL server; then the call fails.
const POSTGRES_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait for a dedicated connection, which a node needs for tasks with a deadline.
const DEDICATED_TIMEOUT: Duration = Duration::from_secs(2);

/// A SQLite file: several readers, one writer.
#[derive(Debug, Clone)]
pub struct SqliteFile {
    pub(super) reader: Connections<Sqlite>,
    pub(super) writer: Connections<Sqlite>,
    /// A cache of the ids of sources, by environment and name.
    pub(super) sources: Arc<Cache<(i64, String), i64>>,
    /// The open file, which must be closed last (`file.rs`).
    pub(super) file: Arc<DatabaseFile>,
}

/// The mode in which a SQLite file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// Shared; the file must exist.
    Existing,
    /// Shared; a missing file is created.
    Create,
    /// Exclusive; a missing file is created.
    Serve,
    /// Exclusive; the file must exist.
    Copy,
}

/// The database.
#[derive(Debug, Clone)]
pub enum Db {
    /// A SQLite file.
    Sqlite(SqliteFile),
    /// A PostgreSQL server.
    Postgres(Connections<Postgres>),
}

/// Runs `$body` with a connection for reading; expands it for each engine. Leaving the function early, by `?` or
/// `return`, closes the connection.
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
        let mut pooled = $connections.acquire().await?;
        let $connection = pooled.connection()?;
        let value = $body;
        pooled.release();
        value
    }};
}

/// Runs `$body` in a transaction and commits; expands it for each engine. Leaving the function early, by `?` or
/// `return`, rolls back.
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
        let mut pooled = $connections.acquire().await?;
        let mut $tx = sqlx::Connection::begin_with(pooled.connection()?, $begin).await?;
        let value = $body;
        $tx.commit().await?;
        pooled.release();
        value
    }};
}

/// Includes the text of a statement file.
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
    /// Opens the database of a URL; creates a missing SQLite file.
    ///
    /// # Errors
    /// When the URL is invalid, or the database does not open.
    pub async fn open(url: &str) -> Result<Self, DatabaseUrlError> {
        Self::open_as(url, Opening::Create).await
    }

    /// Opens the database of a URL, which must exist.
    ///
    /// # Errors
    /// When the URL is invalid, or the database does not open or does not exist.
    pub async fn open_existing(url: &str) -> Result<Self, DatabaseUrlError> {
        Self::open_as(url, Opening::Existing).await
    }

    /// Opens the database of a URL to serve it. Creates a missing SQLite file, and locks it for this process for the
    /// lifetime of this `Db`; on PostgreSQL, servers register as nodes instead.
    ///
    /// # Errors
    /// When the URL is invalid, the database does not open, or another process serves the file.
    pub async fn open_to_serve(url: &str) -> Result<Self, DatabaseUrlError> {
        Self::open_as(url, Opening::Serve).await
    }

    /// Opens the database of a URL to copy it elsewhere, and locks a SQLite file against servers meanwhile.
    ///
    /// # Errors
    /// When the URL is invalid, the database does not open or does not exist, or another process serves the file.
    pub(super) async fn open_to_copy(url: &str) -> Result<Self, DatabaseUrlError> {
        Self::open_as(url, Opening::Copy).await
    }

    async fn open_as(url: &str, opening: Opening) -> Result<Self, DatabaseUrlError> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Self::open_sqlite(url, opening).await,
            Some("postgres" | "postgresql") => Self::open_postgres(url).await,
            scheme => Err(DatabaseUrlError::Scheme(scheme.unwrap_or(url).to_owned())),
        }
    }

    async fn open_sqlite(url: &str, opening: Opening) -> Result<Self, DatabaseUrlError> {
        let url = url::sqlite(url)?;
        let creates = matches!(opening, Opening::Create | Opening::Serve) && !url.must_exist;
        let file = Arc::new(DatabaseFile::open(&url.path, creates)?);
        // Before SQLite writes to the file.
        match opening {
            Opening::Serve | Opening::Copy => file.lock()?,
            Opening::Existing | Opening::Create => file.refuse_other_name()?,
        }
        let options = url
            .options
            .filename(file.path())
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            // A commit is on disk before its response: a power failure must not lose a key or a revocation.
            .synchronous(SqliteSynchronous::Full)
            .statement_cache_capacity(256)
            // 32 MiB per connection, because lists walk far along an index. No memory map: a failing disk would raise a
            // signal instead of an error.
            .pragma("cache_size", "-32768")
            // Keeps temporary data, such as statement journals and sorters, in memory.
            .pragma("temp_store", "MEMORY")
            // A server makes its checkpoints outside of commits (`checkpoints.rs`); if that fails, this limits the log
            // to 256 MiB.
            .pragma("wal_autocheckpoint", "64000");
        // SQLite scans its whole page cache at each commit that split a page, so a smaller cache is quicker.
        let writing = options.clone().pragma("cache_size", "-16384");
        let writer = Connections::local(writing, Arc::clone(&file), 1, SQLITE_TIMEOUT);
        let unusable = |error| DatabaseUrlError::Unusable { path: file.path().to_owned(), error };
        // Reports a file that SQLite cannot use.
        writer.open_all().await.map_err(unusable)?;
        let reader = Connections::local(options, Arc::clone(&file), SQLITE_READERS, SQLITE_TIMEOUT);
        if opening == Opening::Serve {
            // No connection can be opened while the file is displaced, so a server opens all readers at start and reads
            // on with them.
            reader.open_all().await.map_err(unusable)?;
        }
        Ok(Self::Sqlite(SqliteFile { reader, writer, sources: Arc::new(Cache::new(SOURCE_CACHE_CAPACITY)), file }))
    }

    async fn open_postgres(url: &str) -> Result<Self, DatabaseUrlError> {
        let options = url::postgres(url)?
            .application_name("latchkey")
            .statement_cache_capacity(256)
            // A node that hangs or is cut off inside a transaction keeps its locks, and no other node could revoke
            // these keys, or any, until it continues.
            .options([("idle_in_transaction_session_timeout", "3s")])
            // Each statement sees the commits before it: a password reset that waited for a sign-in must see its
            // session, with any default of the database.
            .options([("default_transaction_isolation", "read committed")]);
        // The first connection has no retries, so that an error is reported without waiting for a server that may still
        // start.
        let mut first = PgConnection::connect_with(&options).await.map_err(DatabaseUrlError::Unreachable)?;
        let encoding: String = sqlx::query_scalar("SHOW server_encoding")
            .fetch_one(&mut first)
            .await
            .map_err(DatabaseUrlError::Unreachable)?;
        first.close().await.map_err(DatabaseUrlError::Unreachable)?;
        if encoding != "UTF8" {
            return Err(DatabaseUrlError::Encoding(encoding));
        }
        Ok(Self::Postgres(Connections::remote(options, POSTGRES_CONNECTIONS, POSTGRES_TIMEOUT)))
    }

    /// Brings the schema up to date. Safe when several processes start at once.
    ///
    /// # Errors
    /// When the database fails, or has the schema of a newer version of this program.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(file) => {
                let mut pooled = file.writer.acquire().await?;
                sqlx::migrate!("migrations/sqlite").run(pooled.connection()?).await?;
                pooled.release();
            }
            Self::Postgres(connections) => {
                let mut pooled = connections.acquire().await?;
                sqlx::migrate!("migrations/postgres").run(pooled.connection()?).await?;
                pooled.release();
            }
        }
        Ok(())
    }

    /// Returns the places for searches and lists, in all and for one tenant: fewer than the connections, so that other
    /// calls always find a connection.
    pub fn list_places(&self) -> Lists {
        match self {
            Self::Sqlite(..) => Lists::new(SQLITE_READERS / 2, SQLITE_READERS / 4),
            Self::Postgres(_) => Lists::new(POSTGRES_CONNECTIONS / 2, POSTGRES_CONNECTIONS / 4),
        }
    }

    /// Clears the caches of this process, except the keys: the database was replaced or restored.
    pub(crate) fn forget(&self) {
        if let Self::Sqlite(file) = self {
            file.sources.clear();
        }
    }

    /// Returns the database with a dedicated pool, so that lease renewal never queues behind requests.
    #[must_use]
    pub fn with_dedicated_pool(&self) -> Self {
        match self {
            Self::Sqlite(..) => self.clone(),
            Self::Postgres(connections) => {
                Self::Postgres(Connections::remote(connections.options().clone(), 4, DEDICATED_TIMEOUT))
            }
        }
    }

    /// Returns the free bytes of the file system of a SQLite file; `None` on PostgreSQL, where the disk is on another
    /// machine.
    pub(crate) fn free_bytes(&self) -> Option<std::io::Result<u64>> {
        let Self::Sqlite(file) = self else { return None };
        let folder = file.file.path().parent().unwrap_or(Path::new("."));
        let disk = rustix::fs::statvfs(folder).map_err(std::io::Error::from);
        Some(disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)))
    }

    /// Checks that the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        reading!(self, connection => sqlx::query("SELECT 1").execute(connection).await.map(drop)?);
        Ok(())
    }

    /// Writes a row, to check that the database accepts writes.
    ///
    /// # Errors
    /// When it does not.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        let at = crate::runtime::clock::Clock::System.now().0;
        match self {
            Self::Sqlite(database) => {
                let mut pooled = database.writer.acquire().await?;
                sqlx::query(sql!("write_probe")).bind(at).execute(pooled.connection()?).await?;
                pooled.release();
            }
            Self::Postgres(connections) => {
                let mut pooled = connections.acquire().await?;
                sqlx::query(sql!("write_probe")).bind(at).execute(pooled.connection()?).await?;
                pooled.release();
            }
        }
        Ok(())
    }

    /// Closes all connections. Waits for connections in use for a short time.
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
