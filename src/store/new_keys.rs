//! New keys: stored several at a time, none beyond what its organisation may have.

use std::sync::{Arc, LazyLock};

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite};

use super::db::{Db, StoreError, sql, writing};
use super::family::lock_trees;
use super::few::Few;
use super::keys::{KeyRow, StoredLimits};
use crate::domain::{Key, fold};
use crate::model::{KeyId, OrganisationId};

/// What became of an insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is on disk.
    Done,
    /// The organisation has as many keys as it may.
    Full,
    /// The organisation has as many revoked keys as it may.
    TooManyRevoked,
    /// The key that was to make this one has ended meanwhile.
    ParentEnded,
    /// The key that was to make this one was narrowed meanwhile, and may not make it any more.
    ParentNarrowed,
}

/// How many keys an organisation may have.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// Those that are not revoked.
    pub keys: i64,
    /// Those that are: with so many it gets no further keys.
    pub revoked: i64,
}

impl Db {
    /// Stores keys, all in one transaction; what became of each. An organisation gets no more than `most`. `bind` holds a
    /// key against its parent as that is now, which cannot change before
    /// the key is stored; false if the parent may not make it.
    pub(crate) async fn insert_keys(
        &self,
        keys: &mut [Key],
        most: Most,
        bind: impl Fn(&Key, &mut Key) -> bool,
    ) -> Result<Vec<Inserted>, StoreError> {
        let mut outcomes = vec![Inserted::Done; keys.len()];
        if self.insert_keys_at_once(keys, most).await? {
            return Ok(outcomes);
        }
        // In one order, everywhere, and keys before organisations: two transactions must not wait for each other.
        let mut parents: Vec<KeyId> = keys.iter().filter_map(|key| key.parent).collect();
        parents.sort_unstable();
        parents.dedup();
        let mut organisations: Vec<OrganisationId> = keys.iter().map(|key| key.organisation).collect();
        organisations.sort_unstable();
        organisations.dedup();
        writing!(self, tx => {
            if !parents.is_empty() {
                lock_trees!(self, tx, parents.iter().copied());
            }
            for parent in parents {
                let held = sqlx::query(sql!("key_hold_active")).bind(parent.0).execute(&mut *tx).await?;
                let row: Option<KeyRow> = sqlx::query_as(sql!("key_by_id")).bind(parent.0).fetch_optional(&mut *tx).await?;
                let row = row.map(KeyRow::into_key).transpose()?.filter(|_| held.rows_affected() == 1);
                for (key, outcome) in keys.iter_mut().zip(&mut outcomes).filter(|(key, _)| key.parent == Some(parent)) {
                    match &row {
                        None => *outcome = Inserted::ParentEnded,
                        Some(parent) if !bind(parent, key) => *outcome = Inserted::ParentNarrowed,
                        Some(_) => {}
                    }
                }
            }
            for organisation in organisations {
                let mut wanted: Vec<&mut Inserted> = keys
                    .iter()
                    .zip(&mut outcomes)
                    .filter(|(key, outcome)| key.organisation == organisation && **outcome == Inserted::Done)
                    .map(|(_, outcome)| outcome)
                    .collect();
                // All at once; where there is no room for all, those that came first.
                while !wanted.is_empty() {
                    let counted = sqlx::query(sql!("organisation_count_new_keys"))
                        .bind(organisation.0)
                        .bind(i64::try_from(wanted.len()).unwrap_or(i64::MAX))
                        .bind(most.keys)
                        .bind(most.revoked)
                        .execute(&mut *tx)
                        .await?;
                    if counted.rows_affected() == 1 {
                        break;
                    }
                    let (_, revoked): (i64, i64) = sqlx::query_as(sql!("organisation_counts"))
                        .bind(organisation.0)
                        .fetch_one(&mut *tx)
                        .await?;
                    if revoked >= most.revoked {
                        wanted.drain(..).for_each(|outcome| *outcome = Inserted::TooManyRevoked);
                        break;
                    }
                    if let Some(last) = wanted.pop() {
                        *last = Inserted::Full;
                    }
                }
            }
            let made = keys.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Inserted::Done);
            let rows = rows(made.map(|(key, _)| key))?;
            sqlx::query(sql!(self, "keys_insert")).bind(&rows).execute(&mut *tx).await?;
        });
        Ok(outcomes)
    }

    /// The usual case on SQLite, where every statement is a trip to another thread: one trip for keys that
    /// people make for one organisation. Whether it was that case, and there was room for all of them; if not,
    /// nothing has changed.
    async fn insert_keys_at_once(&self, keys: &[Key], most: Most) -> Result<bool, StoreError> {
        let (Self::Sqlite(file), Some(first)) = (self, keys.first()) else {
            return Ok(false);
        };
        if keys.iter().any(|key| key.parent.is_some() || key.organisation != first.organisation) {
            return Ok(false);
        }
        let query = match FEW_ON_SQLITE.of(keys.len()) {
            Some(statement) => of_few(statement, keys, first.organisation, most),
            None => sqlx::query(TRANSACTION_ON_SQLITE)
                .bind(rows(keys.iter())?)
                .bind(first.organisation.0)
                .bind(i64::try_from(keys.len()).unwrap_or(i64::MAX))
                .bind(most.keys)
                .bind(most.revoked),
        };
        let mut lent = file.writer.lend().await?;
        match query.fetch_all(lent.connection()?).await {
            Ok(counted) => {
                lent.release_unchanged();
                Ok(!counted.is_empty())
            }
            Err(error) => {
                // Fails where SQLite itself has rolled back already.
                let _ = sqlx::query("ROLLBACK").execute(lent.connection()?).await;
                Err(error.into())
            }
        }
    }
}

