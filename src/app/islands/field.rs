//! A field of the create dialog, with its validation.
//!
//! While the user types, only text that further typing cannot make valid is an error. Other errors appear when the
//! field loses the focus or the form is sent.

use leptos::prelude::*;

use super::icons::{ALERT, icon};
use crate::model::{KeyName, NameError, Scopes, ScopesError};

/// The time of a validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The user is typing.
    Typing,
    /// The field lost the focus, or the form was sent.
    Done,
}

/// The state of a field.
#[derive(Clone, Copy)]
pub struct Field {
    /// The text.
    pub text: RwSignal<String>,
    /// The time of the last validation.
    checked: RwSignal<Option<Moment>>,
    /// The server's error about this text.
    refused: RwSignal<Option<String>>,
    check: fn(&str, Moment) -> Option<String>,
}

impl Field {
    /// Creates an empty field, which `check` validates.
    pub fn new(check: fn(&str, Moment) -> Option<String>) -> Self {
        Self { text: RwSignal::default(), checked: RwSignal::default(), refused: RwSignal::default(), check }
    }

    /// Clears the field.
    pub fn clear(self) {
        self.text.set(String::new());
        self.checked.set(None);
        self.refused.set(None);
    }

    /// Sets the text while the user types.
    pub fn typed(self, text: String) {
        self.text.set(text);
        self.checked.set(Some(Moment::Typing));
        self.refused.set(None);
    }

    /// Validates the field when it loses the focus. An empty field is not an error yet.
    pub fn left(self) {
        if !self.text.with_untracked(String::is_empty) {
            self.checked.set(Some(Moment::Done));
        }
    }

    /// Shows the server's error.
    pub fn refuse(self, message: String) {
        self.refused.set(Some(message));
    }

    /// Validates the field before the form is sent; returns whether it is valid. Clears the server's error, because the
    /// server checks again.
    pub fn is_right(self) -> bool {
        self.refused.set(None);
        self.checked.set(Some(Moment::Done));
        self.error().is_none()
    }

    /// Returns the error to show now.
    pub fn error(self) -> Option<String> {
        let found = self.checked.get().and_then(|moment| self.text.with(|text| (self.check)(text, moment)));
        found.or_else(|| self.refused.get())
    }

    /// Renders the paragraph below the field, which is empty without an error.
    pub fn error_text(self, id: &'static str) -> impl IntoView {
        view! {
            <p class="error" id=id>
                {move || self.error().map(|text| view! { {icon(ALERT)} <span>{text}</span> })}
            </p>
        }
    }

    /// Returns the value of `aria-invalid`.
    pub fn invalid(self) -> impl Fn() -> Option<&'static str> + Copy {
        move || self.error().map(|_| "true")
    }
}

/// Returns the error of a name.
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

/// Returns the error of a list of scopes. While the user types, the last word is not checked.
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
    fn an_empty_name_is_not_an_error_while_typing() {
        assert_eq!(check_name("", Moment::Typing), None);
        assert!(check_name(" ", Moment::Done).is_some());
        assert!(check_name(&"é".repeat(101), Moment::Typing).is_some());
        assert_eq!(check_name("Billing worker", Moment::Done), None);
    }

    #[test]
    fn the_last_scope_is_not_checked_while_typing() {
        assert_eq!(check_scopes("events:write keys", Moment::Typing), None);
        assert!(check_scopes("events:write keys", Moment::Done).is_some());
        assert!(check_scopes("events::write keys", Moment::Typing).is_some());
        assert_eq!(check_scopes("events:write keys:verify ", Moment::Done), None);
        assert!(check_scopes("*", Moment::Done).is_some());
        assert!(check_scopes("", Moment::Done).is_some());
    }
}
