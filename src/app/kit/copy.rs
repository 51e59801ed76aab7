//! Copying on pages without WASM: `page.js` copies, with the words of the dialog that shows a new key.

use leptos::prelude::*;

use crate::app::islands::COPY_FAILED;
use crate::app::islands::icons::{ALERT, CHECK, COPY, icon};

/// A button that copies the `<code>` within the same `data-copyable` element. `what` names the text: `Command`.
#[component]
pub fn CopyButton(what: &'static str) -> AnyView {
    view! {
        <button
            class="button copy small needs-js"
            type="button"
            data-copy=format!("{what} copied to the clipboard")
        >
            <span class="todo">
                {icon(COPY)}
                <span>"Copy" <span class="visually-hidden">" " {what.to_lowercase()}</span></span>
            </span>
            <span class="done" aria-hidden="true">{icon(CHECK)} "Copied"</span>
        </button>
    }
    .into_any()
}

/// Announces the result of the copy buttons, and shows a failure. A page has one.
#[component]
pub fn CopyStatus() -> AnyView {
    view! {
        <div class="toasts">
            <div class="toast error-toast visually-hidden" role="status" data-copy-status>
                {icon(ALERT)}
                <p data-failed=COPY_FAILED></p>
            </div>
        </div>
    }
    .into_any()
}
