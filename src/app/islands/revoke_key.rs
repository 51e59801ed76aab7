//! The dialog that asks before a key is revoked.
//!
//! Every "Revoke" in the table is a link to a page with this dialog in it, which needs no WASM. Where
//! there is WASM, the links that carry all that the dialog shows (`data-revoke`) open it at once.

use leptos::html::Dialog;
use leptos::prelude::*;
use web_sys::HtmlElement;

use super::browser;
use super::toast::dismiss_at_click;

/// The key that a clicked link is about.
#[derive(Clone, Default)]
struct Subject {
    id: String,
    name: String,
    prefix: String,
    /// When it was last used, in words: `Used 3 minutes ago`, `Never used`.
    used: String,
}

impl Subject {
    fn of(link: &HtmlElement) -> Self {
        let data = link.dataset();
        let text = |name: &str| data.get(name).unwrap_or_default();
        Self { id: text("revoke"), name: text("name"), prefix: text("prefix"), used: text("used") }
    }
}

/// One dialog for the whole table. `return_to` is the list as it is shown now.
#[island]
pub fn RevokeKey(return_to: String) -> impl IntoView {
    let subject = RwSignal::new(Subject::default());
    let busy = RwSignal::new(false);
    let dialog = NodeRef::<Dialog>::new();
    Effect::new(move |_| {
        dismiss_at_click();
        browser::on_click("a[data-revoke]", move |link| {
            busy.set(false);
            subject.set(Subject::of(&link));
            if let Some(dialog) = dialog.get_untracked() {
                drop(dialog.show_modal());
            }
        });
    });
    let close = move |_| {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    view! {
        <dialog
            class="dialog narrow"
            id="revoke-dialog"
            aria-labelledby="revoke-title"
            aria-describedby="revoke-what"
            node_ref=dialog
        >
            <form
                method="post"
                action=move || format!("/keys/{}/revoke", subject.read().id)
                on:submit=move |_| busy.set(true)
            >
                <input type="hidden" name="return_to" value=return_to/>
                <header class="dialog-head">
                    <h2 id="revoke-title">"Revoke this key?"</h2>
                </header>
                <div class="dialog-body">
                    <div class="subject">
                        <strong>{move || subject.read().name.clone()}</strong>
                        <code class="key-mask">
                            {move || subject.read().prefix.clone()}
                            <span class="dots" aria-hidden="true">"••••••••"</span>
                        </code>
                    </div>
                    <div id="revoke-what">
                        <p>
                            <strong>{move || subject.read().used.clone()} "."</strong>
                            " Whatever uses it will get " <code>"401"</code>
                            " at once. A revoked key cannot be brought back."
                        </p>
                    </div>
                </div>
                <footer class="dialog-foot">
                    <button class="button" type="button" autofocus disabled=move || busy.get() on:click=close>
                        "Cancel"
                    </button>
                    <button
                        class="button danger"
                        type="submit"
                        disabled=move || busy.get()
                        aria-busy=move || busy.get().then_some("true")
                    >
                        {move || busy.get().then(|| view! { <span class="spinner" aria-hidden="true"></span> })}
                        {move || if busy.get() { "Revoking…" } else { "Revoke key" }}
                    </button>
                </footer>
            </form>
        </dialog>
    }
}
