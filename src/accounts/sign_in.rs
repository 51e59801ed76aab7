//! Signing in.

use std::net::IpAddr;

use super::{Accounts, EmailAddress, Password};
use crate::model::UserId;
use crate::store::StoreError;

/// Why somebody was not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// No such account, or another password: which of the two is never said.
    #[error("unknown account or wrong password")]
    Wrong,
    /// Too many attempts; try again after so many seconds.
    #[error("too many attempts")]
    Throttled(u64),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// Whose address and password these are. Takes as long when there is no such account.
    ///
    /// # Errors
    /// When they are nobody's, or there were too many attempts.
    pub async fn sign_in(&self, email: &str, password: String, from: Option<IpAddr>) -> Result<UserId, SignInError> {
        let email = EmailAddress::parse(email).ok();
        self.throttle.attempt(from, email.as_ref()).await.map_err(SignInError::Throttled)?;
        let user = match &email {
            Some(email) => self.db.user_by_email(email.as_str()).await?,
            None => None,
        };
        let stored = user.as_ref().map(|user| user.password_hash.clone());
        let right = self.passwords.verify(Password::attempt(password), stored).await;
        user.filter(|_| right).map(|user| user.id()).ok_or(SignInError::Wrong)
    }
}
