//! Parts that all pages share: frame, messages, forms, toasts, and the formatting of times and numbers.

mod bar;
mod copy;
mod empty;
mod form;
mod frame;
mod held_form;
mod here;
mod message;
mod navigation;
mod toast;
mod words;

pub use copy::{CopyButton, CopyStatus};
pub use empty::{Beginning, NoKeys, NoMatch, NothingFound, Unsearchable};
pub use form::{Form, session};
pub use frame::{Auth, Bare, ErrorText, Framed, Notice, Page, StoredText};
pub use held_form::HeldForm;
pub use here::{Frame, Here, InOrganisation, Visit};
pub use message::{failed, not_found, registration_closed};
pub use navigation::Section;
pub use toast::{Flash, Toasts, take_flash};
pub use words::{
    Exact, Moment, Sentence, ago, ago_or_date, counted, date, exact, isolate, on_wire, revoked_everywhere, size,
    thousands, to_the_hour, to_the_second, with_code,
};
