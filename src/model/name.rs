//! Validation of the names of keys, organisations and environments.

use std::fmt;

use super::nfc::nfc;

/// A key's label: NFC, trimmed, 1 to 100 characters, at least one of them visible. Characters that break a line or
/// reorder the text around the name are refused (docs/CONTRACTS.md, "hookstream"; HookSentry has the same upper bound).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyName(String);

/// The reason why a text cannot be a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The text is empty after trimming.
    Empty,
    /// Every character is invisible. Holds the first.
    Invisible(char),
    /// More than [`KeyName::MAX_CHARS`] characters.
    TooLong,
    /// A forbidden character, and its position, counted from 1.
    Forbidden(char, usize),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("must not be empty"),
            Self::Invisible(character) => {
                write!(f, "must have a visible character: {} and the like cannot be seen", CodePoint(character))
            }
            Self::TooLong => f.write_str("must have at most 100 characters"),
            Self::Forbidden(character, place) => write!(
                f,
                "must not contain {} (character {place}): {}",
                CodePoint(character),
                if character.is_control() {
                    "control characters, such as line breaks, are not allowed"
                } else if is_line_break(character) {
                    "it breaks the line"
                } else {
                    "it changes the direction of the text around it"
                }
            ),
        }
    }
}

impl std::error::Error for NameError {}

/// A character as `U+202E`.
struct CodePoint(char);

impl fmt::Display for CodePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "U+{:04X}", u32::from(self.0))
    }
}

impl KeyName {
    /// The largest number of characters (not bytes) in a label.
    pub const MAX_CHARS: usize = 100;

    /// Composes, trims and checks a label.
    ///
    /// # Errors
    /// [`NameError`]: the broken rule and the place.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = nfc(text);
        let text = text.trim();
        let is_forbidden =
            |character: char| character.is_control() || is_line_break(character) || is_bidirectional_control(character);
        let Some(first) = text.chars().next() else {
            return Err(NameError::Empty);
        };
        if let Some((place, character)) = text.chars().enumerate().find(|(_, character)| is_forbidden(*character)) {
            Err(NameError::Forbidden(character, place + 1))
        } else if !text.chars().any(is_visible) {
            Err(NameError::Invisible(first))
        } else if text.chars().count() > Self::MAX_CHARS {
            Err(NameError::TooLong)
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// Returns the label as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns true for line and paragraph separators. `trim` removes them from the ends.
fn is_line_break(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}')
}

/// Returns true for embeddings, overrides and isolates, which also affect the text after the name.
fn is_bidirectional_control(character: char) -> bool {
    matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Returns whether a character is visible. False for Unicode's `Default_Ignorable_Code_Point`, blanks, and the empty
/// Braille pattern.
fn is_visible(character: char) -> bool {
    !character.is_whitespace()
        && !character.is_control()
        && !matches!(
            character,
            '\u{00AD}'
                | '\u{034F}'
                | '\u{061C}'
                | '\u{115F}'..='\u{1160}'
                | '\u{17B4}'..='\u{17B5}'
                | '\u{180B}'..='\u{180F}'
                | '\u{200B}'..='\u{200F}'
                | '\u{202A}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{FE00}'..='\u{FE0F}'
                | '\u{FEFF}'
                | '\u{FFA0}'
                | '\u{FFF0}'..='\u{FFF8}'
                | '\u{1BCA0}'..='\u{1BCA3}'
                | '\u{1D173}'..='\u{1D17A}'
                | '\u{E0000}'..='\u{E0FFF}'
        )
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
    fn a_label_is_composed_before_it_is_counted() {
        assert_eq!(KeyName::parse("Cafe\u{301}").unwrap().as_str(), "Caf\u{e9}");
        assert_eq!(KeyName::parse(&"e\u{301}".repeat(100)).unwrap().as_str(), "é".repeat(100));
        // NFC keeps a ligature; only NFKC would replace it.
        assert_eq!(KeyName::parse("ﬁle").unwrap().as_str(), "ﬁle");
    }

    #[test]
    fn blank_and_control_characters_are_refused() {
        assert_eq!(KeyName::parse(" \t\n"), Err(NameError::Empty));
        assert_eq!(KeyName::parse("a\nb"), Err(NameError::Forbidden('\n', 2)));
        assert_eq!(KeyName::parse("a\u{0}b"), Err(NameError::Forbidden('\u{0}', 2)));
        assert_eq!(KeyName::parse("ab\u{85}c"), Err(NameError::Forbidden('\u{85}', 3)));
        assert_eq!(KeyName::parse("a\u{2028}b"), Err(NameError::Forbidden('\u{2028}', 2)));
    }

    #[test]
    fn a_label_cannot_reorder_the_text_around_it() {
        for character in ('\u{202A}'..='\u{202E}').chain('\u{2066}'..='\u{2069}') {
            assert_eq!(KeyName::parse(&format!("a {character}b")), Err(NameError::Forbidden(character, 3)));
        }
        assert_eq!(
            KeyName::parse("a\u{202E}b").unwrap_err().to_string(),
            "must not contain U+202E (character 2): it changes the direction of the text around it"
        );
        // Marks of one direction, and letters of both, stay within the name.
        assert!(KeyName::parse("שלום \u{200F}abc").is_ok());
    }

    #[test]
    fn an_invisible_label_is_refused() {
        for text in [
            "\u{200B}",
            "\u{AD}",
            "\u{3164}",
            "\u{2800}\u{200D}",
            "\u{E0061}\u{E007F}",
            "\u{FE0F}",
            "\u{200B} \u{2060}",
        ] {
            assert!(matches!(KeyName::parse(text), Err(NameError::Invisible(_))), "{text:?}");
        }
        assert_eq!(
            KeyName::parse("\u{200B}\u{AD}").unwrap_err().to_string(),
            "must have a visible character: U+200B and the like cannot be seen"
        );
    }

    #[test]
    fn joiners_inside_a_label_stay() {
        for text in [
            "می\u{200C}خواهم",
            "👩\u{200D}💻",
            "🏴\u{E0067}\u{E0062}\u{E0065}\u{E006E}\u{E0067}\u{E007F}",
            "❤\u{FE0F}",
            "क्\u{200D}ष",
        ] {
            assert_eq!(KeyName::parse(text).unwrap().as_str(), text);
        }
    }
}
