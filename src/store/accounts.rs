//! Users, organisations, environments and memberships.

use uuid::Uuid;

use super::audit::write_audit;
use super::db::{Db, StoreError, reading, sql, writing};
use super::teams::insert_organisation;
use crate::domain::{AuditEntry, Environment, Membership, NewOrganisation, Person, Verified};
use crate::model::{EnvironmentId, Mode, OrganisationId, Role, Timestamp, UserId};

/// A stored account, with its password hash.
#[derive(Clone, sqlx::FromRow)]
pub struct StoredUser {
    id: i64,
    /// Lower-case address.
    pub email: String,
    /// Argon2id in PHC form.
    pub password_hash: String,
    /// The moment when an operator disabled the account.
    pub disabled_at: Option<i64>,
    /// The moment of the last sign-in from the network of the query.
    pub known_at: Option<i64>,
}

impl StoredUser {
    /// Returns the id of the account.
    pub fn id(&self) -> UserId {
        UserId(self.id)
    }

    /// Returns the proof that the stored password was verified.
    pub(crate) fn verified(self) -> Verified {
        Verified { user: UserId(self.id), email: self.email, password_hash: self.password_hash }
    }
}

/// A new account.
pub struct NewUser<'a> {
    /// The person.
    pub id: UserId,
    /// Lower-case address.
    pub email: &'a str,
    /// Argon2id in PHC form.
    pub password_hash: &'a str,
    /// The moment of the registration.
    pub at: Timestamp,
}

/// A person, and one environment of an organisation that they are in; without an organisation, these columns are NULL.
#[derive(sqlx::FromRow)]
pub struct PersonRow {
    pub(crate) user_id: i64,
    pub(crate) email: String,
    /// 1 for an operator of the server, else 0.
    pub(crate) operator: i64,
    pub(crate) role: Option<String>,
    pub(crate) joined_at: Option<i64>,
    pub(crate) organisation_id: Option<i64>,
    pub(crate) uuid: Option<Uuid>,
    pub(crate) organisation_name: Option<String>,
    pub(crate) environment_id: Option<i64>,
    pub(crate) environment_name: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) archived_at: Option<i64>,
}

impl PersonRow {
    /// Builds the person from their rows, in the order of the memberships; `None` without rows.
    pub(crate) fn person<'a>(rows: impl IntoIterator<Item = &'a Self>) -> Option<Person> {
        let mut rows = rows.into_iter().peekable();
        let (id, email, is_operator) =
            rows.peek().map(|row| (UserId(row.user_id), row.email.clone(), row.operator != 0))?;
        let mut memberships: Vec<Membership> = Vec::new();
        for (mut membership, environment) in rows.filter_map(membership) {
            if let Some(last) = memberships.last_mut().filter(|last| last.organisation == membership.organisation) {
                last.environments.push(environment);
            } else {
                membership.environments.push(environment);
                memberships.push(membership);
            }
        }
        Some(Person { id, email, memberships, bound_to: None, is_operator })
    }
}

/// Returns the membership and the environment of a row; `None` without an organisation, or for values that the schema's
/// CHECKs forbid: deny rather than guess.
fn membership(row: &PersonRow) -> Option<(Membership, Environment)> {
    let membership = Membership {
        organisation: OrganisationId(row.organisation_id?),
        uuid: row.uuid?,
        name: row.organisation_name.clone()?,
        role: Role::parse(row.role.as_deref()?)?,
        joined_at: Timestamp(row.joined_at?),
        environments: Vec::new(),
    };
    let environment = Environment {
        id: EnvironmentId(row.environment_id?),
        name: row.environment_name.clone()?,
        mode: Mode::parse(row.mode.as_deref()?)?,
        archived_at: row.archived_at.map(Timestamp),
    };
    Some((membership, environment))
}

/// Inserts an account within a transaction.
macro_rules! insert_user {
    ($tx:ident, $new:expr, $is_operator:expr) => {{
        let new: &$crate::store::NewUser<'_> = $new;
        sqlx::query(sql!("user_insert"))
            .bind(new.id.0)
            .bind(new.email)
            .bind(new.password_hash)
            .bind(new.at.0)
            .bind(i64::from($is_operator))
            .execute(&mut *$tx)
            .await?;
    }};
}

pub(super) use insert_user;

/// The outcome of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registered {
    Done { is_first: bool },
    NotFirst,
    EmailTaken,
}

impl Db {
    /// Stores a person with their first organisation; with `only_first`, only as the first account. One insert decides,
    /// so that of two concurrent registrations only one is the first. `entries` builds the audit entries of the account
    /// and of the organisation; its argument is whether the account is the first.
    pub(crate) async fn insert_user(
        &self,
        new: &NewUser<'_>,
        organisation: &NewOrganisation,
        only_first: bool,
        entries: impl FnOnce(bool) -> [AuditEntry; 2],
    ) -> Result<Registered, StoreError> {
        match self.try_insert_user(new, organisation, only_first, entries).await {
            Err(error) if error.is_conflict() => Ok(Registered::EmailTaken),
            outcome => outcome,
        }
    }

