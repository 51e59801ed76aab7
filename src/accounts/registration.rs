//! Registration: creates a person, their first organisation, and its two environments.

use std::net::IpAddr;

use subtle::ConstantTimeEq;

use super::queue::{Busy, Lane};
use super::{Accounts, EmailAddress, Password};
use crate::domain::{AuditAction, AuditActor, AuditChain, AuditEntry, AuditFields, AuditTarget, Verified};
use crate::model::{EnvironmentId, Mode, OrganisationId, UserId};
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

    /// Stores an account; also returns whether it is the first. Without an `actor`, the new person is the actor.
    async fn insert(
        &self,
        email: &EmailAddress,
        password_hash: String,
        only_first: bool,
        actor: Option<AuditActor>,
    ) -> Result<(Verified, bool), RegisterError> {
        let environment = || EnvironmentId(self.entropy.id());
        let new = NewUser {
            id: UserId(self.entropy.id()),
            email: email.as_str(),
            password_hash: &password_hash,
            organisation: OrganisationId(self.entropy.id()),
            organisation_uuid: self.entropy.uuid(),
            organisation_name: &format!("{}'s organisation", email.local_part()),
            environments: &[(environment(), "Production", Mode::Live), (environment(), "Development", Mode::Test)],
            at: self.clock.now(),
        };
        let actor = actor.unwrap_or_else(|| AuditActor::person(new.id, new.email));
        match self.db.insert_user(&new, only_first, |is_first| self.audit_of(&new, actor, is_first)).await? {
            Registered::Done { is_first } => {
                Ok((Verified { user: new.id, email: new.email.to_owned(), password_hash }, is_first))
            }
            Registered::NotFirst => Err(RegisterError::Closed),
            Registered::EmailTaken => Err(RegisterError::EmailTaken),
        }
    }

    /// Returns the audit entries of a new account and of its organisation.
    fn audit_of(&self, new: &NewUser<'_>, actor: AuditActor, is_first: bool) -> [AuditEntry; 2] {
        let context = self.audit(actor);
        let account = AuditTarget::account(new.id, new.email);
        let organisation = AuditTarget::organisation(new.organisation, new.organisation_name);
        let chain = AuditChain::Organisation(new.organisation);
        let environments: Vec<_> = new
            .environments
            .iter()
            .map(|(id, name, mode)| serde_json::json!({ "id": id.to_string(), "name": name, "mode": mode.as_str() }))
            .collect();
        let made = AuditFields::default()
            .with("name", new.organisation_name)
            .with("owner", new.id.to_string())
            .with("environments", environments);
        [
            context
                .entry(AuditChain::Server, AuditAction::AccountCreated, account)
                .after(AuditFields::default().with("email", new.email).with("operator", is_first)),
            context.entry(chain, AuditAction::OrganisationCreated, organisation).after(made),
        ]
    }
}
