//! Issue: makes a key. Its string is shown once; only its hash is stored.
//!
//! Group commit, as for events: concurrent new keys share one transaction, and each key is shown after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::descendants::is_within;
use super::{Checks, Keys};
use crate::domain::{
    Action, AuditAction, AuditContext, AuditFields, Caller, Key, Limits, Place, PlainKey, Spent, Unavailable, may,
};
use crate::model::{AuditEntryId, FieldError, KeyId, KeyName, MANAGE_KEYS, Scopes};
use crate::runtime::Tenant;
use crate::runtime::batch::{self, Batches, Full, Queue};
use crate::runtime::entropy::Entropy;
use crate::security_log::{SecurityEvent, Target, request_origin};
use crate::store::{Batch, Db, Inserted, KeyPlace, KeyRules, MaxKeys, NewKey, StoreError};

/// The form of the key string, which depends on the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStringForm {
    /// `hs_live_…`, `hs_test_…`.
    Hookstream,
    /// `hks_…`.
    HookSentry,
}

/// A request for a key.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Its label.
    pub name: KeyName,
    /// Its environment.
    pub place: Place,
    /// Its scopes; `None` if the request names none, which is an error if the caller is a key.
    pub scopes: Option<Scopes>,
    /// The scopes of a key that a person makes without naming any.
    pub default_scopes: Scopes,
    /// Its limits.
    pub limits: Limits,
    /// Its metadata.
    pub metadata: Option<BTreeMap<String, String>>,
    /// The form of its string.
    pub form: KeyStringForm,
}

/// A new key with its string, for the only answer that shows the string.
#[derive(Debug)]
pub struct Issued {
    /// The key.
    pub key: Key,
    /// Its string.
    pub plain: PlainKey,
}

/// The reason why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The organisation has the maximal number of keys.
    #[error("the organisation has as many keys as it may: {0}")]
    OrganisationFull(i64),
    /// The organisation has the maximal number of revoked keys.
    #[error("the organisation has {0} revoked keys, the most that it may have")]
    TooManyRevoked(i64),
    /// The maker (the key that makes the new one) was revoked or has expired meanwhile.
    #[error("the key that asked has ended")]
    MakerEnded,
    /// The maker was narrowed meanwhile.
    #[error("the key that asked was narrowed")]
    MakerNarrowed,
    /// The maker has a rate limit or a quota, which the keys that it makes would multiply.
    #[error("the key that asked has a rate limit or a quota")]
    MakerIsLimited,
    /// The new key would have rights that its maker does not have.
    #[error("more than the key that asks has itself")]
    Broader(Vec<FieldError>),
    /// The organisation was deleted meanwhile, or the maker is no member any more.
    #[error("no such environment")]
    NoPlace,
    /// The maker may not create keys there any more.
    #[error("the maker may not create keys any more")]
    NotAllowed,
    /// The environment is archived.
    #[error("the environment is archived")]
    Archived,
    /// The organisation's share of the queue is full.
    #[error("too many new keys of the organisation are waiting")]
    TooManyWaiting,
    /// The database failed, or the queue is full.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<Full> for IssueError {
    fn from(full: Full) -> Self {
        match full {
            Full::Tenant => Self::TooManyWaiting,
            Full::Server => Unavailable::KeyStorage.into(),
        }
    }
}

