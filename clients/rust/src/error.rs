//! Why there is no outcome.

use std::time::Duration;

use http::StatusCode;

/// Latchkey could not be asked, or did not answer as it should. It says nothing about the key that was
/// checked. No text here has a key in it, nor what somebody sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It took too long.
    #[error("no answer from Latchkey within {0:?}")]
    Timeout(Duration),
    /// There is no connection, or it broke.
    #[error("Latchkey cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The application's own key is no good.
    #[error("the application's own key is refused ({0}): it must be a good one that has the scope keys:verify")]
    Refused(StatusCode),
    /// Another answer than there should be; 400 when a scope that was asked for is none.
    #[error("Latchkey answers with {0}")]
    Status(StatusCode),
    /// An answer that makes no sense.
    #[error("Latchkey answers with something that cannot be read")]
    Unreadable,
}

impl Error {
    pub(crate) fn unreachable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unreachable(error.into())
    }

    /// What an answer other than 200 says.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Refused(status),
            _ => Self::Status(status),
        }
    }
}
