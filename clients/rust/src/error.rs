//! The errors of a check.

use std::time::Duration;

use http::StatusCode;

/// The request to Latchkey failed, or its response was invalid. An error says nothing about the checked key. No text of
/// an error contains a key or data of a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The timeout has passed.
    #[error("no answer from Latchkey within {0:?}")]
    Timeout(Duration),
    /// The connection failed or broke.
    #[error("Latchkey cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server refused the application's own key.
    #[error("the application's own key is refused ({0}): it must be valid and have the scope keys:verify")]
    Refused(StatusCode),
    /// The response has an unexpected status; 400 for an invalid scope in the check.
    #[error("Latchkey answers with {0}")]
    Status(StatusCode),
    /// The response cannot be parsed, or contradicts itself.
    #[error("Latchkey sent a response that cannot be parsed")]
    Unreadable,
}

impl Error {
    pub(crate) fn unreachable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unreachable(error.into())
    }

    /// Returns the error for a status other than 200.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Refused(status),
            _ => Self::Status(status),
        }
    }
}
