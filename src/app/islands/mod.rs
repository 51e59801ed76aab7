//! All that runs in the browser: making a key, the dialog that asks before one is revoked, and new
//! events.
//!
//! An island is rendered on the server like everything else and brought to life by WASM. Each one
//! listens at the window for clicks on what the server rendered (`data-create-key`, `data-revoke`,
//! `data-dismiss`), so that a table of fifty rows costs no more than one of none. What the server compiles of this
//! it never runs: effects and event handlers exist in the browser only.

mod browser;
mod create_key;
mod dialog;
mod expiry;
mod field;
pub mod icons;
mod live_tail;
mod reveal;
mod revoke_key;
mod toast;

pub use create_key::{CreateKey, EnvironmentChoice};
pub use live_tail::LiveTail;
pub use revoke_key::RevokeKey;
pub use toast::ToastKind;
