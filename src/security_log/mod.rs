//! The security log: one structured log line for each security event, under the target `latchkey::security`. A line has
//! the event, its outcome, the actor, the client's address, the target, and the id of the request.
//!
//! The domain code writes each line next to the commit of the change, so that no contract in `api` can forget one. The
//! origin of the request is stored in its task ([`Origin`]), so the domain code needs no parameter for it.

pub mod limit;
mod origin;
mod window;

pub use origin::{Origin, authenticated, request_origin};

use std::fmt;

use crate::domain::Caller;
use crate::model::{EnvironmentId, InvitationId, KeyId, OrganisationId, UserId};
use limit::{Kind, Repeated};

/// The `tracing` target of all lines, which `--log` can filter by.
const TARGET: &str = "latchkey::security";
/// The maximal number of descendant ids in one line; more ids take several lines.
const IDS_PER_LINE: usize = 500;

/// The kinds of security events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityEvent {
    /// A sign-in succeeded, failed, or was refused by a throttle or a full queue.
    SignIn,
    /// An owner ended a session or the tokens of a sign-in.
    SignOut,
    /// A person registered.
    AccountRegistered,
    /// The first account was created, which owns the server.
    FirstAccountCreated,
    /// The operator added an account (`latchkey user add`).
    AccountAdded,
    /// The operator reset a password (`latchkey user reset-password`), which ended all sessions and tokens.
    PasswordReset,
    /// An operator made an account an operator of the server, or ended that.
    OperatorChanged,
    /// An operator disabled an account; all sessions and tokens are over.
    AccountDisabled,
    /// An operator enabled an account.
    AccountEnabled,
    /// A refresh token was used.
    TokensRefreshed,
    /// A refresh token was used twice, which ended the tokens of its sign-in.
    TokensEnded,
    /// A key was created.
    KeyCreated,
    /// A key was changed.
    KeyEdited,
    /// A key was paused; the same edit may have changed other fields.
    KeyPaused,
    /// A key was resumed; the same edit may have changed other fields.
    KeyResumed,
    /// A key was revoked.
    KeyRevoked,
    /// The retention of an environment's events was changed.
    RetentionChanged,
    /// An organisation was created.
    OrganisationCreated,
    /// An organisation got another name.
    OrganisationRenamed,
    /// An organisation was deleted.
    OrganisationDeleted,
    /// An environment was created.
    EnvironmentCreated,
    /// An environment got another name.
    EnvironmentUpdated,
    /// An environment was archived.
    EnvironmentArchived,
    /// An archived environment was opened again.
    EnvironmentUnarchived,
    /// A person was invited.
    InvitationCreated,
    /// An invitation was accepted, or a token was presented that is none.
    InvitationAccepted,
    /// An invitation was withdrawn.
    InvitationDeleted,
    /// A member got another role.
    MemberRoleChanged,
    /// A member was removed, or left.
    MemberRemoved,
}

impl SecurityEvent {
    /// The value of the field `event`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::SignOut => "sign_out",
            Self::AccountRegistered => "account.registered",
            Self::FirstAccountCreated => "account.first_created",
            Self::AccountAdded => "account.added",
            Self::PasswordReset => "account.password_reset",
            Self::OperatorChanged => "account.operator_changed",
            Self::AccountDisabled => "account.disabled",
            Self::AccountEnabled => "account.enabled",
            Self::TokensRefreshed => "tokens.refreshed",
            Self::TokensEnded => "tokens.ended",
            Self::KeyCreated => "key.created",
            Self::KeyEdited => "key.edited",
            Self::KeyPaused => "key.paused",
            Self::KeyResumed => "key.resumed",
            Self::KeyRevoked => "key.revoked",
            Self::RetentionChanged => "retention.changed",
            Self::OrganisationCreated => "organisation.created",
            Self::OrganisationRenamed => "organisation.renamed",
            Self::OrganisationDeleted => "organisation.deleted",
            Self::EnvironmentCreated => "environment.created",
            Self::EnvironmentUpdated => "environment.updated",
            Self::EnvironmentArchived => "environment.archived",
            Self::EnvironmentUnarchived => "environment.unarchived",
            Self::InvitationCreated => "invitation.created",
            Self::InvitationAccepted => "invitation.accepted",
            Self::InvitationDeleted => "invitation.deleted",
            Self::MemberRoleChanged => "member.role_changed",
            Self::MemberRemoved => "member.removed",
        }
    }

    /// Creates an entry with the outcome `succeeded`.
    pub fn entry(self, actor: Actor, target: Target) -> Entry {
        Entry {
            event: self,
            outcome: Outcome::Succeeded,
            reason: None,
            actor,
            target,
            organisation: None,
            changed: None,
            descendants: Vec::new(),
        }
    }
}

/// The person, key or operator that caused an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// An unauthenticated client.
    None,
    /// A person.
    Person(UserId),
    /// An API key.
    Key(KeyId),
    /// The operator, by a command on the server's machine.
    Operator,
}

impl From<&Caller> for Actor {
    fn from(caller: &Caller) -> Self {
        match caller {
            Caller::Person(person) => Self::Person(person.id),
            Caller::Key(key) => Self::Key(key.id),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Person(id) => id.fmt(f),
            Self::Key(id) => id.fmt(f),
            Self::Operator => f.write_str("operator"),
        }
    }
}

/// The object that an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An account that does not exist, or was not looked up. Its email address is personal data and is not logged.
    Unknown,
    /// An account.
    Account(UserId),
    /// An API key.
    Key(KeyId),
    /// An organisation.
    Organisation(OrganisationId),
    /// An environment.
    Environment(EnvironmentId),
    /// An invitation.
    Invitation(InvitationId),
}

