//! The use of keys: counts, outcomes by the hour, addresses, and what was spent of limits.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize, Serializer};

use super::db::{Db, StoreError, reading, sql, writing};
use super::keys::stored_hash;
use crate::keys::{Code, KeyHash, SpentRow};
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
    hour: i64,
    /// The outcome.
    #[serde(with = "word")]
    pub code: Code,
    /// A moment of these, milliseconds since 1970.
    from: i64,
    /// Keys, how often, and when the last time was. Ids are told from the one before and moments from `from`, to keep the
    /// line short.
    uses: Vec<(i64, u64, i64)>,
    #[serde(skip)]
    last: i64,
}

impl LoggedUses {
    /// A line without keys, for times around a moment; the hour is in hours since 1970.
    pub fn of(hour: i64, code: Code, from: Timestamp) -> Self {
        Self { hour, code, from: from.0, uses: Vec::new(), last: 0 }
    }

    /// Whether it is of this hour and outcome.
    pub fn is_of(&self, hour: i64, code: Code) -> bool {
        (self.hour, self.code) == (hour, code)
    }

    /// Another key. A line is shortest where they come in order.
    pub fn add(&mut self, id: KeyId, count: u64, at: Timestamp) {
        self.uses.push((id.0.wrapping_sub(self.last), count, at.0 - self.from));
        self.last = id.0;
    }

    /// Keys, how often, and when the last time was.
    pub fn uses(&self) -> impl Iterator<Item = (KeyId, u64, Timestamp)> {
        let mut last = 0_i64;
        self.uses.iter().map(move |(id, count, after)| {
            last = last.wrapping_add(*id);
            (KeyId(last), *count, Timestamp(self.from + after))
        })
    }

    /// A row of the log: `postcard` in Base64, as the column is of text.
    fn to_row(&self) -> Result<String, sqlx::Error> {
        let bytes = postcard::to_stdvec(self).map_err(|error| sqlx::Error::Encode(error.into()))?;
        Ok(STANDARD_NO_PAD.encode(bytes))
    }
}

/// A row of the log: one line, or as it was before: JSON of one, or of an array of counts.
fn read_row(text: &str) -> Result<Vec<LoggedUses>, sqlx::Error> {
    fn decode<T>(result: Result<T, impl std::error::Error + Send + Sync + 'static>) -> Result<T, sqlx::Error> {
        result.map_err(|error| sqlx::Error::Decode(error.into()))
    }
    /// Each key with how often, and when the last good one was after the moment `from`.
    #[derive(Deserialize)]
    struct Line {
        hour: i64,
        #[serde(with = "word")]
        code: Code,
        from: i64,
        uses: Vec<(i64, u64, i64)>,
    }
    let line = |hour: i64, code: Code, from: i64, uses: &[(i64, u64, i64)]| {
        let mut line = LoggedUses::of(hour, code, Timestamp(hour * Timestamp::HOUR));
        for (id, count, after) in uses {
            // A refusal had no moment: any one of its hour.
            let within = (from + after).clamp(hour * Timestamp::HOUR, (hour + 1) * Timestamp::HOUR - 1);
            line.add(KeyId(*id), *count, Timestamp(within));
        }
        line
    };
    if text.starts_with('{') {
        let Line { hour, code, from, uses } = decode(serde_json::from_str(text))?;
        return Ok(vec![line(hour, code, from, &uses)]);
    }
    if text.starts_with('[') {
        let counts: Vec<(i64, i64, String, u64, i64)> = decode(serde_json::from_str(text))?;
        let count = |(id, hour, code, count, last): (i64, i64, String, u64, i64)| {
            Some(line(hour, Code::parse(&code)?, last, &[(id, count, 0)]))
        };
        return Ok(counts.into_iter().filter_map(count).collect());
    }
    let bytes = decode(STANDARD_NO_PAD.decode(text))?;
    Ok(vec![decode(postcard::from_bytes(&bytes))?])
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

/// Writes rows within a transaction: whose uses they are, by id and hash.
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
        let mut used: Vec<(i64, Vec<u8>)> = Vec::new();
        if let Some(uses) = &uses {
            used = sqlx::query_as(sql!($db, "keys_count_use")).bind(uses).fetch_all(&mut *$tx).await?;
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
        used
    }};
}

/// Appends lines to the log within a transaction.
macro_rules! add_lines {
    ($tx:ident, $lines:expr) => {
        for (part, line) in $lines {
            sqlx::query(sql!("usage_log_add"))
                .bind(i64::try_from(part).unwrap_or_default())
                .bind(line.to_row()?)
                .execute(&mut *$tx)
                .await?;
        }
    };
}

