//! Passwords, stored as Argon2id hashes only.

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordHasher, PasswordVerifier};
use zeroize::Zeroizing;

use crate::accounts::queue::{Busy, Lane, Queue};
use crate::model::nfc;
use crate::runtime::Network;
use crate::runtime::entropy::Entropy;

/// A new password: 10 to 256 characters, in NFC, so that every keyboard types the same one. Dropping it wipes the
/// memory.
pub struct Password(Zeroizing<String>);

/// The reason why a text cannot be a new password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordError {
    /// Fewer than [`Password::MIN_CHARS`] characters.
    TooShort,
    /// More than [`Password::MAX_CHARS`] characters.
    TooLong,
}

impl fmt::Display for PasswordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "must have at least 10 characters",
            Self::TooLong => "must have at most 256 characters",
        })
    }
}

impl std::error::Error for PasswordError {}

impl Password {
    /// The smallest number of characters of a new password.
    pub const MIN_CHARS: usize = 10;
    /// The largest number of characters of a password.
    pub const MAX_CHARS: usize = 256;

    /// Reads a new password.
    ///
    /// # Errors
    /// When it is too short or too long. There are no other rules (NIST SP 800-63B, 3.1.1.2).
    pub fn new(text: String) -> Result<Self, PasswordError> {
        let text = normalized(&Zeroizing::new(text));
        match text.chars().count() {
            0..Self::MIN_CHARS => Err(PasswordError::TooShort),
            Self::MIN_CHARS..=Self::MAX_CHARS => Ok(Self(text)),
            _ => Err(PasswordError::TooLong),
        }
    }
}

fn normalized(text: &str) -> Zeroizing<String> {
    Zeroizing::new(nfc(text))
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// The comparison of a password with the stored one.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::accounts) enum Comparison {
    Wrong,
    Right,
    /// The password is right as typed, and was stored before passwords were normalized. Holds the hash to store
    /// instead.
    RightAsTyped(String),
}

/// Hashes and compares passwords, a few at a time: each costs 19 MiB and tens of milliseconds.
#[derive(Clone)]
pub struct Passwords {
    argon2: Argon2<'static>,
    entropy: Entropy,
    pub(in crate::accounts) queue: Queue,
    /// A hash to compare with when there is no account, so that the response takes as long.
    decoy_hash: Arc<str>,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

impl Passwords {
    /// Uses Argon2id's recommended parameters (OWASP: 19 MiB, 2 passes).
    pub fn new(entropy: Entropy) -> Self {
        Self::with_params(Params::default(), entropy)
    }

    /// Uses the cheapest parameters: for tests, which register hundreds of accounts.
    pub fn cheap(entropy: Entropy) -> Self {
        let params = Params::new(8, 1, 1, None).unwrap_or_default();
        Self::with_params(params, entropy)
    }

    fn with_params(params: Params, entropy: Entropy) -> Self {
        let mut this =
            Self { argon2: Argon2::from(params), queue: Queue::default(), decoy_hash: Arc::from(""), entropy };
        if let Ok(hash) = hash(&this.argon2, b"nobody's password", &this.entropy.bytes::<16>()) {
            this.decoy_hash = Arc::from(hash);
        }
        this
    }

    /// Returns the hash of a password, in PHC form.
    ///
    /// # Panics
    /// Never for a [`Password`]: Argon2 refuses only lengths beyond 4 GiB.
    pub(in crate::accounts) async fn hash(
        &self,
        password: Password,
        network: Network,
        lane: Lane,
    ) -> Result<String, Busy> {
        let salt = self.entropy.bytes::<16>();
        let argon2 = self.argon2.clone();
        let hashed = self.run(network, lane, move || hash(&argon2, password.0.as_bytes(), &salt)).await?;
        Ok(hashed.expect("a password of bounded length is hashed"))
    }

    /// Compares the typed text with the stored password; takes as long when nothing is stored.
    pub(in crate::accounts) async fn compare(
        &self,
        typed: Zeroizing<String>,
        stored: Option<String>,
        network: Network,
        lane: Lane,
    ) -> Result<Comparison, Busy> {
        let argon2 = self.argon2.clone();
        let entropy = self.entropy.clone();
        let exists = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.decoy_hash.to_string());
        let comparison = self.run(network, lane, move || compare(&argon2, &typed, &stored, &entropy)).await?;
        Ok(if exists { comparison } else { Comparison::Wrong })
    }

