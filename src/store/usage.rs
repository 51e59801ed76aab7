//! The use of keys: counts, hourly outcomes, addresses, and the spending of limits.

use std::net::IpAddr;

use serde::{Deserialize, Serialize, Serializer};

use super::db::{Db, StoreError, is_row_fault, reading, sql, writing};
use crate::domain::{Code, SpentRow};
use crate::model::{KeyId, Timestamp};

/// The number of checks of a key with one outcome in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourlyUse {
    /// Hours since 1970.
    pub hour: i64,
    /// The outcome.
    pub code: Code,
    /// The number of checks.
    pub count: i64,
}

/// An address that a key was used from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedFrom {
    /// The address.
    pub address: IpAddr,
    /// The moment of the last use.
    pub last_used_at: Timestamp,
}

/// The use of keys since the last flush.
#[derive(Debug, Default)]
pub struct UsageRows {
    /// The number of accepted requests of a key, and the moment of the last one.
    pub uses: Vec<(KeyId, i64, Timestamp)>,
    /// Hourly outcomes.
    pub hours: Vec<(KeyId, HourlyUse)>,
    /// Addresses.
    pub addresses: Vec<(KeyId, UsedFrom)>,
    /// The spending of limits.
    pub spent: Vec<SpentRow>,
}

impl UsageRows {
    /// Returns whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty() && self.hours.is_empty() && self.addresses.is_empty() && self.spent.is_empty()
    }
}

/// A line of the usage log: the checks of several keys with one outcome in one hour.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoggedUses {
    /// Hours since 1970.
    pub hour: i64,
    /// The outcome.
    #[serde(with = "word")]
    pub code: Code,
    /// The base of the moments in `uses`, milliseconds since 1970.
    from: i64,
    /// Keys, their counts, and the moment of the last accepted request relative to `from`, to keep the line short.
    uses: Vec<(i64, i64, i64)>,
}

impl LoggedUses {
    /// Creates a line with one key.
    pub fn of(hour: i64, code: Code, (id, count, last): (KeyId, i64, Timestamp)) -> Self {
        Self { hour, code, from: last.0, uses: vec![(id.0, count, 0)] }
    }

    /// Adds another key with the same hour and outcome.
    pub fn add(&mut self, id: KeyId, count: i64, last: Timestamp) {
        self.uses.push((id.0, count, last.since(Timestamp(self.from))));
    }

    /// Returns the keys, their counts, and the moments of the last accepted request.
    pub fn uses(&self) -> impl ExactSizeIterator<Item = (KeyId, i64, Timestamp)> {
        self.uses.iter().map(|(id, count, after)| (KeyId(*id), *count, Timestamp(self.from).plus(*after)))
    }
}

/// Returns the columns of a line in the log: the number of its part, and the text.
fn log_row((part, line): &(usize, LoggedUses)) -> Result<(i64, String), sqlx::Error> {
    let uses = serde_json::to_string(line).map_err(|error| sqlx::Error::Encode(error.into()))?;
    Ok((i64::try_from(*part).unwrap_or_default(), uses))
}

/// A row of the log: its id, its part and its text.
type LogRow = (i64, i64, String);

/// Parses the text of a row of the log.
fn parse_row(text: &str) -> Result<LoggedUses, serde_json::Error> {
    use serde::de::Error;
    let line: LoggedUses = serde_json::from_str(text)?;
    let is_sound = (0..=i64::from(i32::MAX)).contains(&line.hour) && line.uses.iter().all(|(_, count, _)| *count >= 0);
    if is_sound { Ok(line) } else { Err(Error::custom("an hour or a count out of range")) }
}

/// Returns the line of a row, and the number of its part. An unreadable row is logged and skipped: the counts of the
/// other rows, and the start of the server, must not depend on it.
fn read_row((id, part, text): &LogRow) -> Option<(usize, LoggedUses)> {
    let place = usize::try_from(*part).unwrap_or(usize::MAX);
    match parse_row(text) {
        Ok(line) => Some((place, line)),
        Err(error) => {
            tracing::error!(row = id, part, %error, "cannot read a row of the usage log; its counts are dropped");
            None
        }
    }
}