impl Keys {
    /// Makes a key.
    ///
    /// # Errors
    /// When the organisation has too many keys, the key that makes this one may not, or the database fails.
    pub async fn issue(&self, caller: &Caller, draft: Draft) -> Result<Issued, IssueError> {
        let (scopes, limits) = match caller {
            Caller::Person(_) => (draft.scopes.unwrap_or(draft.default_scopes), draft.limits),
            Caller::Key(maker) if is_limited(maker) => return Err(IssueError::MakerIsLimited),
            Caller::Key(maker) => within(maker, draft.scopes, draft.limits).map_err(IssueError::Broader)?,
        };
        let plain = match draft.form {
            KeyStringForm::Hookstream => PlainKey::hookstream(draft.place.mode, &self.entropy),
            KeyStringForm::HookSentry => PlainKey::hooksentry(&self.entropy),
        };
        let now = self.clock.now();
        let key = Key {
            id: KeyId(self.entropy.id_at(now)),
            uuid: self.entropy.uuid_at(now),
            hash: plain.hash(),
            organisation: draft.place.organisation,
            organisation_uuid: draft.place.organisation_uuid,
            environment: draft.place.environment,
            mode: draft.place.mode,
            created_by: caller.user(),
            creator: None,
            parent: caller.key().map(|maker| maker.id),
            name: draft.name.as_str().to_owned(),
            prefix: plain.prefix().to_owned(),
            scopes,
            limits,
            spent: Spent::default(),
            metadata: draft.metadata,
            created_at: now,
            disabled_at: None,
            revoked_at: None,
            request_count: 0,
            last_used_at: None,
        };
        let most = self.policy.most_per_organisation;
        let created =
            |key: &Key| SecurityEvent::KeyCreated.entry(caller.into(), Target::Key(key.id)).of(key.organisation);
        // The key may be stored although its request was dropped.
        let pending = created(&key).pending();
        let context = AuditContext::new(&self.entropy, now, caller.into(), request_origin());
        let entry = context.key_entry(AuditAction::KeyCreated, &key).after(AuditFields::of_key(&key));
        let stored = self.queue.store(NewKey { key, entry }).await;
        pending.answered();
        let (key, inserted) = stored?;
        match inserted {
            Inserted::Done => {
                created(&key).write();
                Ok(Issued { key, plain })
            }
            Inserted::Full => Err(IssueError::OrganisationFull(most)),
            Inserted::TooManyRevoked => Err(IssueError::TooManyRevoked(self.policy.most_revoked)),
            Inserted::ParentEnded => Err(IssueError::MakerEnded),
            Inserted::ParentNarrowed => Err(IssueError::MakerNarrowed),
            Inserted::NoPlace => Err(IssueError::NoPlace),
            Inserted::NotAllowed => Err(IssueError::NotAllowed),
            Inserted::Archived => Err(IssueError::Archived),
        }
    }
}

/// Returns whether a key has a rate limit or a quota. Each key that it makes would have the same limits once more.
fn is_limited(maker: &Key) -> bool {
    maker.limits.rate_limit.is_some() || maker.limits.quota.is_some()
}

/// Compares a new key with its maker's state at the time of storing. Returns false if the maker may not make the key.
fn bind(maker: &Key, NewKey { key, entry }: &mut NewKey) -> bool {
    if is_limited(maker) || !maker.scopes.name_explicitly(MANAGE_KEYS) {
        return false;
    }
    let bound = within(maker, Some(key.scopes.clone()), key.limits.clone());
    bound.is_ok_and(|(_, limits)| {
        key.limits = limits;
        entry.after = Some(AuditFields::of_key(key));
        true
    })
}

/// Judges the place of a new key, as it is when the key is stored. A key that a key makes needs the right of the person
/// as well, who has made the first one.
fn judge(key: &Key, place: Option<&KeyPlace>) -> Inserted {
    let Some(place) = place else { return Inserted::NoPlace };
    match place.role {
        _ if place.is_archived => Inserted::Archived,
        Some(role) if may(role, Action::CreateKeys) => Inserted::Done,
        // An imported key has no person.
        None if key.created_by.is_none() => Inserted::Done,
        None if key.parent.is_none() => Inserted::NoPlace,
        _ => Inserted::NotAllowed,
    }
}

/// Compares the rights of a new key with the rights of its maker (docs/CONTRACTS.md, "Keys must not make keys"). Scopes
/// are named, granted to the maker, and never `api-keys:write`. The maker's expiry and networks are upper bounds, and
/// are inherited if the request names none. A maker has no rate limit and no quota.
fn within(maker: &Key, scopes: Option<Scopes>, asked: Limits) -> Result<(Scopes, Limits), Vec<FieldError>> {
    let mut errors = Vec::new();
    let scopes = scopes.unwrap_or(Scopes::Unset);
    if scopes.is_full() {
        errors.push(FieldError::new("scopes", "must be named: a key cannot make a key with full access"));
    }
    for name in scopes.names() {
        if name == MANAGE_KEYS || name == "api-keys:*" {
            errors.push(FieldError::new("scopes", format!("`{name}` cannot be passed on by a key")));
        } else if !maker.scopes.hold(name) {
            errors.push(FieldError::new("scopes", format!("`{name}` is not held by the key that asks")));
        }
    }
    let bounds = &maker.limits;
    let expires_at = match (asked.expires_at, bounds.expires_at) {
        (Some(asked), Some(bound)) if asked > bound => {
            errors.push(FieldError::new("expires_at", "must not be after the expiry of the key that asks"));
            None
        }
        (asked, bound) => asked.or(bound),
    };
    let ip_allowlist = match (asked.ip_allowlist.clone(), &bounds.ip_allowlist) {
        (Some(asked), Some(bound)) => {
            let outside = asked.iter().find(|network| !is_within(**network, bound));
            if let Some(network) = outside {
                let message = format!("`{network}` is outside the networks of the key that asks");
                errors.push(FieldError::new("ip_allowlist", message));
            }
            Some(asked)
        }
        (asked, bound) => asked.or_else(|| bound.clone()),
    };
    if errors.is_empty() { Ok((scopes, Limits { expires_at, ip_allowlist, ..asked })) } else { Err(errors) }
}

