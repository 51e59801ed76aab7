//! Edit: changes the fields of a key. Its string stays valid.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::Keys;
use super::descendants::Narrowing;
use crate::domain::{AuditAction, AuditContext, AuditEntry, AuditFields, Caller, Denied, Key, Unavailable};
use crate::model::{KeyId, KeyName, Quota, RateLimit, Scopes, Timestamp};
use crate::security_log::{Actor, Origin, SecurityEvent, Target, request_origin};
use crate::store::{KeyEdit, StoreError};

/// The changes of a key: `None` keeps a field, `Some(None)` removes it.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// Its label.
    pub name: Option<KeyName>,
    /// Its scopes.
    pub scopes: Option<Scopes>,
    /// Whether it is enabled, that is, not paused.
    pub enabled: Option<bool>,
    /// The time of its expiry.
    pub expires_at: Option<Option<Timestamp>>,
    /// The networks that it may be used from.
    pub ip_allowlist: Option<Option<Vec<IpNet>>>,
    /// Its rate limit.
    pub rate_limit: Option<Option<RateLimit>>,
    /// Its monthly quota.
    pub quota: Option<Option<Quota>>,
    /// Its metadata.
    pub metadata: Option<Option<BTreeMap<String, String>>>,
}

/// The reason why a key was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The caller can see no key with this id.
    #[error("no such key")]
    NotFound,
    /// The role of the caller does not allow it.
    #[error("only the member who made the key, admins and owners may change it")]
    NotAllowed,
    /// The key was revoked, which is final.
    #[error("the key is revoked")]
    Revoked,
    /// The stored key, which was not changed, because it differs from the version that the caller expects.
    #[error("the key was changed meanwhile")]
    Changed(Box<Key>),
    /// The key was changed, but some node may not have applied the change yet.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Denied> for EditError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Hidden => Self::NotFound,
            Denied::NotAllowed => Self::NotAllowed,
        }
    }
}

impl Edit {
    /// Returns whether the edit may narrow the key.
    fn may_narrow(&self) -> bool {
        self.enabled == Some(false)
            || matches!(self.scopes, Some(Scopes::Named(_)))
            || matches!(self.expires_at, Some(Some(_)))
            || matches!(self.ip_allowlist, Some(Some(_)))
            || matches!(self.rate_limit, Some(Some(_)))
            || matches!(self.quota, Some(Some(_)))
    }

    /// Returns the names of the fields to change.
    fn fields(&self) -> String {
        let fields = [
            ("name", self.name.is_some()),
            ("scopes", self.scopes.is_some()),
            ("enabled", self.enabled.is_some()),
            ("expires_at", self.expires_at.is_some()),
            ("ip_allowlist", self.ip_allowlist.is_some()),
            ("rate_limit", self.rate_limit.is_some()),
            ("quota", self.quota.is_some()),
            ("metadata", self.metadata.is_some()),
        ];
        fields.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
    }

    /// Changes a key in memory.
    pub fn apply(self, key: &mut Key, now: Timestamp) {
        fn set<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        set(&mut key.name, self.name.map(|name| name.as_str().to_owned()));
        set(&mut key.scopes, self.scopes);
        set(&mut key.limits.expires_at, self.expires_at);
        set(&mut key.limits.ip_allowlist, self.ip_allowlist);
        set(&mut key.limits.rate_limit, self.rate_limit);
        set(&mut key.limits.quota, self.quota);
        set(&mut key.metadata, self.metadata);
        key.disabled_at = match self.enabled {
            None => key.disabled_at,
            Some(true) => None,
            // A second pause keeps the time of the first.
            Some(false) => key.disabled_at.or(Some(now)),
        };
    }
}

impl Keys {
    /// Changes a key. With `descendants`, it pauses and narrows the keys below it as well. Returns once every check on
    /// any node uses the new fields.
    ///
    /// # Errors
    /// When the caller can see no such key or may not change it, or the key is revoked.
    pub async fn edit(
        self: &Arc<Self>,
        caller: &Caller,
        id: KeyId,
        edit: Edit,
        descendants: bool,
    ) -> Result<Key, EditError> {
        self.edit_if(caller, id, edit, descendants, |_, _| true).await
    }

