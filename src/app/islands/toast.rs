//! Messages in the corner of the page that can be put away.

use serde::{Deserialize, Serialize};
use web_sys::HtmlElement;

use super::browser;

/// Whether what a message is about worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToastKind {
    /// It did.
    Success,
    /// It did not.
    Error,
}

/// Lets messages be put away where they stand. Without WASM, their cross is a link to the page
/// without them. Call it in an effect.
pub fn dismiss_at_click() {
    let dismiss = |cross: HtmlElement| {
        if let Some(message) = cross.parent_element() {
            message.remove();
        }
    };
    browser::on_click("a[data-dismiss]", Box::new(dismiss));
}
