//! Pieces of pages, rendered on the server: what surrounds a page, and what the list is made of.

mod empty;
mod filters;
mod frame;
mod operation;
mod revoke;
mod schema;
mod table;
mod toast;
mod words;

pub use empty::{NoKeys, NoMatch};
pub use filters::{Filters, Pager, Tabs};
pub use frame::{Auth, Bare, ErrorText, Notice, Page};
pub use operation::{Operation, prose};
pub use revoke::RevokeDialog;
pub use schema::fields;
pub use table::KeysTable;
pub use toast::{Flash, Toasts, leave_flash, take_flash};
pub use words::{ago, exact, on_wire};