/// New keys of one organisation: if there is room for all of them they are counted and stored, and there is a
/// row for an answer. $2: the organisation; $3: how many; $4: how many it may have that are not revoked; $5: below how many
/// revoked ones.
const TRANSACTION_ON_SQLITE: &str = concat!(
    "BEGIN IMMEDIATE;",
    "UPDATE organisations SET key_count = key_count + $3 WHERE id = $2 AND key_count - revoked_count + $3 <= $4 \
       AND revoked_count < $5 \
     RETURNING id;",
    include_str!("sql/keys_insert.sqlite.sql"),
    ";COMMIT"
);
/// The same for few keys, with the parameters of [`of_few`].
static FEW_ON_SQLITE: LazyLock<Few> = LazyLock::new(|| {
    let before = "BEGIN IMMEDIATE;\
        UPDATE organisations SET key_count = key_count + ? WHERE id = ? AND key_count - revoked_count <= ? \
          AND revoked_count < ? \
        RETURNING id;\
        INSERT INTO keys (id, uuid, hash, organisation_id, environment_id, created_by, parent_id, name, prefix, \
                          scopes, expires_at, ip_allowlist, metadata, rate_limit, rate_window_seconds, \
                          quota_limit, created_at, name_folded) \
        SELECT * FROM (VALUES ";
    // Only if the statement before has counted them.
    Few::new(before, "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", ") WHERE changes() = 1;COMMIT")
});

/// The statement for so many keys, with its parameters.
fn of_few(
    statement: Arc<str>,
    keys: &[Key],
    organisation: OrganisationId,
    most: Most,
) -> Query<'_, Sqlite, SqliteArguments> {
    let count = i64::try_from(keys.len()).unwrap_or(i64::MAX);
    // Nothing in its text is anybody's input.
    let query = sqlx::query(AssertSqlSafe(statement));
    let query = query.bind(count).bind(organisation.0).bind(most.keys.saturating_sub(count)).bind(most.revoked);
    keys.iter().fold(query, |query, key| {
        let limits = StoredLimits::of(key);
        query
            .bind(key.id.0)
            .bind(key.uuid)
            .bind(&key.hash.as_bytes()[..])
            .bind(key.organisation.0)
            .bind(key.environment.0)
            .bind(key.created_by.map(|user| user.0))
            .bind(key.parent.map(|parent| parent.0))
            .bind(&*key.name)
            .bind(&*key.prefix)
            .bind(key.scopes.to_wire())
            .bind(limits.expires_at)
            .bind(limits.ip_allowlist)
            .bind(limits.metadata)
            .bind(limits.rate_limit)
            .bind(limits.rate_window_seconds)
            .bind(limits.quota_limit)
            .bind(key.created_at.0)
            .bind(fold(&key.name))
    })
}

/// The rows of new keys, for `keys_insert`.
fn rows<'a>(keys: impl Iterator<Item = &'a Key>) -> sqlx::Result<String> {
    let rows: Vec<NewRow> = keys.map(NewRow::of).collect();
    serde_json::to_string(&rows).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// A key's row; bytes are in hex.
#[derive(serde::Serialize)]
struct NewRow<'a> {
    id: i64,
    uuid: uuid::fmt::Simple,
    hash: String,
    organisation_id: i64,
    environment_id: i64,
    created_by: Option<i64>,
    parent_id: Option<i64>,
    name: &'a str,
    prefix: &'a str,
    scopes: Option<String>,
    #[serde(flatten)]
    limits: StoredLimits,
    created_at: i64,
    name_folded: String,
}

impl<'a> NewRow<'a> {
    fn of(key: &'a Key) -> Self {
        Self {
            id: key.id.0,
            uuid: key.uuid.simple(),
            hash: hex::encode(key.hash.as_bytes()),
            organisation_id: key.organisation.0,
            environment_id: key.environment.0,
            created_by: key.created_by.map(|user| user.0),
            parent_id: key.parent.map(|parent| parent.0),
            name: &key.name,
            prefix: &key.prefix,
            scopes: key.scopes.to_wire(),
            limits: StoredLimits::of(key),
            created_at: key.created_at.0,
            name_folded: fold(&key.name),
        }
    }
}
