//! Keys.

use uuid::Uuid;

use super::db::{Db, StoreError, reading, sql, writing};
use crate::keys::{Key, KeyHash, KeyState, Limits};
use crate::model::wire::{Quota, RateLimit};
use crate::model::{EnvironmentId, KeyId, Mode, OrganisationId, Scopes, Timestamp, UserId};

/// A row of the view `keys_in_context`.
#[derive(sqlx::FromRow)]
pub(super) struct KeyRow {
    id: i64,
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
            id: KeyId(self.id),
            uuid: self.uuid,
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

/// A key to be stored.
pub struct NewRow<'a> {
    /// The key, as it will be read back.
    pub key: &'a Key,
    /// What is kept of its string.
    pub hash: &'a KeyHash,
    /// The most keys that its organisation may have that are not revoked.
    pub most: i64,
}

/// What became of an insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is on disk.
    Done,
    /// The organisation has as many keys as it may.
    Full,
    /// The key that was to make this one has ended meanwhile.
    ParentEnded,
}

/// Whose keys a listing shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Those that this user made, in organisations that they are still in.
    Creator(UserId),
    /// Those of them that belong to this environment.
    CreatorIn(UserId, EnvironmentId),
    /// Those of them that belong to this organisation.
    CreatorFor(UserId, OrganisationId),
    /// All of an organisation.
    Organisation(OrganisationId),
    /// All of an environment.
    Environment(EnvironmentId),
}

/// Which of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Only in this state.
    pub state: Option<KeyState>,
    /// Only with this in the name, whatever the case.
    pub name: Option<String>,
}

/// A page of keys, newest first.
pub struct Listed {
    /// The keys.
    pub keys: Vec<Key>,
    /// Whether there are older ones.
    pub more: bool,
}

/// The use of a key since it was last written down.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Use {
    /// Which key.
    pub id: i64,
    /// How many requests.
    pub requests: i64,
    /// When the last one was, milliseconds since 1970.
    pub at: i64,
}

impl Db {
    pub(crate) async fn insert_key(&self, new: &NewRow<'_>) -> Result<Inserted, StoreError> {
        let key = new.key;
        let ip_allowlist = key.limits.ip_allowlist.as_ref().map(|cidrs| serde_json::json!(cidrs).to_string());
        let metadata = key.metadata.as_ref().map(|map| serde_json::json!(map).to_string());
        writing!(self, tx => {
            // Keys before organisations, everywhere: two transactions must not wait for each other.
            if let Some(parent) = key.parent {
                let held = sqlx::query(sql!("key_hold_active")).bind(parent.0).execute(&mut *tx).await?;
                if held.rows_affected() == 0 {
                    return Ok(Inserted::ParentEnded);
                }
            }
            let counted = sqlx::query(sql!("organisation_count_new_key"))
                .bind(key.organisation.0)
                .bind(new.most)
                .execute(&mut *tx)
                .await?;
            if counted.rows_affected() == 0 {
                return Ok(Inserted::Full);
            }
            sqlx::query(sql!("key_insert"))
                .bind(key.id.0)
                .bind(key.uuid)
                .bind(new.hash.as_bytes().as_slice())
                .bind(key.organisation.0)
                .bind(key.environment.0)
                .bind(key.created_by.map(|user| user.0))
                .bind(key.parent.map(|parent| parent.0))
                .bind(&key.name)
                .bind(&key.prefix)
                .bind(key.scopes.to_wire())
                .bind(key.limits.expires_at.map(|at| at.0))
                .bind(&ip_allowlist)
                .bind(&metadata)
                .bind(key.limits.rate_limit.map(|rate| i64::from(rate.limit)))
                .bind(key.limits.rate_limit.map(|rate| i64::from(rate.window_seconds)))
                .bind(key.limits.quota.map(|quota| i64::try_from(quota.limit).unwrap_or(i64::MAX)))
                .bind(key.created_at.0)
                .execute(&mut *tx)
                .await?;
        });
        Ok(Inserted::Done)
    }

    pub(crate) async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<Key>, StoreError> {
        let row: Option<KeyRow> = reading!(self, pool => {
            sqlx::query_as(sql!("key_by_hash")).bind(hash.as_bytes().as_slice()).fetch_optional(pool).await?
        });
        Ok(row.map(KeyRow::into_key).transpose()?)
    }

