//! Audit entries: one for each change of the rights of a person or a key, or of a setting
//! (docs/ARCHITECTURE.md, "The audit log").
//!
//! `before` and `after` are built from a key as its readers see it, or from fields that are listed one by one, so a key
//! string, a token, a password or a hash cannot get into an entry.

mod parties;

pub use parties::{ActorType, AuditActor, AuditTarget, RequestOrigin, TargetType};

use serde_json::{Map, Value, json};

use super::Key;
use crate::model::{AuditEntryId, OrganisationId, Timestamp};
use crate::runtime::entropy::Entropy;
use crate::runtime::time::seconds;

/// A record of one change, written in the transaction of the change.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// The id.
    pub id: AuditEntryId,
    /// The moment of the change.
    pub at: Timestamp,
    /// The chain that it belongs to.
    pub chain: AuditChain,
    /// The originator of the change.
    pub actor: AuditActor,
    /// The kind of the change.
    pub action: AuditAction,
    /// The object of the change.
    pub target: AuditTarget,
    /// The request that asked for it.
    pub origin: RequestOrigin,
    /// The object before the change; `None` if it did not exist, or if none of its fields is listed.
    pub before: Option<AuditFields>,
    /// The object after the change, or facts about the change.
    pub after: Option<AuditFields>,
}

/// A sequence of entries that is read, kept and verified independently of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditChain {
    /// The chain of an organisation.
    Organisation(OrganisationId),
    /// The chain of objects that belong to no organisation: accounts and sign-ins.
    Server,
}

