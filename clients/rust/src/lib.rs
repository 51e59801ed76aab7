#![deny(missing_docs)]
#![cfg_attr(all(feature = "axum", feature = "tls"), doc = include_str!("../README.md"))]
#![cfg_attr(not(all(feature = "axum", feature = "tls")), doc = "Checks API keys with a Latchkey server.")]

mod builder;
mod check;
mod client;
#[cfg(feature = "tls")]
#[path = "connector/tls.rs"]
mod connector;
#[cfg(not(feature = "tls"))]
#[path = "connector/plain.rs"]
mod connector;
mod credential;
mod error;
mod events;
#[cfg(feature = "axum")]
mod extract;
mod feed;
mod identity;
mod layer;
mod memory;
mod moment;
mod outcome;
mod refusal;
mod scopes;
mod transport;
mod usage;

pub use builder::{BuildError, Builder};
pub use check::{Check, Environment};
pub use client::Client;
pub use error::Error;
#[cfg(feature = "axum")]
pub use extract::{NoIdentity, peer_address};
pub use identity::Identity;
pub use layer::{LatchkeyLayer, LatchkeyService, ResponseBody};
pub use outcome::{Code, Outcome, RateLimit};