    pub(crate) async fn key_by_id(&self, id: KeyId) -> Result<Option<Key>, StoreError> {
        let row: Option<KeyRow> = reading!(self, pool => {
            sqlx::query_as(sql!("key_by_id")).bind(id.0).fetch_optional(pool).await?
        });
        Ok(row.map(KeyRow::into_key).transpose()?)
    }

    /// How many keys that this key made still work.
    pub(crate) async fn count_children(&self, id: KeyId) -> Result<i64, StoreError> {
        Ok(reading!(self, pool => {
            sqlx::query_scalar(sql!("key_count_children")).bind(id.0).fetch_one(pool).await?
        }))
    }

    /// Up to `limit` keys that are older than `before`.
    pub(crate) async fn list_keys(
        &self,
        owner: Owner,
        before: (Timestamp, KeyId),
        filter: &KeyFilter,
        limit: u32,
        now: Timestamp,
    ) -> Result<Listed, StoreError> {
        let (statement, id, within) = match owner {
            Owner::Creator(user) => (sql!("keys_of_creator"), user.0, None),
            Owner::CreatorIn(user, environment) => (sql!("keys_of_creator"), user.0, Some(environment.0)),
            Owner::CreatorFor(user, organisation) => (sql!("keys_made_for"), user.0, Some(organisation.0)),
            Owner::Organisation(organisation) => (sql!("keys_of_organisation"), organisation.0, None),
            Owner::Environment(environment) => (sql!("keys_of_environment"), environment.0, None),
        };
        let pattern = filter.name.as_deref().map(contains);
        let mut rows: Vec<KeyRow> = reading!(self, pool => {
            sqlx::query_as(statement)
                .bind(id)
                .bind(before.0.0)
                .bind(before.1.0)
                .bind(i64::from(limit) + 1)
                .bind(filter.state.map(KeyState::as_str))
                .bind(now.0)
                .bind(pattern)
                .bind(within)
                .fetch_all(pool)
                .await?
        });
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let keys = rows.into_iter().map(KeyRow::into_key).collect::<Result<_, _>>()?;
        Ok(Listed { keys, more })
    }

    pub(crate) async fn key_by_uuid(&self, uuid: Uuid) -> Result<Option<Key>, StoreError> {
        let row: Option<KeyRow> = reading!(self, pool => {
            sqlx::query_as(sql!("key_by_uuid")).bind(uuid).fetch_optional(pool).await?
        });
        Ok(row.map(KeyRow::into_key).transpose()?)
    }

    /// Marks a key as revoked, with `descendants` those that it made as well; whether it was this
    /// call that did. A key that is revoked already stays as it was.
    pub(crate) async fn revoke_key(
        &self,
        key: &Key,
        by: Option<UserId>,
        descendants: bool,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let ended = writing!(self, tx => {
            if descendants {
                sqlx::query(sql!(self, "key_lock_family")).bind(key.id.0).execute(&mut *tx).await?;
            }
            let ended = sqlx::query(sql!("key_revoke"))
                .bind(key.id.0)
                .bind(at.0)
                .bind(by.map(|user| user.0))
                .execute(&mut *tx)
                .await?
                .rows_affected();
            let mut revoked = ended;
            if descendants {
                revoked += sqlx::query(sql!("key_revoke_children"))
                    .bind(key.id.0)
                    .bind(at.0)
                    .bind(by.map(|user| user.0))
                    .execute(&mut *tx)
                    .await?
                    .rows_affected();
            }
            sqlx::query(sql!("organisation_count_revoked"))
                .bind(key.organisation.0)
                .bind(i64::try_from(revoked).unwrap_or(i64::MAX))
                .execute(&mut *tx)
                .await?;
            ended
        });
        Ok(ended == 1)
    }

    /// Adds the use of several keys, in one statement.
    pub(crate) async fn count_uses(&self, uses: &[Use]) -> Result<(), StoreError> {
        let uses = serde_json::json!(uses).to_string();
        writing!(self, tx => {
            sqlx::query(sql!(self, "keys_count_use")).bind(&uses).execute(&mut *tx).await?;
        });
        Ok(())
    }
}

/// A `LIKE` pattern for names that contain a text, in which `\` takes the meaning off `%` and `_`.
fn contains(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    // Of ASCII letters only, as the statements fold names on both engines.
    for character in text.to_ascii_lowercase().chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}
