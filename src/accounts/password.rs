//! Passwords, kept as Argon2id only.

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::entropy::Entropy;

/// A password that somebody wants to have: 10 to 256 characters. Wiped when dropped.
pub struct Password(Zeroizing<String>);

/// Why a text cannot be a new password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordError {
    /// Fewer than [`Password::SHORTEST`] characters.
    TooShort,
    /// More than [`Password::LONGEST`] characters.
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
    /// The fewest characters of a new password.
    pub const SHORTEST: usize = 10;
    /// The most characters of a password.
    pub const LONGEST: usize = 256;

    /// A new password.
    ///
    /// # Errors
    /// When it is too short or too long. There are no other rules (NIST SP 800-63B, 3.1.1.2).
    pub fn new(text: String) -> Result<Self, PasswordError> {
        let text = Zeroizing::new(text);
        match text.chars().count() {
            0..Self::SHORTEST => Err(PasswordError::TooShort),
            Self::SHORTEST..=Self::LONGEST => Ok(Self(text)),
            _ => Err(PasswordError::TooLong),
        }
    }

    /// A password that is to be compared with a stored one: whatever was typed.
    pub fn attempt(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Hashes and compares passwords, a few at a time: each costs 19 MiB and tens of milliseconds.
#[derive(Clone)]
pub struct Passwords {
    argon2: Argon2<'static>,
    entropy: Entropy,
    at_once: Arc<Semaphore>,
    /// Compared with where there is no account, so that the answer takes as long.
    nobody: Arc<str>,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

impl Passwords {
    /// With Argon2id's recommended parameters (OWASP: 19 MiB, 2 passes).
    pub fn new(entropy: Entropy) -> Self {
        Self::with_params(Params::default(), entropy)
    }

    /// With the cheapest parameters there are: for tests, which register hundreds of accounts.
    pub fn cheap(entropy: Entropy) -> Self {
        let params = Params::new(8, 1, 1, None).unwrap_or_default();
        Self::with_params(params, entropy)
    }

    fn with_params(params: Params, entropy: Entropy) -> Self {
        let mut this =
            Self { argon2: Argon2::from(params), at_once: Arc::new(Semaphore::new(2)), nobody: Arc::from(""), entropy };
        if let Ok(hash) = hash(&this.argon2, b"nobody's password", &this.entropy.bytes::<16>()) {
            this.nobody = Arc::from(hash);
        }
        this
    }

    /// What is stored of a password, in PHC form.
    ///
    /// # Panics
    /// Never for a [`Password`]: Argon2 refuses only lengths beyond 4 GiB.
    pub async fn hash(&self, password: Password) -> String {
        let salt = self.entropy.bytes::<16>();
        let argon2 = self.argon2.clone();
        self.run(move || hash(&argon2, password.0.as_bytes(), &salt))
            .await
            .expect("a password of bounded length is hashed")
    }

    /// Whether a password is the stored one; takes as long when nothing is stored.
    pub async fn verify(&self, password: Password, stored: Option<String>) -> bool {
        let argon2 = self.argon2.clone();
        let exists = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.nobody.to_string());
        self.run(move || {
            // Nothing longer can have been stored, and hashing megabytes would be a way to tire us.
            let length_is_possible = password.0.chars().count() <= Password::LONGEST;
            length_is_possible
                && PasswordHash::new(&stored)
                    .is_ok_and(|stored| argon2.verify_password(password.0.as_bytes(), &stored).is_ok())
        })
        .await
            && exists
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // The work keeps its place, even when nobody waits for it any more.
        let place = Arc::clone(&self.at_once).acquire_owned().await;
        let work = move || {
            let _place = place;
            work()
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))
    }
}

fn hash(argon2: &Argon2<'_>, password: &[u8], salt: &[u8]) -> Result<String, argon2::password_hash::Error> {
    Ok(argon2.hash_password_with_salt(password, salt)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_its_own_and_no_other() {
        let passwords = Passwords::cheap(Entropy::seeded(1));
        let stored = passwords.hash(Password::new("correct horse".into()).unwrap()).await;
        assert!(stored.starts_with("$argon2id$v=19$"));
        let verify = |text: &str, stored| passwords.verify(Password::attempt(text.into()), stored);
        assert!(verify("correct horse", Some(stored.clone())).await);
        assert!(!verify("correct horse ", Some(stored.clone())).await);
        assert!(!verify(&"x".repeat(1_000_000), Some(stored)).await);
        assert!(!verify("nobody's password", None).await);
    }

    /// Clients that hang up must not make us hash more at once.
    #[tokio::test]
    async fn work_that_nobody_waits_for_keeps_its_place() {
        let passwords = Passwords::cheap(Entropy::seeded(1));
        let free = passwords.at_once.available_permits();
        let (hold, holding) = std::sync::mpsc::channel::<()>();
        let (say, heard) = tokio::sync::oneshot::channel();
        let work = passwords.clone();
        let waiting = tokio::spawn(async move {
            work.run(move || {
                let _ = say.send(());
                let _ = holding.recv();
            })
            .await;
        });
        heard.await.unwrap();
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert_eq!(passwords.at_once.available_permits(), free - 1);
        drop(hold);
        let all = u32::try_from(free).unwrap();
        drop(passwords.at_once.acquire_many(all).await.unwrap());
    }

    #[test]
    fn length_counts_in_characters() {
        assert_eq!(Password::new("é".repeat(9)).err(), Some(PasswordError::TooShort));
        assert!(Password::new("é".repeat(256)).is_ok());
        assert_eq!(Password::new("é".repeat(257)).err(), Some(PasswordError::TooLong));
    }
}