impl From<Option<UserId>> for Target {
    fn from(user: Option<UserId>) -> Self {
        user.map_or(Self::Unknown, Self::Account)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown"),
            Self::Account(id) => id.fmt(f),
            Self::Key(id) => id.fmt(f),
            Self::Organisation(id) => id.fmt(f),
            Self::Environment(id) => id.fmt(f),
            Self::Invitation(id) => id.fmt(f),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Succeeded,
    Unchanged,
    Failed,
    Refused,
    Unknown,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// One entry of the security log.
#[derive(Debug)]
pub struct Entry {
    event: SecurityEvent,
    outcome: Outcome,
    reason: Option<&'static str>,
    actor: Actor,
    target: Target,
    organisation: Option<OrganisationId>,
    changed: Option<String>,
    descendants: Vec<KeyId>,
}

impl Entry {
    /// Sets the outcome `failed`: the credential was wrong.
    #[must_use]
    pub fn failed(self, reason: &'static str) -> Self {
        Self { outcome: Outcome::Failed, reason: Some(reason), ..self }
    }

    /// Sets the outcome `refused`: the server did not check the credential.
    #[must_use]
    pub fn refused(self, reason: &'static str) -> Self {
        Self { outcome: Outcome::Refused, reason: Some(reason), ..self }
    }

    /// Sets the outcome `unchanged` if the target was already in this state.
    #[must_use]
    pub fn unchanged_if(self, is_unchanged: bool) -> Self {
        if is_unchanged { Self { outcome: Outcome::Unchanged, ..self } } else { self }
    }

    /// Sets the reason of the event.
    #[must_use]
    pub fn because(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// Sets the organisation of the target.
    #[must_use]
    pub fn of(self, organisation: OrganisationId) -> Self {
        Self { organisation: Some(organisation), ..self }
    }

    /// Sets the names of the fields that an edit changed.
    #[must_use]
    pub fn changed(self, fields: String) -> Self {
        Self { changed: Some(fields), ..self }
    }

    /// Sets the descendants of the key that were changed with it.
    #[must_use]
    pub fn with_descendants(self, descendants: Vec<KeyId>) -> Self {
        Self { descendants, ..self }
    }

    /// Writes the line, with the origin of the request that this task answers.
    pub fn write(self) {
        self.write_from(Origin::current().as_ref());
    }

    /// Writes the line, with the origin of a request that another task answers. Failures beyond the budget of their
    /// network are only counted, for a summary.
    pub fn write_from(self, origin: Option<&Origin>) {
        let target_id = self.target.to_string();
        let kind = match self.outcome {
            Outcome::Failed => Some(Kind::Failed),
            Outcome::Refused => Some(Kind::Refused),
            Outcome::Succeeded | Outcome::Unchanged | Outcome::Unknown => None,
        };
        if let (Some(kind), Some(origin)) = (kind, origin) {
            let code = self.reason.unwrap_or_default();
            if !origin.admit(kind, Repeated { event: self.event.as_str(), code, subject: &target_id }) {
                return;
            }
        }
        let client = origin.and_then(Origin::client).map_or_else(|| "none".to_owned(), |client| client.to_string());
        let organisation = self.organisation.map(|organisation| organisation.to_string());
        let request_id = origin.and_then(Origin::request_id);
        let count = (!self.descendants.is_empty()).then_some(self.descendants.len());
        let mut chunks = self.descendants.chunks(IDS_PER_LINE);
        let mut chunk = chunks.next();
        loop {
            let ids = chunk.map(|ids| ids.iter().map(KeyId::to_string).collect::<Vec<_>>().join(" "));
            macro_rules! line {
                ($level:ident) => {
                    tracing::$level!(
                        target: TARGET,
                        event = self.event.as_str(),
                        outcome = self.outcome.as_str(),
                        reason = self.reason,
                        actor = %self.actor,
                        client,
                        target_id,
                        organisation = organisation.as_deref(),
                        request_id,
                        changed = self.changed.as_deref(),
                        descendants = count,
                        descendant_ids = ids.as_deref(),
                        "security event"
                    )
                };
            }
            let is_normal = matches!(self.outcome, Outcome::Succeeded | Outcome::Unchanged)
                && self.event != SecurityEvent::TokensEnded;
            if is_normal {
                line!(info);
            } else {
                line!(warn);
            }
            chunk = chunks.next();
            if chunk.is_none() {
                return;
            }
        }
    }

    /// Returns a guard that writes the entry with the outcome `unknown` if it is dropped before the outcome is known.
    pub fn pending(self) -> Pending {
        Pending(Some((Self { outcome: Outcome::Unknown, ..self }, Origin::current())))
    }
}

/// The guard of a change in progress. See [`Entry::pending`].
#[derive(Debug)]
pub struct Pending(Option<(Entry, Option<Origin>)>);

impl Pending {
    /// Discards the entry, because the outcome is known.
    pub fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some((entry, origin)) = self.0.take() {
            entry.write_from(origin.as_ref());
        }
    }
}

/// Writes the number of events that were counted instead of written in full.
pub(crate) fn write_summary(
    event: &str,
    outcome: &str,
    reason: &str,
    network: &str,
    target_id: &str,
    count: u64,
    first_request_id: &str,
) {
    tracing::warn!(
        target: TARGET,
        event,
        outcome,
        reason,
        actor = %Actor::None,
        network,
        target_id,
        count,
        first_request_id,
        "further security events"
    );
}
