//! The errors of the database.

use std::path::PathBuf;

/// The database failed: a full disk, a lost connection, a broken file.
#[derive(Debug, thiserror::Error)]
#[error("database: {0}")]
pub struct StoreError(#[from] sqlx::Error);

impl StoreError {
    /// Creates the error of a timeout.
    pub(crate) fn slow() -> Self {
        Self(sqlx::Error::PoolTimedOut)
    }

    /// Returns whether the statement violated a uniqueness constraint.
    pub fn is_conflict(&self) -> bool {
        matches!(&self.0, sqlx::Error::Database(error) if error.is_unique_violation())
    }

    /// Returns whether the error is about a row and not about the database: other rows can be written without it.
    pub(crate) fn is_row_fault(&self) -> bool {
        is_row_fault(&self.0)
    }

    /// Returns the reason without any private detail, for `/readyz`.
    pub fn public_reason(&self) -> &'static str {
        const UNKNOWN: &str = "The database does not answer. Try again in a moment.";
        match &self.0 {
            sqlx::Error::Database(error) => match DatabaseCode::of(error.as_ref()) {
                DatabaseCode::Sqlite(8) => "The database is read-only.",
                DatabaseCode::Sqlite(10) => "The database file cannot be read or written.",
                DatabaseCode::Sqlite(11 | 26) => "The database file is damaged.",
                DatabaseCode::Sqlite(13) => "The disk of the database is full.",
                DatabaseCode::Sqlite(14) => "The database file cannot be opened.",
                DatabaseCode::Postgres(code) if code == "25006" => "The database is read-only.",
                DatabaseCode::Postgres(code) if code == "53100" => "The disk of the database is full.",
                _ => UNKNOWN,
            },
            sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                "The database file was moved, deleted or replaced."
            }
            _ => UNKNOWN,
        }
    }
}

/// Returns whether the error is about a row and not about the database: other rows can be written without it.
pub(super) fn is_row_fault(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => match DatabaseCode::of(error.as_ref()) {
            // TOOBIG, CONSTRAINT, MISMATCH. Not 1, the general error: a missing column causes it too, which is no fault
            // of a row, and a flush drops rows that are at fault.
            DatabaseCode::Sqlite(primary) => matches!(primary, 18..=20),
            // Data exceptions, integrity constraints, limits of a row, errors that a trigger raised.
            DatabaseCode::Postgres(code) => ["22", "23", "54", "P0"].iter().any(|class| code.starts_with(class)),
        },
        sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::RowNotFound => true,
        _ => false,
    }
}

/// The code of an error; for SQLite, the primary one.
enum DatabaseCode {
    Sqlite(i32),
    Postgres(String),
}

impl DatabaseCode {
    fn of(error: &dyn sqlx::error::DatabaseError) -> Self {
        let code = error.code().unwrap_or_default();
        if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
            Self::Sqlite(code.parse().map_or(0, |code: i32| code & 0xff))
        } else {
            Self::Postgres(code.into_owned())
        }
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        Self(error.into())
    }
}

/// The reason why a `--database-url` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseUrlError {
    /// The scheme is neither `sqlite:` nor `postgres:`.
    #[error("`{0}` is not a database this program knows: write sqlite:FILE or postgres://USER@HOST/DATABASE")]
    Scheme(String),
    /// The scheme is known, but the URL is malformed.
    #[error("the database URL cannot be read: {0}")]
    Malformed(sqlx::Error),
    /// The URL is valid, but the database does not open.
    #[error("the database cannot be opened: {0}")]
    Unreachable(sqlx::Error),
    /// The URL names no file that a server can write to.
    #[error("{0}: write sqlite:FILE")]
    NoFile(&'static str),
    /// The file does not open.
    #[error("the database file {} cannot be opened for reading and writing: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: std::io::Error,
    },
    /// The file opens, but SQLite cannot use it.
    #[error("the database file {} cannot be opened: {error}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The error of SQLite.
        error: sqlx::Error,
    },
    /// The file does not exist, and this command does not create one.
    #[error("there is no database file {}: `latchkey migrate` makes one", .0.display())]
    Missing(PathBuf),
    /// The file is missing, but files that belong to it exist.
    #[error(
        "the database file {} is missing, but {} of an earlier server is there: put the file back, or remove the rest \
         to begin with an empty database",
        .path.display(), list(.left)
    )]
    LeftBehind {
        /// The file.
        path: PathBuf,
        /// These files.
        left: Vec<PathBuf>,
    },
    /// A PostgreSQL database that cannot store every name.
    #[error(
        "the database is encoded in {0}, which cannot store every name: make one with \
         CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'"
    )]
    Encoding(String),
    /// Another process serves this file.
    #[error("{} is served by another process, and a database has one server at a time: stop the other", .0.display())]
    Locked(PathBuf),
    /// The file cannot be locked.
    #[error("cannot lock {}: {error}", .path.display())]
    Lock {
        /// The database file, or the lock file beside it.
        path: PathBuf,
        /// The error of the system.
        error: std::io::Error,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ")
}
