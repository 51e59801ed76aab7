//! Pages about the server itself, for its operators.

pub(crate) mod cluster_page;
