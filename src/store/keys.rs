//! Keys: their columns, reading them, and storing new ones, several at a time and within the organisation's limit.
//!
//! A new column of a key must be added to the migrations and to this file: `KeyRow` reads it; `EDITABLE` and
//! `bind_editable` write it if an edit may change it, `insert_keys` if not.

use std::collections::HashSet;

use uuid::Uuid;

use super::audit::write_audit;
use super::db::{Db, StoreError, reading, sql, writing};
use super::key_places::{Attempt, KeyPlace, KeyPlaceRow, KeyRules, judge_places, places_of, read_places};
use crate::domain::{AuditEntry, Key, KeyHash, Limits, Spent, fold};
use crate::model::{EnvironmentId, KeyId, Mode, OrganisationId, Quota, RateLimit, Scopes, Timestamp, UserId};

/// A row of the view `keys_in_context`.
#[derive(sqlx::FromRow)]
pub(super) struct KeyRow {
    pub(super) id: i64,
    uuid: Uuid,
    organisation_id: i64,
    environment_id: i64,
    created_by: Option<i64>,
    parent_id: Option<i64>,
    name: String,
    prefix: String,
    scopes: Option<String>,
    expires_at: Option<i64>,
    ip_allowlist: Option<String>,
    metadata: Option<String>,
    rate_limit: Option<i64>,
    rate_window_seconds: Option<i64>,
    quota_limit: Option<i64>,
    created_at: i64,
    disabled_at: Option<i64>,
    revoked_at: Option<i64>,
    request_count: i64,
    last_used_at: Option<i64>,
    hash: Vec<u8>,
    rate_until: Option<i64>,
    quota_month: Option<i64>,
    quota_used: i64,
    mode: String,
    organisation_uuid: Uuid,
    creator: Option<String>,
}

impl KeyRow {
    pub(super) fn into_key(self) -> Result<Key, sqlx::Error> {
        let broken = |column: &str| sqlx::Error::ColumnDecode {
            index: column.to_owned(),
            source: format!("key {}: unreadable {column}", KeyId(self.id)).into(),
        };
        let rate_limit = match (self.rate_limit, self.rate_window_seconds) {
            (Some(limit), Some(window)) => Some(RateLimit {
                limit: u32::try_from(limit).map_err(|_| broken("rate_limit"))?,
                window_seconds: u32::try_from(window).map_err(|_| broken("rate_window_seconds"))?,
            }),
            _ => None,
        };
        Ok(Key {
            scopes: Scopes::parse(self.scopes.as_deref()).map_err(|_| broken("scopes"))?,
            mode: Mode::parse(&self.mode).ok_or_else(|| broken("mode"))?,
            limits: Limits {
                expires_at: self.expires_at.map(Timestamp),
                ip_allowlist: match &self.ip_allowlist {
                    Some(json) => Some(serde_json::from_str(json).map_err(|_| broken("ip_allowlist"))?),
                    None => None,
                },
                rate_limit,
                quota: match self.quota_limit {
                    Some(limit) => Some(Quota { limit: u64::try_from(limit).map_err(|_| broken("quota_limit"))? }),
                    None => None,
                },
            },
            metadata: match &self.metadata {
                Some(json) => Some(serde_json::from_str(json).map_err(|_| broken("metadata"))?),
                None => None,
            },
            spent: Spent {
                rate_until: self.rate_until.map(Timestamp),
                quota_month: self.quota_month.and_then(|month| month.try_into().ok()),
                quota_used: u64::try_from(self.quota_used).map_err(|_| broken("quota_used"))?,
            },
            id: KeyId(self.id),
            uuid: self.uuid,
            hash: KeyHash::from_slice(&self.hash).ok_or_else(|| broken("hash"))?,
            organisation: OrganisationId(self.organisation_id),
            organisation_uuid: self.organisation_uuid,
            environment: EnvironmentId(self.environment_id),
            created_by: self.created_by.map(UserId),
            creator: self.creator,
            parent: self.parent_id.map(KeyId),
            name: self.name,
            prefix: self.prefix,
            created_at: Timestamp(self.created_at),
            disabled_at: self.disabled_at.map(Timestamp),
            revoked_at: self.revoked_at.map(Timestamp),
            request_count: self.request_count,
            last_used_at: self.last_used_at.map(Timestamp),
        })
    }
}

