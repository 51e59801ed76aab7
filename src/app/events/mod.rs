//! Pages of events: the list with its live updates, and one event.

pub(crate) mod event_page;
pub(crate) mod json_view;
pub(crate) mod list_page;
pub(crate) mod stream;
pub(crate) mod table;
