//! The builder of a client.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::client::Client;
use crate::transport::Transport;

/// Longest duration of a check by default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest number of cached keys by default.
const DEFAULT_CAPACITY: usize = 10_000;

/// The error of [`Builder::build`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The server's address has another scheme than `http` or `https`, or more parts than host, port and path.
    #[error("the address of Latchkey must be like https://keys.example.com")]
    Url,
    /// The application's own key is empty, or has invalid characters.
    #[error("the application's own key is missing, or has invalid characters")]
    Key,
    /// The address begins with `https://`, and the feature `tls` is off.
    #[error("an address with https needs the feature `tls`")]
    NoTls,
    /// The certificates that this machine trusts cannot be read.
    #[error("TLS cannot be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no tokio runtime for the background tasks of the client.
    #[error("a client must be created inside a tokio runtime")]
    NoRuntime,
}

/// The configuration of a [`Client`].
pub struct Builder {
    url: String,
    own_key: Zeroizing<String>,
    timeout: Duration,
    capacity: usize,
}

impl Builder {
    pub(crate) fn new(url: &str, own_key: &str) -> Self {
        Self {
            url: url.to_owned(),
            own_key: Zeroizing::new(own_key.to_owned()),
            timeout: DEFAULT_TIMEOUT,
            capacity: DEFAULT_CAPACITY,
        }
    }

    /// Sets the longest duration of a request to the server, in all; 2 seconds by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the largest number of cached keys; 10,000 by default. A cached key takes about 500 bytes, and up to 50 KiB
    /// with the most scopes and metadata. 0 turns the cache and the revocation stream off: every check asks the server.
    #[must_use]
    pub fn remember(mut self, keys: usize) -> Self {
        self.capacity = keys;
        self
    }

    /// Creates the client. The server need not be reachable yet.
    ///
    /// # Errors
    /// When the address or the key is invalid, or outside of a tokio runtime.
    pub fn build(self) -> Result<Client, BuildError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let transport = Transport::new(&self.url, self.own_key.trim(), self.timeout)?;
        Ok(Client::start(transport, self.capacity, &runtime))
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("url", &self.url)
            .field("timeout", &self.timeout)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_invalid_configuration_is_an_error_that_does_not_print_the_key() {
        let why = |url: &str, key: &str| Client::new(url, key).expect_err("no client");
        for url in ["", "keys.example.com", "ftp://a", "/v1", "http://a?b", "http://me:secret@a", "http://a b"] {
            assert!(matches!(why(url, "k"), BuildError::Url), "{url}");
        }
        for key in ["", " ", "a b", "é", "a\nb"] {
            let error = why("http://a", key);
            assert!(matches!(error, BuildError::Key), "{key}");
        }
        let builder = Client::builder("http://a", "secret").remember(0);
        assert!(!format!("{builder:?}").contains("secret"));
        let client = builder.build().expect("a client");
        assert!(!format!("{client:?}").contains("secret"));
    }

    #[test]
    fn a_client_needs_a_runtime() {
        assert!(matches!(Client::new("http://a", "k"), Err(BuildError::NoRuntime)));
    }
}
