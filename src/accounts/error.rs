//! The reasons why nobody is signed in.

use super::queue::Busy;
use crate::store::StoreError;

/// An error of the session store: the database failed.
pub type SessionError = tower_sessions::session::Error;

/// The reason why a sign-in failed.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// No such account, another password, or a password that was changed during the sign-in: the answer never tells
    /// which.
    #[error("unknown account or wrong password")]
    Wrong,
    /// Too many attempts; the caller may try again after this many seconds.
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
