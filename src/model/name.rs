//! The label that people give a key.

use std::fmt;

/// A key's label: trimmed, 1 to 100 characters, no control characters (CONTRACTS, hookstream;
/// seed 002 has the same upper bound).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyName(String);

/// Why a text cannot be a key's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing is left after trimming.
    Empty,
    /// More than [`KeyName::LONGEST`] characters.
    TooLong,
    /// A line break, a tab, or another character that cannot be seen.
    Control,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "must not be empty",
            Self::TooLong => "must have at most 100 characters",
            Self::Control => "must not contain control characters such as line breaks",
        })
    }
}

impl std::error::Error for NameError {}

impl KeyName {
    /// The most characters (not bytes) that a label may have.
    pub const LONGEST: usize = 100;

    /// Trims and checks a label.
    ///
    /// # Errors
    /// Says which of the three rules the text breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        if text.is_empty() {
            Err(NameError::Empty)
        } else if text.chars().any(char::is_control) {
            Err(NameError::Control)
        } else if text.chars().count() > Self::LONGEST {
            Err(NameError::TooLong)
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// The label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_trimmed_and_counted_in_characters() {
        assert_eq!(KeyName::parse("  Production Backend ").unwrap().as_str(), "Production Backend");
        assert!(KeyName::parse(&"é".repeat(100)).is_ok());
        assert_eq!(KeyName::parse(&"é".repeat(101)), Err(NameError::TooLong));
    }

    #[test]
    fn blank_and_control_characters_are_refused() {
        assert_eq!(KeyName::parse(" \t\n"), Err(NameError::Empty));
        assert_eq!(KeyName::parse("a\nb"), Err(NameError::Control));
        assert_eq!(KeyName::parse("a\u{0}b"), Err(NameError::Control));
    }
}
