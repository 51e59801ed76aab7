//! Signing in.

use std::net::IpAddr;

use super::session::SessionError;
use super::{Accounts, EmailAddress, Password};
use crate::model::UserId;
use crate::store::StoreError;

/// Proof that a password was verified. Argon2 takes long enough for a password reset to come between the verification
/// and what it is for, so a session and a token family are stored only while the verified hash is still the stored one.
pub struct Verified {
    pub(crate) user: UserId,
    /// As it was stored when the password was compared with it.
    pub(crate) password_hash: String,
}

impl Verified {
    /// The user whose password it is.
    pub fn user(&self) -> UserId {
        self.user
    }
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why somebody was not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// No such account, another password, or a password that was changed during the sign-in: which of them is never
    /// said.
    #[error("unknown account or wrong password")]
    Wrong,
    /// Too many attempts; try again after so many seconds.
    #[error("too many attempts")]
    Throttled(u64),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The session store failed.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl Accounts {
    /// Whose address and password these are. Takes as long when there is no such account.
    ///
    /// # Errors
    /// When they are nobody's, or there were too many attempts.
    pub async fn sign_in(&self, email: &str, password: String, from: Option<IpAddr>) -> Result<Verified, SignInError> {
        let email = EmailAddress::parse(email).ok();
        self.throttle.attempt(from, email.as_ref()).await.map_err(SignInError::Throttled)?;
        let user = match &email {
            Some(email) => self.db.user_by_email(email.as_str()).await?,
            None => None,
        };
        let stored = user.as_ref().map(|user| user.password_hash.clone());
        let right = self.passwords.verify(Password::attempt(password), stored).await;
        let verified = user.map(|user| Verified { user: user.id(), password_hash: user.password_hash });
        verified.filter(|_| right).ok_or(SignInError::Wrong)
    }
}
