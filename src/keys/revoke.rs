//! Revoke: at once, and for good.

use uuid::Uuid;

use super::{Keys, Pass, Unproven};
use crate::cluster::Proof;
use crate::domain::{Access, Caller, Key};
use crate::model::{KeyId, OrganisationId, Timestamp, UserId};
use crate::security_log::{Actor, Origin, SecurityEvent, Target};
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
    /// It is revoked, but perhaps not everywhere yet.
    #[error(transparent)]
    Unproven(#[from] Unproven),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a key was not revoked by this very call (HookSentry).
#[derive(Debug, thiserror::Error)]
pub enum RevokeOnceError {
    /// There is none with this id that is not revoked.
    #[error("no such key, or revoked already")]
    NotFound,
    /// It is another tenant's.
    #[error("another tenant's key")]
    OtherTenant,
    /// Somebody else made it, and the caller is no admin.
    #[error("only who made the key, admins and owners may revoke it")]
    NotAllowed,
    /// It is revoked, but perhaps not everywhere yet.
    #[error(transparent)]
    Unproven(#[from] Unproven),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Keys {
    /// Ends a key and, with `descendants`, the keys below it. When this has answered, no check on any node
    /// accepts it any more. A key that was revoked already is answered alike.
    ///
    /// # Errors
    /// When there is no such key for the caller, or it is not theirs to end.
    pub async fn revoke(&self, caller: &Caller, id: KeyId, descendants: bool) -> Result<(Key, Proof), RevokeError> {
        let key = self.core.db.key_by_id(id).await?.ok_or(RevokeError::NotFound)?;
        match caller.access_to(&key) {
            Access::Hidden => return Err(RevokeError::NotFound),
            Access::See => return Err(RevokeError::NotAllowed),
            Access::Manage => {}
        }
        let at = self.core.clock.now();
        let (_, effective) = self.end(key.clone(), caller.into(), caller.user(), descendants, at).await?;
        Ok((key, effective?))
    }

    /// Ends the very key that was presented and, with `descendants`, the keys below it: every key may do that to
    /// itself.
    ///
    /// # Errors
    /// When the database fails, or it is not known whether every node has heard.
    pub async fn revoke_itself(&self, pass: &Pass, descendants: bool) -> Result<(), RevokeError> {
        if let Some(key) = self.core.db.key_by_id(pass.id).await? {
            self.end(key, Actor::Key(pass.id), None, descendants, self.core.clock.now()).await?.1?;
        }
        Ok(())
    }

    /// Ends a key of a tenant, and with `descendants` the keys below it, once: of several calls, one is told that it
    /// did (HookSentry answers the others with a 404). Checks in that contract's order: an unknown or ended key
    /// first, then another tenant's, then the caller's right.
    ///
    /// # Errors
    /// The first of these that applies.
    pub async fn revoke_once(
        &self,
        caller: &Caller,
        tenant: OrganisationId,
        uuid: Uuid,
        descendants: bool,
    ) -> Result<Key, RevokeOnceError> {
        let key = self.core.db.key_by_uuid(uuid).await?.ok_or(RevokeOnceError::NotFound)?;
        if key.revoked_at.is_some() {
            // That is said once it is true everywhere, for the descendants that ended with the key as well. What is not
            // in the log any more is.
            if let Some(number) = self.core.db.last_transaction_of_key(key.id).await? {
                self.core.effective(number).await?;
            }
            return Err(RevokeOnceError::NotFound);
        }
        if key.organisation != tenant {
            return Err(RevokeOnceError::OtherTenant);
        }
        match caller.access_to(&key) {
            // A key that may manage keys sees nothing of the other environments.
            Access::Hidden => return Err(RevokeOnceError::NotFound),
            Access::See => return Err(RevokeOnceError::NotAllowed),
            Access::Manage => {}
        }
        let at = self.core.clock.now();
        let (ended, effective) = self.end(key.clone(), caller.into(), caller.user(), descendants, at).await?;
        effective?;
        if !ended {
            return Err(RevokeOnceError::NotFound);
        }
        Ok(Key { revoked_at: Some(at), ..key })
    }

    /// Whether it was this call that ended the key, and whether that is known to be so everywhere.
    async fn end(
        &self,
        key: Key,
        actor: Actor,
        by: Option<UserId>,
        descendants: bool,
        at: Timestamp,
    ) -> Result<(bool, Result<Proof, Unproven>), StoreError> {
        let origin = Origin::current();
        self.run_detached(async move |core| match core.db.revoke_key(&key, by, descendants, at).await {
            Ok(revoked) => {
                core.changed(&revoked.family);
                let entry = SecurityEvent::KeyRevoked.entry(actor, Target::Key(key.id)).of(key.organisation);
                let descendants = revoked.family.iter().map(|(ended, _)| *ended).filter(|ended| *ended != key.id);
                let entry = entry.unchanged_if(!revoked.ended).with_descendants(descendants.collect());
                entry.write_from(origin.as_ref());
                Ok((revoked.ended, core.effective(revoked.number).await))
            }
            Err(error) => {
                // Nobody knows whether it came to pass. Whoever asks again ends the others too.
                core.changed(&[(key.id, key.hash)]);
                Err(error)
            }
        })
        .await
    }
}
