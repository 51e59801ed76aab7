//! Revoke: at once, and for good.

use super::{Key, Keys};
use crate::accounts::{Access, Caller};
use crate::model::KeyId;
use crate::store::StoreError;

/// Why a key was not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// There is none with this id where the caller can see it.
    #[error("no such key")]
    NotFound,
    /// Somebody else made it, and the caller is no admin.
    #[error("only who made the key, admins and owners may revoke it")]
    NotAllowed,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Keys {
    /// Ends a key and, with `descendants`, those that it made. When this has answered, no check
    /// accepts it any more. A key that was revoked already is answered alike.
    ///
    /// # Errors
    /// When there is no such key for the caller, or it is not theirs to end.
    pub async fn revoke(&self, caller: &Caller, id: KeyId, descendants: bool) -> Result<Key, RevokeError> {
        let key = self.db.key_by_id(id).await?.ok_or(RevokeError::NotFound)?;
        match caller.access_to(&key) {
            Access::Hidden => return Err(RevokeError::NotFound),
            Access::See => return Err(RevokeError::NotAllowed),
            Access::Manage => {}
        }
        self.end(&key, caller, descendants).await?;
        Ok(key)
    }

    /// Ends the very key that was presented: every key may do that to itself.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoke_itself(&self, key: &Key) -> Result<(), StoreError> {
        self.db.revoke_key(key, None, false, self.clock.now()).await
    }

    async fn end(&self, key: &Key, caller: &Caller, descendants: bool) -> Result<(), StoreError> {
        self.db.revoke_key(key, caller.user(), descendants, self.clock.now()).await
    }
}
