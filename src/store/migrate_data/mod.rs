//! Copies a database from SQLite to PostgreSQL: every row of every table, in one transaction, read back and compared
//! before the commit.

mod schema;
mod value;

use std::path::PathBuf;

use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

use super::db::{DatabaseUrlError, Db, StoreError};
use super::url;
use crate::domain::AuditEntry;
use schema::{Table, quoted};
use value::{Kind, Value, values, write_line};

/// The approximate size of a chunk of `COPY` data, in bytes.
const COPY_CHUNK_BYTES: usize = 256 * 1024;
/// The number of rows between two reports of progress.
const REPORT_EVERY_ROWS: u64 = 100_000;

/// The reason why the data was not copied. The target has none of the data then.
#[derive(Debug, thiserror::Error)]
pub enum MigrateDataError {
    /// The source is not SQLite.
    #[error("the data comes from SQLite: write sqlite:FILE")]
    NotSqlite,
    /// The target is not PostgreSQL.
    #[error("the data goes to PostgreSQL: write postgres://USER@HOST/DATABASE")]
    NotPostgres,
    /// The file does not exist. SQLite would create an empty one.
    #[error("there is no file {}", .0.display())]
    NoSuchFile(PathBuf),
    /// The source is not a database of Latchkey, or was never used.
    #[error("this file has no accounts, so there is nothing to copy; is it the right one?")]
    NoAccounts,
    /// The target has rows. The copy never mixes rows of two databases.
    #[error("this database has {0} already; nothing was changed. Take one that is empty")]
    NotEmpty(String),
    /// The migrations of the two engines differ: a bug in this program.
    #[error("the two schemas differ: {0}")]
    Schema(String),
    /// A row that was read back differs from the written one.
    #[error("row {row} of {table} is not the same in both databases; nothing was copied")]
    Differs {
        /// The table.
        table: String,
        /// The number of the row in the order of its key, from 1.
        row: u64,
    },
    /// The source does not open.
    #[error("{0}")]
    Source(DatabaseUrlError),
    /// The target does not open.
    #[error("{0}")]
    Target(DatabaseUrlError),
    /// A database failed while a table was copied.
    #[error("{table}: {error}")]
    Table {
        /// The table.
        table: String,
        /// The error.
        error: StoreError,
    },
    /// A database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl MigrateDataError {
    /// Returns the setting that caused the error, if one did.
    pub fn setting(&self) -> Option<&'static str> {
        match self {
            Self::NotSqlite | Self::NoSuchFile(_) | Self::NoAccounts | Self::Source(_) => Some("from"),
            Self::NotPostgres | Self::NotEmpty(_) | Self::Target(_) => Some("to"),
            Self::Schema(_) | Self::Differs { .. } | Self::Table { .. } | Self::Store(_) => None,
        }
    }
}

