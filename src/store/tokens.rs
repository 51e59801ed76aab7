//! Bearer tokens, by their hash, in families.

use super::accounts::PersonRow;
use super::audit::write_audit;
use super::db::{Db, StoreError, reading, sql, writing};
use crate::domain::{AuditEntry, Verified};
use crate::model::{OrganisationId, Timestamp, UserId};

/// Tokens of each kind that a family keeps: a further one deletes the oldest. A client that refreshes each quarter of an
/// hour uses 672 refresh tokens in the week in which a second use of one is recognised.
const TOKENS_OF_FAMILY: i64 = 1000;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Opens the API.
    Access,
    /// Gets the next pair, once.
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

/// A token to be stored.
#[derive(Debug)]
pub struct NewToken {
    /// SHA-256 of it.
    pub hash: [u8; 32],
    /// What it is for.
    pub kind: TokenKind,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What became of a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// The next tokens of this person are stored.
    Done(UserId),
    /// No such token, or it is over.
    Refused,
    /// It was used before, which has ended the family of this person's tokens. Later uses are refused.
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

/// Somebody with an access token, and one of the environments that they may use.
#[derive(sqlx::FromRow)]
pub struct TokenHolderRow {
    pub(crate) tenant_id: i64,
    #[sqlx(flatten)]
    pub(crate) person: PersonRow,
}

impl Db {
    /// Stores a family and its first tokens, unless the password was changed since it was verified; returns whether
    /// it did.
    pub(crate) async fn insert_token_family(
        &self,
        id: i64,
        verified: &Verified,
        tenant: OrganisationId,
        tokens: &[NewToken],
        most: i64,
        entry: AuditEntry,
    ) -> Result<bool, StoreError> {
        writing!(self, tx => {
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
                .bind(most.saturating_sub(1))
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

    /// Uses a refresh token up and stores the next tokens of its family. `ended` makes the audit entry of a family that is
    /// ended instead, of its user and their address.
    pub(crate) async fn refresh_tokens(
        &self,
        hash: &[u8; 32],
        next: &[NewToken],
        at: Timestamp,
        ended: impl FnOnce(UserId, &str) -> AuditEntry,
    ) -> Result<Refreshed, StoreError> {
        let outcome = writing!(self, tx => {
            // The update takes the row's lock first: of two uses at once one sees the other's.
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
                    match query.execute(&mut *tx).await?.rows_affected() {
                        0 => Refreshed::Refused,
                        _ => {
                            write_audit!(self, tx, &[ended(UserId(row.user_id), &row.email)]);
                            Refreshed::Reused(UserId(row.user_id))
                        }
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
                        .bind(TOKENS_OF_FAMILY)
                        .execute(&mut *tx)
                        .await?;
                    Refreshed::Done(UserId(row.user_id))
                }
            }
        });
        Ok(outcome)
    }

    /// Ends the families that these tokens belong to, those of this user only.
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

    /// Whose access token this is and for which tenant, while it is good; a row for each of their environments.
    pub(crate) async fn token_holder(&self, hash: &[u8; 32], at: Timestamp) -> Result<Vec<TokenHolderRow>, StoreError> {
        Ok(reading!(self, connection => {
            sqlx::query_as(sql!("token_holder")).bind(hash.as_slice()).bind(at.0).fetch_all(connection).await?
        }))
    }

    /// Removes what no longer opens anything and proves nothing.
    pub(crate) async fn delete_ended_tokens(&self, until: Timestamp) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("tokens_delete_ended")).bind(until.0).execute(&mut *tx).await?;
            sqlx::query(sql!("token_families_delete_empty")).execute(&mut *tx).await?;
        });
        Ok(())
    }
}
