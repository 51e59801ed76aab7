//! Search: finds keys by a part of their name in any case, or by the start of an id or of the key prefix.

use unicase::UniCase;
use uuid::Uuid;

use crate::model::{KeyName, NameError, nfc};

/// Folds the case of a text (Unicode, full folding) and composes it (NFC), so that texts that differ only in case or
/// composition become equal.
pub fn fold(text: &str) -> String {
    nfc(&UniCase::unicode(nfc(text)).to_folded_case())
}

/// A text to search for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// Part of a name, with folded case.
    pub name: String,
    /// Start of a key prefix, as typed.
    pub prefix: String,
    /// The first and the last id with a text form that starts with the text.
    pub ids: Option<(i64, i64)>,
    /// The first and the last UUID with a text form that starts with the text.
    pub uuids: Option<(Uuid, Uuid)>,
}

impl Search {
    /// Reads the typed text; `None` for an empty one.
    ///
    /// # Errors
    /// [`NameError`] for a text that no name can contain.
    pub fn parse(text: &str) -> Result<Option<Self>, NameError> {
        let text = match KeyName::parse(text) {
            Ok(text) => text,
            Err(NameError::Empty) => return Ok(None),
            Err(error) => return Err(error),
        };
        let text = text.as_str();
        Ok(Some(Self { name: fold(text), prefix: text.to_owned(), ids: ids(text), uuids: uuids(text) }))
    }
}

/// Reads `ak_` and the first of 16 hex digits.
fn ids(text: &str) -> Option<(i64, i64)> {
    let (first, last) = hex_range::<16>(text.strip_prefix("ak_")?)?;
    Some((u64::from_str_radix(&first, 16).ok()?.cast_signed(), u64::from_str_radix(&last, 16).ok()?.cast_signed()))
}

/// Reads the first 8 or more hex digits of a UUID: fewer are more often part of a name.
fn uuids(text: &str) -> Option<(Uuid, Uuid)> {
    let digits = text.replace('-', "");
    let (first, last) = hex_range::<32>(&digits).filter(|_| digits.len() >= 8)?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// Returns the smallest and the largest number of `DIGITS` hex digits that starts with these.
fn hex_range<const DIGITS: usize>(start: &str) -> Option<(String, String)> {
    let right = (1..=DIGITS).contains(&start.len()) && start.bytes().all(|byte| byte.is_ascii_hexdigit());
    right.then(|| (format!("{start:0<DIGITS$}"), format!("{start:f<DIGITS$}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::KeyId;

    #[test]
    fn texts_that_differ_in_case_or_composition_fold_to_the_same() {
        for (one, other) in [
            ("Über", "üBER"),
            ("СЕРВЕР", "сервер"),
            ("CAFE\u{301}", "café"),
            ("STRASSE", "straße"),
            ("ΟΔΟΣ", "οδος"),
            ("ﬁle", "FILE"),
            ("Ǆ", "ǆ"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
        assert_ne!(fold("e"), fold("é"));
    }

    #[test]
    fn the_start_of_an_id_is_a_range_of_ids() {
        let range = |text: &str| Search::parse(text).unwrap().unwrap().ids;
        for id in [0x8f3a_1b2c_4d5e_6f7a_u64, 0x0000_0000_0000_0001, 0xffff_0000_0000_0000] {
            let id = KeyId(id.cast_signed());
            let text = id.to_string();
            for length in 4..=text.len() {
                let (first, last) = range(&text[..length]).unwrap();
                assert!((first..=last).contains(&id.0), "{}", &text[..length]);
            }
            assert_eq!(range(&text), Some((id.0, id.0)));
        }
        for text in ["ak_", "ak_xyz", "8f3a", "ak_00000000000000000"] {
            assert_eq!(range(text), None, "{text}");
        }
    }

    #[test]
    fn the_start_of_a_uuid_is_a_range_of_uuids() {
        let range = |text: &str| Search::parse(text).unwrap().unwrap().uuids;
        let uuid: Uuid = "019c9b2e-7a10-7abc-8def-0123456789ab".parse().unwrap();
        assert_eq!(range("019c9b2e-7a10-7abc-8def-0123456789ab"), Some((uuid, uuid)));
        let (first, last) = range("019C9B2E-7a").unwrap();
        assert!(first < uuid && uuid < last);
        assert_eq!(range("cafe"), None);
    }

    #[test]
    fn a_text_that_is_in_no_name_is_an_error() {
        assert_eq!(Search::parse(" "), Ok(None));
        assert_eq!(Search::parse(&"a".repeat(101)), Err(NameError::TooLong));
        assert_eq!(Search::parse("a\u{0}"), Err(NameError::Forbidden('\u{0}', 2)));
    }
}
