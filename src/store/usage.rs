//! The use of keys: counts, outcomes by the hour, addresses, and what was spent of limits.

use std::net::IpAddr;

use serde::{Deserialize, Serialize, Serializer};

use super::db::{Db, StoreError, reading, sql, writing};
use crate::keys::{Code, SpentRow};
use crate::model::{KeyId, Timestamp};

/// How often a check of a key had one outcome in one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourlyUse {
    /// Hours since 1970.
    pub hour: i64,
    /// The outcome.
    pub code: Code,
    /// How often.
    pub count: i64,
}

/// Where a key was used from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedFrom {
    /// The address.
    pub address: IpAddr,
    /// When last.
    pub last_used_at: Timestamp,
}

/// What happened since the last time it was written down.
#[derive(Debug, Default)]
pub struct UsageRows {
    /// Good requests of a key, and when the last one was.
    pub uses: Vec<(KeyId, i64, Timestamp)>,
    /// Outcomes.
    pub hours: Vec<(KeyId, HourlyUse)>,
    /// Addresses.
    pub addresses: Vec<(KeyId, UsedFrom)>,
    /// What was spent of limits.
    pub spent: Vec<SpentRow>,
}

/// A line of the log: how often checks of several keys had one outcome in one hour.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoggedUses {
    /// Hours since 1970.
    pub hour: i64,
    /// The outcome.
    #[serde(with = "word")]
    pub code: Code,
    /// A moment of these, milliseconds since 1970.
    from: i64,
    /// Keys, how often, and when the last good one was: after `from`, to keep the line short.
    uses: Vec<(i64, i64, i64)>,
}

impl LoggedUses {
    /// A line with one key.
    pub fn of(hour: i64, code: Code, (id, count, last): (KeyId, i64, Timestamp)) -> Self {
        Self { hour, code, from: last.0, uses: vec![(id.0, count, 0)] }
    }

    /// Another key of the same hour and outcome.
    pub fn add(&mut self, id: KeyId, count: i64, last: Timestamp) {
        self.uses.push((id.0, count, last.0 - self.from));
    }

    /// Keys, how often, and when the last good one was.
    pub fn uses(&self) -> impl Iterator<Item = (KeyId, i64, Timestamp)> {
        self.uses.iter().map(|(id, count, after)| (KeyId(*id), *count, Timestamp(self.from + after)))
    }
}

/// A line as it stands in the log, behind the number of its part.
fn log_row((part, line): &(usize, LoggedUses)) -> Result<(i64, String), sqlx::Error> {
    let uses = serde_json::to_string(line).map_err(|error| sqlx::Error::Encode(error.into()))?;
    Ok((i64::try_from(*part).unwrap_or_default(), uses))
}

/// A row of the log: one line, or as it was before there were lines, an array of counts, each with its key, hour,
/// outcome, and when the last good one was.
fn read_row(text: &str) -> Result<Vec<LoggedUses>, sqlx::Error> {
    let decode = |error: serde_json::Error| sqlx::Error::Decode(error.into());
    if !text.starts_with('[') {
        return Ok(vec![serde_json::from_str(text).map_err(decode)?]);
    }
    let counts: Vec<(i64, i64, String, i64, i64)> = serde_json::from_str(text).map_err(decode)?;
    let line = |(id, hour, code, count, last): (i64, i64, String, i64, i64)| {
        Some(LoggedUses::of(hour, Code::parse(&code)?, (KeyId(id), count, Timestamp(last))))
    };
    Ok(counts.into_iter().filter_map(line).collect())
}