impl Db {
    /// Writes the use of several keys down, each kind in one statement. A key keeps its `addresses` newest
    /// addresses. Which keys were used.
    pub(crate) async fn write_usage(
        &self,
        rows: &UsageRows,
        addresses: usize,
    ) -> Result<Vec<(KeyId, KeyHash)>, StoreError> {
        let used = writing!(self, tx => write_rows!(self, tx, rows, addresses));
        Ok(hashes(used))
    }

    /// Appends counts to the parts of the log, and writes addresses down.
    pub(crate) async fn log_usage(
        &self,
        lines: impl Iterator<Item = (usize, LoggedUses)>,
        rows: &UsageRows,
        addresses: usize,
    ) -> Result<(), StoreError> {
        writing!(self, tx => {
            add_lines!(tx, lines);
            write_rows!(self, tx, rows, addresses)
        });
        Ok(())
    }

    /// A part of the log has these lines and no others.
    pub(crate) async fn compact_usage_log(
        &self,
        part: usize,
        lines: impl Iterator<Item = (usize, LoggedUses)>,
    ) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("usage_log_delete"))
                .bind(i64::try_from(part).unwrap_or_default())
                .execute(&mut *tx)
                .await?;
            add_lines!(tx, lines);
        });
        Ok(())
    }

    /// What a part of the log has, line by line.
    pub(crate) async fn usage_log_of(&self, part: usize, mut line: impl FnMut(LoggedUses)) -> Result<(), StoreError> {
        let part = i64::try_from(part).unwrap_or_default();
        let rows: Vec<String> = reading!(self, connection => {
            sqlx::query_scalar(sql!("usage_log_of")).bind(part).fetch_all(connection).await?
        });
        for row in rows {
            read_row(&row)?.into_iter().for_each(&mut line);
        }
        Ok(())
    }

    /// A part of the log has become rows. Which keys were used.
    pub(crate) async fn fold_usage(&self, part: usize, rows: &UsageRows) -> Result<Vec<(KeyId, KeyHash)>, StoreError> {
        let used = writing!(self, tx => {
            let used = write_rows!(self, tx, rows, 0);
            sqlx::query(sql!("usage_log_delete"))
                .bind(i64::try_from(part).unwrap_or_default())
                .execute(&mut *tx)
                .await?;
            used
        });
        Ok(hashes(used))
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
            write_rows!(self, tx, &rows, 0)
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

fn hashes(used: Vec<(i64, Vec<u8>)>) -> Vec<(KeyId, KeyHash)> {
    used.iter().filter_map(|(id, hash)| Some((KeyId(*id), stored_hash(hash)?))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys, counts and moments.
    type Uses = Vec<(i64, u64, i64)>;

    fn read(row: &str) -> Vec<(i64, Code, Uses)> {
        let line = |line: LoggedUses| {
            let uses = line.uses().map(|(id, count, at)| (id.0, count, at.0)).collect();
            (line.hour, line.code, uses)
        };
        read_row(row).expect("it is one").into_iter().map(line).collect()
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let uses = vec![(3, 1, 3_600_005), (i64::MAX, u64::MAX, 3_600_000), (i64::MIN, 7, 7_199_999)];
        let mut line = LoggedUses::of(1, Code::QuotaExceeded, Timestamp(3_600_005));
        for (id, count, at) in &uses {
            line.add(KeyId(*id), *count, Timestamp(*at));
        }
        assert_eq!(read(&line.to_row().unwrap()), [(1, Code::QuotaExceeded, uses)]);
    }

    #[test]
    fn lines_of_earlier_versions_are_read() {
        let line = r#"{"hour":1,"code":"VALID","from":3600000,"uses":[[9,2,5],[8,1,0]]}"#;
        assert_eq!(read(line), [(1, Code::Valid, vec![(9, 2, 3_600_005), (8, 1, 3_600_000)])]);
        let counts = r#"[[9,1,"VALID",2,3600007],[9,1,"REVOKED",3,0]]"#;
        let valid = (1, Code::Valid, vec![(9, 2, 3_600_007)]);
        assert_eq!(read(counts), [valid, (1, Code::Revoked, vec![(9, 3, 3_600_000)])]);
    }

    #[test]
    fn what_is_no_line_is_said_to_be_none() {
        for row in ["", "{}", "[1]", "?", "AAAA", "/////w"] {
            assert!(read_row(row).is_err(), "{row}");
        }
    }
}
