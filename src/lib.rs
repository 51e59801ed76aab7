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
pub mod clock;
#[cfg(feature = "ssr")]
pub mod cluster;
#[cfg(feature = "ssr")]
pub mod entropy;
#[cfg(feature = "ssr")]
pub mod events;
#[cfg(feature = "ssr")]
pub mod keys;
#[cfg(feature = "ssr")]
pub mod lists;
#[cfg(feature = "ssr")]
pub mod log_limit;
pub mod model;
#[cfg(feature = "ssr")]
pub mod runtime;
#[cfg(feature = "ssr")]
pub mod security_log;
#[cfg(feature = "ssr")]
pub mod server;
#[cfg(feature = "ssr")]
pub mod store;

/// The dashboard.
pub mod app {
    pub mod codec;
    #[cfg(feature = "ssr")]
    pub mod forms;
    #[cfg(feature = "ssr")]
    pub mod held_form;
    pub mod islands;
    #[cfg(feature = "ssr")]
    pub mod key_in_address;
    #[cfg(feature = "ssr")]
    pub mod live;
    #[cfg(feature = "ssr")]
    pub mod pages;
    #[cfg(feature = "ssr")]
    pub mod parts;
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
