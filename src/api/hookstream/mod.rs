//! hookstream's contract (seeds 000 and 001).
//!
//! The key endpoints are Leptos server functions (`app::server_fns`): their bodies are the functions
//! of `keys` here. Signing in has axum handlers.

pub mod accounts;
pub mod keys;
mod wire;
