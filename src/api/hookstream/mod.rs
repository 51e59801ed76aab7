//! The hookstream contract (docs/CONTRACTS.md, "hookstream").
//!
//! The key endpoints are Leptos server functions (`app::server_fns`): their bodies are the functions
//! of `keys` here. Signing in has axum handlers.

pub mod accounts;
pub mod keys;
mod wire;

use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(paths(
    accounts::register,
    accounts::log_in,
    accounts::log_out,
    accounts::me,
    keys::create,
    keys::list,
    keys::revoke_itself,
    keys::revoke,
    keys::revoke_by_query,
))]
struct Operations;

/// The contract's part of the document.
pub fn document() -> utoipa::openapi::OpenApi {
    Operations::openapi()
}