/// Serializes an outcome as its word.
mod word {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::Code;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
    pub(super) fn serialize<S: Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(code.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Code, D::Error> {
        let word = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Code::parse(&word).ok_or_else(|| serde::de::Error::custom("an unknown outcome"))
    }
}

/// Executes a statement for rows of one kind, which are its parameter `$json`. With `$isolate`, bisects the rows to
/// find a row that the database rejects, logs it with its key, and leaves it out.
macro_rules! write_kind {
    ($tx:ident, $isolate:expr, $rows:expr, $row:expr, $json:ident, $point:ident => $body:expr) => {{
        let mut parts = vec![&$rows[..]];
        while let Some(part) = parts.pop() {
            let Some($json) = list(part, $row)? else { continue };
            if !$isolate {
                let $point = &mut *$tx;
                $body;
                continue;
            }
            let mut savepoint = sqlx::Connection::begin(&mut *$tx).await?;
            let written = async {
                let $point = &mut *savepoint;
                $body;
                Ok::<(), sqlx::Error>(())
            };
            match written.await {
                Ok(()) => savepoint.commit().await?,
                Err(error) if is_row_fault(&error) => {
                    savepoint.rollback().await?;
                    match part {
                        [row] => {
                            let key = row.key();
                            tracing::error!(%key, %error, usage = ?row, "cannot save the usage of a key; it is dropped");
                        }
                        _ => parts.extend(<[_; 2]>::from(part.split_at(part.len() / 2))),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }};
}

/// Writes rows within a transaction.
macro_rules! write_rows {
    ($db:expr, $tx:ident, $rows:expr, $addresses:expr, $isolate:expr) => {{
        let rows: &UsageRows = $rows;
        let uses = |(id, requests, at): &(KeyId, i64, Timestamp)| UsesRow { id: id.0, requests: *requests, at: at.0 };
        write_kind!($tx, $isolate, rows.uses, uses, json, point => {
            sqlx::query(sql!($db, "keys_count_use")).bind(&json).execute(&mut *point).await?
        });
        write_kind!($tx, $isolate, rows.spent, |row| *row, json, point => {
            sqlx::query(sql!($db, "keys_save_spent")).bind(&json).execute(&mut *point).await?
        });
        let hours = |(id, HourlyUse { hour, code, count }): &(KeyId, HourlyUse)| HourRow {
            key: id.0,
            hour: *hour,
            code: code.as_str(),
            count: *count,
        };
        write_kind!($tx, $isolate, rows.hours, hours, json, point => {
            sqlx::query(sql!($db, "key_hours_add")).bind(&json).execute(&mut *point).await?
        });
        let seen = |(id, from): &(KeyId, UsedFrom)| AddressRow {
            key: id.0,
            address: from.address,
            at: from.last_used_at.0,
        };
        write_kind!($tx, $isolate, rows.addresses, seen, json, point => {
            sqlx::query(sql!($db, "key_addresses_note")).bind(&json).execute(&mut *point).await?;
            sqlx::query(sql!($db, "key_addresses_prune"))
                .bind(&json)
                .bind(i64::try_from($addresses).unwrap_or(i64::MAX))
                .execute(&mut *point)
                .await?
        });
    }};
}

/// The largest number of lines in one statement. SQLite allows 32,766 parameters.
const MAX_LINES_PER_INSERT: usize = 1000;

/// Appends lines to the log within a transaction.
macro_rules! add_lines {
    ($tx:ident, $lines:expr) => {
        for lines in $lines.chunks(MAX_LINES_PER_INSERT) {
            let rows = lines.iter().map(log_row).collect::<Result<Vec<_>, _>>()?;
            let mut insert = sqlx::QueryBuilder::new("INSERT INTO usage_log (part, uses) ");
            insert.push_values(rows, |mut row, (part, uses)| {
                row.push_bind(part).push_bind(uses);
            });
            insert.build().execute(&mut *$tx).await?;
        }
    };
}

impl Db {
    /// Saves the use of several keys, each kind in one statement. A key keeps its `addresses` newest addresses. A row
    /// that the database rejects is logged and dropped, here and in the functions below.
    pub(crate) async fn write_usage(&self, rows: &UsageRows, addresses: usize) -> Result<(), StoreError> {
        self.write(LogChange::default(), rows, addresses).await
    }

    /// Appends counts to the parts of the log, and saves addresses.
    pub(crate) async fn log_usage(
        &self,
        lines: &[(usize, LoggedUses)],
        rows: &UsageRows,
        addresses: usize,
    ) -> Result<(), StoreError> {
        self.write(LogChange { delete: None, append: lines }, rows, addresses).await
    }

    /// Replaces the lines of a part of the log.
    pub(crate) async fn compact_usage_log(&self, part: usize, lines: &[(usize, LoggedUses)]) -> Result<(), StoreError> {
        self.write(LogChange { delete: Some(part), append: lines }, &UsageRows::default(), 0).await
    }

    /// Moves counts of a part of the log to the rows of their keys. `rest` stays in the log of that part.
    pub(crate) async fn fold_usage(
        &self,
        part: usize,
        rows: &UsageRows,
        rest: &[(usize, LoggedUses)],
    ) -> Result<(), StoreError> {
        self.write(LogChange { delete: Some(part), append: rest }, rows, 0).await
    }

    /// Changes the log and writes rows in one transaction; when a row is rejected, again row by row.
    async fn write(&self, log: LogChange<'_>, rows: &UsageRows, addresses: usize) -> Result<(), StoreError> {
        match self.try_write(log, rows, addresses, false).await {
            Err(error) if error.is_row_fault() => self.try_write(log, rows, addresses, true).await,
            outcome => outcome,
        }
    }

    async fn try_write(
        &self,
        log: LogChange<'_>,
        rows: &UsageRows,
        addresses: usize,
        isolate: bool,
    ) -> Result<(), StoreError> {
        writing!(self, tx => {
            if let Some(part) = log.delete {
                sqlx::query(sql!("usage_log_delete"))
                    .bind(i64::try_from(part).unwrap_or_default())
                    .execute(&mut *tx)
                    .await?;
            }
            add_lines!(tx, log.append);
            write_rows!(self, tx, rows, addresses, isolate);
        });
        Ok(())
    }

    /// Moves the whole log, of every writer, to rows of keys; `rows` computes them.
    pub(crate) async fn empty_usage_log(&self, rows: impl Fn(Vec<LoggedUses>) -> UsageRows) -> Result<(), StoreError> {
        match self.try_empty_usage_log(&rows, false).await {
            Err(error) if error.is_row_fault() => self.try_empty_usage_log(&rows, true).await,
            outcome => outcome,
        }
    }

    async fn try_empty_usage_log(
        &self,
        rows: impl Fn(Vec<LoggedUses>) -> UsageRows,
        isolate: bool,
    ) -> Result<(), StoreError> {
        writing!(self, tx => {
            let taken: Vec<LogRow> = sqlx::query_as(sql!("usage_log_take")).fetch_all(&mut *tx).await?;
            let rows = rows(taken.iter().filter_map(read_row).map(|(_, line)| line).collect());
            write_rows!(self, tx, &rows, 0, isolate);
        });
        Ok(())
    }

    /// Returns the lines of the log, each with the number of its part.
    pub(crate) async fn logged_usage(&self) -> Result<Vec<(usize, LoggedUses)>, StoreError> {
        let rows: Vec<LogRow> = reading!(self, connection => {
            sqlx::query_as(sql!("usage_log_all")).fetch_all(connection).await?
        });
        Ok(rows.iter().filter_map(read_row).collect())
    }

    /// Returns the outcomes of a key's checks from an hour on, oldest first.
    pub(crate) async fn key_hours(&self, id: KeyId, since: i64) -> Result<Vec<HourlyUse>, StoreError> {
        let rows: Vec<(i64, String, i64)> = reading!(self, connection => {
            sqlx::query_as(sql!("key_hours_since")).bind(id.0).bind(since).fetch_all(connection).await?
        });
        let read = |(hour, code, count): (i64, String, i64)| Some(HourlyUse { hour, code: Code::parse(&code)?, count });
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Returns the addresses that a key was last used from, newest first.
    pub(crate) async fn key_addresses(&self, id: KeyId) -> Result<Vec<UsedFrom>, StoreError> {
        let rows: Vec<(String, i64)> = reading!(self, connection => {
            sqlx::query_as(sql!("key_addresses_of")).bind(id.0).fetch_all(connection).await?
        });
        let read = |(address, at): (String, i64)| {
            Some(UsedFrom { address: address.parse().ok()?, last_used_at: Timestamp(at) })
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Deletes outcomes before an hour.
    pub(crate) async fn delete_hours_before(&self, hour: i64) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("key_hours_delete_old")).bind(hour).execute(&mut *tx).await?;
        });
        Ok(())
    }
}

/// A change of the log: deletes the lines of a part, then appends lines.
#[derive(Debug, Clone, Copy, Default)]
struct LogChange<'a> {
    delete: Option<usize>,
    append: &'a [(usize, LoggedUses)],
}

/// A row with the id of a key.
trait OfKey {
    fn key(&self) -> KeyId;
}

impl OfKey for SpentRow {
    fn key(&self) -> KeyId {
        KeyId(self.id)
    }
}

impl OfKey for (KeyId, i64, Timestamp) {
    fn key(&self) -> KeyId {
        self.0
    }
}

impl<T> OfKey for (KeyId, T) {
    fn key(&self) -> KeyId {
        self.0
    }
}

// Rows with the field names that the statements use.

#[derive(Serialize)]
struct UsesRow {
    id: i64,
    requests: i64,
    at: i64,
}

#[derive(Serialize)]
struct HourRow {
    key: i64,
    hour: i64,
    code: &'static str,
    count: i64,
}

#[derive(Serialize)]
struct AddressRow {
    key: i64,
    address: IpAddr,
    at: i64,
}

/// Encodes rows as one parameter, a JSON array; `None` without rows.
fn list<T, R: Serialize>(rows: &[T], row: impl Fn(&T) -> R) -> Result<Option<String>, sqlx::Error> {
    if rows.is_empty() {
        return Ok(None);
    }
    let mut text = Vec::new();
    serde_json::Serializer::new(&mut text)
        .collect_seq(rows.iter().map(row))
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    Ok(String::from_utf8(text).ok())
}