impl From<sqlx::Error> for MigrateDataError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The progress of the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The table, the number of written rows, and the number of all its rows.
    Copying(&'a str, u64, u64),
    /// The table, the number of rows that were read back and are equal, and the number of all its rows.
    Comparing(&'a str, u64, u64),
    /// All rows of a table are equal in both databases. Holds the table and the number of rows.
    Same(&'a str, u64),
}

/// Opens the source and the target.
///
/// # Errors
/// When one of them is of the wrong kind, does not exist, or does not open.
pub async fn open_both(from: &str, to: &str) -> Result<(Db, Db), MigrateDataError> {
    // Checked first, because opening a SQLite file creates it.
    if !from.starts_with("sqlite:") {
        return Err(MigrateDataError::NotSqlite);
    }
    if !(to.starts_with("postgres:") || to.starts_with("postgresql:")) {
        return Err(MigrateDataError::NotPostgres);
    }
    let file = url::sqlite(from).map_err(MigrateDataError::Source)?.path;
    if !file.is_file() {
        return Err(MigrateDataError::NoSuchFile(file));
    }
    let to = Db::open(to).await.map_err(MigrateDataError::Target)?;
    let from = Db::open_to_copy(from).await.map_err(MigrateDataError::Source)?;
    Ok((from, to))
}

impl Db {
    /// Migrates the schemas of both databases, if the source has accounts and the target has none.
    ///
    /// # Errors
    /// When the source has no accounts, the target has some, or a database fails.
    pub async fn prepare_to_migrate(&self, target: &Self) -> Result<(), MigrateDataError> {
        // Both are checked before either is changed.
        if !self.has_users().await? {
            return Err(MigrateDataError::NoAccounts);
        }
        if target.has_users().await? {
            return Err(MigrateDataError::NotEmpty("accounts".to_owned()));
        }
        self.migrate().await?;
        target.migrate().await?;
        Ok(())
    }

    /// Copies all rows into a PostgreSQL database without accounts, after
    /// [`prepare_to_migrate`](Self::prepare_to_migrate); returns their number. The caller has the sole right to serve
    /// both. The target gets an additional audit entry, which `entry` builds from the number of rows.
    ///
    /// Meanwhile the source is locked against writes, and the target against any use.
    ///
    /// # Errors
    /// When the target has rows, or a database fails. The target is then unchanged, except for its schema.
    pub async fn migrate_data(
        &self,
        target: &Self,
        entry: impl FnOnce(u64) -> AuditEntry,
        mut report: impl FnMut(Progress<'_>),
    ) -> Result<u64, MigrateDataError> {
        let Self::Sqlite(file) = self else { return Err(MigrateDataError::NotSqlite) };
        let Self::Postgres(target) = target else { return Err(MigrateDataError::NotPostgres) };
        let (mut source, mut target) = (file.writer.acquire().await?, target.acquire().await?);
        let mut source = source.connection()?.begin_with("BEGIN IMMEDIATE").await?;
        let mut target = target.connection()?.begin().await?;
        // Reading the source may take any time between two statements on the target, so its lock must not time out.
        sqlx::query("SET LOCAL idle_in_transaction_session_timeout = 0").execute(&mut *target).await?;
        let tables = schema::tables(&mut source, &mut target).await?;
        lock(&mut target, &tables).await?;
        let mut counts = Vec::with_capacity(tables.len());
        for table in &tables {
            let copied = copy(&mut source, &mut target, table, &mut report).await;
            counts.push(copied.map_err(|error| in_table(error, table))?);
        }
        for (table, rows) in tables.iter().zip(&counts) {
            let compared = compare(&mut source, &mut target, table, *rows, &mut report).await;
            compared.map_err(|error| in_table(error, table))?;
            report(Progress::Same(&table.name, *rows));
        }
        let rows = counts.iter().sum();
        for audit in super::audit::rows(&[entry(rows)])? {
            sqlx::query(include_str!("../sql/audit_insert.postgres.sql")).bind(audit).execute(&mut *target).await?;
        }
        target.commit().await?;
        Ok(rows)
    }
}

/// Adds the table to the error of a database.
fn in_table(error: MigrateDataError, table: &Table) -> MigrateDataError {
    match error {
        MigrateDataError::Store(error) => MigrateDataError::Table { table: table.name.clone(), error },
        error => error,
    }
}

/// Locks the tables against all others: `latchkey user add` works without the right to serve.
async fn lock(target: &mut PgConnection, tables: &[Table]) -> Result<(), MigrateDataError> {
    let names = tables.iter().map(|table| quoted(&table.name)).collect::<Vec<_>>().join(", ");
    sqlx::query(AssertSqlSafe(format!("LOCK TABLE {names}"))).execute(target).await?;
    Ok(())
}

/// Writes all rows of a table in one statement, because a key may refer to a later key.
async fn copy(
    source: &mut SqliteConnection,
    target: &mut PgConnection,
    table: &Table,
    report: &mut impl FnMut(Progress<'_>),
) -> Result<u64, MigrateDataError> {
    let name = quoted(&table.name);
    let something = format!("SELECT 1 FROM {name} LIMIT 1");
    if sqlx::query(AssertSqlSafe(something)).fetch_optional(&mut *target).await?.is_some() {
        return Err(MigrateDataError::NotEmpty(table.name.clone()));
    }
    let total: i64 =
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {name}"))).fetch_one(&mut *source).await?;
    let total = total.unsigned_abs();

    let mut written = 0;
    let mut chunk = Vec::with_capacity(2 * COPY_CHUNK_BYTES);
    let mut rows = sqlx::query(AssertSqlSafe(table.in_order(""))).fetch(source);
    let mut into = target.copy_in_raw(&format!("COPY {name} ({}) FROM STDIN", table.columns())).await?;
    while let Some(row) = rows.try_next().await? {
        write_line(&values!(row, table), &mut chunk);
        if chunk.len() >= COPY_CHUNK_BYTES {
            into.send(chunk.as_slice()).await?;
            chunk.clear();
        }
        written += 1;
        if u64::is_multiple_of(written, REPORT_EVERY_ROWS) {
            report(Progress::Copying(&table.name, written, total));
        }
    }
    into.send(chunk).await?;
    into.finish().await?;

    if let Some(column) = &table.identity {
        // Continues the numbering of the database after the copied rows.
        let column = quoted(column);
        let next = format!("SELECT coalesce(max({column}), 0) + 1 FROM {name}");
        let next: i64 = sqlx::query_scalar(AssertSqlSafe(next)).fetch_one(&mut *target).await?;
        let restart = format!("ALTER TABLE {name} ALTER COLUMN {column} RESTART WITH {next}");
        sqlx::query(AssertSqlSafe(restart)).execute(&mut *target).await?;
    }
    // Without statistics, PostgreSQL would plan the first queries for an empty table.
    sqlx::query(AssertSqlSafe(format!("ANALYZE {name}"))).execute(target).await?;
    Ok(written)
}

/// Reads a table in both databases side by side, and compares the rows.
async fn compare(
    source: &mut SqliteConnection,
    target: &mut PgConnection,
    table: &Table,
    total: u64,
    report: &mut impl FnMut(Progress<'_>),
) -> Result<(), MigrateDataError> {
    let mut theirs = sqlx::query(AssertSqlSafe(table.in_order(""))).fetch(source);
    let mut ours = sqlx::query(AssertSqlSafe(table.in_order("COLLATE \"C\""))).fetch(target);
    for row in 1.. {
        match (theirs.try_next().await?, ours.try_next().await?) {
            (None, None) => break,
            (Some(a), Some(b)) if values!(a, table) == values!(b, table) => {}
            _ => return Err(MigrateDataError::Differs { table: table.name.clone(), row }),
        }
        if u64::is_multiple_of(row, REPORT_EVERY_ROWS) {
            report(Progress::Comparing(&table.name, row, total));
        }
    }
    Ok(())
}
