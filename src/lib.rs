//! Latchkey: self-hosted API keys.
//!
//! One crate with two builds, selected by feature in this file. `ssr` is the server: the rules (`keys`, `accounts`),
//! their storage (`store`), the contracts (`api`) and the program (`server`). `hydrate` is the code in the browser: the
//! islands of `app`.

// The types of views nest as deeply as the views do.
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
pub mod teams;
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
    #[cfg(feature = "ssr")]
    pub mod teams;
}

/// Hydrates the islands of a page. The page's own script calls this function.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    leptos::mount::hydrate_islands();
}