    async fn run<T: Send + 'static>(
        &self,
        network: Network,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let slot = self.queue.enter(network, lane).await?;
        // The work keeps its slot, even when its request was cancelled.
        let work = move || {
            let _slot = slot;
            work()
        };
        let done = tokio::task::spawn_blocking(work).await;
        Ok(done.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic())))
    }
}

fn compare(argon2: &Argon2<'_>, typed: &str, stored: &str, entropy: &Entropy) -> Comparison {
    let Ok(stored) = PasswordHash::new(stored) else { return Comparison::Wrong };
    // No longer password can have been stored, and hashing megabytes would let an attacker exhaust the server.
    let is_right = |text: &str| {
        text.chars().count() <= Password::MAX_CHARS && argon2.verify_password(text.as_bytes(), &stored).is_ok()
    };
    let password = normalized(typed);
    if is_right(&password) {
        return Comparison::Right;
    }
    if *password == *typed || !is_right(typed) {
        return Comparison::Wrong;
    }
    let salt = entropy.bytes::<16>();
    hash(argon2, password.as_bytes(), &salt).map_or(Comparison::Wrong, Comparison::RightAsTyped)
}

fn hash(argon2: &Argon2<'_>, password: &[u8], salt: &[u8]) -> Result<String, argon2::password_hash::Error> {
    Ok(argon2.hash_password_with_salt(password, salt)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::queue::SLOTS;

    fn home() -> Network {
        Network::of(None)
    }

    #[tokio::test]
    async fn only_the_same_password_verifies() {
        let passwords = Passwords::cheap(Entropy::seeded(1));
        let hashed = passwords.hash(Password::new("correct horse".into()).unwrap(), home(), Lane::Unknown).await;
        let stored = hashed.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$"));
        let compare = async |text: &str, stored: Option<&String>| {
            passwords.compare(text.to_owned().into(), stored.cloned(), home(), Lane::Unknown).await.unwrap()
        };
        assert_eq!(compare("correct horse", Some(&stored)).await, Comparison::Right);
        assert_eq!(compare("correct horse ", Some(&stored)).await, Comparison::Wrong);
        assert_eq!(compare(&"x".repeat(1_000_000), Some(&stored)).await, Comparison::Wrong);
        assert_eq!(compare("nobody's password", None).await, Comparison::Wrong);
    }

    #[test]
    fn composed_and_decomposed_letters_are_one_password() {
        let Passwords { argon2, entropy, .. } = Passwords::cheap(Entropy::seeded(1));
        let (nfc, nfd) = ("J\u{f6}rg's passw\u{f6}rd", "Jo\u{308}rg's passwo\u{308}rd");
        let stored = hash(&argon2, Password::new(nfd.into()).unwrap().0.as_bytes(), b"some salt").unwrap();
        assert_eq!(compare(&argon2, nfc, &stored, &entropy), Comparison::Right);
        assert_eq!(compare(&argon2, nfd, &stored, &entropy), Comparison::Right);

        let before = hash(&argon2, nfd.as_bytes(), b"some salt").unwrap();
        assert_eq!(compare(&argon2, nfc, &before, &entropy), Comparison::Wrong);
        let Comparison::RightAsTyped(after) = compare(&argon2, nfd, &before, &entropy) else {
            panic!("the typed password matches its hash");
        };
        assert_eq!(compare(&argon2, nfc, &after, &entropy), Comparison::Right);
    }

    /// Clients that disconnect must not cause more concurrent hashes.
    #[tokio::test]
    async fn cancelled_work_keeps_its_slot() {
        let passwords = Passwords::cheap(Entropy::seeded(1));
        let (hold, holding) = std::sync::mpsc::channel::<()>();
        let (say, heard) = tokio::sync::oneshot::channel();
        let work = passwords.clone();
        let waiting = tokio::spawn(async move {
            let work = work.run(home(), Lane::Unknown, move || {
                let _ = say.send(());
                let _ = holding.recv();
            });
            let _ = work.await;
        });
        heard.await.unwrap();
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert_eq!(passwords.queue.free(), SLOTS - 1);
        drop(hold);
        while passwords.queue.free() < SLOTS {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn length_counts_in_characters() {
        assert_eq!(Password::new("é".repeat(9)).err(), Some(PasswordError::TooShort));
        assert_eq!(Password::new("e\u{301}".repeat(9)).err(), Some(PasswordError::TooShort));
        assert!(Password::new("é".repeat(256)).is_ok() && Password::new("e\u{301}".repeat(256)).is_ok());
        assert_eq!(Password::new("é".repeat(257)).err(), Some(PasswordError::TooLong));
    }
}
