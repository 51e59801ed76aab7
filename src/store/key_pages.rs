//! Keys by page number, in any order: HookSentry's way of listing.
//!
//! An index has the order and the filter in it. The ids of a page that is far from both ends come from the index
//! alone, and rows are read for that page only. How many there are is kept with the organisation, so no listing counts. To skip
//! many entries an index is walked, from whichever end is nearer (ADR 18).

use std::ops::Range;

use uuid::Uuid;

use super::db::{Db, StoreError, reading, sql};
use crate::model::{EnvironmentId, OrganisationId};

/// What keys are ordered by; ties are ordered by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyColumn {
    /// HookSentry's id.
    Id,
    /// The label, by bytes.
    Name,
    /// Not revoked; revoked ones come first.
    IsActive,
    /// When it was made.
    CreatedAt,
    /// When it was revoked; those that are not come first.
    RevokedAt,
}

/// Which page.
#[derive(Debug, Clone, Copy)]
pub struct KeyPage {
    /// Whose keys.
    pub organisation: OrganisationId,
    /// Only those of this environment. Seldom asked for, and so without an index or a total of its own.
    pub environment: Option<EnvironmentId>,
    /// Only those that are revoked, or only those that are not.
    pub active: Option<bool>,
    /// The order.
    pub column: KeyColumn,
    /// The other way round.
    pub descending: bool,
    /// How many before the page.
    pub offset: i64,
    /// How many on it.
    pub limit: i64,
}

/// The number of keys of an organisation or an environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct KeyCounts {
    /// In all.
    pub keys: i64,
    /// Of them.
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

/// What an index has in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Order {
    Id,
    Name,
    /// Of revoked keys only.
    RevokedAt,
}

/// Keys as an index has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyList {
    organisation: OrganisationId,
    active: Option<bool>,
    order: Order,
}

/// What is listed of a key.
const LISTED: &str = "uuid, name, created_at, revoked_at";
/// So many rows may be read to be skipped: that costs less than a statement that does not read them, which takes
/// a database longer to plan.
const NEAR: i64 = 50;

/// A key as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ListedKey {
    /// HookSentry's id.
    pub uuid: Uuid,
    /// Its label.
    pub name: String,
    /// When it was made, milliseconds since 1970.
    pub created_at: i64,
    /// When it was revoked.
    pub revoked_at: Option<i64>,
}

impl KeyPage {
    /// How many keys there are, on all pages.
    pub fn total(&self, counts: &KeyCounts) -> i64 {
        counts.of(self.active)
    }

    /// The stretches of lists that the page is, in ascending order. In some orders one state's keys come
    /// after all of the other's, in lists of their own.
    pub fn stretches(&self, counts: &KeyCounts) -> Vec<(KeyList, Range<i64>)> {
        let list = |active, order| KeyList { organisation: self.organisation, active, order };
        let lists = match (self.column, self.active) {
            (KeyColumn::IsActive, None) => vec![list(Some(false), Order::Id), list(Some(true), Order::Id)],
            (KeyColumn::RevokedAt, None) => vec![list(Some(true), Order::Id), list(Some(false), Order::RevokedAt)],
            (KeyColumn::RevokedAt, Some(false)) => vec![list(Some(false), Order::RevokedAt)],
            (KeyColumn::Name, _) => vec![list(self.active, Order::Name)],
            // An id begins with the moment it was made.
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
    /// How many of them.
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

    /// The statement for some keys of it; `within` narrows it down further. All of it is made of fixed texts.
    ///
    /// `$1` is the organisation, `$2` how many, `$3` how many are before them. Those are parameters even where they
    /// hardly change: PostgreSQL plans anew for each organisation, and not once for the average one.
    pub fn statement(self, descending: bool, within: &str, near: bool) -> String {
        let filter = self.filter();
        let order = self.order(if descending { "DESC" } else { "ASC" });
        let found =
            format!("FROM keys WHERE organisation_id = $1 {filter} {within} ORDER BY {order} LIMIT $2 OFFSET $3");
        if near {
            return format!("SELECT {LISTED} {found}");
        }
        format!("SELECT {LISTED} FROM keys WHERE id IN (SELECT id {found}) ORDER BY {order}")
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
                let statement = list.statement(descending, within, offset <= NEAR);
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
