//! The two engines, and the macros that write each body once for both.

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

/// Connections that read a file.
const SQLITE_READERS: usize = 4;
/// Connections to a server.
const POSTGRES_CONNECTIONS: usize = 16;
/// How long somebody waits for the turn to read or write a file.
const SQLITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Sources whose ids are known.
const SOURCES: usize = 4096;
/// How long somebody waits for a connection to a server.
const POSTGRES_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for what a node has to do in time.
const DEDICATED_TIMEOUT: Duration = Duration::from_secs(2);

/// An embedded file: several readers, one writer.
#[derive(Debug, Clone)]
pub struct SqliteFile {
    pub(super) reader: Connections<Sqlite>,
    pub(super) writer: Connections<Sqlite>,
    /// The ids of sources that were used lately, by environment and name.
    pub(super) sources: Arc<Cache<(i64, String), i64>>,
    /// Closed last (`file.rs`).
    pub(super) file: Arc<DatabaseFile>,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// Beside others, if it is there.
    Existing,
    /// Beside others; made if it is not there.
    Create,
    /// Alone; made if it is not there.
    Serve,
    /// Alone, if it is there.
    Copy,
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
        lent.release();
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
        lent.release();
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
        Self::open_as(url, Opening::Create).await
    }

    /// Opens the database of a URL, but makes none.
    ///
    /// # Errors
    /// When the URL is not one, or the database does not open or is not there.
    pub async fn open_existing(url: &str) -> Result<Self, DatabaseUrlError> {
        Self::open_as(url, Opening::Existing).await
    }

    /// Opens the database of a URL to serve it. A SQLite file is made if it is not there, and is this process's alone for
    /// as long as this `Db` is there; on PostgreSQL, servers register as nodes instead.
    ///
    /// # Errors
    /// When the URL is not one, the database does not open, or another process serves the file.
    pub async fn open_to_serve(url: &str) -> Result<Self, DatabaseUrlError> {
        Self::open_as(url, Opening::Serve).await
    }

    /// Opens the database of a URL to copy it elsewhere: nobody may serve the file meanwhile.
    ///
    /// # Errors
    /// When the URL is not one, the database does not open or is not there, or another process serves the file.
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
        // Before SQLite writes anything to it.
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
        // SQLite looks through all pages that it keeps at each commit that parted one: fewer are quicker.
        let writing = options.clone().pragma("cache_size", "-16384");
        let writer = Connections::local(writing, Arc::clone(&file), 1, SQLITE_TIMEOUT);
        let unusable = |error| DatabaseUrlError::Unusable { path: file.path().to_owned(), error };
        // Says what is wrong with the file, if anything is.
        writer.open_all().await.map_err(unusable)?;
        let reader = Connections::local(options, Arc::clone(&file), SQLITE_READERS, SQLITE_TIMEOUT);
        if opening == Opening::Serve {
            // No connection is opened while the file is displaced; a server reads on with those that it has.
            reader.open_all().await.map_err(unusable)?;
        }
        Ok(Self::Sqlite(SqliteFile { reader, writer, sources: Arc::new(Cache::new(SOURCES)), file }))
    }

    async fn open_postgres(url: &str) -> Result<Self, DatabaseUrlError> {
        let options = url::postgres(url)?
            .application_name("latchkey")
            .statement_cache_capacity(256)
            // A node that stands still or is cut off in the middle of a transaction keeps its locks, and nobody
            // else could revoke these keys, or any, until it goes on.
            .options([("idle_in_transaction_session_timeout", "3s")])
            // Each statement sees what was committed before it: a password reset that waited for a sign-in must see
            // its session, whatever the database's own default is.
            .options([("default_transaction_isolation", "read committed")]);
        // One that serves nobody says at once what is wrong, without waiting for a server that is not there yet.
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
    /// When the database fails, or was made by a newer version of this program.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(file) => {
                let mut lent = file.writer.lend().await?;
                sqlx::migrate!("migrations/sqlite").run(lent.connection()?).await?;
                lent.release();
            }
            Self::Postgres(connections) => {
                let mut lent = connections.lend().await?;
                sqlx::migrate!("migrations/postgres").run(lent.connection()?).await?;
                lent.release();
            }
        }
        Ok(())
    }

    /// How many searches and lists may read at a time, and how many of them one tenant's: fewer than there are
    /// connections, so that everything else finds one.
    pub fn list_places(&self) -> Lists {
        match self {
            Self::Sqlite(..) => Lists::new(SQLITE_READERS / 2, SQLITE_READERS / 4),
            Self::Postgres(_) => Lists::new(POSTGRES_CONNECTIONS / 2, POSTGRES_CONNECTIONS / 4),
        }
    }

    /// Drops what this process has cached of the database beside the keys: the database is not the one that it was.
    pub(crate) fn forget(&self) {
        if let Self::Sqlite(file) = self {
            file.sources.clear();
        }
    }

    /// The same with connections of its own, on which nothing of the requests waits.
    #[must_use]
    pub fn aside(&self) -> Self {
        match self {
            Self::Sqlite(..) => self.clone(),
            Self::Postgres(connections) => {
                Self::Postgres(Connections::remote(connections.options().clone(), 4, DEDICATED_TIMEOUT))
            }
        }
    }

    /// The free bytes of the file system that a SQLite file is on; `None` on PostgreSQL, whose disk is elsewhere.
    pub(crate) fn free_bytes(&self) -> Option<std::io::Result<u64>> {
        let Self::Sqlite(file) = self else { return None };
        let folder = file.file.path().parent().unwrap_or(Path::new("."));
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

    /// Writes a row, as a test of whether the database takes any.
    ///
    /// # Errors
    /// When it does not.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        let at = crate::runtime::clock::Clock::System.now().0;
        match self {
            Self::Sqlite(database) => {
                let mut lent = database.writer.lend().await?;
                sqlx::query(sql!("write_probe")).bind(at).execute(lent.connection()?).await?;
                lent.release();
            }
            Self::Postgres(connections) => {
                let mut lent = connections.lend().await?;
                sqlx::query(sql!("write_probe")).bind(at).execute(lent.connection()?).await?;
                lent.release();
            }
        }
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
