//! Scopes: the permissions of a key.

use std::fmt;

/// The scope that lets a key manage keys, if it is named explicitly and the operator allows it.
pub const MANAGE_KEYS: &str = "api-keys:write";

/// The scopes of a key.
///
/// The wire form is one string: names separated by spaces. `null` and `*` both mean full access. The type keeps them
/// apart, because the short form of a request shows `null` and the long form `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scopes {
    /// Full access, written `null`.
    Unset,
    /// Full access, written `*`.
    All,
    /// Only these scopes: `resource:action` or `resource:*`, at least one, each once.
    Named(Vec<String>),
}

/// The reason why a text is not a list of scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopesError {
    /// There is no name.
    Empty,
    /// This word is not `resource:action`, `resource:*` or `*`.
    Malformed(String),
    /// A blank or control character other than the separator.
    Separator(char),
    /// `*` beside other names, which would have no effect.
    AllAndMore,
    /// More than [`Scopes::MAX_NAMES`] names.
    TooMany,
}

impl fmt::Display for ScopesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("must name at least one scope, or be `*` for full access"),
            Self::Malformed(word) => write!(
                f,
                "`{}` is not a scope: write `resource:action`, `resource:*`, or `*` alone for full access",
                word.escape_debug()
            ),
            Self::Separator(found) => {
                write!(f, "must separate names with spaces (U+0020), not with U+{:04X}", u32::from(*found))
            }
            Self::AllAndMore => f.write_str("`*` already means everything: use it alone, or name the scopes"),
            Self::TooMany => write!(f, "must name at most {} scopes", Scopes::MAX_NAMES),
        }
    }
}

impl std::error::Error for ScopesError {}

/// A validated list of scopes, parsed without copying. Every list of scopes goes through this parser.
///
/// The separator is the ASCII space; spaces at either end and repeated ones are ignored. A `*` stands alone.
/// Every other character that is not part of a name is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeList<'a> {
    text: &'a str,
    separator: char,
}

impl<'a> ScopeList<'a> {
    /// The empty list, which every key holds.
    pub const NONE: Self = Self { text: "", separator: ' ' };

    /// A list of one name that is a constant of the program.
    pub const fn constant(name: &'static str) -> Self {
        Self { text: name, separator: ' ' }
    }

    /// Reads names that are separated by spaces.
    ///
    /// # Errors
    /// [`ScopesError`]: the wrong word, and the correct form.
    pub fn parse(text: &'a str) -> Result<Self, ScopesError> {
        Self { text, separator: ' ' }.checked()
    }

    /// Reads names that are joined by `+`, as in a path. Two `+` in a row, and a `+` at either end, are errors.
    ///
    /// # Errors
    /// [`ScopesError`]: the wrong word, and the correct form.
    pub fn parse_joined(text: &'a str) -> Result<Self, ScopesError> {
        if text.is_empty() {
            return Err(ScopesError::Empty);
        }
        if text.split('+').any(str::is_empty) {
            return Err(ScopesError::Malformed(String::new()));
        }
        Self { text, separator: '+' }.checked()
    }

    /// Returns the names, in their order.
    pub fn names(self) -> impl Iterator<Item = &'a str> {
        words(self.text, self.separator)
    }

    fn checked(self) -> Result<Self, ScopesError> {
        let (mut all, mut count) = (false, 0);
        for word in self.names() {
            all |= word == "*";
            count += 1;
            if word != "*" && !is_scope(word) {
                return Err(malformed(word));
            }
        }
        match count {
            0 => Err(ScopesError::Empty),
            2.. if all => Err(ScopesError::AllAndMore),
            _ if count > Scopes::MAX_NAMES => Err(ScopesError::TooMany),
            _ => Ok(self),
        }
    }
}

impl Default for ScopeList<'_> {
    fn default() -> Self {
        Self::NONE
    }
}

fn malformed(word: &str) -> ScopesError {
    match word.chars().find(|character| character.is_whitespace() || character.is_control()) {
        Some(found) => ScopesError::Separator(found),
        None => ScopesError::Malformed(word.chars().take(60).collect()),
    }
}

fn words(text: &str, separator: char) -> impl Iterator<Item = &str> {
    // A slice of one character: for a plain `char`, std prepares a search that is only worth its cost in long texts.
    text.split([separator]).filter(|word| !word.is_empty())
}

impl Scopes {
    /// The largest number of names in a list, repeated ones included.
    pub const MAX_NAMES: usize = 50;
    /// The largest number of bytes in a name.
    const MAX_NAME_BYTES: usize = 100;