/// Columns that an edit may change, in the order of `bind_editable`.
pub(super) const EDITABLE: [&str; 8] = [
    "scopes",
    "expires_at",
    "ip_allowlist",
    "metadata",
    "rate_limit",
    "rate_window_seconds",
    "quota_limit",
    "disabled_at",
];

/// Binds the [`EDITABLE`] columns of a key to a row of `VALUES`.
macro_rules! bind_editable {
    ($row:expr, $key:expr) => {{
        let (key, limits): (&Key, _) = ($key, &$key.limits);
        $row.push_bind(key.scopes.to_wire())
            .push_bind(limits.expires_at.map(|at| at.0))
            .push_bind(limits.ip_allowlist.as_ref().map(|cidrs| serde_json::json!(cidrs).to_string()))
            .push_bind(key.metadata.as_ref().map(|map| serde_json::json!(map).to_string()))
            .push_bind(limits.rate_limit.map(|rate| i64::from(rate.limit)))
            .push_bind(limits.rate_limit.map(|rate| i64::from(rate.window_seconds)))
            .push_bind(limits.quota.map(|quota| i64::try_from(quota.limit).unwrap_or(i64::MAX)))
            .push_bind(key.disabled_at.map(|at| at.0))
    }};
}

/// Locks the trees of some keys until the transaction ends. Must be called before any row is locked.
macro_rules! lock_trees {
    ($db:expr, $tx:ident, $ids:expr) => {{
        let ids: Vec<i64> = $ids.map(|id: KeyId| id.0).collect();
        let ids = serde_json::json!(ids).to_string();
        sqlx::query(sql!($db, "keys_lock_trees")).bind(ids).execute(&mut *$tx).await?;
    }};
}

pub(super) use {bind_editable, lock_trees};

/// The largest number of new keys for which a statement stays prepared, one for each number; larger batches are rare.
const PREPARED_ROWS: usize = 32;

/// Inserts keys within a transaction: at most 1,700, because SQLite limits the parameters of a statement to 32,766.
macro_rules! insert_keys {
    ($tx:ident, $keys:expr) => {{
        let is_prepared = $keys.len() <= PREPARED_ROWS;
        let mut insert = sqlx::QueryBuilder::new(format!(
            "INSERT INTO keys (id, uuid, hash, organisation_id, environment_id, created_by, parent_id, name, \
             name_folded, prefix, created_at, {}) ",
            EDITABLE.join(", ")
        ));
        insert.push_values($keys, |mut row, key: &Key| {
            row.push_bind(key.id.0)
                .push_bind(key.uuid)
                .push_bind(&key.hash.as_bytes()[..])
                .push_bind(key.organisation.0)
                .push_bind(key.environment.0)
                .push_bind(key.created_by.map(|user| user.0))
                .push_bind(key.parent.map(|parent| parent.0))
                .push_bind(&*key.name)
                .push_bind(fold(&key.name))
                .push_bind(&*key.prefix)
                .push_bind(key.created_at.0);
            bind_editable!(row, key);
        });
        insert.build().persistent(is_prepared).execute(&mut *$tx).await?;
    }};
}

/// The outcome of an insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// The key is on disk.
    Done,
    /// The organisation has the largest number of keys.
    Full,
    /// The organisation has the largest number of revoked keys.
    TooManyRevoked,
    /// The key that creates this one was revoked or paused meanwhile.
    ParentEnded,
    /// The key that creates this one was narrowed meanwhile, and may not create it any more.
    ParentNarrowed,
    /// The organisation is deleted, or its maker is no member any more.
    NoPlace,
    /// The role of its maker does not allow it any more.
    NotAllowed,
    /// The environment is archived.
    Archived,
}

