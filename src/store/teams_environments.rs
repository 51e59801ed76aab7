//! Environments of organisations.

use super::audit::write_audit;
use super::db::{Db, StoreError, reading, sql, writing};
use super::teams::{Held, hold_organisation};
use crate::domain::{AuditEntry, Environment};
use crate::model::{EnvironmentId, Mode, OrganisationId, Timestamp, UserId};

/// An environment, with its organisation held.
#[derive(Debug)]
pub(crate) struct HeldEnvironment {
    pub(crate) organisation: Held,
    /// `None` when the organisation has no such environment.
    pub(crate) environment: Option<Environment>,
    /// Environments of the organisation that are not archived.
    pub(crate) open: i64,
    /// Keys of the environment that are not revoked.
    pub(crate) active_keys: i64,
}

impl Db {
    /// Stores an environment, if `judge` allows it, which is told how many the organisation has.
    pub(crate) async fn create_environment<E>(
        &self,
        organisation: OrganisationId,
        person: UserId,
        new: &Environment,
        judge: impl FnOnce(&Held, i64) -> Result<(), E>,
        entry: AuditEntry,
    ) -> Result<Result<(), E>, StoreError> {
        writing!(self, tx => {
            let held = hold_organisation!(self, tx, organisation, person);
            let count: i64 =
                sqlx::query_scalar(sql!("environments_count")).bind(organisation.0).fetch_one(&mut *tx).await?;
            if let Err(refused) = judge(&held, count) {
                return Ok(Err(refused));
            }
            sqlx::query(sql!("environment_insert"))
                .bind(new.id.0)
                .bind(organisation.0)
                .bind(&new.name)
                .bind(new.mode.as_str())
                .bind(entry.at.0)
                .execute(&mut *tx)
                .await?;
            write_audit!(self, tx, &[entry]);
        });
        Ok(Ok(()))
    }

    /// Changes an environment into what `change` returns, with the audit entry of the change, or leaves it as it is when
    /// there is no entry.
    pub(crate) async fn update_environment<E>(
        &self,
        organisation: OrganisationId,
        person: UserId,
        id: EnvironmentId,
        change: impl FnOnce(HeldEnvironment) -> Result<(Environment, Option<AuditEntry>), E>,
    ) -> Result<Result<Environment, E>, StoreError> {
        let changed = writing!(self, tx => {
            let held = hold_organisation!(self, tx, organisation, person);
            let row: Option<(String, String, Option<i64>)> = sqlx::query_as(sql!("environment_of_organisation"))
                .bind(id.0)
                .bind(organisation.0)
                .fetch_optional(&mut *tx)
                .await?;
            let environment = row.and_then(|(name, mode, archived_at)| {
                let archived_at = archived_at.map(Timestamp);
                Some(Environment { id, name, mode: Mode::parse(&mode)?, archived_at })
            });
            let open =
                sqlx::query_scalar(sql!("environments_count_open")).bind(organisation.0).fetch_one(&mut *tx).await?;
            let active_keys =
                sqlx::query_scalar(sql!("environment_count_active_keys")).bind(id.0).fetch_one(&mut *tx).await?;
            let (changed, entry) = match change(HeldEnvironment { organisation: held, environment, open, active_keys }) {
                Ok(changed) => changed,
                Err(refused) => return Ok(Err(refused)),
            };
            let Some(entry) = entry else {
                return Ok(Ok(changed));
            };
            sqlx::query(sql!("environment_update"))
                .bind(id.0)
                .bind(&changed.name)
                .bind(changed.archived_at.map(|at| at.0))
                .execute(&mut *tx)
                .await?;
            write_audit!(self, tx, &[entry]);
            changed
        });
        Ok(Ok(changed))
    }

    /// Counts the keys of each environment of an organisation that are not revoked. Environments without such a key are
    /// left out.
    pub(crate) async fn active_keys_by_environment(
        &self,
        organisation: OrganisationId,
    ) -> Result<Vec<(EnvironmentId, i64)>, StoreError> {
        let rows: Vec<(i64, i64)> = reading!(self, connection => {
            sqlx::query_as(sql!("active_keys_by_environment")).bind(organisation.0).fetch_all(connection).await?
        });
        Ok(rows.into_iter().map(|(id, keys)| (EnvironmentId(id), keys)).collect())
    }
}
