//! Sessions, by the hash of their id.

use super::accounts::PersonRow;
use super::audit::write_audit;
use super::db::{Db, StoreError, reading, sql, writing};
use crate::domain::{AuditEntry, Verified};
use crate::model::{Timestamp, UserId};

/// A stored session.
#[derive(sqlx::FromRow)]
pub struct StoredSession {
    /// JSON.
    pub(crate) data: String,
    pub(crate) seen_at: i64,
}

/// The person of a session, and one of the environments that they may use.
#[derive(sqlx::FromRow)]
pub struct SignedInRow {
    id_hash: Vec<u8>,
    pub(crate) seen_at: i64,
    #[sqlx(flatten)]
    pub(crate) person: PersonRow,
}

impl SignedInRow {
    /// Returns whether the row belongs to a session.
    pub(crate) fn is_of(&self, id_hash: &[u8]) -> bool {
        self.id_hash == id_hash
    }
}

impl Db {
    /// Returns the persons of sessions that were created after `created_after` and seen after `seen_after`, in one
    /// statement. The rows of a session are in the order of the memberships.
    pub(crate) async fn signed_in(
        &self,
        id_hashes: &[[u8; 32]],
        created_after: Timestamp,
        seen_after: Timestamp,
    ) -> Result<Vec<SignedInRow>, StoreError> {
        let hashes: Vec<String> = id_hashes.iter().map(hex::encode).collect();
        let hashes = serde_json::json!(hashes).to_string();
        Ok(reading!(self, connection => {
            sqlx::query_as(sql!(self, "signed_in"))
                .bind(&hashes)
                .bind(created_after.0)
                .bind(seen_after.0)
                .fetch_all(connection)
                .await?
        }))
    }

    /// Stores a session, unless the password was changed since it was verified; returns whether it did. The account
    /// keeps its `max_sessions` newest sessions.
    pub(crate) async fn insert_session(
        &self,
        id_hash: &[u8],
        verified: &Verified,
        data: &str,
        at: Timestamp,
        max_sessions: i64,
        entry: AuditEntry,
    ) -> Result<bool, StoreError> {
        writing!(self, tx => {
            // Every transaction locks the account before its sessions, so that two transactions cannot deadlock.
            sqlx::query(sql!("user_seen")).bind(verified.user.0).bind(at.0).execute(&mut *tx).await?;
            let inserted = sqlx::query(sql!(self, "session_insert"))
                .bind(id_hash)
                .bind(verified.user.0)
                .bind(data)
                .bind(at.0)
                .bind(verified.password_hash.as_str())
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if inserted == 0 {
                return Ok(false);
            }
            let deleted = sqlx::query(sql!("sessions_delete_oldest"))
                .bind(verified.user.0)
                .bind(id_hash)
                .bind(max_sessions.saturating_sub(1))
                .execute(&mut *tx)
                .await?
                .rows_affected();
            write_audit!(self, tx, &[entry.counting("oldest_deleted", deleted)]);
        });
        Ok(true)
    }

    pub(crate) async fn save_session(&self, id_hash: &[u8], data: &str) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("session_save")).bind(id_hash).bind(data).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Returns the session, if it was created after `created_after` and seen after `seen_after`.
    pub(crate) async fn load_session(
        &self,
        id_hash: &[u8],
        created_after: Timestamp,
        seen_after: Timestamp,
    ) -> Result<Option<StoredSession>, StoreError> {
        Ok(reading!(self, connection => {
            sqlx::query_as(sql!("session_load"))
                .bind(id_hash)
                .bind(created_after.0)
                .bind(seen_after.0)
                .fetch_optional(connection)
                .await?
        }))
    }

    /// Stores that a session, and so its account, was used.
    pub(crate) async fn touch_session(&self, id_hash: &[u8], at: Timestamp) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("session_user_seen")).bind(id_hash).bind(at.0).execute(&mut *tx).await?;
            sqlx::query(sql!("session_seen")).bind(id_hash).bind(at.0).execute(&mut *tx).await?;
        });
        Ok(())
    }

    /// Ends the sessions with these ids. `entry` builds the audit entry of each, from its user and the user's address.
    pub(crate) async fn end_sessions(
        &self,
        id_hashes: &[[u8; 32]],
        entry: impl Fn(UserId, &str) -> AuditEntry,
    ) -> Result<(), StoreError> {
        writing!(self, tx => {
            let mut entries = Vec::new();
            for id_hash in id_hashes {
                let ended: Option<(i64, String)> = sqlx::query_as(sql!("session_delete"))
                    .bind(id_hash.as_slice())
                    .fetch_optional(&mut *tx)
                    .await?;
                entries.extend(ended.map(|(user, email)| entry(UserId(user), &email)));
            }
            write_audit!(self, tx, &entries);
        });
        Ok(())
    }

    /// Deletes expired sessions.
    pub(crate) async fn delete_ended_sessions(
        &self,
        created_until: Timestamp,
        seen_until: Timestamp,
    ) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("sessions_delete_ended"))
                .bind(created_until.0)
                .bind(seen_until.0)
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }
}
