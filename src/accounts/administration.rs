//! Account administration: an operator lists accounts, disables and enables them, and makes operators.

use super::{Accounts, EmailAddress};
use crate::domain::{AuditAction, AuditActor, AuditChain, AuditFields, AuditTarget};
use crate::model::{Timestamp, UserId};
use crate::security_log::{Actor, SecurityEvent, Target};
use crate::store::{AccountRow, StoreError};

/// An account in the operator's list.
#[derive(Debug, Clone)]
pub struct Account {
    /// The ID of the person.
    pub id: UserId,
    /// The lower-case address.
    pub email: String,
    /// The moment of the registration.
    pub created_at: Timestamp,
    /// Whether the person operates the server.
    pub is_operator: bool,
    /// The moment when the account was disabled, if it is.
    pub disabled_at: Option<Timestamp>,
    /// The number of organisations that the person is a member of.
    pub organisations: i64,
}

impl From<AccountRow> for Account {
    fn from(row: AccountRow) -> Self {
        Self {
            id: UserId(row.id),
            email: row.email,
            created_at: Timestamp(row.created_at),
            is_operator: row.operator != 0,
            disabled_at: row.disabled_at.map(Timestamp),
            organisations: row.organisations,
        }
    }
}

/// A change of an account that only an operator of the server makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountChange {
    /// Makes the person an operator of the server (`true`), or a normal person again (`false`).
    Operator(bool),
    /// Ends all sessions, tokens and invitations of the person, and refuses sign-ins from now on. The keys that the person
    /// made stay.
    Disable,
    /// Accepts the account's password again.
    Enable,
}

/// The outcome of a change of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// The account was changed.
    Done,
    /// The account already had the requested state.
    Unchanged,
    /// There is no account of this address.
    NoSuchAccount,
}

/// The originator of a change of an account, for the audit log and for the security log.
#[derive(Debug, Clone)]
pub struct Operator {
    actor: AuditActor,
    logged: Actor,
}

impl Operator {
    /// A command on the server's machine.
    pub fn command(command: &'static str) -> Self {
        Self { actor: AuditActor::cli(command), logged: Actor::Operator }
    }

    /// An operator who is signed in.
    pub fn person(id: UserId, email: &str) -> Self {
        Self { actor: AuditActor::person(id, email), logged: Actor::Person(id) }
    }
}

impl Accounts {
    /// Returns at most `limit` accounts whose addresses contain `text` and come after the address `after`, in the order
    /// of the addresses.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list(&self, after: &str, text: &str, limit: i64) -> Result<Vec<Account>, StoreError> {
        let rows = self.db.accounts_page(after, &text.to_lowercase(), limit).await?;
        Ok(rows.into_iter().map(Account::from).collect())
    }

    /// Changes the account of an address. The change is effective on every node when this returns, because nodes read
    /// sessions and tokens from the database.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn change(
        &self,
        email: &EmailAddress,
        change: AccountChange,
        by: Operator,
    ) -> Result<Changed, StoreError> {
        let Some(user) = self.db.user_by_email(email.as_str(), None).await? else {
            return Ok(Changed::NoSuchAccount);
        };
        let id = user.id();
        let (action, event) = match change {
            AccountChange::Operator(_) => (AuditAction::AccountOperatorChanged, SecurityEvent::OperatorChanged),
            AccountChange::Disable => (AuditAction::AccountDisabled, SecurityEvent::AccountDisabled),
            AccountChange::Enable => (AuditAction::AccountEnabled, SecurityEvent::AccountEnabled),
        };
        let target = AuditTarget::account(id, &user.email);
        let context = self.audit(by.actor);
        let entry = context.entry(AuditChain::Server, action, target);
        let ended = |organisation, invitation, address: &str| {
            let target = AuditTarget::invitation(invitation, address);
            let entry = context.entry(AuditChain::Organisation(organisation), AuditAction::InvitationDeleted, target);
            entry.after(AuditFields::default().with("because_of", id.to_string()))
        };
        let changed = match change {
            AccountChange::Operator(on) => {
                let operator = |on: bool| AuditFields::default().with("operator", on);
                self.db.set_operator(id, on, entry.before(operator(!on)).after(operator(on))).await?
            }
            AccountChange::Disable => self.db.disable_account(id, self.clock.now(), entry, ended).await?,
            AccountChange::Enable => self.db.enable_account(id, entry).await?,
        };
        event.entry(by.logged, Target::Account(id)).unchanged_if(!changed).write();
        Ok(if changed { Changed::Done } else { Changed::Unchanged })
    }
}
