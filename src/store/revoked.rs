//! Deletes keys that were revoked long ago, and keeps the hashes of their strings.

use std::collections::BTreeMap;

use super::audit::write_audit;
use super::db::{Db, StoreError, sql, writing};
use crate::domain::AuditEntry;
use crate::model::{OrganisationId, Timestamp};

/// The largest number of keys that one transaction deletes, so that other writers get their turn.
const DELETE_BATCH: i64 = 500;
const DAY: i64 = 24 * 3600 * 1000;

impl Db {
    /// Deletes keys that were revoked more than `days` ago, with the records of their use; returns their number. Their
    /// hashes stay in `revoked_hashes`, and a trigger refuses any key with one of these hashes. `entry` builds the
    /// audit entry of an organisation in a transaction, from its id, its name and the number of its deleted keys.
    pub(crate) async fn purge_revoked_keys(
        &self,
        now: Timestamp,
        days: i64,
        entry: impl Fn(OrganisationId, &str, i64) -> AuditEntry,
    ) -> Result<u64, StoreError> {
        let before = now.plus(-days.saturating_mul(DAY));
        let mut deleted = 0;
        loop {
            let gone: i64 = writing!(self, tx => {
                let ids: Vec<i64> = sqlx::query_scalar(sql!(self, "revoked_keys_to_purge"))
                    .bind(before.0)
                    .bind(now.0)
                    .bind(DELETE_BATCH)
                    .fetch_all(&mut *tx)
                    .await?;
                let json = serde_json::json!(ids).to_string();
                sqlx::query(sql!(self, "revoked_hashes_add")).bind(&json).execute(&mut *tx).await?;
                sqlx::query(sql!(self, "key_hours_delete")).bind(&json).execute(&mut *tx).await?;
                sqlx::query(sql!(self, "key_addresses_delete")).bind(&json).execute(&mut *tx).await?;
                let of: Vec<i64> = sqlx::query_scalar(sql!(self, "keys_delete")).bind(&json).fetch_all(&mut *tx).await?;
                // Every transaction locks in this order, keys before organisations, so that two transactions cannot
                // deadlock.
                let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
                for organisation in of {
                    *counts.entry(organisation).or_default() += 1;
                }
                let mut entries = Vec::with_capacity(counts.len());
                for (organisation, count) in counts {
                    let name: String = sqlx::query_scalar(sql!("organisation_count_purged"))
                        .bind(organisation)
                        .bind(count)
                        .fetch_one(&mut *tx)
                        .await?;
                    entries.push(entry(OrganisationId(organisation), &name, count));
                }
                write_audit!(self, tx, &entries);
                i64::try_from(ids.len()).unwrap_or(i64::MAX)
            });
            deleted += gone.unsigned_abs();
            if gone < DELETE_BATCH {
                return Ok(deleted);
            }
        }
    }
}
