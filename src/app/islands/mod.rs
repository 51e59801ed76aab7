//! Islands, the code that runs in the browser: the dialogs that create and revoke a key, and live events.
//!
//! The server renders an island, and WASM hydrates it. Each island listens on the window for clicks on elements that
//! the server rendered (`data-create-key`, `data-revoke`, `data-dismiss`), so that the number of rows costs nothing.
//! Effects and event handlers run in the browser only.

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
pub use reveal::COPY_FAILED;
pub use revoke_key::RevokeKey;
pub use toast::ToastKind;
