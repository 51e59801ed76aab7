//! Registration: creates a person, their first organisation, and its two environments.

use std::net::IpAddr;

use subtle::ConstantTimeEq;

use super::queue::{Busy, Lane};
use super::{Accounts, EmailAddress, Password};
use crate::domain::{
    AuditAction, AuditActor, AuditChain, AuditContext, AuditEntry, AuditFields, AuditTarget, NewOrganisation, Verified,
};
use crate::model::UserId;
use crate::runtime::Network;
use crate::runtime::entropy::Entropy;
use crate::security_log::{Actor, SecurityEvent, Target, authenticated};
use crate::store::{NewUser, Registered, StoreError};

/// The registrations that the server accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Registration {
    /// Only the first account; `latchkey user add` creates later ones.
    First,
    /// Every registration.
    Open,
    /// No registration; `latchkey user add` creates accounts.
    Closed,
}

/// The token that the first registration needs when it comes from another machine. The server prints it at start.
#[derive(Clone)]
pub struct SetUpToken(String);

impl SetUpToken {
    /// Draws 128 random bits.
    pub fn new(entropy: &Entropy) -> Self {
        Self(hex::encode(entropy.bytes::<16>()))
    }

    /// Returns the token, for printing.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.trim().as_bytes()).into()
    }
}

impl std::fmt::Debug for SetUpToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SetUpToken(…)")
    }
}

/// The right to create the first account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetUpRight<'a> {
    /// The request comes from the server's machine.
    SameMachine,
    /// The request comes from another machine, with or without a set-up token.
    Token(Option<&'a str>),
}

