//! The hookstream contract (docs/CONTRACTS.md, "hookstream").
//!
//! The key endpoints are Leptos server functions (`app::server_fns`), which call the functions of `keys`. The endpoints
//! for accounts are axum handlers.

mod accounts;
pub mod keys;
mod wire;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::web::Services;

/// Returns the routes for accounts. The routes for keys ([`keys::document`]) lead to the server functions.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::default()
        .routes(routes!(accounts::register))
        .routes(routes!(accounts::log_in))
        .routes(routes!(accounts::log_out))
        .routes(routes!(accounts::me))
}
