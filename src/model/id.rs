//! Identifiers in hookstream's form: a prefix and 16 hex digits (ADR 8).

use std::fmt;
use std::str::FromStr;

/// The error of a string that is not an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdError {
    prefix: &'static str,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "must be `{}` and 16 lower-case hex digits", self.prefix)
    }
}

impl std::error::Error for IdError {}

fn parse(prefix: &'static str, text: &str) -> Result<i64, IdError> {
    let error = IdError { prefix };
    let digits = text.strip_prefix(prefix).ok_or_else(|| error.clone())?;
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != 16 || !digits.bytes().all(lower_hex) {
        return Err(error);
    }
    u64::from_str_radix(digits, 16).map(u64::cast_signed).map_err(|_| error)
}

/// An id as text on the stack, for hot paths that avoid the allocation of a `String`.
#[derive(Clone, Copy, Debug)]
pub struct IdText {
    bytes: [u8; 21],
    length: usize,
}

impl IdText {
    fn new(prefix: &str, bits: u64) -> Self {
        let mut text = Self { bytes: [0; 21], length: prefix.len() + 16 };
        text.bytes[..prefix.len()].copy_from_slice(prefix.as_bytes());
        for (place, digit) in text.bytes[prefix.len()..text.length].iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(bits >> (60 - 4 * place) & 0xf) as usize];
        }
        text
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(
            /// The 64 bits as both databases store them.
            pub i64,
        );

        impl $name {
            /// Returns the id as text, without an allocation.
            pub fn text(self) -> IdText {
                IdText::new($prefix, self.0.cast_unsigned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text().as_str())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse($prefix, text).map(Self)
            }
        }
    };
}

id!(
    /// A key: `ak_8f3a1b2c4d5e6f7a` (docs/CONTRACTS.md, "Words and ids").
    KeyId, "ak_"
);
id!(
    /// An organisation, HookSentry's tenant.
    OrganisationId, "org_"
);
id!(
    /// An environment of an organisation.
    EnvironmentId, "env_"
);
id!(
    /// A person with an account.
    UserId, "usr_"
);
id!(
    /// An invitation to an organisation.
    InvitationId, "inv_"
);

id!(
    /// A node: one of several servers of a database. Each start draws a new id.
    NodeId, "node_"
);
id!(
    /// An entry of the audit log.
    AuditEntryId, "ae_"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_as_16_hex_digits() {
        let id = KeyId(-1);
        assert_eq!(id.to_string(), "ak_ffffffffffffffff");
        assert_eq!("ak_ffffffffffffffff".parse(), Ok(id));
        assert_eq!(KeyId(1).to_string(), "ak_0000000000000001");
    }

    #[test]
    fn malformed_ids_are_refused() {
        for text in [
            "",
            "ak_",
            "org_0000000000000001",
            "ak_000000000000001",
            "ak_00000000000000011",
            "ak_000000000000000G",
            "ak_000000000000000A",
            "ak_+00000000000001",
            " ak_0000000000000001",
        ] {
            assert!(text.parse::<KeyId>().is_err(), "{text:?}");
        }
    }
}
