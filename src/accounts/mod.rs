//! Accounts: registration, sign-in, sessions and tokens.

mod administration;
mod email;
mod error;
mod plain_token;
mod queue;
mod registration;
mod sessions;
mod sign_in;
mod tokens;

pub use administration::{Account, AccountChange, Changed, Operator};
pub use email::{EmailAddress, EmailError};
pub use error::{SessionError, SignInError};
pub use plain_token::PlainToken;
pub(crate) use plain_token::hash as token_hash;
pub use queue::Busy;
pub use queue::RETRY_AFTER as SIGN_IN_RETRY_AFTER;
pub(crate) use registration::account_entry;
pub use registration::{RegisterError, Registration, SetUpRight, SetUpToken};
pub use sessions::store::{ABSOLUTE_TIME_OUT, DatabaseSessions, FLASH, IDLE_TIME_OUT, begin_session, has_user};
pub use sign_in::password::{Password, PasswordError, Passwords};
pub use sign_in::step::{SecondFactor, SecondStep, SignIn};
pub use sign_in::throttle::Throttle;
pub use tokens::{ACCESS_LIFETIME, TokenHolder, TokenPair, looks_like_access_token};

use crate::cluster::limits::SharedLimits;
use crate::domain::{AuditActor, AuditContext, Person};
use crate::model::UserId;
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::security_log::request_origin;
use crate::store::{Db, PersonRow, StoreError};
use sessions::current::Sessions;
use sign_in::{Authenticator, KNOWN_FOR};

/// The accounts of a database: registration, sign-in, sessions and tokens.
#[derive(Debug)]
pub struct Accounts {
    /// Signs people in by password.
    pub authenticator: Authenticator,
    /// Looks up the persons of sessions.
    pub sessions: Sessions,
    db: Db,
    clock: Clock,
    entropy: Entropy,
    registration: Registration,
    set_up_token: Option<SetUpToken>,
    max_sessions: i64,
}

/// The largest number of sessions of one account, and of its token families: a further one ends the oldest.
pub const MAX_SESSIONS: i64 = 100;

impl Accounts {
    /// Creates access to the accounts of a database. With a `set_up_token`, the registration of the first account from
    /// another machine needs the token.
    pub fn new(
        db: Db,
        clock: Clock,
        entropy: Entropy,
        passwords: Passwords,
        registration: Registration,
        set_up_token: Option<SetUpToken>,
    ) -> Self {
        let authenticator = Authenticator::new(db.clone(), clock.clone(), entropy.clone(), passwords);
        let sessions = Sessions::new(db.clone(), clock.clone(), entropy.clone());
        Self { authenticator, sessions, db, clock, entropy, registration, set_up_token, max_sessions: MAX_SESSIONS }
    }

    /// Counts attempts to sign in across all nodes.
    #[must_use]
    pub fn with_shared_limits(self, shared: SharedLimits) -> Self {
        Self { authenticator: self.authenticator.with_shared_limits(shared), ..self }
    }

    /// Replaces the limit [`MAX_SESSIONS`].
    #[must_use]
    pub fn with_max_sessions(self, max_sessions: i64) -> Self {
        Self { max_sessions, ..self }
    }

    /// Returns the largest number of sessions of one account, and of its token families.
    pub fn max_sessions(&self) -> i64 {
        self.max_sessions
    }

    /// Returns a person with the current memberships; `None` when the account does not exist.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn person(&self, user: UserId) -> Result<Option<Person>, StoreError> {
        Ok(PersonRow::person(&self.db.person(user).await?))
    }

    /// Returns the audit context of a change, with the request of the current task as its origin.
    fn audit(&self, actor: AuditActor) -> AuditContext {
        AuditContext::new(&self.entropy, self.clock.now(), actor, request_origin())
    }

    /// Deletes sessions that have expired.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_ended_sessions(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.db.delete_ended_sessions(now.plus(-ABSOLUTE_TIME_OUT), now.plus(-IDLE_TIME_OUT)).await
    }

    /// Deletes tokens that have expired, and token families without any.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_ended_tokens(&self) -> Result<(), StoreError> {
        self.db.delete_ended_tokens(self.clock.now()).await
    }

    /// Deletes networks that accounts have not signed in from for 30 days.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_old_networks(&self) -> Result<(), StoreError> {
        self.db.delete_old_networks(self.clock.now().plus(-KNOWN_FOR)).await
    }
}