/// An outcome by its word.
mod word {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::keys::Code;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
    pub(super) fn serialize<S: Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(code.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Code, D::Error> {
        let word = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Code::parse(&word).ok_or_else(|| serde::de::Error::custom("an outcome that is none"))
    }
}

/// Writes rows within a transaction.
macro_rules! write_rows {
    ($db:expr, $tx:ident, $rows:expr, $addresses:expr) => {{
        let rows: &UsageRows = $rows;
        let uses = list(&rows.uses, |(id, requests, at)| UsesRow { id: id.0, requests: *requests, at: at.0 })?;
        let hours = list(&rows.hours, |(id, HourlyUse { hour, code, count })| HourRow {
            key: id.0,
            hour: *hour,
            code: code.as_str(),
            count: *count,
        })?;
        let seen = list(&rows.addresses, |(id, from)| AddressRow {
            key: id.0,
            address: from.address,
            at: from.last_used_at.0,
        })?;
        let spent = list(&rows.spent, |row| *row)?;
        if let Some(uses) = &uses {
            sqlx::query(sql!($db, "keys_count_use")).bind(uses).execute(&mut *$tx).await?;
        }
        if let Some(spent) = &spent {
            sqlx::query(sql!($db, "keys_save_spent")).bind(spent).execute(&mut *$tx).await?;
        }
        if let Some(hours) = &hours {
            sqlx::query(sql!($db, "key_hours_add")).bind(hours).execute(&mut *$tx).await?;
        }
        if let Some(seen) = &seen {
            sqlx::query(sql!($db, "key_addresses_note")).bind(seen).execute(&mut *$tx).await?;
            sqlx::query(sql!($db, "key_addresses_prune"))
                .bind(seen)
                .bind(i64::try_from($addresses).unwrap_or(i64::MAX))
                .execute(&mut *$tx)
                .await?;
        }
    }};
}

/// So many lines go into one statement: usually all of them, and never more than it has room for (32,766 parameters).
const LINES: usize = 1000;

/// Appends lines to the log within a transaction.
macro_rules! add_lines {
    ($tx:ident, $lines:expr) => {
        for lines in $lines.chunks(LINES) {
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
    /// Writes the use of several keys down, each kind in one statement. A key keeps its `addresses` newest
    /// addresses.
    pub(crate) async fn write_usage(&self, rows: &UsageRows, addresses: usize) -> Result<(), StoreError> {
        writing!(self, tx => write_rows!(self, tx, rows, addresses));
        Ok(())
    }

    /// Appends counts to the parts of the log, and writes addresses down.
    pub(crate) async fn log_usage(
        &self,
        lines: &[(usize, LoggedUses)],
        rows: &UsageRows,
        addresses: usize,
    ) -> Result<(), StoreError> {
        writing!(self, tx => {
            add_lines!(tx, lines);
            write_rows!(self, tx, rows, addresses);
        });
        Ok(())
    }

    /// A part of the log has these lines and no others.
    pub(crate) async fn compact_usage_log(&self, part: usize, lines: &[(usize, LoggedUses)]) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("usage_log_delete"))
                .bind(i64::try_from(part).unwrap_or_default())
                .execute(&mut *tx)
                .await?;
            add_lines!(tx, lines);
        });
        Ok(())
    }

    /// A part of the log has become rows.
    pub(crate) async fn fold_usage(&self, part: usize, rows: &UsageRows) -> Result<(), StoreError> {
        writing!(self, tx => {
            write_rows!(self, tx, rows, 0);
            sqlx::query(sql!("usage_log_delete"))
                .bind(i64::try_from(part).unwrap_or_default())
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    /// Everything in the log becomes rows, whoever wrote it; `rows` reckons which.
    pub(crate) async fn empty_usage_log(
        &self,
        rows: impl FnOnce(Vec<LoggedUses>) -> UsageRows,
    ) -> Result<(), StoreError> {
        writing!(self, tx => {
            let taken: Vec<String> = sqlx::query_scalar(sql!("usage_log_take")).fetch_all(&mut *tx).await?;
            let lines: Vec<Vec<LoggedUses>> = taken.iter().map(|text| read_row(text)).collect::<Result<_, _>>()?;
            let rows = rows(lines.into_iter().flatten().collect());
            write_rows!(self, tx, &rows, 0);
        });
        Ok(())
    }

    /// What stands in the log, line by line, each with the number of its part.
    pub(crate) async fn logged_usage(&self) -> Result<Vec<(usize, LoggedUses)>, StoreError> {
        let rows: Vec<(i64, String)> = reading!(self, connection => {
            sqlx::query_as(sql!("usage_log_all")).fetch_all(connection).await?
        });
        let mut lines = Vec::with_capacity(rows.len());
        for (part, text) in rows {
            let part = usize::try_from(part).unwrap_or_default();
            lines.extend(read_row(&text)?.into_iter().map(|line| (part, line)));
        }
        Ok(lines)
    }

    /// Outcomes of a key's checks from an hour on, oldest first.
    pub(crate) async fn key_hours(&self, id: KeyId, since: i64) -> Result<Vec<HourlyUse>, StoreError> {
        let rows: Vec<(i64, String, i64)> = reading!(self, connection => {
            sqlx::query_as(sql!("key_hours_since")).bind(id.0).bind(since).fetch_all(connection).await?
        });
        let read = |(hour, code, count): (i64, String, i64)| Some(HourlyUse { hour, code: Code::parse(&code)?, count });
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Where a key was last used from, newest first.
    pub(crate) async fn key_addresses(&self, id: KeyId) -> Result<Vec<UsedFrom>, StoreError> {
        let rows: Vec<(String, i64)> = reading!(self, connection => {
            sqlx::query_as(sql!("key_addresses_of")).bind(id.0).fetch_all(connection).await?
        });
        let read = |(address, at): (String, i64)| {
            Some(UsedFrom { address: address.parse().ok()?, last_used_at: Timestamp(at) })
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Forgets outcomes before an hour.
    pub(crate) async fn delete_hours_before(&self, hour: i64) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("key_hours_delete_old")).bind(hour).execute(&mut *tx).await?;
        });
        Ok(())
    }
}

// Rows, by the names that the statements know.

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

/// Rows as one parameter: a JSON array; `None` without rows.
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
