//! The log of key changes, numbered in commit order.
//!
//! A number alone does not identify a change: a database that was restored to an earlier state assigns it to another
//! change. So each transaction that changes keys draws a random token, and each change names the token of the
//! transaction before.

use sqlx::FromRow;

use super::db::{Db, StoreError, reading, sql, writing};
use crate::domain::KeyHash;
use crate::model::{KeyId, OrganisationId, Timestamp};

/// A change of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The number: counted from 1, without a gap, in commit order.
    pub number: i64,
    /// The organisation of the key.
    pub organisation: OrganisationId,
    /// The number among the changes of that organisation, counted in the same way.
    pub organisation_number: i64,
    /// The key.
    pub key: KeyId,
    /// The hash of its string.
    pub hash: KeyHash,
    /// Whether the key was revoked.
    pub revoked: bool,
    /// The token of the transaction that made it.
    pub token: i64,
    /// The token of the transaction before that.
    pub previous: i64,
}

/// A position in the log of changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// The installation.
    pub epoch: i64,
    /// The history of the installation: replaced after the database was restored to an earlier state.
    pub history: i64,
    /// The number of the last change.
    pub number: i64,
    /// The token of that change.
    pub token: i64,
}

impl Position {
    /// Returns the position after a change of the same log.
    pub(crate) fn after(self, change: &Change) -> Self {
        Self { number: change.number, token: change.token, ..self }
    }
}

/// The continuity of a reading with the previous readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continuity {
    /// No change is missing in between.
    Whole,
    /// Changes in between are not in the log any more.
    Gap,
    /// The log is another one: the database was restored to an earlier state, or was replaced.
    Broken,
}

/// A reading of the log, as it was at one moment.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The end of the log.
    pub(crate) end: Position,
    /// The changes after the previous position; further ones may follow.
    pub(crate) changes: Vec<Change>,
}

impl Reading {
    /// Compares the reading with the previous position.
    pub(crate) fn continues(&self, from: Position) -> Continuity {
        let Some(first) = self.changes.first() else {
            return if self.end == from { Continuity::Whole } else { Continuity::Broken };
        };
        if (self.end.epoch, self.end.history) != (from.epoch, from.history) {
            Continuity::Broken
        } else if first.number != from.number + 1 {
            Continuity::Gap
        } else if first.previous == from.token || first.token == from.token {
            // The tokens are equal in the middle of a transaction with many changes.
            Continuity::Whole
        } else {
            Continuity::Broken
        }
    }
}

/// The end of an organisation's changes, and the end of the whole log at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub(crate) struct OrganisationEnd {
    pub(crate) history: i64,
    /// The number of the last change of all organisations.
    pub(crate) last: i64,
    /// The number of the organisation's last change among its own.
    pub(crate) number: i64,
    /// The token of that change.
    pub(crate) token: i64,
}

#[derive(FromRow)]
struct ChangeRow {
    number: i64,
    organisation_id: i64,
    organisation_number: i64,
    key_id: i64,
    hash: Vec<u8>,
    revoked: i64,
    token: i64,
    previous: i64,
}

impl ChangeRow {
    fn into_change(self) -> Result<Change, sqlx::Error> {
        let hash = KeyHash::from_slice(&self.hash).ok_or_else(|| sqlx::Error::ColumnDecode {
            index: "hash".to_owned(),
            source: format!("change {}: unreadable hash", self.number).into(),
        })?;
        Ok(Change {
            number: self.number,
            organisation: OrganisationId(self.organisation_id),
            organisation_number: self.organisation_number,
            key: KeyId(self.key_id),
            hash,
            revoked: self.revoked != 0,
            token: self.token,
            previous: self.previous,
        })
    }
}

/// The end of the log, joined with a change, if there is one.
#[derive(FromRow)]
struct EndAndChangeRow {
    epoch: i64,
    history: i64,
    last: i64,
    last_token: i64,
    number: Option<i64>,
    organisation_id: Option<i64>,
    organisation_number: Option<i64>,
    key_id: Option<i64>,
    hash: Option<Vec<u8>>,
    revoked: Option<i64>,
    token: Option<i64>,
    previous: Option<i64>,
}

impl EndAndChangeRow {
    fn end(&self) -> Position {
        Position { epoch: self.epoch, history: self.history, number: self.last, token: self.last_token }
    }

    fn into_change(self) -> Option<ChangeRow> {
        Some(ChangeRow {
            number: self.number?,
            organisation_id: self.organisation_id?,
            organisation_number: self.organisation_number?,
            key_id: self.key_id?,
            hash: self.hash?,
            revoked: self.revoked?,
            token: self.token?,
            previous: self.previous?,
        })
    }
}

impl Db {
    /// Reads the end of the log of changes.
    pub(crate) async fn changes_end(&self) -> Result<Position, StoreError> {
        let (epoch, history, number, token): (i64, i64, i64, i64) = reading!(self, connection => {
            sqlx::query_as(sql!("changes_end")).fetch_one(connection).await?
        });
        Ok(Position { epoch, history, number, token })
    }

    /// Reads at most `limit` changes after a number, in their order, and the end of the log, both at one moment.
    pub(crate) async fn read_changes(&self, after: i64, limit: i64) -> Result<Reading, StoreError> {
        let rows: Vec<EndAndChangeRow> = reading!(self, connection => {
            sqlx::query_as(sql!("changes_look")).bind(after).bind(limit).fetch_all(connection).await?
        });
        let end = rows.first().map(EndAndChangeRow::end).ok_or(sqlx::Error::RowNotFound)?;
        let changes = rows.into_iter().filter_map(EndAndChangeRow::into_change).map(ChangeRow::into_change);
        Ok(Reading { end, changes: changes.collect::<Result<_, _>>()? })
    }