    /// Reads the wire form; `None` is JSON's `null`.
    ///
    /// # Errors
    /// [`ScopesError`]: the wrong word, and the correct form.
    pub fn parse(text: Option<&str>) -> Result<Self, ScopesError> {
        let Some(text) = text else {
            return Ok(Self::Unset);
        };
        let mut names: Vec<String> = Vec::new();
        for name in ScopeList::parse(text)?.names() {
            if name == "*" {
                return Ok(Self::All);
            }
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        Ok(Self::Named(names))
    }

    /// Returns the words of a list that may be unfinished, for a form while the user types.
    pub fn words(text: &str) -> impl Iterator<Item = &str> {
        words(text, ' ')
    }

    /// Returns whether named scopes in wire form hold `asked`.
    pub fn wire_holds(held: &str, asked: &str) -> bool {
        words(held, ' ').any(|held| Self::covers(held, asked))
    }

    /// Returns the wire form; `None` is JSON's `null`.
    pub fn to_wire(&self) -> Option<String> {
        match self {
            Self::Unset => None,
            Self::All => Some("*".to_owned()),
            Self::Named(names) => Some(names.join(" ")),
        }
    }

    /// Returns whether the scopes are full access.
    pub fn is_full(&self) -> bool {
        !matches!(self, Self::Named(_))
    }

    /// Returns the names; empty for full access.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Unset | Self::All => &[],
            Self::Named(names) => names,
        }
    }

    /// Returns whether `asked` (`resource:action` or `resource:*`) is allowed.
    pub fn hold(&self, asked: &str) -> bool {
        self.is_full() || self.names().iter().any(|held| Self::covers(held, asked))
    }

    /// Returns whether one held name allows `asked`.
    pub fn covers(held: &str, asked: &str) -> bool {
        held == asked || held.strip_suffix('*').is_some_and(|resource| asked.starts_with(resource))
    }

    /// Returns whether `name` itself is in the list: `*` and `resource:*` do not count.
    pub fn name_explicitly(&self, name: &str) -> bool {
        self.names().iter().any(|held| held == name)
    }
}

fn is_scope(word: &str) -> bool {
    let part = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) && !text.is_empty()
    };
    word.len() <= Scopes::MAX_NAME_BYTES
        && word.split_once(':').is_some_and(|(resource, action)| part(resource) && (action == "*" || part(action)))
}

#[cfg(test)]
mod tests {
    use proptest::collection;
    use proptest::prelude::*;

    use super::*;

    fn named(text: &str) -> Scopes {
        Scopes::parse(Some(text)).unwrap()
    }

    #[test]
    fn null_and_star_both_mean_full_access_and_stay_distinct() {
        assert_eq!(Scopes::parse(None), Ok(Scopes::Unset));
        assert_eq!(Scopes::parse(Some(" * ")), Ok(Scopes::All));
        assert_eq!(Scopes::Unset.to_wire(), None);
        assert_eq!(Scopes::All.to_wire().as_deref(), Some("*"));
        assert!(Scopes::Unset.hold("events:write") && Scopes::All.hold("events:write"));
    }

    #[test]
    fn a_list_keeps_its_order_and_names_each_scope_once() {
        let scopes = named("events:write  keys:verify events:write");
        assert_eq!(scopes.to_wire().as_deref(), Some("events:write keys:verify"));
    }

    #[test]
    fn a_resource_with_a_star_holds_each_of_its_actions_and_no_other_resource() {
        let scopes = named("events:*");
        assert!(scopes.hold("events:write") && scopes.hold("events:*"));
        assert!(!scopes.hold("eventsx:write") && !scopes.hold("keys:verify"));
        assert!(!named("events:write").hold("events:*"));
    }

    #[test]
    fn a_star_never_counts_as_an_explicit_name() {
        assert!(!Scopes::All.name_explicitly(MANAGE_KEYS));
        assert!(!named("api-keys:*").name_explicitly(MANAGE_KEYS));
        assert!(named("events:write api-keys:write").name_explicitly(MANAGE_KEYS));
    }

    #[test]
    fn a_malformed_scope_is_named_in_the_error() {
        for word in ["events", "events:", ":write", "a:b:c", "ev:ents:é", "events:w*", "*:*", "é:b", "a:b,c:d"] {
            assert!(matches!(Scopes::parse(Some(word)), Err(ScopesError::Malformed(_))), "{word}");
        }
        assert_eq!(Scopes::parse(Some("  ")), Err(ScopesError::Empty));
        assert_eq!(Scopes::parse(Some("* events:write")), Err(ScopesError::AllAndMore));
        assert_eq!(Scopes::parse(Some("* *")), Err(ScopesError::AllAndMore));
        let many: Vec<String> = (0..51).map(|n| format!("r{n}:a")).collect();
        assert_eq!(Scopes::parse(Some(&many.join(" "))), Err(ScopesError::TooMany));
        assert_eq!(Scopes::parse(Some(&many[1..].join(" "))).map(|scopes| scopes.names().len()), Ok(50));
    }

