//! The events: their list, one event, and new ones as they come.

pub(crate) mod event_page;
pub(crate) mod json_view;
pub(crate) mod list_page;
pub(crate) mod post;
pub(crate) mod retention;
pub(crate) mod stream;
pub(crate) mod table;
