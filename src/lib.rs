//! Latchkey: self-hosted API keys.
//!
//! One crate, two halves. `ssr` is the server: the rules (`keys`, `accounts`), their storage
//! (`store`), the contracts (`api`) and the program (`server`). `hydrate` is what runs in the
//! browser: the islands of `app`. This file is the one that tells the halves apart.

// The types of views nest as deep as the views do.
#![recursion_limit = "256"]

#[cfg(feature = "ssr")]
pub mod accounts;
#[cfg(feature = "ssr")]
pub mod api;
#[cfg(feature = "ssr")]
pub mod cluster;
#[cfg(feature = "ssr")]
pub mod domain;
#[cfg(feature = "ssr")]
pub mod events;
#[cfg(feature = "ssr")]
pub mod jobs;
#[cfg(feature = "ssr")]
pub mod keys;
pub mod model;
#[cfg(feature = "ssr")]
pub mod program;
#[cfg(feature = "ssr")]
pub mod runtime;
#[cfg(feature = "ssr")]
pub mod security_log;
#[cfg(feature = "ssr")]
pub mod server;
#[cfg(feature = "ssr")]
pub mod store;
#[cfg(feature = "ssr")]
pub mod web;

/// The dashboard.
pub mod app {
    #[cfg(feature = "ssr")]
    pub mod account;
    pub mod codec;
    #[cfg(feature = "ssr")]
    pub mod events;
    pub mod islands;
    #[cfg(feature = "ssr")]
    pub mod keys;
    #[cfg(feature = "ssr")]
    pub mod kit;
    #[cfg(feature = "ssr")]
    pub mod links;
    #[cfg(feature = "ssr")]
    pub mod reference;
    #[cfg(feature = "ssr")]
    pub mod server;
    pub mod server_fns;
    #[cfg(feature = "ssr")]
    pub mod shell;
}

/// Brings the islands of a page to life. The page's own script calls it.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    leptos::mount::hydrate_islands();
}
