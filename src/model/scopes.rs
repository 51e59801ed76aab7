//! What a key may be used for.

use std::fmt;

/// The scope that, named explicitly, lets a key manage keys (only where the operator allows it).
pub const MANAGE_KEYS: &str = "api-keys:write";

/// What a key may be used for.
///
/// On the wire one string: names separated by spaces. `null` and `*` both mean everything; which of
/// the two was asked for is kept, because seed 000 shows the one and seed 001 the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scopes {
    /// Everything, written `null`.
    Unset,
    /// Everything, written `*`.
    All,
    /// These only: `resource:action` or `resource:*`, at least one, each once.
    Named(Vec<String>),
}

/// Why a text is not a list of scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopesError {
    /// No name in it.
    Empty,
    /// This word is not `resource:action`, `resource:*` or `*`.
    Malformed(String),
    /// `*` beside other names, which it would make meaningless.
    AllAndMore,
    /// More than [`Scopes::MOST`] names.
    TooMany,
}

impl fmt::Display for ScopesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("must name at least one scope, or be `*` for full access"),
            Self::Malformed(word) => write!(
                f,
                "`{word}` is not a scope: write `resource:action`, `resource:*`, or `*` alone for full access"
            ),
            Self::AllAndMore => f.write_str("`*` already means everything: use it alone, or name the scopes"),
            Self::TooMany => write!(f, "must name at most {} scopes", Scopes::MOST),
        }
    }
}

impl std::error::Error for ScopesError {}

impl Scopes {
    /// The most names that a key may hold.
    pub const MOST: usize = 50;
    const LONGEST: usize = 100;

    /// Reads the wire form; `None` is JSON's `null`.
    ///
    /// # Errors
    /// Says which word is wrong, and what would be right.
    pub fn parse(text: Option<&str>) -> Result<Self, ScopesError> {
        let Some(text) = text else {
            return Ok(Self::Unset);
        };
        let mut names: Vec<String> = Vec::new();
        let mut all = false;
        for word in text.split_ascii_whitespace() {
            if word == "*" {
                all = true;
            } else if !is_scope(word) {
                let shown: String = word.chars().take(60).collect();
                return Err(ScopesError::Malformed(shown));
            } else if !names.iter().any(|name| name == word) {
                names.push(word.to_owned());
            }
        }
        match (all, names.len()) {
            (true, 0) => Ok(Self::All),
            (true, _) => Err(ScopesError::AllAndMore),
            (false, 0) => Err(ScopesError::Empty),
            (false, count) if count > Self::MOST => Err(ScopesError::TooMany),
            (false, _) => Ok(Self::Named(names)),
        }
    }

    /// The wire form; `None` is JSON's `null`.
    pub fn to_wire(&self) -> Option<String> {
        match self {
            Self::Unset => None,
            Self::All => Some("*".to_owned()),
            Self::Named(names) => Some(names.join(" ")),
        }
    }

    /// Whether everything is allowed.
    pub fn is_full(&self) -> bool {
        !matches!(self, Self::Named(_))
    }

    /// The names, none for full access.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Unset | Self::All => &[],
            Self::Named(names) => names,
        }
    }

    /// Whether `asked` (`resource:action` or `resource:*`) is allowed.
    pub fn hold(&self, asked: &str) -> bool {
        self.is_full() || self.names().iter().any(|held| Self::covers(held, asked))
    }

    /// Whether one held name allows `asked`.
    pub fn covers(held: &str, asked: &str) -> bool {
        held == asked || held.strip_suffix('*').is_some_and(|resource| asked.starts_with(resource))
    }

    /// Whether a word is `resource:action` or `resource:*`.
    pub fn is_name(word: &str) -> bool {
        is_scope(word)
    }

    /// Whether `name` itself is in the list: `*` and `resource:*` do not count.
    pub fn name_explicitly(&self, name: &str) -> bool {
        self.names().iter().any(|held| held == name)
    }
}

fn is_scope(word: &str) -> bool {
    let part = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) && !text.is_empty()
    };
    word.len() <= Scopes::LONGEST
        && word.split_once(':').is_some_and(|(resource, action)| part(resource) && (action == "*" || part(action)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Scopes {
        Scopes::parse(Some(text)).unwrap()
    }

    #[test]
    fn null_and_star_both_mean_everything_and_stay_apart() {
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
    fn what_is_no_scope_is_named_in_the_error() {
        for word in ["events", "events:", ":write", "a:b:c", "ev ents:é", "events:w*", "*:*"] {
            assert!(matches!(Scopes::parse(Some(word)), Err(ScopesError::Malformed(_))), "{word}");
        }
        assert_eq!(Scopes::parse(Some("  ")), Err(ScopesError::Empty));
        assert_eq!(Scopes::parse(Some("* events:write")), Err(ScopesError::AllAndMore));
        let many: Vec<String> = (0..51).map(|n| format!("r{n}:a")).collect();
        assert_eq!(Scopes::parse(Some(&many.join(" "))), Err(ScopesError::TooMany));
    }
}
