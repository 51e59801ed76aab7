//! The errors of a sign-in.

use super::queue::Busy;
use crate::store::StoreError;

/// An error of the session store: the database failed.
pub type SessionError = tower_sessions::session::Error;

/// The reason why a sign-in failed.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The account does not exist, the password is wrong, or it was changed during the sign-in: the response never
    /// tells which.
    #[error("unknown account or wrong password")]
    Wrong,
    /// The password is right, and an operator has disabled the account. The contracts answer as for a wrong password.
    #[error("the account is disabled")]
    Disabled,
    /// Too many attempts. Holds the seconds until the next one is allowed.
    #[error("too many attempts")]
    Throttled(u64),
    /// Too many sign-ins and registrations at once.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The session store failed.
    #[error(transparent)]
    Session(#[from] SessionError),
}
