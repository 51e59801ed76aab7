//! Key strings: generation, parsing, checksum, and the hash that is stored in place of the string.

use std::fmt;

use crc::{CRC_32_ISO_HDLC, Crc};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::model::Mode;
use crate::runtime::entropy::Entropy;

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// Random hex digits of an `hs_` key: 224 bits.
const BODY_DIGITS: usize = 56;
/// Hex digits of the checksum of an `hs_` key.
const CHECKSUM_DIGITS: usize = 8;
/// Hex digits of an `hks_` key: 128 bits, no room for a checksum.
const HOOKSENTRY_DIGITS: usize = 32;
/// Characters of a key string that are stored in plain text, to tell keys apart (docs/CONTRACTS.md, "Key strings").
const PREFIX_CHARS: usize = 12;
/// Hex digits after the prefix from which a text counts as part of a key string. A stored prefix shows at most 8, and a
/// typed name has fewer.
const MIN_PART_DIGITS: usize = 16;

/// A whole key string. One response shows it, by consuming it; dropping it wipes the memory.
pub struct PlainKey(Zeroizing<String>);

impl PlainKey {
    /// `hs_live_…` or `hs_test_…`: 56 random hex digits and their CRC-32/ISO-HDLC.
    pub fn hookstream(mode: Mode, entropy: &Entropy) -> Self {
        let random = Zeroizing::new(entropy.bytes::<{ BODY_DIGITS / 2 }>());
        let body = Zeroizing::new(hex::encode(random.as_slice()));
        let checksum = CRC.checksum(body.as_bytes());
        Self(Zeroizing::new(format!("hs_{}_{}{checksum:08x}", mode.as_str(), *body)))
    }

    /// `hks_…`: 32 random hex digits (docs/CONTRACTS.md, "Key strings").
    pub fn hooksentry(entropy: &Entropy) -> Self {
        let random = Zeroizing::new(entropy.bytes::<{ HOOKSENTRY_DIGITS / 2 }>());
        Self(Zeroizing::new(format!("hks_{}", *Zeroizing::new(hex::encode(random.as_slice())))))
    }

    /// Returns the hash that is stored.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }

    /// Returns the first 12 characters, which every listing shows.
    pub fn prefix(&self) -> &str {
        &self.0[..PREFIX_CHARS]
    }

    /// Returns the string, for the one response that shows it.
    pub fn reveal(self) -> String {
        self.0.to_string()
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainKey(…)")
    }
}

/// SHA-256 of a whole key string. Beside the prefix, only this hash is stored.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Wraps a hash that was read from the database.
    pub fn stored(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Wraps a hash that was read from the database; `None` unless it has 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        // Compares 8 bytes at a time: a comparison byte by byte takes as long as the rest of the look-up.
        let words = |hash: &Self| {
            std::array::from_fn::<u64, 4, _>(|n| u64::from_ne_bytes(std::array::from_fn(|byte| hash.0[8 * n + byte])))
        };
        words(self).ct_eq(&words(other)).into()
    }
}

impl Eq for KeyHash {}

impl std::hash::Hash for KeyHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// A string that was presented as a key and has the form of one.
#[derive(Clone, Copy)]
pub struct PresentedKey<'a> {
    text: &'a str,
    /// The hash that identifies the key in the database.
    pub hash: KeyHash,
}

impl<'a> PresentedKey<'a> {
    /// Reads a presented string; `None` for a string without the form of a key (docs/CONTRACTS.md, "Key strings").
    pub fn parse(text: &'a str) -> Option<Self> {
        // No early exit, so that the compiler can vectorise the loop.
        let lower_hex =
            |text: &str| text.bytes().fold(true, |so_far, byte| so_far & matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let (digits, length) = match text.strip_prefix("hks_") {
            Some(digits) => (digits, HOOKSENTRY_DIGITS),
            None => (hookstream_digits(text)?, BODY_DIGITS + CHECKSUM_DIGITS),
        };
        (digits.len() == length && lower_hex(digits)).then(|| Self { text, hash: KeyHash::of(text) })
    }

    /// Returns the hash of the first key string inside a text that was not meant as a key, such as a search. Ignores
    /// the case of letters, because a keyboard may have changed it.
    pub fn find(text: &str) -> Option<KeyHash> {
        let text = Zeroizing::new(text.to_ascii_lowercase());
        let forms = [
            ("hs_live_", BODY_DIGITS + CHECKSUM_DIGITS),
            ("hs_test_", BODY_DIGITS + CHECKSUM_DIGITS),
            ("hks_", HOOKSENTRY_DIGITS),
        ];
        forms.into_iter().find_map(|(prefix, digits)| {
            let length = prefix.len() + digits;
            let candidates = text.match_indices(prefix).filter_map(|(start, _)| text.get(start..start + length));
            candidates.into_iter().find_map(PresentedKey::parse).map(|key| key.hash)
        })
    }

    /// Returns whether a text contains a key string or the beginning of one, which can be as secret as the whole: an
    /// input that cut an `hs_` key after its random digits left out only the checksum. Ignores the case of letters.
    pub fn is_in(text: &str) -> bool {
        let text = Zeroizing::new(text.to_ascii_lowercase());
        let digits = |rest: &str| rest.bytes().take(MIN_PART_DIGITS).take_while(u8::is_ascii_hexdigit).count();
        ["hs_live_", "hs_test_", "hks_"].iter().any(|prefix| {
            text.match_indices(prefix).any(|(start, _)| digits(&text[start + prefix.len()..]) == MIN_PART_DIGITS)
        })
    }

    /// Returns whether the checksum is right; true for a key without one. This server generated every stored key, so a
    /// key with a wrong checksum need not be looked up.
    pub fn checksum_fits(&self) -> bool {
        hookstream_digits(self.text)
            .and_then(|digits| digits.split_at_checked(BODY_DIGITS))
            .is_none_or(|(body, checksum)| u32::from_str_radix(checksum, 16) == Ok(CRC.checksum(body.as_bytes())))
    }

    /// Returns whether a Bearer token is meant as an API key.
    pub fn looks_like_one(text: &str) -> bool {
        ["hs_live_", "hs_test_", "hks_"].iter().any(|prefix| text.starts_with(prefix))
    }
}

impl fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedKey(…)")
    }
}

