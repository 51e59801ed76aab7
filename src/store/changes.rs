//! What changed of keys, numbered in the order in which it was committed.

use super::db::{Db, StoreError, reading, sql, writing};
use super::keys::stored_hash;
use crate::keys::KeyHash;
use crate::model::{KeyId, OrganisationId, Timestamp};

/// A key that is not any more what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Counted from 1, without a gap, as the changes were committed.
    pub number: i64,
    /// Whose key.
    pub organisation: OrganisationId,
    /// Which.
    pub key: KeyId,
    /// What is kept of its string.
    pub hash: KeyHash,
    /// Whether it ended for good.
    pub revoked: bool,
}

#[derive(sqlx::FromRow)]
struct ChangeRow {
    number: i64,
    organisation_id: i64,
    key_id: i64,
    hash: Vec<u8>,
    revoked: i64,
}

impl ChangeRow {
    fn into_change(self) -> Result<Change, sqlx::Error> {
        let hash = stored_hash(&self.hash).ok_or_else(|| sqlx::Error::ColumnDecode {
            index: "hash".to_owned(),
            source: format!("change {}: unreadable hash", self.number).into(),
        })?;
        Ok(Change {
            number: self.number,
            organisation: OrganisationId(self.organisation_id),
            key: KeyId(self.key_id),
            hash,
            revoked: self.revoked != 0,
        })
    }
}

/// Takes the next numbers for changes of keys within a transaction, as its last step: until it commits,
/// every other change waits. The number of the last one.
macro_rules! log_changes {
    ($db:expr, $tx:ident, $organisation:expr, $keys:expr, $revoked:expr, $at:expr) => {{
        let keys: &[(KeyId, KeyHash)] = $keys;
        let count = i64::try_from(keys.len()).unwrap_or(i64::MAX);
        let taken = sqlx::query(sql!($db, "changes_take_numbers")).bind(count).fetch_one(&mut *$tx).await?;
        let last: i64 = sqlx::Row::try_get(&taken, 0)?;
        let rows = $crate::store::changes::rows(last - count, $organisation, keys, $revoked, $at);
        sqlx::query(sql!($db, "changes_add")).bind(rows).execute(&mut *$tx).await?;
        last
    }};
}

pub(super) use log_changes;

/// Changes as one parameter: a JSON array.
pub(super) fn rows(
    before: i64,
    organisation: OrganisationId,
    keys: &[(KeyId, KeyHash)],
    revoked: bool,
    at: Timestamp,
) -> String {
    let row = |(number, (key, hash)): (i64, &(KeyId, KeyHash))| {
        serde_json::json!({
            "number": number,
            "organisation": organisation.0,
            "key": key.0,
            "hash": hex::encode(hash.as_bytes()),
            "revoked": i64::from(revoked),
            "at": at.0,
        })
    };
    (before + 1..).zip(keys).map(row).collect::<serde_json::Value>().to_string()
}

impl Db {
    /// Which database the numbers of changes are of, and the last one.
    pub(crate) async fn last_change(&self) -> Result<(u64, i64), StoreError> {
        let (epoch, number): (i64, i64) = reading!(self, connection => {
            sqlx::query_as(sql!("changes_last")).fetch_one(connection).await?
        });
        Ok((epoch.cast_unsigned(), number))
    }

    /// At most so many changes after a number, in their order.
    pub(crate) async fn changes_after(&self, number: i64, most: i64) -> Result<Vec<Change>, StoreError> {
        let rows: Vec<ChangeRow> = reading!(self, connection => {
            sqlx::query_as(sql!("changes_after")).bind(number).bind(most).fetch_all(connection).await?
        });
        Ok(rows.into_iter().map(ChangeRow::into_change).collect::<Result<_, _>>()?)
    }

    /// The last changes, at most so many, in their order.
    pub(crate) async fn newest_changes(&self, most: i64) -> Result<Vec<Change>, StoreError> {
        let rows: Vec<ChangeRow> = reading!(self, connection => {
            sqlx::query_as(sql!("changes_newest")).bind(most).fetch_all(connection).await?
        });
        Ok(rows.into_iter().rev().map(ChangeRow::into_change).collect::<Result<_, _>>()?)
    }

    /// The number of a key's last change, unless that is long ago.
    pub(crate) async fn change_of_key(&self, id: KeyId) -> Result<Option<i64>, StoreError> {
        Ok(
            reading!(self, connection => sqlx::query_scalar(sql!("change_of_key")).bind(id.0).fetch_one(connection).await?),
        )
    }

    /// Forgets the changes before a moment.
    pub(crate) async fn delete_changes_before(&self, at: Timestamp) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("changes_delete_old")).bind(at.0).execute(&mut *tx).await?;
        });
        Ok(())
    }
}
