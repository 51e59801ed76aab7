//! A field of the create dialog: what was typed, and what is wrong with it.
//!
//! Nobody is corrected in the middle of a word. While one types, only what can no longer become
//! right is an error; the rest is one when the field is left or the form is sent.

use leptos::prelude::*;

use super::icons::{ALERT, icon};
use crate::model::{KeyName, NameError, Scopes, ScopesError};

/// When a text is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// More may follow.
    Typing,
    /// The field was left, or the form sent.
    Done,
}

/// What was typed into a field.
#[derive(Clone, Copy)]
pub struct Field {
    /// The text.
    pub text: RwSignal<String>,
    looked_at: RwSignal<Option<Moment>>,
    /// What the server said about this text.
    refused: RwSignal<Option<String>>,
    check: fn(&str, Moment) -> Option<String>,
}

impl Field {
    /// An empty field, and what finds its mistakes.
    pub fn new(check: fn(&str, Moment) -> Option<String>) -> Self {
        Self { text: RwSignal::default(), looked_at: RwSignal::default(), refused: RwSignal::default(), check }
    }

    /// Empties it.
    pub fn clear(self) {
        self.text.set(String::new());
        self.looked_at.set(None);
        self.refused.set(None);
    }

    /// Takes over what was typed so far.
    pub fn typed(self, text: String) {
        self.text.set(text);
        self.looked_at.set(Some(Moment::Typing));
        self.refused.set(None);
    }

    /// The field was left. Passing through an empty one is no mistake yet.
    pub fn left(self) {
        if !self.text.with_untracked(String::is_empty) {
            self.looked_at.set(Some(Moment::Done));
        }
    }

    /// Shows what the server says about it.
    pub fn refuse(self, message: String) {
        self.refused.set(Some(message));
    }

    /// Looks at it for good; true when nothing is wrong. What the server said before, it may say
    /// again.
    pub fn is_right(self) -> bool {
        self.refused.set(None);
        self.looked_at.set(Some(Moment::Done));
        self.error().is_none()
    }

    /// What is wrong with it, to be shown now.
    pub fn error(self) -> Option<String> {
        let found = self.looked_at.get().and_then(|moment| self.text.with(|text| (self.check)(text, moment)));
        found.or_else(|| self.refused.get())
    }

    /// The paragraph under the field, empty as long as all is well.
    pub fn error_text(self, id: &'static str) -> impl IntoView {
        view! {
            <p class="error" id=id>
                {move || self.error().map(|text| view! { {icon(ALERT)} <span>{text}</span> })}
            </p>
        }
    }

    /// For `aria-invalid`.
    pub fn invalid(self) -> impl Fn() -> Option<&'static str> + Copy {
        move || self.error().map(|_| "true")
    }
}

/// What is wrong with a name.
pub fn check_name(text: &str, moment: Moment) -> Option<String> {
    let message = match KeyName::parse(text) {
        Ok(_) => return None,
        Err(NameError::Empty) if moment == Moment::Typing => return None,
        Err(NameError::Empty) => "Give the key a name.".to_owned(),
        Err(NameError::Invisible(_)) => "Use at least one visible character.".to_owned(),
        Err(NameError::TooLong) => "Use at most 100 characters.".to_owned(),
        Err(error @ NameError::Forbidden(..)) => format!("A name {error}."),
    };
    Some(message)
}

/// What is wrong with a list of scopes. The word that is being typed is not looked at.
pub fn check_scopes(text: &str, moment: Moment) -> Option<String> {
    let finished = match moment {
        Moment::Typing => text.rsplit_once(' ').map_or("", |(before, _)| before),
        Moment::Done => text,
    };
    match Scopes::parse(Some(finished)) {
        Ok(Scopes::Named(_)) => None,
        Ok(Scopes::All | Scopes::Unset) => Some("“*” is full access: choose that above.".to_owned()),
        Err(ScopesError::Empty) if moment == Moment::Typing => None,
        Err(ScopesError::Empty) => Some("Name at least one scope, or choose full access.".to_owned()),
        Err(ScopesError::Malformed(word)) => {
            Some(format!("“{word}” is not a scope name. Write it like events:write or events:*."))
        }
        Err(ScopesError::Separator(_)) => Some("Separate the names with spaces.".to_owned()),
        Err(ScopesError::AllAndMore) => Some("“*” is full access: leave it out, or choose that above.".to_owned()),
        Err(ScopesError::TooMany) => Some(format!("Name at most {} scopes.", Scopes::MAX_NAMES)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_still_empty_is_no_mistake_while_typing() {
        assert_eq!(check_name("", Moment::Typing), None);
        assert!(check_name(" ", Moment::Done).is_some());
        assert!(check_name(&"é".repeat(101), Moment::Typing).is_some());
        assert_eq!(check_name("Billing worker", Moment::Done), None);
    }

    #[test]
    fn the_scope_that_is_being_typed_is_left_alone() {
        assert_eq!(check_scopes("events:write keys", Moment::Typing), None);
        assert!(check_scopes("events:write keys", Moment::Done).is_some());
        assert!(check_scopes("events::write keys", Moment::Typing).is_some());
        assert_eq!(check_scopes("events:write keys:verify ", Moment::Done), None);
        assert!(check_scopes("*", Moment::Done).is_some());
        assert!(check_scopes("", Moment::Done).is_some());
    }
}