/// Returns the digits after the prefix of an `hs_` key.
fn hookstream_digits(text: &str) -> Option<&str> {
    text.strip_prefix("hs_live_").or_else(|| text.strip_prefix("hs_test_"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns whether a string has the form of a key and a right checksum.
    fn is_plausible(text: &str) -> bool {
        PresentedKey::parse(text).is_some_and(|key| key.checksum_fits())
    }

    #[test]
    fn the_checksum_is_the_contracts_example() {
        let body = format!("{}01234567", "0123456789abcdef".repeat(3));
        assert_eq!(CRC.checksum(body.as_bytes()), 0x1c63_7e5a);
        assert!(is_plausible(&format!("hs_live_{body}1c637e5a")));
        assert!(!is_plausible(&format!("hs_live_{body}1c637e5b")));
    }

    #[test]
    fn debug_output_shows_neither_the_string_nor_the_hash() {
        let key = PlainKey::hookstream(Mode::Live, &Entropy::seeded(1));
        let hash = key.hash();
        assert_eq!(format!("{key:?} {hash:?}"), "PlainKey(…) KeyHash(…)");
        assert_eq!(format!("{:?}", PresentedKey::parse(&key.reveal())), "Some(PresentedKey(…))");
    }

    #[test]
    fn the_hash_is_sha_256_of_the_whole_string() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            hex::encode(KeyHash::of("abc").as_bytes()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    proptest! {
        #[test]
        fn a_new_key_has_the_documented_form(seed: u64, live: bool) {
            let mode = if live { Mode::Live } else { Mode::Test };
            let key = PlainKey::hookstream(mode, &Entropy::seeded(seed));
            let (prefix, hash) = (key.prefix().to_owned(), key.hash());
            let text = key.reveal();
            prop_assert_eq!(text.len(), 72);
            prop_assert!(text.starts_with(&prefix) && prefix.len() == 12);
            prop_assert_eq!(PresentedKey::parse(&text).map(|key| key.hash), Some(hash));
            prop_assert!(is_plausible(&text));
            let sentry = PlainKey::hooksentry(&Entropy::seeded(seed)).reveal();
            prop_assert_eq!(sentry.len(), 36);
            prop_assert!(is_plausible(&sentry));
        }

        #[test]
        fn a_wrong_digit_breaks_the_checksum(seed: u64, at in 8usize..72, digit in 0u8..16) {
            let text = PlainKey::hookstream(Mode::Live, &Entropy::seeded(seed)).reveal();
            let digit = char::from_digit(u32::from(digit), 16).unwrap();
            let mut typed: Vec<char> = text.chars().collect();
            prop_assume!(typed[at] != digit);
            typed[at] = digit;
            prop_assert!(!is_plausible(&typed.iter().collect::<String>()));
        }

        #[test]
        fn parsing_never_panics(text in any::<String>()) {
            prop_assert!(!is_plausible(&text));
            let prefixed = format!("hs_live_{text}");
            prop_assert!(!is_plausible(&prefixed));
        }

        #[test]
        fn a_truncated_key_string_is_detected(seed: u64, digits in 0usize..64, before in "[^h]*") {
            let text = PlainKey::hookstream(Mode::Live, &Entropy::seeded(seed)).reveal();
            let cut = format!("{before}{}", &text[.."hs_live_".len() + digits]);
            prop_assert_eq!(PresentedKey::is_in(&cut), digits >= MIN_PART_DIGITS);
            prop_assert_eq!(PresentedKey::is_in(&cut.to_uppercase()), digits >= MIN_PART_DIGITS);
            prop_assert!(PresentedKey::find(&cut).is_none());
            prop_assert!(PresentedKey::is_in(&text));
            prop_assert!(PresentedKey::is_in(&PlainKey::hooksentry(&Entropy::seeded(seed)).reveal()));
        }

        #[test]
        fn a_stored_hash_is_never_a_key(seed: u64) {
            let hash = hex::encode(PlainKey::hookstream(Mode::Live, &Entropy::seeded(seed)).hash().as_bytes());
            prop_assert!(!is_plausible(&hash));
            let dressed_up = format!("hs_live_{hash}");
            prop_assert!(!is_plausible(&dressed_up));
        }
    }
}
