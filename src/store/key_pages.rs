//! Keys by page number, in any order: the listing of HookSentry's contract.
//!
//! Each index has an order and a filter. The ids of a page that is far from both ends come from an index-only scan, and
//! rows are read for that page only. The organisation's row has the total, so no listing counts. To skip many entries,
//! the statement walks the index from the nearer end (ADR 18).

use std::ops::Range;

use uuid::Uuid;

use super::db::{Db, StoreError, reading, sql};
use crate::model::{EnvironmentId, OrganisationId};

/// The order of the keys; ties are ordered by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyColumn {
    /// The id in HookSentry's contract.
    Id,
    /// The label, by bytes.
    Name,
    /// Whether the key is active; revoked keys come first.
    IsActive,
    /// The moment of creation.
    CreatedAt,
    /// The moment of revocation; active keys come first.
    RevokedAt,
}

/// A page of keys.
#[derive(Debug, Clone, Copy)]
pub struct KeyPage {
    /// The organisation that owns the keys.
    pub organisation: OrganisationId,
    /// Only keys of this environment. Such requests are rare, so they have neither an index nor a total.
    pub environment: Option<EnvironmentId>,
    /// Only active keys, or only revoked keys.
    pub active: Option<bool>,
    /// The order.
    pub column: KeyColumn,
    /// Whether the order is descending.
    pub descending: bool,
    /// The number of keys before the page.
    pub offset: i64,
    /// The largest number of keys on the page.
    pub limit: i64,
}

/// The number of keys of an organisation or an environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct KeyCounts {
    /// All keys.
    pub keys: i64,
    /// Revoked keys.
    pub revoked: i64,
}

impl KeyCounts {
    fn of(&self, active: Option<bool>) -> i64 {
        match active {
            None => self.keys,
            Some(true) => self.keys - self.revoked,
            Some(false) => self.revoked,
        }
    }
}

/// The order of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Order {
    Id,
    Name,
    /// An index of revoked keys only.
    RevokedAt,
}

/// The keys of one index, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyList {
    organisation: OrganisationId,
    active: Option<bool>,
    order: Order,
}

/// The columns of a listed key.
const LISTED_COLUMNS: &str = "uuid, name, created_at, revoked_at";
/// The largest number of rows that a statement reads only to skip them. Up to this number, that costs less than the
/// planning of a statement with an index-only scan.
const MAX_SKIPPED_ROWS: i64 = 50;

/// A listed key.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ListedKey {
    /// The id in HookSentry's contract.
    pub uuid: Uuid,
    /// The label.
    pub name: String,
    /// The moment of creation, milliseconds since 1970.
    pub created_at: i64,
    /// The moment of revocation, milliseconds since 1970, if the key is revoked.
    pub revoked_at: Option<i64>,
}

impl KeyPage {
    /// Returns the number of keys on all pages.
    pub fn total(&self, counts: &KeyCounts) -> i64 {
        counts.of(self.active)
    }

    /// Returns the ranges of lists that make up the page, in ascending order. In some orders, the keys of one state
    /// come after all keys of the other state, in a list of their own.
    pub fn stretches(&self, counts: &KeyCounts) -> Vec<(KeyList, Range<i64>)> {
        let list = |active, order| KeyList { organisation: self.organisation, active, order };
        let lists = match (self.column, self.active) {
            (KeyColumn::IsActive, None) => vec![list(Some(false), Order::Id), list(Some(true), Order::Id)],
            (KeyColumn::RevokedAt, None) => vec![list(Some(true), Order::Id), list(Some(false), Order::RevokedAt)],
            (KeyColumn::RevokedAt, Some(false)) => vec![list(Some(false), Order::RevokedAt)],
            (KeyColumn::Name, _) => vec![list(self.active, Order::Name)],
            // An id begins with its moment of creation.
            (KeyColumn::Id | KeyColumn::IsActive | KeyColumn::CreatedAt | KeyColumn::RevokedAt, _) => {
                vec![list(self.active, Order::Id)]
            }
        };
        let total = self.total(counts);
        let (from, to) = (self.offset.min(total), self.offset.saturating_add(self.limit).min(total));
        let page = if self.descending { total - to..total - from } else { from..to };
        let mut before = 0;
        let mut stretches = Vec::new();
        for list in lists {
            let length = counts.of(list.active);
            let within = (page.start - before).max(0)..(page.end - before).min(length);
            if !within.is_empty() {
                stretches.push((list, within));
            }
            before += length;
        }
        stretches
    }
}

impl KeyList {
    /// Returns the number of keys in the list.
    pub fn length(self, counts: &KeyCounts) -> i64 {
        counts.of(self.active)
    }