/// A new key, and the audit entry of its creation.
#[derive(Debug)]
pub(crate) struct NewKey {
    pub(crate) key: Key,
    pub(crate) entry: AuditEntry,
}

/// The largest numbers of keys of an organisation.
#[derive(Debug, Clone, Copy)]
pub struct MaxKeys {
    /// Keys that are not revoked.
    pub keys: i64,
    /// Revoked keys: with this number, the organisation gets no further keys.
    pub revoked: i64,
}

impl Db {
    /// Stores keys in one transaction; returns the outcome of each.
    pub(crate) async fn insert_keys<B, J>(
        &self,
        keys: &mut [NewKey],
        rules: &KeyRules<B, J>,
    ) -> Result<Vec<Inserted>, StoreError>
    where
        B: Fn(&Key, &mut NewKey) -> bool,
        J: Fn(&Key, Option<&KeyPlace>) -> Inserted,
    {
        let mut refused = vec![Inserted::Done; keys.len()];
        // A place is judged when the rows of the organisations are held, and the keys are counted. A key that is refused
        // then must not count: the transaction is rolled back and run again without it, which is rare.
        loop {
            match self.try_insert_keys(keys, rules, &refused).await? {
                Attempt::Stored(outcomes) => return Ok(outcomes),
                Attempt::Refused(further) => refused = further,
            }
        }
    }