    async fn try_insert_user(
        &self,
        new: &NewUser<'_>,
        organisation: &NewOrganisation,
        only_first: bool,
        entries: impl FnOnce(bool) -> [AuditEntry; 2],
    ) -> Result<Registered, StoreError> {
        let is_first = writing!(self, tx => {
            let is_first = sqlx::query(sql!("first_account_claim")).execute(&mut *tx).await?.rows_affected() == 1;
            if only_first && !is_first {
                return Ok(Registered::NotFirst);
            }
            insert_user!(tx, new, is_first);
            insert_organisation!(tx, organisation, new.id);
            write_audit!(self, tx, &entries(is_first));
            is_first
        });
        Ok(Registered::Done { is_first })
    }

    /// Returns whether an account was ever created.
    pub(crate) async fn has_accounts(&self) -> Result<bool, StoreError> {
        let count: i64 = reading!(self, connection => {
            sqlx::query_scalar(sql!("first_account_exists")).fetch_one(connection).await?
        });
        Ok(count > 0)
    }

    /// Returns whether there are users. The database may be new, or have any version of the schema.
    pub(super) async fn has_users(&self) -> Result<bool, StoreError> {
        Ok(reading!(self, connection => {
            let tables: i64 = sqlx::query_scalar(sql!(self, "users_table_exists")).fetch_one(&mut *connection).await?;
            tables > 0 && sqlx::query(sql!("users_any")).fetch_optional(connection).await?.is_some()
        }))
    }

    /// Returns the account of an address, and its last sign-in from a network.
    pub(crate) async fn user_by_email(
        &self,
        email: &str,
        network: Option<&str>,
    ) -> Result<Option<StoredUser>, StoreError> {
        Ok(reading!(self, connection => {
            sqlx::query_as(sql!("user_by_email")).bind(email).bind(network).fetch_optional(connection).await?
        }))
    }

    /// Records that a user signed in from a network, unless the password was changed since it was verified. Deletes all
    /// but the `keep` latest networks.
    pub(crate) async fn note_network(
        &self,
        verified: &Verified,
        network: &str,
        at: Timestamp,
        keep: i64,
    ) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!(self, "known_network_note"))
                .bind(verified.user.0)
                .bind(network)
                .bind(at.0)
                .bind(verified.password_hash.as_str())
                .execute(&mut *tx)
                .await?;
            sqlx::query(sql!("known_networks_prune")).bind(verified.user.0).bind(keep).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Deletes networks without a sign-in since a moment.
    pub(crate) async fn delete_old_networks(&self, until: Timestamp) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("known_networks_delete_old")).bind(until.0).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Replaces the hash of an unchanged password, if `old` is still the stored one; returns whether it did.
    pub(crate) async fn replace_password_hash(&self, id: UserId, old: &str, new: &str) -> Result<bool, StoreError> {
        let replaced = writing!(self, tx => {
            sqlx::query(sql!("user_replace_password_hash"))
                .bind(id.0)
                .bind(old)
                .bind(new)
                .execute(&mut *tx)
                .await?
                .rows_affected()
        });
        Ok(replaced > 0)
    }

    /// Stores a new password, ends all sessions and tokens of the account, and deletes its known networks: an attacker
    /// with the old password signed in from one of them.
    pub(crate) async fn set_password(
        &self,
        id: UserId,
        password_hash: &str,
        at: Timestamp,
        entry: AuditEntry,
    ) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("user_set_password")).bind(id.0).bind(password_hash).execute(&mut *tx).await?;
            let sessions = sqlx::query(sql!("sessions_delete_of_user")).bind(id.0).execute(&mut *tx).await?;
            let families =
                sqlx::query(sql!("token_families_end_of_user")).bind(id.0).bind(at.0).execute(&mut *tx).await?;
            sqlx::query(sql!("known_networks_delete_of_user")).bind(id.0).execute(&mut *tx).await?;
            let entry = entry
                .counting("sessions_ended", sessions.rows_affected())
                .counting("token_families_ended", families.rows_affected());
            write_audit!(self, tx, &[entry]);
        });
        Ok(())
    }

    /// Returns the rows of a user's organisations, oldest membership first, with the environments of each.
    pub(crate) async fn person(&self, user: UserId) -> Result<Vec<PersonRow>, StoreError> {
        Ok(reading!(self, connection => {
            sqlx::query_as(sql!("person")).bind(user.0).fetch_all(connection).await?
        }))
    }

    /// Adds a person to an organisation.
    ///
    /// # Errors
    /// When the database fails, or the person is a member already.
    pub async fn insert_membership(
        &self,
        user: UserId,
        organisation: OrganisationId,
        role: Role,
        at: Timestamp,
        entry: AuditEntry,
    ) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("membership_insert"))
                .bind(user.0)
                .bind(organisation.0)
                .bind(role.as_str())
                .bind(at.0)
                .execute(&mut *tx)
                .await?;
            write_audit!(self, tx, &[entry]);
        });
        Ok(())
    }

    /// Ends a membership; the keys stay.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_membership(
        &self,
        user: UserId,
        organisation: OrganisationId,
        entry: AuditEntry,
    ) -> Result<(), StoreError> {
        writing!(self, tx => {
            let deleted =
                sqlx::query(sql!("membership_delete")).bind(user.0).bind(organisation.0).execute(&mut *tx).await?;
            if deleted.rows_affected() > 0 {
                write_audit!(self, tx, &[entry]);
            }
        });
        Ok(())
    }
}
