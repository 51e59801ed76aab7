//! Pages of keys: the list, one key, and their forms.

pub(crate) mod facts;
pub(crate) mod filters;
pub(crate) mod form;
pub(crate) mod form_version;
pub(crate) mod form_view;
pub(crate) mod key_page;
pub(crate) mod list_page;
pub(crate) mod lost_key;
pub(crate) mod post;
pub(crate) mod revoke_dialog;
pub(crate) mod search;
pub(crate) mod table;
pub(crate) mod usage_chart;
