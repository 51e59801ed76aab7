//! Bearer tokens, by their hash, in families.

use super::accounts::PersonRow;
use super::audit::write_audit;
use super::db::{Db, StoreError, reading, sql, writing};
use crate::domain::{AuditEntry, Verified};
use crate::model::{OrganisationId, Timestamp, UserId};

/// The largest number of tokens of each kind in a family: a further one deletes the oldest. A client that refreshes
/// each quarter of an hour uses 672 refresh tokens in a week, the time in which a second use of one is recognised.
const MAX_TOKENS_OF_KIND: i64 = 1000;

/// The purpose of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Access to the API.
    Access,
    /// One exchange for the next pair.
    Refresh,
}

impl TokenKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }
}

/// A new token.
#[derive(Debug)]
pub struct NewToken {
    /// The SHA-256 of the token.
    pub hash: [u8; 32],
    /// The purpose.
    pub kind: TokenKind,
    /// The expiry.
    pub expires_at: Timestamp,
}

/// The outcome of a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// The next tokens of this person are stored.
    Done(UserId),
    /// There is no such token, or it has expired or ended.
    Refused,
    /// The token was used before, so the family of this person's tokens was ended. Later uses are refused.
    Reused(UserId),
}

#[derive(sqlx::FromRow)]
struct FamilyRow {
    family_id: i64,
    user_id: i64,
    email: String,
    used_at: Option<i64>,
    ended_at: Option<i64>,
    expires_at: i64,
}

/// The person of an access token, and one of the environments that they may use.
#[derive(sqlx::FromRow)]
pub struct TokenHolderRow {
    pub(crate) tenant_id: i64,
    #[sqlx(flatten)]
    pub(crate) person: PersonRow,
}

impl Db {
    /// Stores a family and its first tokens, unless the password was changed since it was verified; returns whether it
    /// did. The account keeps its `max_families` newest families.
    pub(crate) async fn insert_token_family(
        &self,
        id: i64,
        verified: &Verified,
        tenant: OrganisationId,
        tokens: &[NewToken],
        max_families: i64,
        entry: AuditEntry,
    ) -> Result<bool, StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("user_seen")).bind(verified.user.0).bind(entry.at.0).execute(&mut *tx).await?;
            let inserted = sqlx::query(sql!(self, "token_family_insert"))
                .bind(id)
                .bind(verified.user.0)
                .bind(tenant.0)
                .bind(entry.at.0)
                .bind(verified.password_hash.as_str())
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if inserted == 0 {
                return Ok(false);
            }
            let deleted = sqlx::query(sql!("token_families_delete_oldest"))
                .bind(verified.user.0)
                .bind(id)
                .bind(max_families.saturating_sub(1))
                .execute(&mut *tx)
                .await?
                .rows_affected();
            write_audit!(self, tx, &[entry.counting("oldest_deleted", deleted)]);
            for token in tokens {
                sqlx::query(sql!("token_insert"))
                    .bind(token.hash.as_slice())
                    .bind(id)
                    .bind(token.kind.as_str())
                    .bind(token.expires_at.0)
                    .execute(&mut *tx)
                    .await?;
            }
        });
        Ok(true)
    }

    /// Uses a refresh token and stores the next tokens of its family. `ended` builds the audit entry of a family that
    /// is ended instead, from its user and the user's address.
    pub(crate) async fn refresh_tokens(
        &self,
        hash: &[u8; 32],
        next: &[NewToken],
        at: Timestamp,
        ended: impl FnOnce(UserId, &str) -> AuditEntry,
    ) -> Result<Refreshed, StoreError> {
        let outcome = writing!(self, tx => {
            // Every transaction locks the account before its tokens, so that two transactions cannot deadlock.
            sqlx::query(sql!("token_user_seen")).bind(hash.as_slice()).bind(at.0).execute(&mut *tx).await?;
            // The update locks the row first, so that of two concurrent uses one sees the other.
            let used = sqlx::query(sql!("token_use"))
                .bind(hash.as_slice())
                .bind(at.0)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            let row: Option<FamilyRow> =
                sqlx::query_as(sql!(self, "token_family_of_refresh")).bind(hash.as_slice()).fetch_optional(&mut *tx).await?;
            match row {
                None => Refreshed::Refused,
                Some(row) if used == 0 && row.used_at.is_some() => {
                    let query = sqlx::query(sql!("token_family_end")).bind(row.family_id).bind(at.0);
                    if query.execute(&mut *tx).await?.rows_affected() == 0 {
                        Refreshed::Refused
                    } else {
                        write_audit!(self, tx, &[ended(UserId(row.user_id), &row.email)]);
                        Refreshed::Reused(UserId(row.user_id))
                    }
                }
                Some(row) if used == 0 || row.ended_at.is_some() || row.expires_at <= at.0 => Refreshed::Refused,
                Some(row) => {
                    for token in next {
                        sqlx::query(sql!("token_insert"))
                            .bind(token.hash.as_slice())
                            .bind(row.family_id)
                            .bind(token.kind.as_str())
                            .bind(token.expires_at.0)
                            .execute(&mut *tx)
                            .await?;
                    }
                    sqlx::query(sql!("tokens_delete_oldest"))
                        .bind(row.family_id)
                        .bind(MAX_TOKENS_OF_KIND)
                        .execute(&mut *tx)
                        .await?;
                    Refreshed::Done(UserId(row.user_id))
                }
            }
        });
        Ok(outcome)
    }

    /// Ends the families of these tokens, if they belong to this user.
    pub(crate) async fn end_token_families(
        &self,
        hashes: [&[u8; 32]; 2],
        user: UserId,
        at: Timestamp,
        entry: AuditEntry,
    ) -> Result<(), StoreError> {
        writing!(self, tx => {
            let ended = sqlx::query(sql!("token_families_end"))
                .bind(hashes[0].as_slice())
                .bind(hashes[1].as_slice())
                .bind(user.0)
                .bind(at.0)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if ended > 0 {
                write_audit!(self, tx, &[entry.counting("sign_ins", ended)]);
            }
        });
        Ok(())
    }

    /// Returns the holder and the tenant of a valid access token, with a row for each of the holder's environments.
    pub(crate) async fn token_holder(&self, hash: &[u8; 32], at: Timestamp) -> Result<Vec<TokenHolderRow>, StoreError> {
        Ok(reading!(self, connection => {
            sqlx::query_as(sql!("token_holder")).bind(hash.as_slice()).bind(at.0).fetch_all(connection).await?
        }))
    }

    /// Deletes expired tokens, and families without tokens.
    pub(crate) async fn delete_ended_tokens(&self, until: Timestamp) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("tokens_delete_ended")).bind(until.0).execute(&mut *tx).await?;
            sqlx::query(sql!("token_families_delete_empty")).execute(&mut *tx).await?;
        });
        Ok(())
    }
}
