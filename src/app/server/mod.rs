//! Pages about the server itself, for its operator.

pub(crate) mod cluster_page;