impl AuditChain {
    /// Returns the organisation; `None` for the server's chain.
    pub fn organisation(self) -> Option<OrganisationId> {
        match self {
            Self::Organisation(organisation) => Some(organisation),
            Self::Server => None,
        }
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The kind of a change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum AuditAction {
            $($(#[$doc])* $name,)*
        }

        impl AuditAction {
            /// All actions.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The word on the wire and in the database.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

actions! {
    /// An account was created.
    AccountCreated = "account.created",
    /// The operator replaced the password of an account, which ended its sessions and tokens.
    AccountPasswordReset = "account.password_reset",
    /// An account became an operator of the server, or ceased to be one.
    AccountOperatorChanged = "account.operator_changed",
    /// An account was disabled, which ended its sessions and tokens.
    AccountDisabled = "account.disabled",
    /// A disabled account was enabled.
    AccountEnabled = "account.enabled",
    /// An organisation was created, with its environments and its owner.
    OrganisationCreated = "organisation.created",
    /// An organisation got another name.
    OrganisationRenamed = "organisation.renamed",
    /// An organisation was deleted.
    OrganisationDeleted = "organisation.deleted",
    /// An environment was created.
    EnvironmentCreated = "environment.created",
    /// An environment got another name.
    EnvironmentUpdated = "environment.updated",
    /// An environment was archived, and perhaps renamed.
    EnvironmentArchived = "environment.archived",
    /// An archived environment was opened again, and perhaps renamed.
    EnvironmentUnarchived = "environment.unarchived",
    /// A person was invited to an organisation.
    InvitationCreated = "invitation.created",
    /// An invitation was accepted.
    InvitationAccepted = "invitation.accepted",
    /// An invitation was withdrawn, or its maker lost the right to it.
    InvitationDeleted = "invitation.deleted",
    /// A person became a member of an organisation.
    MemberAdded = "member.added",
    /// A member got another role.
    MemberRoleChanged = "member.role_changed",
    /// A membership was ended.
    MemberRemoved = "member.removed",
    /// A person signed in and got a session.
    SessionCreated = "session.created",
    /// A session was ended.
    SessionEnded = "session.ended",
    /// A person signed in and got a family of tokens.
    TokensCreated = "tokens.created",
    /// The tokens of a sign-in were ended.
    TokensEnded = "tokens.ended",
    /// The retention of an environment's events was changed.
    RetentionChanged = "retention.changed",
    /// A key was created.
    KeyCreated = "key.created",
    /// A key was changed.
    KeyUpdated = "key.updated",
    /// A key was paused, and perhaps changed otherwise.
    KeyPaused = "key.paused",
    /// A key was resumed, and perhaps changed otherwise.
    KeyResumed = "key.resumed",
    /// A key was revoked.
    KeyRevoked = "key.revoked",
    /// Keys that were revoked long ago were deleted; their hashes are kept.
    KeysPurged = "keys.purged",
    /// All rows of another database were copied into this one.
    DataMigrated = "data.migrated",
}

/// Listed fields of an object, or facts about a change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuditFields(Map<String, Value>);

impl AuditFields {
    /// Lists the fields of a key as its readers see them, without its counts.
    pub fn of_key(key: &Key) -> Self {
        let limits = &key.limits;
        let networks =
            limits.ip_allowlist.as_ref().map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
        Self::default()
            .with("name", &key.name)
            .with("key_prefix", &key.prefix)
            .with("env_id", key.environment.to_string())
            .with("scopes", key.scopes.to_wire())
            .with("enabled", key.disabled_at.is_none())
            .with("expires_at", limits.expires_at.map(seconds))
            .with("ip_allowlist", networks)
            .with("rate_limit", limits.rate_limit)
            .with("quota", limits.quota)
            .with("metadata", &key.metadata)
            .with("parent_key_id", key.parent.map(|parent| parent.to_string()))
    }

    /// Adds a field. The value is never a secret, nor the hash of one.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl serde::Serialize) -> Self {
        self.0.insert(name.to_owned(), json!(value));
        self
    }

    /// Returns the fields as a JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }
}

/// The facts that all entries of one change have in common.
#[derive(Debug, Clone)]
pub struct AuditContext {
    entropy: Entropy,
    at: Timestamp,
    actor: AuditActor,
    origin: RequestOrigin,
}

impl AuditContext {
    /// Creates the context of a change at the moment `at`.
    pub fn new(entropy: &Entropy, at: Timestamp, actor: AuditActor, origin: RequestOrigin) -> Self {
        Self { entropy: entropy.for_audit(), at, actor, origin }
    }

    /// Creates an entry with a new id.
    pub fn entry(&self, chain: AuditChain, action: AuditAction, target: AuditTarget) -> AuditEntry {
        AuditEntry {
            id: AuditEntryId(self.entropy.id_at(self.at)),
            at: self.at,
            chain,
            actor: self.actor.clone(),
            action,
            target,
            origin: self.origin.clone(),
            before: None,
            after: None,
        }
    }

    /// Creates an entry about a key.
    pub fn key_entry(&self, action: AuditAction, key: &Key) -> AuditEntry {
        let target = AuditTarget::key(key.id, &key.name, &key.prefix);
        self.entry(AuditChain::Organisation(key.organisation), action, target)
    }
}

impl AuditEntry {
    /// Adds the object before the change.
    #[must_use]
    pub fn before(self, fields: AuditFields) -> Self {
        Self { before: Some(fields), ..self }
    }

    /// Adds the object after the change, or facts about the change.
    #[must_use]
    pub fn after(self, fields: AuditFields) -> Self {
        Self { after: Some(fields), ..self }
    }

    /// Adds the number of other objects that the change ended, unless it is 0.
    #[must_use]
    pub fn counting(self, name: &'static str, count: u64) -> Self {
        if count == 0 {
            return self;
        }
        let after = self.after.clone().unwrap_or_default().with(name, count);
        self.after(after)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use super::*;
    use crate::domain::{PlainKey, key};
    use crate::model::Mode;

    #[test]
    fn every_action_has_a_dotted_name_of_its_own() {
        let names: HashSet<&str> = AuditAction::ALL.iter().map(|action| action.as_str()).collect();
        assert_eq!(names.len(), AuditAction::ALL.len());
        for name in names {
            let parts: Vec<&str> = name.split('.').collect();
            let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'));
            assert!(parts.len() == 2 && parts.iter().all(is_word), "{name}");
        }
    }

    #[test]
    fn a_key_in_an_entry_shows_neither_its_string_nor_its_hash() {
        let plain = PlainKey::hookstream(Mode::Live, &Entropy::seeded(7));
        let metadata = Some(BTreeMap::from([("team".to_owned(), "billing".to_owned())]));
        let key = Key { hash: plain.hash(), prefix: plain.prefix().to_owned(), metadata, ..key() };
        let actor = AuditActor::key(&key);
        let context = AuditContext::new(&Entropy::seeded(1), Timestamp(0), actor, RequestOrigin::default());
        let entry = context.key_entry(AuditAction::KeyCreated, &key).after(AuditFields::of_key(&key));
        assert_eq!(entry.target.label, format!("k ({})", plain.prefix()));
        let text = format!("{entry:?} {}", entry.after.as_ref().unwrap().to_json());
        assert!(text.contains("billing"));
        assert!(!text.contains(&hex::encode(plain.hash().as_bytes())) && !text.contains(&plain.reveal()[12..]));
    }

    #[test]
    fn a_count_of_zero_is_left_out() {
        let context =
            AuditContext::new(&Entropy::System, Timestamp(0), AuditActor::cli("latchkey"), RequestOrigin::default());
        let entry = context.entry(AuditChain::Server, AuditAction::AccountPasswordReset, AuditTarget::server());
        let entry = entry.counting("sessions_ended", 0);
        assert_eq!(entry.after, None);
        assert_eq!(entry.counting("sessions_ended", 2).after.unwrap().to_json(), r#"{"sessions_ended":2}"#);
    }
}
