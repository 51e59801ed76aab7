//! Pretty-prints the body of an event.
//!
//! The printer walks the text and never parses it into values, so numbers keep their digits, strings their escapes and
//! fields their order. Time and space are bounded by the size of the output, even for a deeply nested body.

use std::fmt::Write;

use leptos::prelude::*;

/// Largest output, in bytes of indented text; the rest of the body is left out.
pub const MAX_SHOWN_BYTES: usize = 64_000;
/// Levels below this one are indented no further.
const MAX_INDENT_DEPTH: usize = 32;

/// The kind of a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Brackets, commas, white space.
    Plain,
    Key,
    Text,
    /// A number, `true`, `false` or `null`.
    Value,
}

/// Collects pieces of indented JSON up to a number of bytes.
struct Printer {
    pieces: Vec<(Kind, String)>,
    /// Bytes that may still be added.
    room: usize,
}

impl Printer {
    /// Adds as much of the text as fits; returns whether all of it did.
    fn put(&mut self, kind: Kind, text: &str) -> bool {
        let mut end = text.len().min(self.room);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.room -= end;
        let whole = end == text.len();
        if !whole {
            self.room = 0;
        }
        match self.pieces.last_mut() {
            Some((last, shown)) if *last == kind => shown.push_str(&text[..end]),
            _ => self.pieces.push((kind, text[..end].to_owned())),
        }
        whole
    }

    fn new_line(&mut self, depth: usize) -> bool {
        self.put(Kind::Plain, "\n") && self.put(Kind::Plain, &"  ".repeat(depth.min(MAX_INDENT_DEPTH)))
    }

    /// Prints the text; `None` if it did not fit.
    fn print(&mut self, text: &str) -> Option<()> {
        let went_in = |whole: bool| whole.then_some(());
        let mut rest = text.trim_ascii_start();
        let mut depth: usize = 0;
        while let Some(first) = rest.bytes().next() {
            let length = match first {
                b'"' => string_length(rest),
                b'{' | b'[' | b'}' | b']' | b',' | b':' => 1,
                _ => rest.find([',', ']', '}', ' ', '\n', '\r', '\t']).unwrap_or(rest.len()).max(1),
            };
            let (token, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
            rest = after.trim_ascii_start();
            match first {
                b'"' => {
                    let kind = if rest.starts_with(':') { Kind::Key } else { Kind::Text };
                    went_in(self.put(kind, &visible(token)))?;
                }
                b'{' | b'[' => {
                    went_in(self.put(Kind::Plain, token))?;
                    if rest.starts_with(['}', ']']) {
                        let (close, after) = rest.split_at(1);
                        went_in(self.put(Kind::Plain, close))?;
                        rest = after.trim_ascii_start();
                    } else {
                        depth += 1;
                        went_in(self.new_line(depth))?;
                    }
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    went_in(self.new_line(depth) && self.put(Kind::Plain, token))?;
                }
                b',' => went_in(self.put(Kind::Plain, ",") && self.new_line(depth))?,
                b':' => went_in(self.put(Kind::Plain, ": "))?,
                _ => went_in(self.put(Kind::Value, &visible(token)))?,
            }
        }
        Some(())
    }
}

/// Returns the length in bytes of the string literal at the beginning of the text, with its quotes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (place, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return place + 1,
            _ => {}
        }
    }
    text.len()
}

