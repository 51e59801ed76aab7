//! Messages in the corner of the page that can be dismissed.

use serde::{Deserialize, Serialize};
use web_sys::HtmlElement;

use super::browser;

/// The outcome that a message reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToastKind {
    /// The action succeeded.
    Success,
    /// The action failed.
    Error,
}

/// Removes a message at a click on its cross. Without WASM, the cross links to the page without the message. Call it
/// in an effect.
pub fn dismiss_at_click() {
    let dismiss = |cross: HtmlElement| {
        if let Some(message) = cross.parent_element() {
            message.remove();
        }
    };
    browser::on_click("a[data-dismiss]", Box::new(dismiss));
}