/// The capacity of the queue, in keys: beyond 4096, or 1024 of one organisation, further requests get 503 or 429. A
/// transaction takes up to 256 keys.
const LIMITS: batch::QueueLimits =
    batch::QueueLimits { capacity: 4096, tenant_capacity: 1024, batch: 256, batch_weight: usize::MAX };

struct PendingKey {
    new: NewKey,
    answer: oneshot::Sender<Result<(Key, Inserted), Unavailable>>,
}

/// The queue of new keys.
#[derive(Debug)]
pub(super) struct IssueQueue(Queue<PendingKey>);

impl IssueQueue {
    pub(super) fn new(db: Db, checks: Arc<Checks>, entropy: Entropy, most: MaxKeys) -> Self {
        let (queue, batches) = batch::queue(LIMITS);
        tokio::spawn(write(db, checks, entropy, most, batches));
        Self(queue)
    }

    /// Stores a key. On success, the key is on disk, with an id that no other key has.
    pub(super) async fn store(&self, new: NewKey) -> Result<(Key, Inserted), IssueError> {
        let (answer, answered) = oneshot::channel();
        self.0.push(Tenant::Organisation(new.key.organisation), 1, PendingKey { new, answer })?;
        Ok(answered.await.unwrap_or(Err(Unavailable::KeyStorage))?)
    }
}

/// Stores new keys. Each transaction takes the keys that arrived during the one before.
async fn write(db: Db, checks: Arc<Checks>, entropy: Entropy, most: MaxKeys, mut batches: Batches<PendingKey>) {
    while let Some(pending) = batches.next().await {
        let (mut keys, answers): (Vec<NewKey>, Vec<_>) =
            pending.into_iter().map(|pending| (pending.new, pending.answer)).unzip();
        let mut outcomes = insert(&db, &mut keys, most).await;
        let is_conflict =
            |outcome: &Result<Inserted, Arc<StoreError>>| outcome.as_ref().is_err_and(|error| error.is_conflict());
        let conflicts: Vec<usize> = (0..keys.len()).filter(|at| is_conflict(&outcomes[*at])).collect();
        for at in conflicts {
            // Another key or audit entry has the id, which happens at most once in hours.
            let NewKey { key, entry } = &mut keys[at];
            key.id = KeyId(entropy.id_at(key.created_at));
            entry.id = AuditEntryId(entropy.for_audit().id_at(entry.at));
            entry.target.id = key.id.to_string();
            if let Some(outcome) = insert(&db, &mut keys[at..=at], most).await.pop() {
                outcomes[at] = outcome;
            }
        }
        // A look-up before the commit may have cached that the key does not exist.
        for new in &keys {
            checks.invalidate(new.key.hash);
        }
        for ((NewKey { key, .. }, answer), outcome) in keys.into_iter().zip(answers).zip(outcomes) {
            let outcome = outcome.map_err(|error| {
                tracing::error!(%error, key = %key.id, "cannot store a new key; its request gets 503");
                Unavailable::KeyStorage
            });
            // The send fails if the request was dropped meanwhile; its key is stored, but was never shown.
            let _ = answer.send(outcome.map(|inserted| (key, inserted)));
        }
    }
}

/// Stores keys in one transaction, or in several smaller ones if one key cannot be stored.
async fn insert(db: &Db, keys: &mut [NewKey], most: MaxKeys) -> Vec<Result<Inserted, Arc<StoreError>>> {
    let mut batch = Batch::new(keys.len());
    while let Some(rows) = batch.next_rows() {
        let stored = db.insert_keys(&mut keys[rows.clone()], &KeyRules { max: most, bind, judge }).await;
        batch.settle(rows, stored);
    }
    batch.outcomes()
}
