//! From SQLite to PostgreSQL: every row of every table, in one transaction, read back and compared before
//! it is committed.

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

/// Rows go to PostgreSQL in pieces of about so many bytes.
const PIECE: usize = 256 * 1024;
/// How often it is told how far it is, in rows.
const TELL_EVERY: u64 = 100_000;

/// Why the data was not copied. Nothing of it is in the target then.
#[derive(Debug, thiserror::Error)]
pub enum MigrateDataError {
    /// The source is of another kind.
    #[error("the data comes from SQLite: write sqlite:FILE")]
    NotSqlite,
    /// The target is of another kind.
    #[error("the data goes to PostgreSQL: write postgres://USER@HOST/DATABASE")]
    NotPostgres,
    /// There is no such file. It would be made, and have nothing in it.
    #[error("there is no file {}", .0.display())]
    NoSuchFile(PathBuf),
    /// A database that is not Latchkey's, or one that was never used.
    #[error("this file has no accounts, so there is nothing to copy; is it the right one?")]
    NoAccounts,
    /// What is there is never mixed with what comes.
    #[error("this database has {0} already; nothing was changed. Take one that is empty")]
    NotEmpty(String),
    /// The migrations of the two engines do not say the same: a mistake in this program.
    #[error("the two schemas differ: {0}")]
    Schema(String),
    /// What was read back is not what was written.
    #[error("row {row} of {table} is not the same in both databases; nothing was copied")]
    Differs {
        /// The table.
        table: String,
        /// In the order of its key, from 1.
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
        /// What failed.
        error: StoreError,
    },
    /// A database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl MigrateDataError {
    /// The setting that is wrong, if one is.
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

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// So many rows of so many are written.
    Copying(&'a str, u64, u64),
    /// So many rows are read back and the same.
    Comparing(&'a str, u64, u64),
    /// All rows of a table are in both, and the same.
    Same(&'a str, u64),
}

/// Opens what is to be copied, and where to.
///
/// # Errors
/// When one of them is of the wrong kind, is not there, or does not open.
pub async fn open_both(from: &str, to: &str) -> Result<(Db, Db), MigrateDataError> {
    // Before anything is opened: opening a SQLite file makes it.
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
    /// Brings the schemas of both up to date, if there is something to copy and room for it.
    ///
    /// # Errors
    /// When the source has no accounts, the target has some, or a database fails.
    pub async fn prepare_to_migrate(&self, target: &Self) -> Result<(), MigrateDataError> {
        // Both are asked before either is touched.
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

    /// Copies everything into a PostgreSQL database that has no accounts, after
    /// [`prepare_to_migrate`](Self::prepare_to_migrate); how many rows there were. The caller holds the sole right
    /// to serve both. The target gets an audit entry more, which `entry` makes of the number of rows.
    ///
    /// The source is locked against writing meanwhile, and the target against any use.
    ///
    /// # Errors
    /// When the target has something, or a database fails. The target is then as it was, but for its schema.
    pub async fn migrate_data(
        &self,
        target: &Self,
        entry: impl FnOnce(u64) -> AuditEntry,
        mut tell: impl FnMut(Progress<'_>),
    ) -> Result<u64, MigrateDataError> {
        let Self::Sqlite(file) = self else { return Err(MigrateDataError::NotSqlite) };
        let Self::Postgres(target) = target else { return Err(MigrateDataError::NotPostgres) };
        let (mut source, mut target) = (file.writer.lend().await?, target.lend().await?);
        let mut source = source.connection()?.begin_with("BEGIN IMMEDIATE").await?;
        let mut target = target.connection()?.begin().await?;
        // However long the source takes in between: what the target's lock is for may take its time.
        sqlx::query("SET LOCAL idle_in_transaction_session_timeout = 0").execute(&mut *target).await?;
        let tables = schema::tables(&mut source, &mut target).await?;
        lock(&mut target, &tables).await?;
        let mut counts = Vec::with_capacity(tables.len());
        for table in &tables {
            let copied = copy(&mut source, &mut target, table, &mut tell).await;
            counts.push(copied.map_err(|error| in_table(error, table))?);
        }
        for (table, rows) in tables.iter().zip(&counts) {
            let compared = compare(&mut source, &mut target, table, *rows, &mut tell).await;
            compared.map_err(|error| in_table(error, table))?;
            tell(Progress::Same(&table.name, *rows));
        }
        let rows = counts.iter().sum();
        for audit in super::audit::rows(&[entry(rows)])? {
            sqlx::query(include_str!("../sql/audit_insert.postgres.sql")).bind(audit).execute(&mut *target).await?;
        }
        target.commit().await?;
        Ok(rows)
    }
}

/// Says in which table a database failed.
fn in_table(error: MigrateDataError, table: &Table) -> MigrateDataError {
    match error {
        MigrateDataError::Store(error) => MigrateDataError::Table { table: table.name.clone(), error },
        error => error,
    }
}

/// Keeps everybody else away: `latchkey user add` needs no right to serve.
async fn lock(target: &mut PgConnection, tables: &[Table]) -> Result<(), MigrateDataError> {
    let names = tables.iter().map(|table| quoted(&table.name)).collect::<Vec<_>>().join(", ");
    sqlx::query(AssertSqlSafe(format!("LOCK TABLE {names}"))).execute(target).await?;
    Ok(())
}

/// Writes all rows of a table, in one statement: a key may refer to one that comes later.
async fn copy(
    source: &mut SqliteConnection,
    target: &mut PgConnection,
    table: &Table,
    tell: &mut impl FnMut(Progress<'_>),
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
    let mut piece = Vec::with_capacity(2 * PIECE);
    let mut rows = sqlx::query(AssertSqlSafe(table.in_order(""))).fetch(source);
    let mut into = target.copy_in_raw(&format!("COPY {name} ({}) FROM STDIN", table.columns())).await?;
    while let Some(row) = rows.try_next().await? {
        write_line(&values!(row, table), &mut piece);
        if piece.len() >= PIECE {
            into.send(piece.as_slice()).await?;
            piece.clear();
        }
        written += 1;
        if u64::is_multiple_of(written, TELL_EVERY) {
            tell(Progress::Copying(&table.name, written, total));
        }
    }
    into.send(piece).await?;
    into.finish().await?;

    if let Some(column) = &table.identity {
        // What comes next is numbered after what was copied.
        let column = quoted(column);
        let next = format!("SELECT coalesce(max({column}), 0) + 1 FROM {name}");
        let next: i64 = sqlx::query_scalar(AssertSqlSafe(next)).fetch_one(&mut *target).await?;
        let restart = format!("ALTER TABLE {name} ALTER COLUMN {column} RESTART WITH {next}");
        sqlx::query(AssertSqlSafe(restart)).execute(&mut *target).await?;
    }
    // Without it the first pages would be planned as if the table were empty.
    sqlx::query(AssertSqlSafe(format!("ANALYZE {name}"))).execute(target).await?;
    Ok(written)
}

/// Reads a table of both side by side.
async fn compare(
    source: &mut SqliteConnection,
    target: &mut PgConnection,
    table: &Table,
    total: u64,
    tell: &mut impl FnMut(Progress<'_>),
) -> Result<(), MigrateDataError> {
    let mut theirs = sqlx::query(AssertSqlSafe(table.in_order(""))).fetch(source);
    let mut ours = sqlx::query(AssertSqlSafe(table.in_order("COLLATE \"C\""))).fetch(target);
    for row in 1.. {
        match (theirs.try_next().await?, ours.try_next().await?) {
            (None, None) => break,
            (Some(a), Some(b)) if values!(a, table) == values!(b, table) => {}
            _ => return Err(MigrateDataError::Differs { table: table.name.clone(), row }),
        }
        if u64::is_multiple_of(row, TELL_EVERY) {
            tell(Progress::Comparing(&table.name, row, total));
        }
    }
    Ok(())
}