    /// Stores the keys that are not refused, or nothing if places of further ones are.
    async fn try_insert_keys<B, J>(
        &self,
        keys: &mut [NewKey],
        rules: &KeyRules<B, J>,
        refused: &[Inserted],
    ) -> Result<Attempt, StoreError>
    where
        B: Fn(&Key, &mut NewKey) -> bool,
        J: Fn(&Key, Option<&KeyPlace>) -> Inserted,
    {
        let KeyRules { max, bind, judge } = rules;
        let mut outcomes = refused.to_vec();
        let places = places_of(keys);
        // Every transaction locks in this order, keys before organisations, so that two transactions cannot deadlock.
        let mut parents: Vec<KeyId> = keys.iter().filter_map(|new| new.key.parent).collect();
        parents.sort_unstable();
        parents.dedup();
        let mut organisations: Vec<OrganisationId> = keys.iter().map(|new| new.key.organisation).collect();
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
                for (new, outcome) in keys.iter_mut().zip(&mut outcomes).filter(|(new, outcome)| new.key.parent == Some(parent) && **outcome == Inserted::Done) {
                    match &row {
                        None => *outcome = Inserted::ParentEnded,
                        Some(parent) if !bind(parent, new) => *outcome = Inserted::ParentNarrowed,
                        Some(_) => {}
                    }
                }
            }
            for organisation in organisations {
                let mut wanted: Vec<&mut Inserted> = keys
                    .iter()
                    .zip(&mut outcomes)
                    .filter(|(new, outcome)| new.key.organisation == organisation && **outcome == Inserted::Done)
                    .map(|(_, outcome)| outcome)
                    .collect();
                // Counts all at once; without room for all, the first keys get in.
                while !wanted.is_empty() {
                    let counted = sqlx::query(sql!("organisation_count_new_keys"))
                        .bind(organisation.0)
                        .bind(i64::try_from(wanted.len()).unwrap_or(i64::MAX))
                        .bind(max.keys)
                        .bind(max.revoked)
                        .execute(&mut *tx)
                        .await?;
                    if counted.rows_affected() == 1 {
                        break;
                    }
                    let counts: Option<(i64, i64)> = sqlx::query_as(sql!("organisation_counts"))
                        .bind(organisation.0)
                        .fetch_optional(&mut *tx)
                        .await?;
                    let Some((_, revoked)) = counts else {
                        wanted.drain(..).for_each(|outcome| *outcome = Inserted::NoPlace);
                        break;
                    };
                    if revoked >= max.revoked {
                        wanted.drain(..).for_each(|outcome| *outcome = Inserted::TooManyRevoked);
                        break;
                    }
                    if let Some(last) = wanted.pop() {
                        *last = Inserted::Full;
                    }
                }
            }
            // After the rows of the organisations are held, and in a statement of its own: it sees each member that left
            // and each environment that was archived before, and the next one waits for this transaction.
            let rows: Vec<KeyPlaceRow> = sqlx::query_as(sql!(self, "key_places")).bind(&places).fetch_all(&mut *tx).await?;
            let judged = judge_places(keys, &outcomes, refused, &read_places(rows), judge);
            if judged != refused {
                return Ok(Attempt::Refused(judged));
            }
            let made = keys.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Inserted::Done);
            let (made, entries): (Vec<&Key>, Vec<&AuditEntry>) = made.map(|(new, _)| (&new.key, &new.entry)).unzip();
            if !made.is_empty() {
                insert_keys!(tx, made);
                write_audit!(self, tx, entries);
            }
        });
        Ok(Attempt::Stored(outcomes))
    }

    /// Returns the existing keys with these hashes, in one statement.
    pub(crate) async fn keys_by_hash(&self, hashes: &[KeyHash]) -> Result<Vec<Key>, StoreError> {
        let hashes: Vec<String> = hashes.iter().map(|hash| hex::encode(hash.as_bytes())).collect();
        let hashes = serde_json::json!(hashes).to_string();
        let rows: Vec<KeyRow> = reading!(self, connection => {
            sqlx::query_as(sql!(self, "keys_by_hash")).bind(&hashes).fetch_all(connection).await?
        });
        Ok(rows.into_iter().map(KeyRow::into_key).collect::<Result<_, _>>()?)
    }

    /// Returns the keys that an organisation owns.
    pub(crate) async fn keys_of(&self, organisation: OrganisationId, ids: &[KeyId]) -> Result<Vec<KeyId>, StoreError> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let ids = serde_json::json!(ids).to_string();
        let known: Vec<i64> = reading!(self, connection => {
            sqlx::query_scalar(sql!(self, "keys_owned"))
                .bind(organisation.0)
                .bind(&ids)
                .fetch_all(connection)
                .await?
        });
        Ok(known.into_iter().map(KeyId).collect())
    }

    pub(crate) async fn key_by_id(&self, id: KeyId) -> Result<Option<Key>, StoreError> {
        let row: Option<KeyRow> = reading!(self, connection => {
            sqlx::query_as(sql!("key_by_id")).bind(id.0).fetch_optional(connection).await?
        });
        Ok(row.map(KeyRow::into_key).transpose()?)
    }

    /// Returns the number of keys below this one, at any depth, that are not revoked.
    pub(crate) async fn count_descendants(&self, id: KeyId) -> Result<i64, StoreError> {
        Ok(reading!(self, connection => {
            sqlx::query_scalar(sql!("key_count_descendants")).bind(id.0).fetch_one(connection).await?
        }))
    }

    /// Returns the keys among these that have created keys.
    pub(crate) async fn keys_with_children(&self, ids: &[KeyId]) -> Result<HashSet<KeyId>, StoreError> {
        let ids = serde_json::json!(ids.iter().map(|id| id.0).collect::<Vec<_>>()).to_string();
        let parents: Vec<i64> = reading!(self, connection => {
            sqlx::query_scalar(sql!(self, "keys_with_children")).bind(&ids).fetch_all(connection).await?
        });
        Ok(parents.into_iter().map(KeyId).collect())
    }

    pub(crate) async fn key_by_uuid(&self, uuid: Uuid) -> Result<Option<Key>, StoreError> {
        let row: Option<KeyRow> = reading!(self, connection => {
            sqlx::query_as(sql!("key_by_uuid")).bind(uuid).fetch_optional(connection).await?
        });
        Ok(row.map(KeyRow::into_key).transpose()?)
    }
}
