//! E-mail addresses, the names of accounts.

use std::fmt;

use crate::model::nfc;

/// A normalized address, which identifies an account: trimmed, in NFC and lower case, with the domain in IDNA's
/// Unicode form (`bücher.example` and `xn--bcher-kva.example` are one domain).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EmailAddress(String);

/// The error of a text that is not an e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmailError;

impl fmt::Display for EmailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be an e-mail address such as ada@example.com")
    }
}

impl std::error::Error for EmailError {}

/// The largest length of an address that mail servers accept, in bytes (RFC 5321).
const MAX_BYTES: usize = 254;

impl EmailAddress {
    /// Reads an address (RFC 5321 and 6531 forms).
    ///
    /// # Errors
    /// [`EmailError`] for any other text.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = text.trim();
        if text.len() > 4 * MAX_BYTES || text.contains(['<', '>', ' ']) {
            return Err(EmailError);
        }
        let (local, domain) = text.rsplit_once('@').ok_or(EmailError)?;
        let local = nfc(&nfc(local).to_lowercase());
        let (ascii, shown) = domain_forms(domain)?;
        let address = format!("{local}@{shown}");
        // Checks the address with the ASCII form of the domain: mail servers use it, and the limits on the length of a
        // domain apply to it.
        let is_valid = email_address::EmailAddress::is_valid(&format!("{local}@{ascii}"));
        if is_valid && address.len() <= MAX_BYTES { Ok(Self(address)) } else { Err(EmailError) }
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the part before the `@`.
    pub fn local_part(&self) -> &str {
        self.0.rsplit_once('@').map_or(self.as_str(), |(local, _)| local)
    }
}

/// Returns the ASCII form and the Unicode form of a domain; both identify the domain.
fn domain_forms(domain: &str) -> Result<(String, String), EmailError> {
    if domain.starts_with('[') {
        let literal = domain.to_ascii_lowercase();
        return Ok((literal.clone(), literal));
    }
    let ascii = idna::domain_to_ascii(domain).map_err(|_| EmailError)?;
    let (shown, valid) = idna::domain_to_unicode(&ascii);
    valid.map_err(|_| EmailError)?;
    Ok((ascii, shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_in_any_case() {
        assert_eq!(EmailAddress::parse(" Ada@Example.COM ").unwrap().as_str(), "ada@example.com");
    }

    #[test]
    fn an_address_is_the_same_in_any_encoding() {
        for text in [
            "jörg@bücher.example",
            "Jo\u{308}rg@bu\u{308}cher.example",
            "JÖRG@BÜCHER.EXAMPLE",
            "jörg@xn--bcher-kva.example",
            "jörg@XN--BCHER-KVA.example",
            "jörg@bücher。example",
        ] {
            assert_eq!(EmailAddress::parse(text).unwrap().as_str(), "jörg@bücher.example", "{text}");
        }
        assert_eq!(EmailAddress::parse("ada@[192.0.2.1]").unwrap().as_str(), "ada@[192.0.2.1]");
    }

    #[test]
    fn a_malformed_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(250));
        let long_domain = format!("ada@{}.example", "ü".repeat(60));
        for text in [
            "",
            "ada",
            "ada@",
            "@example.com",
            "a b@example.com",
            "Ada <ada@example.com>",
            long.as_str(),
            long_domain.as_str(),
            "ada@xn--a.example",
            "ada@exa\u{202e}mple.com",
            "ada@example..com",
        ] {
            assert_eq!(EmailAddress::parse(text), Err(EmailError), "{text:?}");
        }
    }
}
