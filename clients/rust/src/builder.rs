//! How a client is made.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::client::Client;
use crate::transport::Transport;

const TIMEOUT: Duration = Duration::from_secs(2);
const REMEMBERED: usize = 10_000;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The server's address is no `http://` or `https://` one, or has more in it than host, port and path.
    #[error("the address of Latchkey must be like https://keys.example.com")]
    Url,
    /// The application's own key is missing, or has characters that no key has.
    #[error("the application's own key is missing, or has characters that no key has")]
    Key,
    /// The address is an `https://` one, and the feature `tls` is off.
    #[error("an address with https needs the feature `tls`")]
    NoTls,
    /// The certificates that this machine trusts cannot be read.
    #[error("TLS cannot be set up")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A client works in the background, for which it needs tokio.
    #[error("a client must be made inside of a tokio runtime")]
    NoRuntime,
}

/// What a [`Client`] is made from.
pub struct Builder {
    url: String,
    own_key: Zeroizing<String>,
    timeout: Duration,
    remembered: usize,
}

impl Builder {
    pub(crate) fn new(url: &str, own_key: &str) -> Self {
        Self {
            url: url.to_owned(),
            own_key: Zeroizing::new(own_key.to_owned()),
            timeout: TIMEOUT,
            remembered: REMEMBERED,
        }
    }

    /// How long a check may take, whatever it waits for; 2 seconds unless said.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The most keys that are remembered; 10,000 unless said. One takes about 500 bytes, and up to 50 KiB
    /// with all the scopes and metadata that a key may have. With 0 every check is asked from the server, and there is no feed to follow.
    #[must_use]
    pub fn remember(mut self, keys: usize) -> Self {
        self.remembered = keys;
        self
    }

    /// The client. It connects when it is first needed, so that a server that is not there yet does no harm.
    ///
    /// # Errors
    /// When the address or the key cannot be used, and outside of a tokio runtime.
    pub fn build(self) -> Result<Client, BuildError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let transport = Transport::new(&self.url, self.own_key.trim(), self.timeout)?;
        Ok(Client::start(transport, self.remembered, &runtime))
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("url", &self.url)
            .field("timeout", &self.timeout)
            .field("remembered", &self.remembered)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_cannot_work_is_said_at_once_and_without_the_key() {
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
