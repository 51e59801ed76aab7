//! The revocation of many keys: pages of keys that are not revoked, and one transaction for each.

use uuid::Uuid;

use super::audit::write_audit;
use super::db::{Db, StoreError, reading, sql, writing};
use super::family::FamilyKey;
use super::new_changes::log_changes;
use crate::domain::{AuditEntry, KeyHash};
use crate::model::{EnvironmentId, KeyId, OrganisationId, Timestamp, UserId};

/// Keys that are revoked together. Each set contains the descendants of its keys: a key belongs to the environment, the
/// organisation and the person of the key that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeySet {
    /// All of an organisation.
    Organisation(OrganisationId),
    /// All of an environment of this organisation.
    Environment(OrganisationId, EnvironmentId),
    /// The keys of an organisation that a person made, directly or by keys of theirs.
    Creator(OrganisationId, UserId),
}

impl KeySet {
    /// The organisation of all keys.
    pub fn organisation(self) -> OrganisationId {
        match self {
            Self::Organisation(organisation) | Self::Environment(organisation, _) | Self::Creator(organisation, _) => {
                organisation
            }
        }
    }
}

/// A key that is not revoked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ActiveKey {
    pub(crate) id: KeyId,
    pub(crate) uuid: Uuid,
    pub(crate) hash: KeyHash,
}

impl Db {
    /// Reads keys of a set that are not revoked, after one of them (at first the nil UUID) and in the order of their UUIDs.
    pub(crate) async fn active_keys(&self, of: KeySet, after: Uuid, limit: i64) -> Result<Vec<ActiveKey>, StoreError> {
        let rows: Vec<(i64, Uuid, Vec<u8>)> = reading!(self, connection => {
            let query = match of {
                KeySet::Organisation(_) => sqlx::query_as(sql!("active_keys_of_organisation")),
                KeySet::Environment(..) => sqlx::query_as(sql!("active_keys_of_environment")),
                KeySet::Creator(..) => sqlx::query_as(sql!("active_keys_of_creator")),
            };
            let query = query.bind(after).bind(limit);
            let query = match of {
                KeySet::Organisation(organisation) => query.bind(organisation.0),
                KeySet::Environment(_, environment) => query.bind(environment.0),
                KeySet::Creator(organisation, user) => query.bind(user.0).bind(organisation.0),
            };
            query.fetch_all(connection).await?
        });
        let key = |(id, uuid, hash): (_, _, Vec<u8>)| {
            Some(ActiveKey { id: KeyId(id), uuid, hash: KeyHash::from_slice(&hash)? })
        };
        Ok(rows.into_iter().filter_map(key).collect())
    }

    /// Revokes those of some keys of an organisation that are not revoked yet; returns them. `entry` makes the audit entry of
    /// each.
    pub(crate) async fn revoke_keys(
        &self,
        organisation: OrganisationId,
        ids: &[KeyId],
        by: Option<UserId>,
        at: Timestamp,
        entry: impl Fn(&FamilyKey) -> AuditEntry,
    ) -> Result<Vec<(KeyId, KeyHash)>, StoreError> {
        let ids = serde_json::json!(ids.iter().map(|id| id.0).collect::<Vec<_>>()).to_string();
        Ok(writing!(self, tx => {
            let rows: Vec<(i64, Vec<u8>, String, String)> =
                sqlx::query_as(sql!(self, "keys_lock_active")).bind(&ids).fetch_all(&mut *tx).await?;
            let key = |(id, hash, name, prefix): (_, Vec<u8>, _, _)| {
                Some(FamilyKey { id: KeyId(id), hash: KeyHash::from_slice(&hash)?, name, prefix })
            };
            let keys: Vec<FamilyKey> = rows.into_iter().filter_map(key).collect();
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            let revoked: Vec<(KeyId, KeyHash)> = keys.iter().map(|key| (key.id, key.hash)).collect();
            let locked = serde_json::json!(keys.iter().map(|key| key.id.0).collect::<Vec<_>>()).to_string();
            let count = sqlx::query(sql!(self, "keys_revoke"))
                .bind(locked)
                .bind(at.0)
                .bind(by.map(|user| user.0))
                .execute(&mut *tx)
                .await?
                .rows_affected();
            sqlx::query(sql!("organisation_count_revoked"))
                .bind(organisation.0)
                .bind(i64::try_from(count).unwrap_or(i64::MAX))
                .execute(&mut *tx)
                .await?;
            write_audit!(self, tx, &keys.iter().map(&entry).collect::<Vec<_>>());
            log_changes!(self, tx, organisation, &revoked, true, at);
            revoked
        }))
    }
}