    fn filter(self) -> &'static str {
        match self.active {
            None => "",
            Some(true) => "AND revoked_at IS NULL",
            Some(false) => "AND revoked_at IS NOT NULL",
        }
    }

    fn order(self, direction: &str) -> String {
        match self.order {
            Order::Id => format!("uuid {direction}"),
            Order::Name => format!("name {direction}, uuid {direction}"),
            Order::RevokedAt => format!("revoked_at {direction}, uuid {direction}"),
        }
    }

    /// Returns the statement for a range of the list. `within` is a further condition. `skips_rows` selects the
    /// statement that reads the rows before the range, instead of an index-only scan. The text consists of constants
    /// only.
    ///
    /// `$1` is the organisation, `$2` the number of keys, `$3` the number of keys before them. All are parameters, even
    /// where they hardly change: PostgreSQL then plans for each organisation, and not once for the average one.
    pub fn statement(self, descending: bool, within: &str, skips_rows: bool) -> String {
        let filter = self.filter();
        let order = self.order(if descending { "DESC" } else { "ASC" });
        let found =
            format!("FROM keys WHERE organisation_id = $1 {filter} {within} ORDER BY {order} LIMIT $2 OFFSET $3");
        if skips_rows {
            return format!("SELECT {LISTED_COLUMNS} {found}");
        }
        format!("SELECT {LISTED_COLUMNS} FROM keys WHERE id IN (SELECT id {found}) ORDER BY {order}")
    }
}

impl Db {
    /// Returns the counts, and the keys on the page.
    pub(crate) async fn key_page(&self, page: &KeyPage) -> Result<(KeyCounts, Vec<ListedKey>), StoreError> {
        let (count, of) = match page.environment {
            None => (sql!("organisation_counts"), page.organisation.0),
            Some(environment) => (sql!("environment_counts"), environment.0),
        };
        Ok(reading!(self, connection => {
            let counts: Option<KeyCounts> =
                sqlx::query_as(count).bind(of).fetch_optional(&mut *connection).await?;
            let counts = counts.unwrap_or_default();
            let mut keys: Vec<ListedKey> = Vec::new();
            for (list, stretch) in page.stretches(&counts) {
                let after = list.length(&counts) - stretch.end;
                let descending = stretch.start > after;
                let offset = if descending { after } else { stretch.start };
                let within = if page.environment.is_some() { "AND environment_id = $4" } else { "" };
                let statement = list.statement(descending, within, offset <= MAX_SKIPPED_ROWS);
                let mut query = sqlx::query_as(sqlx::AssertSqlSafe(statement))
                    .bind(list.organisation.0)
                    .bind(stretch.end - stretch.start)
                    .bind(offset);
                if let Some(environment) = page.environment {
                    query = query.bind(environment.0);
                }
                let mut walked: Vec<ListedKey> = query.fetch_all(&mut *connection).await?;
                if descending {
                    walked.reverse();
                }
                keys.append(&mut walked);
            }
            if page.descending {
                keys.reverse();
            }
            (counts, keys)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: KeyCounts = KeyCounts { keys: 10, revoked: 4 };

    fn stretches(
        column: KeyColumn,
        active: Option<bool>,
        descending: bool,
        offset: i64,
        limit: i64,
    ) -> Vec<(Option<bool>, Order, Range<i64>)> {
        let page =
            KeyPage { organisation: OrganisationId(1), environment: None, active, column, descending, offset, limit };
        page.stretches(&COUNTS).into_iter().map(|(list, stretch)| (list.active, list.order, stretch)).collect()
    }

    #[test]
    fn a_page_is_a_stretch_from_its_offset_or_from_the_other_end() {
        assert_eq!(stretches(KeyColumn::Name, None, false, 3, 2), [(None, Order::Name, 3..5)]);
        assert_eq!(stretches(KeyColumn::Name, None, true, 3, 2), [(None, Order::Name, 5..7)]);
        assert_eq!(stretches(KeyColumn::Id, Some(true), true, 4, 5), [(Some(true), Order::Id, 0..2)]);
    }

    #[test]
    fn a_page_past_the_last_key_is_empty() {
        assert_eq!(stretches(KeyColumn::Id, None, false, 10, 5), []);
        assert_eq!(stretches(KeyColumn::Id, None, true, i64::MAX, i64::MAX), []);
    }

    #[test]
    fn revoked_keys_come_first_by_activity_and_last_by_their_end() {
        let (revoked, active) = (Some(false), Some(true));
        assert_eq!(
            stretches(KeyColumn::IsActive, None, false, 3, 3),
            [(revoked, Order::Id, 3..4), (active, Order::Id, 0..2)]
        );
        assert_eq!(
            stretches(KeyColumn::RevokedAt, None, false, 5, 3),
            [(active, Order::Id, 5..6), (revoked, Order::RevokedAt, 0..2)]
        );
        assert_eq!(stretches(KeyColumn::IsActive, None, true, 0, 6), [(active, Order::Id, 0..6)]);
        assert_eq!(stretches(KeyColumn::RevokedAt, None, true, 0, 2), [(revoked, Order::RevokedAt, 2..4)]);
    }
}
