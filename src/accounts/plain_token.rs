//! Secret tokens of accounts: opaque, random, stored as SHA-256 only.

use std::fmt;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::runtime::entropy::Entropy;

/// A token in plain text. Dropping it wipes the memory.
pub struct PlainToken(Zeroizing<String>);

impl PlainToken {
    /// Draws 256 random bits.
    pub(crate) fn new(prefix: &str, entropy: &Entropy) -> Self {
        let random = Zeroizing::new(entropy.bytes::<32>());
        Self(Zeroizing::new(format!("{prefix}{}", *Zeroizing::new(hex::encode(random.as_slice())))))
    }

    /// Returns the hash that is stored.
    pub(crate) fn hash(&self) -> [u8; 32] {
        hash(&self.0)
    }

    /// Returns the token, for the one response that shows it.
    pub fn reveal(self) -> String {
        self.0.to_string()
    }
}

impl fmt::Debug for PlainToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainToken(…)")
    }
}

/// Returns the hash of a presented token.
pub(crate) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
