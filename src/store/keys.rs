//! Keys.

use std::collections::HashSet;

use uuid::Uuid;

use super::db::{Db, StoreError, reading, sql};
use crate::domain::{Key, KeyHash, Limits, Spent};
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

impl Db {
    /// Those of the keys that there are, in one statement.
    pub(crate) async fn keys_by_hash(&self, hashes: &[KeyHash]) -> Result<Vec<Key>, StoreError> {
        let hashes: Vec<String> = hashes.iter().map(|hash| hex::encode(hash.as_bytes())).collect();
        let hashes = serde_json::json!(hashes).to_string();
        let rows: Vec<KeyRow> = reading!(self, connection => {
            sqlx::query_as(sql!(self, "keys_by_hash")).bind(&hashes).fetch_all(connection).await?
        });
        Ok(rows.into_iter().map(KeyRow::into_key).collect::<Result<_, _>>()?)
    }

    /// Which of the keys are an organisation's.
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

    /// How many keys below this one, at any depth, are not revoked.
    pub(crate) async fn count_descendants(&self, id: KeyId) -> Result<i64, StoreError> {
        Ok(reading!(self, connection => {
            sqlx::query_scalar(sql!("key_count_descendants")).bind(id.0).fetch_one(connection).await?
        }))
    }

    /// The keys among these that have made keys.
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

/// A key's bounds as they stand in its row.
#[derive(serde::Serialize)]
pub(super) struct StoredLimits {
    pub(super) expires_at: Option<i64>,
    pub(super) ip_allowlist: Option<String>,
    pub(super) metadata: Option<String>,
    pub(super) rate_limit: Option<i64>,
    pub(super) rate_window_seconds: Option<i64>,
    pub(super) quota_limit: Option<i64>,
}

impl StoredLimits {
    pub(super) fn of(key: &Key) -> Self {
        let limits = &key.limits;
        Self {
            expires_at: limits.expires_at.map(|at| at.0),
            ip_allowlist: limits.ip_allowlist.as_ref().map(|cidrs| serde_json::json!(cidrs).to_string()),
            metadata: key.metadata.as_ref().map(|map| serde_json::json!(map).to_string()),
            rate_limit: limits.rate_limit.map(|rate| i64::from(rate.limit)),
            rate_window_seconds: limits.rate_limit.map(|rate| i64::from(rate.window_seconds)),
            quota_limit: limits.quota.map(|quota| i64::try_from(quota.limit).unwrap_or(i64::MAX)),
        }
    }
}