    /// Replaces the history of the log, unless another node has done so since this one was read.
    pub(crate) async fn begin_history(&self, instead_of: i64, history: i64) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("changes_begin_history")).bind(instead_of).bind(history).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Reads the end of an organisation's changes.
    pub(crate) async fn changes_end_of(&self, organisation: OrganisationId) -> Result<OrganisationEnd, StoreError> {
        Ok(reading!(self, connection => {
            sqlx::query_as(sql!("changes_end_of_organisation")).bind(organisation.0).fetch_one(connection).await?
        }))
    }

    /// Returns whether the log still has a change of an organisation, and so all later ones.
    pub(crate) async fn has_change(
        &self,
        organisation: OrganisationId,
        number: i64,
        token: i64,
    ) -> Result<bool, StoreError> {
        let count: i64 = reading!(self, connection => {
            sqlx::query_scalar(sql!("changes_has"))
                .bind(organisation.0)
                .bind(number)
                .bind(token)
                .fetch_one(connection)
                .await?
        });
        Ok(count > 0)
    }

    /// Reads the changes of an organisation after one of its own numbers, up to a number of the whole log: at most
    /// `limit`, in their order.
    pub(crate) async fn changes_of(
        &self,
        organisation: OrganisationId,
        after: i64,
        up_to: i64,
        limit: i64,
    ) -> Result<Vec<Change>, StoreError> {
        let rows: Vec<ChangeRow> = reading!(self, connection => {
            sqlx::query_as(sql!("changes_of_organisation"))
                .bind(organisation.0)
                .bind(after)
                .bind(up_to)
                .bind(limit)
                .fetch_all(connection)
                .await?
        });
        Ok(rows.into_iter().map(ChangeRow::into_change).collect::<Result<_, _>>()?)
    }

    /// Returns the last number of the transaction that last changed a key, unless that change was deleted.
    pub(crate) async fn last_transaction_of_key(&self, id: KeyId) -> Result<Option<i64>, StoreError> {
        Ok(reading!(self, connection => {
            sqlx::query_scalar(sql!("changes_last_of_key")).bind(id.0).fetch_optional(connection).await?
        }))
    }

    /// Deletes the changes before a moment.
    pub(crate) async fn delete_changes_before(&self, at: Timestamp) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("changes_delete_old")).bind(at.0).execute(&mut *tx).await?;
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::PlainKey;
    use crate::model::Mode;
    use crate::runtime::entropy::Entropy;

    const END: Position = Position { epoch: 1, history: 1, number: 7, token: 70 };

    fn change(number: i64, token: i64, previous: i64) -> Change {
        Change {
            number,
            organisation: OrganisationId(1),
            organisation_number: number,
            key: KeyId(number),
            hash: PlainKey::hookstream(Mode::Live, &Entropy::seeded(1)).hash(),
            revoked: true,
            token,
            previous,
        }
    }

    #[test]
    fn a_log_continues_by_the_tokens_of_its_transactions_and_not_by_its_numbers() {
        let read = |end: Position, changes: &[Change]| Reading { end, changes: changes.to_vec() }.continues(END);
        let end = |number| Position { number, token: number * 10, ..END };
        assert_eq!(read(END, &[]), Continuity::Whole);
        assert_eq!(read(end(8), &[change(8, 80, 70)]), Continuity::Whole);
        assert_eq!(
            read(end(9), &[change(8, 70, 60), change(9, 90, 70)]),
            Continuity::Whole,
            "the read began inside a transaction"
        );
        assert_eq!(read(end(9), &[change(9, 90, 80)]), Continuity::Gap);
        assert_eq!(read(end(6), &[]), Continuity::Broken, "the log ends before the position");
        assert_eq!(read(Position { token: 71, ..END }, &[]), Continuity::Broken, "another change has the number");
        assert_eq!(
            read(end(8), &[change(8, 80, 71)]),
            Continuity::Broken,
            "another change has the number, and further ones follow"
        );
        assert_eq!(read(Position { history: 2, ..END }, &[]), Continuity::Broken);
        assert_eq!(read(Position { epoch: 2, ..end(8) }, &[change(8, 80, 70)]), Continuity::Broken);
    }

    /// So a second revocation of a family waits for all changes of the first.
    #[tokio::test]
    async fn the_last_change_of_a_key_is_the_last_of_its_transaction() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = Db::open(&format!("sqlite:{}", folder.path().join("test.db").display())).await.expect("it opens");
        db.migrate().await.expect("it migrates");
        let Db::Sqlite(file) = &db else { unreachable!("a file") };
        let mut turn = file.writer.acquire().await.expect("a turn");
        let statement = "
            INSERT INTO changes (number, organisation_id, key_id, hash, revoked, changed_at, token, previous, organisation_number)
            SELECT value ->> 0, 1, value ->> 1, zeroblob(32), 1, 0, value ->> 2, 0, 0
            FROM json_each('[[1, 10, 7], [2, 10, 8], [3, 11, 8], [4, 12, 8], [5, 13, 9], [6, 14, 9]]');
            UPDATE changes_last SET number = 6, token = 9";
        sqlx::raw_sql(statement).execute(turn.connection().expect("a connection")).await.expect("changes");
        turn.release();
        for (key, last) in [(10, Some(4)), (12, Some(4)), (13, Some(6)), (14, Some(6)), (15, None)] {
            assert_eq!(db.last_transaction_of_key(KeyId(key)).await.expect("an answer"), last, "{key}");
        }
    }
}
