//! Organisations: what their rows hold, and the lock under which members, environments and new keys change.

use super::audit::write_audit;
use super::db::{Db, StoreError, sql, writing};
use super::jobs::NewJob;
use super::jobs::add_job;
use crate::domain::{AuditEntry, NewOrganisation};
use crate::model::{OrganisationId, Role, Timestamp, UserId};

/// An organisation with a locked row, and the role of the asker (the person of the request) in it.
#[derive(Debug)]
pub(crate) struct Held {
    /// Its name; empty when it is deleted.
    pub(crate) name: String,
    /// The present role of the asker; `None` for no member, and when the organisation is deleted.
    pub(crate) role: Option<Role>,
}

/// Holds the row of an organisation until the transaction ends, and reads the role that a person has in it now. To be
/// taken after rows of keys, and before rows of members, environments and invitations.
macro_rules! hold_organisation {
    ($db:expr, $tx:ident, $organisation:expr, $person:expr) => {{
        let name: Option<String> =
            sqlx::query_scalar(sql!($db, "organisation_hold")).bind($organisation.0).fetch_optional(&mut *$tx).await?;
        // In a second statement, which sees the commits that the first one waited for.
        let role: Option<String> = match &name {
            Some(_) => {
                sqlx::query_scalar(sql!("membership_role"))
                    .bind($person.0)
                    .bind($organisation.0)
                    .fetch_optional(&mut *$tx)
                    .await?
            }
            None => None,
        };
        $crate::store::Held {
            name: name.unwrap_or_default(),
            role: role.and_then(|role| $crate::model::Role::parse(&role)),
        }
    }};
}

/// Inserts an organisation with its environments and its owner within a transaction.
macro_rules! insert_organisation {
    ($tx:ident, $organisation:expr, $owner:expr) => {{
        let new: &$crate::domain::NewOrganisation = $organisation;
        sqlx::query(sql!("organisation_insert"))
            .bind(new.id.0)
            .bind(new.uuid)
            .bind(&new.name)
            .bind(new.at.0)
            .execute(&mut *$tx)
            .await?;
        for environment in &new.environments {
            sqlx::query(sql!("environment_insert"))
                .bind(environment.id.0)
                .bind(new.id.0)
                .bind(&environment.name)
                .bind(environment.mode.as_str())
                .bind(new.at.0)
                .execute(&mut *$tx)
                .await?;
        }
        sqlx::query(sql!("membership_insert"))
            .bind($owner.0)
            .bind(new.id.0)
            .bind($crate::model::Role::Owner.as_str())
            .bind(new.at.0)
            .execute(&mut *$tx)
            .await?;
    }};
}

pub(super) use {hold_organisation, insert_organisation};

impl Db {
    /// Stores an organisation, unless the person owns `most` already; returns whether it did.
    pub(crate) async fn create_organisation(
        &self,
        new: &NewOrganisation,
        owner: UserId,
        most: i64,
        entry: AuditEntry,
    ) -> Result<bool, StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!(self, "user_hold")).bind(owner.0).fetch_optional(&mut *tx).await?;
            let count: i64 = sqlx::query_scalar(sql!("organisations_owned"))
                .bind(owner.0)
                .bind(Role::Owner.as_str())
                .fetch_one(&mut *tx)
                .await?;
            if count >= most {
                return Ok(false);
            }
            insert_organisation!(tx, new, owner);
            write_audit!(self, tx, &[entry]);
        });
        Ok(true)
    }

    /// Gives an organisation another name, if `judge` allows it. `entry` makes the audit entry, of the name before.
    pub(crate) async fn rename_organisation<E>(
        &self,
        organisation: OrganisationId,
        person: UserId,
        name: &str,
        judge: impl FnOnce(&Held) -> Result<(), E>,
        entry: impl FnOnce(&str) -> AuditEntry,
    ) -> Result<Result<(), E>, StoreError> {
        writing!(self, tx => {
            let held = hold_organisation!(self, tx, organisation, person);
            if let Err(refused) = judge(&held) {
                return Ok(Err(refused));
            }
            if held.name != name {
                sqlx::query(sql!("organisation_rename")).bind(organisation.0).bind(name).execute(&mut *tx).await?;
                write_audit!(self, tx, &[entry(&held.name)]);
            }
        });
        Ok(Ok(()))
    }

    /// Deletes an organisation, if `judge` allows it, which is told whether there are keys that are not revoked. Its
    /// members, invitations and tokens are gone with it; `job` erases the rest. `entry` makes the audit entry, of the
    /// number of members.
    pub(crate) async fn delete_organisation<E>(
        &self,
        organisation: OrganisationId,
        person: UserId,
        at: Timestamp,
        job: &NewJob,
        judge: impl FnOnce(&Held, bool) -> Result<(), E>,
        entry: impl FnOnce(&str, u64) -> AuditEntry,
    ) -> Result<Result<(), E>, StoreError> {
        writing!(self, tx => {
            let held = hold_organisation!(self, tx, organisation, person);
            let keys: i64 = sqlx::query_scalar(sql!("organisation_has_active_keys"))
                .bind(organisation.0)
                .fetch_one(&mut *tx)
                .await?;
            if let Err(refused) = judge(&held, keys > 0) {
                return Ok(Err(refused));
            }
            let members = sqlx::query(sql!("memberships_delete_of_organisation"))
                .bind(organisation.0)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            sqlx::query(sql!("invitations_delete_of_organisation")).bind(organisation.0).execute(&mut *tx).await?;
            sqlx::query(sql!("token_families_end_of_organisation"))
                .bind(organisation.0)
                .bind(at.0)
                .execute(&mut *tx)
                .await?;
            sqlx::query(sql!("organisation_delete")).bind(organisation.0).bind(at.0).execute(&mut *tx).await?;
            add_job!(tx, job);
            write_audit!(self, tx, &[entry(&held.name, members)]);
        });
        Ok(Ok(()))
    }
}