/// Replaces invisible characters, and characters that reverse the text direction, by their JSON escapes, so that they
/// cannot hide or disguise content.
fn visible(token: &str) -> std::borrow::Cow<'_, str> {
    let hides = |character: char| {
        character.is_control()
            || matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if !token.contains(hides) {
        return token.into();
    }
    let mut shown = String::with_capacity(token.len() + 16);
    for character in token.chars() {
        if hides(character) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    shown.into()
}

/// Returns the pieces of a body, and whether they are complete.
fn pieces(body: &[u8], room: usize) -> (Vec<(Kind, String)>, bool) {
    let mut printer = Printer { pieces: Vec::new(), room };
    let whole = printer.print(&String::from_utf8_lossy(body)).is_some();
    (printer.pieces, whole)
}

/// Renders a body; returns the view, and whether it is complete.
pub fn pretty(body: &[u8]) -> (AnyView, bool) {
    let (pieces, whole) = pieces(body, MAX_SHOWN_BYTES);
    let view = pieces.into_iter().map(|(kind, text)| {
        let class = match kind {
            Kind::Plain => return text.into_any(),
            Kind::Key => "k",
            Kind::Text => "t",
            Kind::Value => "v",
        };
        view! { <span class=class>{text}</span> }.into_any()
    });
    (view.collect_view().into_any(), whole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(body: &str, room: usize) -> (String, bool) {
        let (pieces, whole) = pieces(body.as_bytes(), room);
        (pieces.into_iter().map(|(_, text)| text).collect(), whole)
    }

    #[test]
    fn printing_changes_only_white_space() {
        let body = r#" {"b":12345678901234567890.10,"a" : [1e400,-0.0,{ },[]],"b":"\u00e9\"\\é","n":null}"#;
        let indented = "{\n  \"b\": 12345678901234567890.10,\n  \"a\": [\n    1e400,\n    -0.0,\n    {},\n    []\n  ],\n  \"b\": \"\\u00e9\\\"\\\\é\",\n  \"n\": null\n}";
        assert_eq!(shown(body, MAX_SHOWN_BYTES), (indented.to_owned(), true));
        for scalar in ["7", "\"a b\"", "true", "null", "{}", "[]"] {
            assert_eq!(shown(scalar, MAX_SHOWN_BYTES), (scalar.to_owned(), true));
        }
    }

    #[test]
    fn keys_and_values_have_different_kinds() {
        let (pieces, _) = pieces(br#"{"a":"b","c":[1,true]}"#, MAX_SHOWN_BYTES);
        let kinds: Vec<_> =
            pieces.iter().filter(|(kind, _)| *kind != Kind::Plain).map(|(kind, text)| (*kind, text.as_str())).collect();
        let expected = [
            (Kind::Key, "\"a\""),
            (Kind::Text, "\"b\""),
            (Kind::Key, "\"c\""),
            (Kind::Value, "1"),
            (Kind::Value, "true"),
        ];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn invisible_characters_are_shown_as_escapes() {
        assert_eq!(shown("\"a\u{202e}b\u{200b}\u{7f}\"", MAX_SHOWN_BYTES).0, "\"a\\u202eb\\u200b\\u007f\"");
    }

    #[test]
    fn the_output_is_cut_at_the_limit() {
        assert_eq!(shown("\"aéb\"", 3), ("\"a".to_owned(), false));
        let deep = "[".repeat(500_000) + &"]".repeat(500_000);
        let (text, whole) = shown(&deep, MAX_SHOWN_BYTES);
        assert!(!whole && text.len() <= MAX_SHOWN_BYTES);
        let long = format!("\"{}\"", "x".repeat(1_000_000));
        assert_eq!(shown(&long, MAX_SHOWN_BYTES).0.len(), MAX_SHOWN_BYTES);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(body in prop::collection::vec(any::<u8>(), 0..300), room in 0_usize..400) {
            let (pieces, _) = pieces(&body, room);
            prop_assert!(pieces.iter().map(|(_, text)| text.len()).sum::<usize>() <= room);
        }

        #[test]
        fn the_output_parses_to_the_same_json(text in "[ -~é]{0,40}", number in any::<i64>()) {
            let body = serde_json::json!({ "a": [text, number, { "b": {} }] });
            let (shown, whole) = shown(&body.to_string(), MAX_SHOWN_BYTES);
            prop_assert!(whole);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), body);
        }
    }
}