    /// Changes a key as [`edit`](Self::edit) does, if `allow` returns true. `allow` runs in the transaction of the
    /// change, with the stored key and the changed key.
    ///
    /// # Errors
    /// As [`edit`](Self::edit), and when `allow` returns false.
    pub async fn edit_if(
        self: &Arc<Self>,
        caller: &Caller,
        id: KeyId,
        edit: Edit,
        descendants: bool,
        allow: impl FnOnce(&Key, &Key) -> bool + Send + 'static,
    ) -> Result<Key, EditError> {
        let key = self.db.key_by_id(id).await?.ok_or(EditError::NotFound)?;
        caller.may_manage(&key)?;
        let now = self.clock.now();
        let (actor, origin) = (Actor::from(caller), Origin::current());
        let context = AuditContext::new(&self.entropy, now, caller.into(), request_origin());
        let edited = self
            .run_detached(async move |keys| {
                let family = descendants && edit.may_narrow();
                let is_paused = edit.enabled == Some(false);
                let fields = edit.fields();
                let mut event = SecurityEvent::KeyEdited;
                let edited = keys.db.edit_key(id, family, now, |key, descendants| {
                    let before = key.clone();
                    edit.apply(key, now);
                    event = match (before.disabled_at, key.disabled_at) {
                        (None, Some(_)) => SecurityEvent::KeyPaused,
                        (Some(_), None) => SecurityEvent::KeyResumed,
                        _ => SecurityEvent::KeyEdited,
                    };
                    let narrowing = Narrowing::between(&before, key, is_paused);
                    let mut entries: Vec<AuditEntry> = audit_entry(&context, &before, key, None).into_iter().collect();
                    descendants.retain_mut(|descendant| {
                        let before = descendant.clone();
                        let is_changed = narrowing.apply(descendant, now);
                        entries.extend(audit_entry(&context, &before, descendant, Some(id)));
                        is_changed
                    });
                    allow(&before, key).then_some(entries)
                });
                let edited = edited.await;
                // Also after an error, because the outcome of the commit is then unknown.
                keys.checks.invalidate(key.hash);
                let edited = match edited? {
                    KeyEdit::Done(edited) => edited,
                    KeyEdit::Refused(stored) => return Err(EditError::Changed(stored)),
                    KeyEdit::Revoked => return Err(EditError::Revoked),
                };
                keys.checks.invalidate_all(&edited.changed);
                let descendants = edited.changed.iter().map(|(changed, _)| *changed).filter(|changed| *changed != id);
                let entry = event.entry(actor, Target::Key(id)).of(key.organisation).changed(fields);
                entry.with_descendants(descendants.collect()).write_from(origin.as_ref());
                keys.changes.applied(edited.number).await?;
                Ok(edited.key)
            })
            .await;
        let mut edited = edited?;
        let reading = self.usage.reading().await;
        // Read again, because uses may have been flushed since.
        if let Some(fresh) = self.db.key_by_id(id).await? {
            edited = fresh;
        }
        self.usage.complete(std::slice::from_mut(&mut edited), &reading);
        Ok(edited)
    }
}

/// Returns the audit entry of an edited key, or of a descendant, changed `because_of` it; `None` if nothing changed.
fn audit_entry(context: &AuditContext, before: &Key, after: &Key, because_of: Option<KeyId>) -> Option<AuditEntry> {
    let (old, new) = (AuditFields::of_key(before), AuditFields::of_key(after));
    if old == new {
        return None;
    }
    let action = match (before.disabled_at, after.disabled_at) {
        (None, Some(_)) => AuditAction::KeyPaused,
        (Some(_), None) => AuditAction::KeyResumed,
        _ => AuditAction::KeyUpdated,
    };
    let new = match because_of {
        Some(ancestor) => new.with("because_of", ancestor.to_string()),
        None => new,
    };
    Some(context.key_entry(action, after).before(old).after(new))
}
