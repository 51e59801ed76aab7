//! Functions that all dialogs share.

use leptos::html::Dialog;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{HtmlDialogElement, HtmlElement};

use super::browser;

/// Opens a modal dialog.
pub fn open(dialog: NodeRef<Dialog>) {
    if let Some(dialog) = dialog.get_untracked() {
        // Fails only if the dialog is already open.
        drop(dialog.show_modal());
    }
}

/// Closes a dialog.
pub fn close(dialog: NodeRef<Dialog>) {
    if let Some(dialog) = dialog.get_untracked() {
        dialog.close();
    }
}

/// Makes each button with `data-close` close its dialog. Call it in an effect.
pub fn close_at_click() {
    let close = |button: HtmlElement| {
        let dialog = button.closest("dialog").ok().flatten();
        if let Some(dialog) = dialog.and_then(|dialog| dialog.dyn_into::<HtmlDialogElement>().ok()) {
            dialog.close();
        }
    };
    browser::on_click("[data-close]", Box::new(close));
}

/// The buttons of a dialog with a form. Cancel comes first, so it gets the focus in a dialog without inputs.
#[component]
pub fn Buttons(
    class: &'static str,
    /// The label of the submit button.
    todo: &'static str,
    /// The label while the form is being sent.
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