    #[test]
    fn only_the_ascii_space_separates_names() {
        for separator in
            ['\t', '\n', '\r', '\u{b}', '\u{c}', '\0', '\u{1f}', '\u{85}', '\u{a0}', '\u{2003}', '\u{3000}']
        {
            let text = format!("a:x{separator}admin:all");
            assert_eq!(Scopes::parse(Some(&text)), Err(ScopesError::Separator(separator)), "{text:?}");
            assert_eq!(ScopeList::parse_joined(&text), Err(ScopesError::Separator(separator)), "{text:?}");
        }
        assert_eq!(
            ScopesError::Separator('\u{c}').to_string(),
            "must separate names with spaces (U+0020), not with U+000C"
        );
        for invisible in ['\u{200b}', '\u{feff}', '\u{ad}'] {
            let text = format!("a:x{invisible}admin:all");
            assert!(matches!(ScopeList::parse(&text), Err(ScopesError::Malformed(_))), "{text:?}");
        }
    }

    #[test]
    fn joined_names_have_no_gaps_and_no_spaces() {
        let names = |text| ScopeList::parse_joined(text).map(|list| list.names().collect::<Vec<_>>());
        assert_eq!(names("a:b+c:*"), Ok(vec!["a:b", "c:*"]));
        assert_eq!(names("*"), Ok(vec!["*"]));
        for wrong in ["", "+", "a:b+", "+a:b", "a:b++c:d", "a:b c:d", "a:b+ c:d", "a:b+any", "a:b&c:d", "a:b%2Bc:d"] {
            assert!(names(wrong).is_err(), "{wrong}");
        }
        assert!(ScopeList::parse("a:b+c:d").is_err());
    }

    proptest! {
        #[test]
        fn a_list_of_names_is_parsed_into_these_names(
            names in collection::vec("[a-zA-Z0-9._-]{1,8}:([a-zA-Z0-9._-]{1,8}|[*])", 1..20),
            gaps in collection::vec(1..4usize, 21),
            ends in (0..3usize, 0..3usize),
        ) {
            let mut text = " ".repeat(ends.0);
            for (name, gap) in names.iter().zip(&gaps) {
                text.push_str(name);
                text.push_str(&" ".repeat(*gap));
            }
            text.push_str(&" ".repeat(ends.1));
            prop_assert_eq!(ScopeList::parse(&text).unwrap().names().collect::<Vec<_>>(), names.clone());
            let joined = names.join("+");
            prop_assert_eq!(ScopeList::parse_joined(&joined).unwrap().names().collect::<Vec<_>>(), names.clone());
            let scopes = Scopes::parse(Some(&text)).unwrap();
            prop_assert!(names.iter().all(|name| scopes.hold(name)));
            let wire = scopes.to_wire().unwrap();
            prop_assert_eq!(Scopes::parse(Some(&wire)), Ok(scopes.clone()));
            prop_assert!(names.iter().all(|name| Scopes::wire_holds(&wire, name)));
        }

        /// Also, both parsers accept the same texts.
        #[test]
        fn every_accepted_text_consists_of_names_and_spaces(text in "([a-c*]:?[a-c*]|[ \\t\\x0c\\x00é+&/%\u{a0}]|\\PC){0,12}") {
            match ScopeList::parse(&text) {
                Ok(list) => {
                    prop_assert!(list.names().all(|name| name == "*" || is_scope(name)));
                    prop_assert_eq!(list.names().collect::<String>(), text.replace(' ', ""));
                    prop_assert!(Scopes::parse(Some(&text)).is_ok());
                }
                Err(error) => prop_assert_eq!(Scopes::parse(Some(&text)), Err(error)),
            }
        }

        #[test]
        fn one_foreign_character_anywhere_makes_the_list_an_error(foreign: char, at in 0..=15usize) {
            prop_assume!(!foreign.is_ascii_alphanumeric() && !" *:._-".contains(foreign));
            let mut text = "a:bcd e:fgh i:*".to_owned();
            text.insert(at, foreign);
            prop_assert!(ScopeList::parse(&text).is_err(), "{:?}", text);
        }
    }
}
