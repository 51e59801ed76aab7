//! Writes key changes to the log, in the transaction that makes them.

use serde::Serialize;

use crate::domain::KeyHash;
use crate::model::{KeyId, OrganisationId, Timestamp};

/// The largest number of changes in one `INSERT`; a transaction with more has several. PostgreSQL limits a JSON array
/// to 256 MB.
pub(super) const MAX_INSERTED: usize = 10_000;

/// Assigns the next numbers to key changes within a transaction, as its last step: until it commits, every other change
/// waits. Evaluates to the number of the last change.
macro_rules! log_changes {
    ($db:expr, $tx:ident, $organisation:expr, $keys:expr, $revoked:expr, $at:expr) => {{
        let keys: &[(KeyId, KeyHash)] = $keys;
        let count = i64::try_from(keys.len()).unwrap_or(i64::MAX);
        let token = $crate::runtime::entropy::Entropy::System.id();
        if matches!($db, $crate::store::Db::Sqlite(..)) {
            sqlx::query(sql!("changes_take_organisation_numbers"))
                .bind(count)
                .bind(token)
                .bind($organisation.0)
                .execute(&mut *$tx)
                .await?;
        }
        let taken = sqlx::query(sql!($db, "changes_take_numbers"))
            .bind(count)
            .bind(token)
            .bind($organisation.0)
            .fetch_one(&mut *$tx)
            .await?;
        let last: i64 = sqlx::Row::try_get(&taken, 0)?;
        let mut first = $crate::store::new_changes::First {
            number: last - count + 1,
            organisation_number: sqlx::Row::try_get::<i64, _>(&taken, 2)? - count + 1,
            token,
            previous: sqlx::Row::try_get(&taken, 1)?,
        };
        for keys in keys.chunks($crate::store::new_changes::MAX_INSERTED) {
            let rows = $crate::store::new_changes::rows(&mut first, $organisation, keys, $revoked, $at)?;
            sqlx::query(sql!($db, "changes_add")).bind(rows).execute(&mut *$tx).await?;
        }
        last
    }};
}

pub(super) use log_changes;

/// The numbers of the first of several changes, and the tokens of all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct First {
    pub(super) number: i64,
    pub(super) organisation_number: i64,
    pub(super) token: i64,
    pub(super) previous: i64,
}

/// A change as the statement reads it.
#[derive(Serialize)]
struct InsertedRow {
    number: i64,
    organisation: i64,
    organisation_number: i64,
    key: i64,
    hash: String,
    revoked: i64,
    at: i64,
    token: i64,
    previous: i64,
}

/// Encodes changes as one parameter, a JSON array. Advances `first` past them.
pub(super) fn rows(
    first: &mut First,
    organisation: OrganisationId,
    keys: &[(KeyId, KeyHash)],
    revoked: bool,
    at: Timestamp,
) -> Result<String, sqlx::Error> {
    let row = |(key, hash): &(KeyId, KeyHash)| {
        let row = InsertedRow {
            number: first.number,
            organisation: organisation.0,
            organisation_number: first.organisation_number,
            key: key.0,
            hash: hex::encode(hash.as_bytes()),
            revoked: i64::from(revoked),
            at: at.0,
            token: first.token,
            previous: first.previous,
        };
        first.number += 1;
        first.organisation_number += 1;
        row
    };
    let rows: Vec<InsertedRow> = keys.iter().map(row).collect();
    serde_json::to_string(&rows).map_err(|error| sqlx::Error::Encode(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::PlainKey;
    use crate::model::Mode;
    use crate::runtime::entropy::Entropy;

    #[test]
    fn several_statements_continue_the_numbering() {
        let hash = PlainKey::hookstream(Mode::Live, &Entropy::seeded(1)).hash();
        let keys: Vec<(KeyId, KeyHash)> = (1..=3).map(|id| (KeyId(id), hash)).collect();
        let mut first = First { number: 7, organisation_number: 3, token: 70, previous: 60 };
        let mut numbers = Vec::new();
        for keys in keys.chunks(2) {
            let json = rows(&mut first, OrganisationId(1), keys, true, Timestamp(0)).expect("JSON");
            let rows: Vec<serde_json::Value> = serde_json::from_str(&json).expect("rows");
            numbers.extend(
                rows.into_iter().map(|row| {
                    [&row["number"], &row["organisation_number"], &row["key"]].map(serde_json::Value::as_i64)
                }),
            );
        }
        assert_eq!(numbers, [[7, 3, 1], [8, 4, 2], [9, 5, 3]].map(|row| row.map(Some)));
    }
}
