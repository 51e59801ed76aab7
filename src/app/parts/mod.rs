//! Pieces of pages, rendered on the server: what surrounds a page, and what the list is made of.

mod account;
mod empty;
mod events;
mod filters;
mod frame;
mod json;
mod key_facts;
mod key_fields;
mod key_form;
mod key_usage;
mod key_version;
mod lost;
mod operation;
mod retention;
mod revoke;
mod schema;
mod table;
mod toast;
mod words;

pub use account::{EmailField, PasswordField};
pub use empty::{NoKeys, NoMatch};
pub use events::{
    EnvironmentBadge, EventFilters, EventPager, EventRow, EventsTable, Live, NoEventMatches, NoEvents, key_href,
};
pub use filters::{Filters, Pager, Tabs};
pub use frame::{Auth, Bare, ErrorText, Framed, Notice, Page, Section};
pub use json::{SHOWN as SHOWN_OF_BODY, pretty};
pub use key_facts::{Addresses, KeyFacts};
pub use key_fields::KeyFields;
pub use key_form::KeyForm;
pub use key_usage::{HOURS as HOURS_OF_USE, UsageSection};
pub use lost::LostKey;
pub use operation::{Operation, prose};
pub use retention::{RetentionForm, RetentionSection};
pub use revoke::{LeaveDescendants, RevokeDialog};
pub use schema::fields;
pub use table::{KeysTable, Mask, RevokeLink, State};
pub use toast::{Flash, Toasts, leave_flash, take_flash};
pub use words::{
    Exact, Moment, Sentence, ago, ago_or_date, date, exact, isolate, on_wire, revoked_everywhere, size, thousands,
};
