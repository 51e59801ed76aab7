//! What the dialogs have in common.

use leptos::html::Dialog;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{HtmlDialogElement, HtmlElement};

use super::browser;

/// Opens a dialog in front of everything else.
pub fn open(dialog: NodeRef<Dialog>) {
    if let Some(dialog) = dialog.get_untracked() {
        // It fails only for one that is open already.
        drop(dialog.show_modal());
    }
}

/// Closes a dialog.
pub fn close(dialog: NodeRef<Dialog>) {
    if let Some(dialog) = dialog.get_untracked() {
        dialog.close();
    }
}

/// Lets each button with `data-close` close the dialog that it is in. Call it in an effect.
pub fn close_at_click() {
    let close = |button: HtmlElement| {
        let dialog = button.closest("dialog").ok().flatten();
        if let Some(dialog) = dialog.and_then(|dialog| dialog.dyn_into::<HtmlDialogElement>().ok()) {
            dialog.close();
        }
    };
    browser::on_click("[data-close]", Box::new(close));
}

/// The end of a dialog with a form in it: away, or on. Where nothing stands above it that could have
/// the focus, the way out has it.
#[component]
pub fn Buttons(
    class: &'static str,
    /// What the form does.
    todo: &'static str,
    /// The same, while it happens.
    doing: &'static str,
    busy: RwSignal<bool>,
) -> impl IntoView {
    view! {
        <footer class="dialog-foot">
            <button class="button" type="button" disabled=busy data-close>"Cancel"</button>
            <button class=class type="submit" disabled=busy aria-busy=move || busy.get().then_some("true")>
                <span class="spinner" aria-hidden="true" hidden=move || !busy.get()></span>
                {move || if busy.get() { doing } else { todo }}
            </button>
        </footer>
    }
}
