//! Revokes all keys of an organisation, an environment or a person, in groups.

use std::sync::Arc;

use uuid::Uuid;

use super::Keys;
use crate::cluster::Proof;
use crate::domain::{AuditAction, AuditChain, AuditContext, AuditEntry, AuditFields, AuditTarget, Caller, Unavailable};
use crate::model::{KeyId, OrganisationId, Timestamp};
use crate::runtime::time::seconds;
use crate::security_log::{Actor, Origin, SecurityEvent, Target, request_origin};
use crate::store::{ActiveKey, FamilyKey, KeySet, StoreError};

/// Keys of one transaction: others get their turn between two of them, and the memory for a revocation is bounded.
const GROUP: i64 = 256;

/// The reason why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A node may not have applied the changes yet.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Keys {
    /// Revokes the keys of a set that are not revoked; returns their number. Their descendants are of the set. A call that
    /// was interrupted is continued by the next one. Nodes may not have applied it yet: see [`proof`](Self::proof). A key
    /// that is created meanwhile may be left.
    ///
    /// # Errors
    /// When the database fails. Some of the keys may be revoked then.
    pub async fn revoke_all(self: &Arc<Self>, caller: &Caller, of: KeySet) -> Result<u64, StoreError> {
        let caller = caller.clone();
        let origin = Origin::current();
        let at = self.clock.now();
        let context = AuditContext::new(&self.entropy, at, (&caller).into(), request_origin());
        self.run_detached(async move |keys| {
            let (mut revoked, mut after) = (0, Uuid::nil());
            loop {
                let group = keys.db.active_keys(of, after, GROUP).await?;
                let Some(last) = group.last() else { return Ok(revoked) };
                after = last.uuid;
                let ended = keys.revoke_group(&caller, of, &group, at, &context).await?;
                for id in &ended {
                    let event = SecurityEvent::KeyRevoked.entry(Actor::from(&caller), Target::Key(*id));
                    event.of(of.organisation()).because(reason(of)).write_from(origin.as_ref());
                }
                revoked += u64::try_from(ended.len()).unwrap_or(u64::MAX);
            }
        })
        .await
    }

    /// Waits until no check on any node uses a state before now: every key that is revoked is refused everywhere.
    ///
    /// # Errors
    /// When the database fails, or nodes do not answer in time.
    pub async fn proof(&self) -> Result<Proof, ProofError> {
        let end = self.db.changes_end().await?;
        Ok(self.changes.applied(end.number).await?)
    }

    async fn revoke_group(
        &self,
        caller: &Caller,
        of: KeySet,
        group: &[ActiveKey],
        at: Timestamp,
        context: &AuditContext,
    ) -> Result<Vec<KeyId>, StoreError> {
        let entry = |key: &FamilyKey| audit_entry(context, of, key, at);
        let ids: Vec<KeyId> = group.iter().map(|key| key.id).collect();
        match self.db.revoke_keys(of.organisation(), &ids, caller.user(), at, entry).await {
            Ok(revoked) => {
                self.checks.invalidate_all(&revoked);
                Ok(revoked.into_iter().map(|(id, _)| id).collect())
            }
            Err(error) => {
                // The outcome of the commit is unknown, so invalidate anyway.
                for key in group {
                    self.checks.invalidate(key.hash);
                }
                Err(error)
            }
        }
    }
}

/// The audit entry of a key that is revoked with others.
fn audit_entry(context: &AuditContext, of: KeySet, key: &FamilyKey, at: Timestamp) -> AuditEntry {
    let organisation: OrganisationId = of.organisation();
    let because = match of {
        KeySet::Organisation(organisation) => organisation.to_string(),
        KeySet::Environment(_, environment) => environment.to_string(),
        KeySet::Creator(_, user) => user.to_string(),
    };
    let target = AuditTarget::key(key.id, &key.name, &key.prefix);
    let entry = context.entry(AuditChain::Organisation(organisation), AuditAction::KeyRevoked, target);
    entry.after(AuditFields::default().with("revoked_at", seconds(at)).with("because_of", because))
}

/// The cause, as the security log names it.
fn reason(of: KeySet) -> &'static str {
    match of {
        KeySet::Organisation(_) => "organisation_deleted",
        KeySet::Environment(..) => "environment_archived",
        KeySet::Creator(..) => "member_removed",
    }
}
