//! Accounts as an operator of the server sees and changes them.

use super::audit::write_audit;
use super::db::{Db, StoreError, reading, sql, writing};
use super::teams_invitations::end_invitations;
use crate::domain::AuditEntry;
use crate::model::{InvitationId, OrganisationId, Role, Timestamp, UserId};

/// An account in the operator's list.
#[derive(Debug, sqlx::FromRow)]
pub struct AccountRow {
    pub(crate) id: i64,
    /// Lower-case address.
    pub(crate) email: String,
    pub(crate) created_at: i64,
    /// 1 for an operator of the server, else 0.
    pub(crate) operator: i64,
    pub(crate) disabled_at: Option<i64>,
    /// The number of organisations that the person is a member of.
    pub(crate) organisations: i64,
}

impl Db {
    /// Returns a page of accounts in the order of their addresses: those after `after` that contain `text`.
    pub(crate) async fn accounts_page(
        &self,
        after: &str,
        text: &str,
        limit: i64,
    ) -> Result<Vec<AccountRow>, StoreError> {
        let escaped = text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
        Ok(reading!(self, connection => {
            sqlx::query_as(sql!("users_page"))
                .bind(after)
                .bind(format!("%{escaped}%"))
                .bind(limit)
                .fetch_all(connection)
                .await?
        }))
    }

    /// Makes a person an operator of the server, or a normal person again. Returns false, and writes no audit entry,
    /// when nothing changed.
    pub(crate) async fn set_operator(&self, id: UserId, on: bool, entry: AuditEntry) -> Result<bool, StoreError> {
        let changed = writing!(self, tx => {
            let updated =
                sqlx::query(sql!("user_set_operator")).bind(id.0).bind(i64::from(on)).execute(&mut *tx).await?;
            let changed = updated.rows_affected() > 0;
            if changed {
                write_audit!(self, tx, &[entry]);
            }
            changed
        });
        Ok(changed)
    }

    /// Disables an account and ends all of its sessions and tokens, and the invitations that the person made; `ended` makes
    /// the audit entry of each invitation. Returns false, and writes no audit entry, when it was
    /// disabled already.
    ///
    /// A concurrent sign-in and this change lock the same row of `users`. So the sign-in either stored its session
    /// before, and the session is deleted here, or it finds the account disabled.
    pub(crate) async fn disable_account(
        &self,
        id: UserId,
        at: Timestamp,
        entry: AuditEntry,
        ended: impl Fn(OrganisationId, InvitationId, &str) -> AuditEntry,
    ) -> Result<bool, StoreError> {
        let changed = writing!(self, tx => {
            let updated = sqlx::query(sql!("user_disable")).bind(id.0).bind(at.0).execute(&mut *tx).await?;
            if updated.rows_affected() == 0 {
                return Ok(false);
            }
            let sessions = sqlx::query(sql!("sessions_delete_of_user")).bind(id.0).execute(&mut *tx).await?;
            let families =
                sqlx::query(sql!("token_families_end_of_user")).bind(id.0).bind(at.0).execute(&mut *tx).await?;
            let entry = entry
                .counting("sessions_ended", sessions.rows_affected())
                .counting("token_families_ended", families.rows_affected());
            let mut entries = vec![entry];
            end_invitations!(tx, id, None, Role::ALL, |of, invitation, email: &str| {
                entries.push(ended(of, invitation, email));
            });
            write_audit!(self, tx, &entries);
            true
        });
        Ok(changed)
    }

    /// Enables a disabled account: its password is accepted again. Returns false, and writes no audit entry, when it was
    /// not disabled.
    pub(crate) async fn enable_account(&self, id: UserId, entry: AuditEntry) -> Result<bool, StoreError> {
        let changed = writing!(self, tx => {
            let updated = sqlx::query(sql!("user_enable")).bind(id.0).execute(&mut *tx).await?;
            let changed = updated.rows_affected() > 0;
            if changed {
                write_audit!(self, tx, &[entry]);
            }
            changed
        });
        Ok(changed)
    }
}
