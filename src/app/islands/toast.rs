//! What the last action came to, in the corner of the page.

use leptos::prelude::*;
use serde::{Deserialize, Serialize};

use super::icons::{ALERT, CROSS, OK, icon};

/// Whether it worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToastKind {
    /// It did.
    Success,
    /// It did not.
    Error,
}

/// A message that can be put away. Without WASM, that is a link to the page without it.
#[island]
pub fn Toast(kind: ToastKind, text: String, detail: String, dismiss: String) -> impl IntoView {
    let gone = RwSignal::new(false);
    let (class, role, mark) = match kind {
        ToastKind::Success => ("toast success", "status", OK),
        ToastKind::Error => ("toast error-toast", "alert", ALERT),
    };
    view! {
        <div class=class role=role hidden=move || gone.get()>
            {icon(mark)} <p>{text} <small>{detail}</small></p>
            <a
                class="icon-button"
                href=dismiss
                aria-label="Dismiss"
                on:click=move |event| {
                    event.prevent_default();
                    gone.set(true);
                }
            >
                {icon(CROSS)}
            </a>
        </div>
    }
}
