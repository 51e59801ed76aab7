//! E-mail addresses, the names of accounts.

use std::fmt;

/// An address in the form in which accounts are told apart: trimmed, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EmailAddress(String);

/// A text that is no e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmailError;

impl fmt::Display for EmailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be an e-mail address such as ada@example.com")
    }
}

impl std::error::Error for EmailError {}

impl EmailAddress {
    /// Reads an address (RFC 5321 forms, at most 254 characters).
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = text.trim();
        if text.len() <= 254 && email_address::EmailAddress::is_valid(text) && !text.contains(['<', '>', ' ']) {
            Ok(Self(text.to_lowercase()))
        } else {
            Err(EmailError)
        }
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the `@`.
    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or(self.as_str(), |(local, _)| local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_in_any_case() {
        assert_eq!(EmailAddress::parse(" Ada@Example.COM ").unwrap().as_str(), "ada@example.com");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(250));
        for text in ["", "ada", "ada@", "@example.com", "a b@example.com", "Ada <ada@example.com>", long.as_str()] {
            assert_eq!(EmailAddress::parse(text), Err(EmailError), "{text:?}");
        }
    }
}
