//! The erasure of a deleted organisation: everything but its audit entries and the hashes of its keys.

use super::db::{Db, StoreError, reading, sql, writing};
use crate::model::OrganisationId;

/// Rows of one transaction at the most, so that others get their turn.
const ERASED_AT_ONCE: i64 = 500;

impl Db {
    /// Erases the rest of a deleted organisation in steps. A second call continues where the first one stopped.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_organisation(&self, organisation: OrganisationId) -> Result<(), StoreError> {
        let deleted: i64 = reading!(self, connection => {
            sqlx::query_scalar(sql!("organisation_is_deleted")).bind(organisation.0).fetch_one(connection).await?
        });
        if deleted == 0 {
            return Ok(());
        }
        while self.erase_some_events(organisation).await? {}
        while self.erase_some_keys(organisation).await? {}
        self.erase_rest(organisation).await
    }

    /// Returns whether there may be more.
    async fn erase_some_events(&self, organisation: OrganisationId) -> Result<bool, StoreError> {
        let erased = writing!(self, tx => {
            let events = sqlx::query(sql!("erase_events"))
                .bind(organisation.0)
                .bind(ERASED_AT_ONCE)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            let idempotency_keys = sqlx::query(sql!("erase_idempotency_keys"))
                .bind(organisation.0)
                .bind(ERASED_AT_ONCE)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            events + idempotency_keys
        });
        Ok(erased > 0)
    }

    /// Returns whether there may be more. The hashes stay, as those of other keys that were revoked long ago.
    async fn erase_some_keys(&self, organisation: OrganisationId) -> Result<bool, StoreError> {
        let erased = writing!(self, tx => {
            let ids: Vec<i64> = sqlx::query_scalar(sql!("erasable_keys"))
                .bind(organisation.0)
                .bind(ERASED_AT_ONCE)
                .fetch_all(&mut *tx)
                .await?;
            let json = serde_json::json!(ids).to_string();
            sqlx::query(sql!(self, "revoked_hashes_add")).bind(&json).execute(&mut *tx).await?;
            sqlx::query(sql!(self, "key_hours_delete")).bind(&json).execute(&mut *tx).await?;
            sqlx::query(sql!(self, "key_addresses_delete")).bind(&json).execute(&mut *tx).await?;
            let _: Vec<i64> = sqlx::query_scalar(sql!(self, "keys_delete")).bind(&json).fetch_all(&mut *tx).await?;
            ids.len()
        });
        Ok(erased > 0)
    }

    async fn erase_rest(&self, organisation: OrganisationId) -> Result<(), StoreError> {
        writing!(self, tx => {
            for statement in [
                sql!("erase_sources"),
                sql!("erase_token_families"),
                sql!("erase_environments"),
                sql!("erase_organisation"),
            ] {
                sqlx::query(statement).bind(organisation.0).execute(&mut *tx).await?;
            }
        });
        Ok(())
    }
}