/// The reason why a registration failed.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// This server accepts no registrations, or no more.
    #[error("registration is closed")]
    Closed,
    /// The set-up token is missing or wrong.
    #[error("the set-up token is missing or wrong")]
    SetUpToken,
    /// The address has an account.
    #[error("the address has an account already")]
    EmailTaken,
    /// Too many attempts. Holds the seconds until the next one is allowed.
    #[error("too many attempts")]
    Throttled(u64),
    /// Too many sign-ins and registrations at once.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// Returns whether the server accepts a registration now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn registration_is_open(&self) -> Result<bool, StoreError> {
        Ok(match self.registration {
            Registration::Open => true,
            Registration::Closed => false,
            Registration::First => !self.db.has_accounts().await?,
        })
    }

    /// Returns whether there is no account yet, as after the installation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_none(&self) -> Result<bool, StoreError> {
        Ok(!self.db.has_accounts().await?)
    }

    /// Returns whether a registration with this right lacks the set-up token.
    pub fn lacks_set_up_token(&self, right: SetUpRight<'_>) -> bool {
        match (&self.set_up_token, right) {
            (Some(needed), SetUpRight::Token(given)) if self.registration == Registration::First => {
                !given.is_some_and(|given| needed.is(given))
            }
            _ => false,
        }
    }

    /// Registers a person at their own request.
    ///
    /// # Errors
    /// When registration is closed, or the address has an account.
    pub async fn register(
        &self,
        email: &EmailAddress,
        password: Password,
        right: SetUpRight<'_>,
        from: Option<IpAddr>,
    ) -> Result<Verified, RegisterError> {
        let outcome = self.try_register(email, password, right, from).await;
        let entry = SecurityEvent::AccountRegistered.entry(Actor::None, Target::Unknown);
        match &outcome {
            Err(RegisterError::Closed) => entry.refused("closed").write(),
            Err(RegisterError::SetUpToken) => entry.failed("set_up_token").write(),
            Err(RegisterError::EmailTaken) => entry.failed("email_taken").write(),
            Err(RegisterError::Throttled(_)) => entry.refused("throttled").write(),
            Err(RegisterError::Busy(_)) => entry.refused("busy").write(),
            Ok(_) | Err(RegisterError::Store(_)) => {}
        }
        outcome
    }

    async fn try_register(
        &self,
        email: &EmailAddress,
        password: Password,
        right: SetUpRight<'_>,
        from: Option<IpAddr>,
    ) -> Result<Verified, RegisterError> {
        self.authenticator.throttle.attempt(from, Some(email)).await.map_err(RegisterError::Throttled)?;
        if !self.registration_is_open().await? {
            return Err(RegisterError::Closed);
        }
        if self.lacks_set_up_token(right) {
            return Err(RegisterError::SetUpToken);
        }
        let password_hash = self.authenticator.passwords.hash(password, Network::of(from), Lane::Unknown).await?;
        let only_first = self.registration == Registration::First;
        let (verified, is_first) = self.insert(email, password_hash, only_first, None).await?;
        authenticated();
        let event = if is_first { SecurityEvent::FirstAccountCreated } else { SecurityEvent::AccountRegistered };
        event.entry(Actor::Person(verified.user), Target::Account(verified.user)).write();
        self.authenticator.remember_network(&verified, from).await?;
        Ok(verified)
    }

    /// Adds an account for the operator.
    ///
    /// # Errors
    /// When the address has an account.
    pub async fn add(&self, email: &EmailAddress, password: Password) -> Result<UserId, RegisterError> {
        let password_hash = self.authenticator.passwords.hash(password, Network::of(None), Lane::Known).await?;
        let actor = AuditActor::cli("latchkey user add");
        let (verified, _) = self.insert(email, password_hash, false, Some(actor)).await?;
        SecurityEvent::AccountAdded.entry(Actor::Operator, Target::Account(verified.user)).write();
        Ok(verified.user)
    }

    /// Replaces the password of an account and ends all its sessions and tokens; returns `false` when there is no
    /// account.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reset_password(&self, email: &EmailAddress, password: Password) -> Result<bool, RegisterError> {
        let Some(user) = self.db.user_by_email(email.as_str(), None).await? else {
            return Ok(false);
        };
        let hash = self.authenticator.passwords.hash(password, Network::of(None), Lane::Known).await?;
        let context = self.audit(AuditActor::cli("latchkey user reset-password"));
        let target = AuditTarget::account(user.id(), &user.email);
        let entry = context.entry(AuditChain::Server, AuditAction::AccountPasswordReset, target);
        self.db.set_password(user.id(), &hash, self.clock.now(), entry).await?;
        SecurityEvent::PasswordReset.entry(Actor::Operator, Target::Account(user.id())).write();
        Ok(true)
    }

    /// Counts an attempt to use a secret of an account that does not exist yet, as one to sign in.
    ///
    /// # Errors
    /// The seconds after which the next one is allowed, when this one is not.
    pub(crate) async fn attempt(&self, from: Option<IpAddr>) -> Result<(), u64> {
        self.authenticator.throttle.attempt(from, None).await
    }

    /// Gives back such an attempt, which succeeded.
    pub(crate) async fn refund(&self, from: Option<IpAddr>) {
        self.authenticator.throttle.refund(from, None, false).await;
    }

    /// Hashes the password of a new account, in the queue of the sign-ins of strangers.
    pub(crate) async fn hash(&self, password: Password, from: Option<IpAddr>) -> Result<String, Busy> {
        self.authenticator.passwords.hash(password, Network::of(from), Lane::Unknown).await
    }

    /// Makes the network of a new account known.
    pub(crate) async fn remember_network(&self, verified: &Verified, from: Option<IpAddr>) -> Result<(), StoreError> {
        self.authenticator.remember_network(verified, from).await
    }

    /// Stores an account; also returns whether it is the first. Without an `actor`, the new person is the actor.
    async fn insert(
        &self,
        email: &EmailAddress,
        password_hash: String,
        only_first: bool,
        actor: Option<AuditActor>,
    ) -> Result<(Verified, bool), RegisterError> {
        let at = self.clock.now();
        let new = NewUser { id: UserId(self.entropy.id()), email: email.as_str(), password_hash: &password_hash, at };
        let name = format!("{}'s organisation", email.local_part());
        let organisation = NewOrganisation::new(name, at, &self.entropy);
        let context = self.audit(actor.unwrap_or_else(|| AuditActor::person(new.id, new.email)));
        let entries = |is_first| [account_entry(&context, &new, is_first), organisation.entry(&context, new.id)];
        match self.db.insert_user(&new, &organisation, only_first, entries).await? {
            Registered::Done { is_first } => {
                Ok((Verified { user: new.id, email: new.email.to_owned(), password_hash }, is_first))
            }
            Registered::NotFirst => Err(RegisterError::Closed),
            Registered::EmailTaken => Err(RegisterError::EmailTaken),
        }
    }
}

/// The audit entry of a new account.
pub(crate) fn account_entry(context: &AuditContext, new: &NewUser<'_>, is_operator: bool) -> AuditEntry {
    let target = AuditTarget::account(new.id, new.email);
    let made = AuditFields::default().with("email", new.email).with("operator", is_operator);
    context.entry(AuditChain::Server, AuditAction::AccountCreated, target).after(made)
}
