//! Keys by page number, in any order: HookSentry's way of listing.
//!
//! The ids of a page come from an index alone, which has the order and the filter in it; the rows are
//! read for that page only. Beyond the middle an index is walked from its other end. The total is kept
//! with the organisation, so no listing counts.

use super::db::{Db, StoreError, reading, sql};
use super::keys::KeyRow;
use crate::keys::Key;
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

impl KeyPage {
    /// The statement for one direction. All of it is made of the fixed texts below.
    pub fn statement(&self, descending: bool) -> String {
        let (direction, nulls) = if descending { ("DESC", "NULLS LAST") } else { ("ASC", "NULLS FIRST") };
        let filter = match self.active {
            None => "",
            Some(true) => "AND CAST(revoked_at IS NULL AS INTEGER) = 1",
            Some(false) => "AND CAST(revoked_at IS NULL AS INTEGER) = 0",
        };
        // Where the filter leaves one value of the column, the ties decide.
        let leading = match (self.column, self.active) {
            (KeyColumn::Id, _) | (KeyColumn::IsActive, Some(_)) | (KeyColumn::RevokedAt, Some(true)) => String::new(),
            (KeyColumn::Name, _) => format!("name {direction},"),
            (KeyColumn::IsActive, None) => format!("CAST(revoked_at IS NULL AS INTEGER) {direction},"),
            (KeyColumn::CreatedAt, _) => format!("created_at {direction},"),
            (KeyColumn::RevokedAt, _) => format!("revoked_at {direction} {nulls},"),
        };
        // The index on revocation has all revoked keys in one stretch.
        let filter = match (self.column, self.active) {
            (KeyColumn::RevokedAt, Some(false)) => "AND revoked_at IS NOT NULL",
            _ => filter,
        };
        let environment = if self.environment.is_some() { "AND environment_id = $4" } else { "" };
        format!(
            "SELECT * FROM keys_in_context WHERE id IN (\
               SELECT id FROM keys WHERE organisation_id = $1 {filter} {environment} \
               ORDER BY {leading} uuid {direction} LIMIT $2 OFFSET $3) \
             ORDER BY {leading} uuid {direction}"
        )
    }
}

impl Db {
    /// How many keys there are with that filter, and those on the page.
    pub(crate) async fn key_page(&self, page: &KeyPage) -> Result<(i64, Vec<Key>), StoreError> {
        let (counts, of) = match page.environment {
            None => (sql!("organisation_counts"), page.organisation.0),
            Some(environment) => (sql!("environment_counts"), environment.0),
        };
        let counts: Option<(i64, i64)> = reading!(self, pool => {
            sqlx::query_as(counts).bind(of).fetch_optional(pool).await?
        });
        let (all, revoked) = counts.unwrap_or_default();
        let total = match page.active {
            None => all,
            Some(true) => all - revoked,
            Some(false) => revoked,
        };
        let limit = page.limit.min(total - page.offset);
        if limit <= 0 {
            return Ok((total, Vec::new()));
        }
        let from_the_end = page.offset > total / 2;
        let offset = if from_the_end { total - page.offset - limit } else { page.offset };
        let statement = page.statement(page.descending != from_the_end);
        let rows: Vec<KeyRow> = reading!(self, pool => {
            let mut query =
                sqlx::query_as(sqlx::AssertSqlSafe(statement)).bind(page.organisation.0).bind(limit).bind(offset);
            if let Some(environment) = page.environment {
                query = query.bind(environment.0);
            }
            query.fetch_all(pool).await?
        });
        let mut keys = rows.into_iter().map(KeyRow::into_key).collect::<Result<Vec<_>, _>>()?;
        if from_the_end {
            keys.reverse();
        }
        Ok((total, keys))
    }
}
