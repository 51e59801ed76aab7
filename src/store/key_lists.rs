//! Lists of keys, newest first, and searches in them.
//!
//! A filter may match few of many keys, so a filtered list is read in steps of [`STEP`] keys of the owner's index. The
//! connection returns to the pool after each step, so that others get their turn.

use uuid::Uuid;

use super::db::{Db, StoreError, reading, sql};
use super::keys::KeyRow;
use crate::domain::{Key, KeyFilter, KeyState, Owner};
use crate::model::{KeyId, Timestamp};

/// The number of keys that one step reads.
const STEP: i64 = 1_000;

/// The statements of one kind of list: the UUID of the last key of a step, the matching keys of the step, and all keys
/// without a filter. The last statement has no lower bound: with one, PostgreSQL would expect few keys and sort them
/// all.
///
/// `$1` is the owner, `$2` the UUID before which the step begins, `$3` the UUID with which it ends.
macro_rules! statements {
    ($column:literal, $more:literal) => {
        [
            concat!(
                "SELECT uuid FROM keys WHERE ",
                $column,
                " = $1 AND uuid < $2 ORDER BY uuid DESC LIMIT 1 OFFSET $3"
            ),
            concat!(
                "SELECT id FROM keys WHERE ",
                $column,
                " = $1 AND uuid < $2 AND uuid >= $3 \
                 AND (CAST($4 AS TEXT) IS NULL \
                      OR ($4 = 'revoked' AND revoked_at IS NOT NULL) \
                      OR ($4 = 'disabled' AND revoked_at IS NULL AND disabled_at IS NOT NULL) \
                      OR ($4 = 'expired' AND revoked_at IS NULL AND disabled_at IS NULL AND expires_at <= $5) \
                      OR ($4 = 'active' AND revoked_at IS NULL AND disabled_at IS NULL \
                          AND (expires_at IS NULL OR expires_at > $5))) \
                 AND (CAST($6 AS TEXT) IS NULL \
                      OR name_folded LIKE $6 ESCAPE '\\' \
                      OR substr(prefix, 1, length(CAST($7 AS TEXT))) = $7 \
                      OR id BETWEEN $8 AND $9 \
                      OR uuid BETWEEN $10 AND $11) \
                 AND (CAST($12 AS BIGINT) IS NULL OR environment_id = $12) \
                 AND (CAST($13 AS BIGINT) IS NULL OR organisation_id = $13) ",
                $more,
                "ORDER BY uuid DESC LIMIT $14"
            ),
            concat!("SELECT id FROM keys WHERE ", $column, " = $1 AND uuid < $2 ORDER BY uuid DESC LIMIT $3"),
        ]
    };
}

const OF_CREATOR: [&str; 3] = statements!(
    "created_by",
    "AND (SELECT count(*) FROM memberships m WHERE m.user_id = $1 AND m.organisation_id = keys.organisation_id) > 0 "
);
const OF_ORGANISATION: [&str; 3] = statements!("organisation_id", "");
const OF_ENVIRONMENT: [&str; 3] = statements!("environment_id", "");

impl Owner {
    /// Returns the statements of a step: the first finds its end, the second the matching keys, the third all keys.
    pub fn statements(self) -> [&'static str; 3] {
        match self {
            Self::Creator(_) | Self::CreatorIn(..) | Self::CreatorFor(..) => OF_CREATOR,
            Self::Organisation(_) => OF_ORGANISATION,
            Self::Environment(_) => OF_ENVIRONMENT,
        }
    }

    /// Returns the owner, and the environment or organisation that narrows the list.
    fn parameters(self) -> (i64, Option<i64>, Option<i64>) {
        match self {
            Self::Creator(user) => (user.0, None, None),
            Self::CreatorIn(user, environment) => (user.0, Some(environment.0), None),
            Self::CreatorFor(user, organisation) => (user.0, None, Some(organisation.0)),
            Self::Organisation(organisation) => (organisation.0, None, None),
            Self::Environment(environment) => (environment.0, None, None),
        }
    }
}

/// The result of a step.
#[derive(Debug)]
pub(crate) struct Step {
    /// The matching keys, newest first.
    pub(crate) keys: Vec<KeyId>,
    /// The UUID before which the next step begins; `None` after the last one.
    pub(crate) end: Option<Uuid>,
}

impl Db {
    /// Reads up to [`STEP`] keys that are older than the key with the UUID `before`; returns up to `limit` matching
    /// keys.
    pub(crate) async fn list_step(
        &self,
        owner: Owner,
        before: Uuid,
        filter: &KeyFilter,
        limit: usize,
        now: Timestamp,
    ) -> Result<Step, StoreError> {
        let [last, matching, all] = owner.statements();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (id, environment, organisation) = owner.parameters();
        // Without a filter every key of these indexes matches, so the limit is enough.
        let is_whole_index = matches!(owner, Owner::Organisation(_) | Owner::Environment(_));
        if is_whole_index && *filter == KeyFilter::default() {
            let keys: Vec<i64> = reading!(self, connection => {
                sqlx::query_scalar(all).bind(id).bind(before).bind(limit).fetch_all(connection).await?
            });
            return Ok(Step { keys: keys.into_iter().map(KeyId).collect(), end: None });
        }
        let search = filter.search.as_ref();
        let (ids, uuids) = (search.and_then(|search| search.ids), search.and_then(|search| search.uuids));
        Ok(reading!(self, connection => {
            let end: Option<Uuid> =
                sqlx::query_scalar(last).bind(id).bind(before).bind(STEP - 1).fetch_optional(&mut *connection).await?;
            let keys: Vec<i64> = sqlx::query_scalar(matching)
                .bind(id)
                .bind(before)
                .bind(end.unwrap_or(Uuid::nil()))
                .bind(filter.state.map(KeyState::as_str))
                .bind(now.0)
                .bind(search.map(|search| contains(&search.name)))
                .bind(search.map(|search| &*search.prefix))
                .bind(ids.map(|ids| ids.0))
                .bind(ids.map(|ids| ids.1))
                .bind(uuids.map(|uuids| uuids.0))
                .bind(uuids.map(|uuids| uuids.1))
                .bind(environment)
                .bind(organisation)
                .bind(limit)
                .fetch_all(connection)
                .await?;
            Step { keys: keys.into_iter().map(KeyId).collect(), end }
        }))
    }

    /// Returns the keys with these ids, newest first.
    pub(crate) async fn keys_by_id(&self, ids: &[KeyId]) -> Result<Vec<Key>, StoreError> {
        let ids = serde_json::json!(ids.iter().map(|id| id.0).collect::<Vec<_>>()).to_string();
        let rows: Vec<KeyRow> = reading!(self, connection => {
            sqlx::query_as(sql!(self, "keys_by_id")).bind(&ids).fetch_all(connection).await?
        });
        let mut keys = rows.into_iter().map(KeyRow::into_key).collect::<Result<Vec<_>, _>>()?;
        keys.sort_by_key(|key| std::cmp::Reverse(key.uuid));
        Ok(keys)
    }
}

/// Returns a `LIKE` pattern for names that contain a text. `\` escapes `%` and `_`.
fn contains(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}
