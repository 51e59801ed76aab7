//! The hookstream contract (docs/CONTRACTS.md, "hookstream").
//!
//! The key endpoints are Leptos server functions (`app::server_fns`): their bodies are the functions
//! of `keys` here. Signing in has axum handlers.

mod accounts;
pub mod keys;
mod wire;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::web::Services;

/// The addresses for signing in. Those of the keys ([`keys::document`]) lead to the server functions.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::default()
        .routes(routes!(accounts::register))
        .routes(routes!(accounts::log_in))
        .routes(routes!(accounts::log_out))
        .routes(routes!(accounts::me))
}
