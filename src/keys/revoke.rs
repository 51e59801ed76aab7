//! Revoke: ends a key immediately and permanently.

use std::sync::Arc;

use uuid::Uuid;

use super::{Keys, Pass};
use crate::cluster::Proof;
use crate::domain::{
    AuditAction, AuditChain, AuditContext, AuditEntry, AuditFields, AuditTarget, Caller, Denied, Key, Unavailable,
};
use crate::model::{KeyId, OrganisationId, Timestamp, UserId};
use crate::runtime::time::seconds;
use crate::security_log::{Actor, Origin, SecurityEvent, Target, request_origin};
use crate::store::{FamilyKey, StoreError};

/// The reason why a key was not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The caller can see no key with this id.
    #[error("no such key")]
    NotFound,
    /// The role of the caller does not allow it.
    #[error("only the member who made the key, admins and owners may revoke it")]
    NotAllowed,
    /// The key was revoked, but some node may not have applied it yet.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reason why [`Keys::revoke_once`] did not revoke a key.
#[derive(Debug, thiserror::Error)]
pub enum RevokeOnceError {
    /// There is no key with this id, or it is revoked.
    #[error("no such key, or revoked already")]
    NotFound,
    /// The key belongs to another tenant.
    #[error("another tenant's key")]
    OtherTenant,
    /// The role of the caller does not allow it.
    #[error("only the member who made the key, admins and owners may revoke it")]
    NotAllowed,
    /// The key was revoked, but some node may not have applied it yet.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Denied> for RevokeError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Hidden => Self::NotFound,
            Denied::NotAllowed => Self::NotAllowed,
        }
    }
}

impl From<Denied> for RevokeOnceError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Hidden => Self::NotFound,
            Denied::NotAllowed => Self::NotAllowed,
        }
    }
}

impl Keys {
    /// Revokes a key and, with `descendants`, the keys below it. Returns once no check on any node accepts them.
    /// Revoking a revoked key succeeds.
    ///
    /// # Errors
    /// When the caller can see no such key or may not revoke it.
    pub async fn revoke(
        self: &Arc<Self>,
        caller: &Caller,
        id: KeyId,
        descendants: bool,
    ) -> Result<(Key, Proof), RevokeError> {
        let key = self.db.key_by_id(id).await?.ok_or(RevokeError::NotFound)?;
        caller.may_manage(&key)?;
        let at = self.clock.now();
        let (_, applied) = self.end(key.clone(), caller, caller.user(), descendants, at).await?;
        Ok((key, applied?))
    }

    /// Revokes the presented key and, with `descendants`, the keys below it: every key may revoke itself.
    ///
    /// # Errors
    /// When the database fails, or a node may not have applied the revocation.
    pub async fn revoke_itself(self: &Arc<Self>, pass: &Pass, descendants: bool) -> Result<(), RevokeError> {
        if let Some(key) = self.db.key_by_id(pass.id).await? {
            let itself = Caller::Key(Box::new(key.clone()));
            self.end(key, &itself, None, descendants, self.clock.now()).await?.1?;
        }
        Ok(())
    }

    /// Revokes a key of a tenant and, with `descendants`, the keys below it. Only one of several calls succeeds
    /// (HookSentry answers the others with 404). Checks in the order of that contract: whether the key exists and is
    /// not revoked, the tenant, the caller's role.
    ///
    /// # Errors
    /// The first of these that applies.
    pub async fn revoke_once(
        self: &Arc<Self>,
        caller: &Caller,
        tenant: OrganisationId,
        uuid: Uuid,
        descendants: bool,
    ) -> Result<Key, RevokeOnceError> {
        let key = self.db.key_by_uuid(uuid).await?.ok_or(RevokeOnceError::NotFound)?;
        if key.revoked_at.is_some() {
            // Answer after every node has applied the revocation, also of the descendants. A change that is not in the
            // log any more is applied.
            if let Some(number) = self.db.last_transaction_of_key(key.id).await? {
                self.changes.applied(number).await?;
            }
            return Err(RevokeOnceError::NotFound);
        }
        if key.organisation != tenant {
            return Err(RevokeOnceError::OtherTenant);
        }
        caller.may_manage(&key)?;
        let at = self.clock.now();
        let (ended, applied) = self.end(key.clone(), caller, caller.user(), descendants, at).await?;
        applied?;
        if !ended {
            return Err(RevokeOnceError::NotFound);
        }
        Ok(Key { revoked_at: Some(at), ..key })
    }

    /// Returns whether this call revoked the key, and the proof that every node has applied it.
    async fn end(
        self: &Arc<Self>,
        key: Key,
        caller: &Caller,
        by: Option<UserId>,
        descendants: bool,
        at: Timestamp,
    ) -> Result<(bool, Result<Proof, Unavailable>), StoreError> {
        let (actor, origin) = (Actor::from(caller), Origin::current());
        let context = AuditContext::new(&self.entropy, at, caller.into(), request_origin());
        self.run_detached(async move |keys| {
            let entry = |revoked: &FamilyKey| audit_entry(&context, &key, revoked, at);
            match keys.db.revoke_key(&key, by, descendants, at, entry).await {
                Ok(revoked) => {
                    keys.checks.invalidate_all(&revoked.family);
                    let entry = SecurityEvent::KeyRevoked.entry(actor, Target::Key(key.id)).of(key.organisation);
                    let descendants = revoked.family.iter().map(|(ended, _)| *ended).filter(|ended| *ended != key.id);
                    let entry = entry.unchanged_if(!revoked.ended).with_descendants(descendants.collect());
                    entry.write_from(origin.as_ref());
                    Ok((revoked.ended, keys.changes.applied(revoked.number).await))
                }
                Err(error) => {
                    // The outcome of the commit is unknown, so invalidate anyway. A retry revokes the descendants too.
                    keys.checks.invalidate(key.hash);
                    Err(error)
                }
            }
        })
        .await
    }
}

/// Returns the audit entry of a revoked key: `key` itself, or a descendant because of it.
fn audit_entry(context: &AuditContext, key: &Key, revoked: &FamilyKey, at: Timestamp) -> AuditEntry {
    let target = AuditTarget::key(revoked.id, &revoked.name, &revoked.prefix);
    let entry = context.entry(AuditChain::Organisation(key.organisation), AuditAction::KeyRevoked, target);
    let fields = AuditFields::default().with("revoked_at", seconds(at));
    let is_itself = revoked.id == key.id;
    entry.after(if is_itself { fields } else { fields.with("because_of", key.id.to_string()) })
}
