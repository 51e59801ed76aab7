//! The dialog that confirms the revocation of a key.
//!
//! Every "Revoke" in the table links to a page that contains this dialog and needs no WASM. With WASM, links that have
//! the data of the dialog (`data-revoke`) open it at once.

use leptos::html::Dialog;
use leptos::prelude::*;
use web_sys::HtmlElement;

use super::browser;
use super::dialog::{Buttons, close_at_click, open};
use super::toast::dismiss_at_click;

/// The key of the clicked link.
#[derive(Clone, Default)]
struct Subject {
    /// The address that revokes the key.
    action: String,
    name: String,
    prefix: String,
    /// The last use, in words: `Used 3 minutes ago`, `Never used`.
    used: String,
}

impl Subject {
    fn of(link: &HtmlElement) -> Self {
        let data = link.dataset();
        let text = |name: &str| data.get(name).unwrap_or_default();
        Self { action: text("revoke"), name: text("name"), prefix: text("prefix"), used: text("used") }
    }
}

/// One dialog for the whole table. `return_to` is the address of the current list.
#[island]
pub fn RevokeKey(return_to: String) -> impl IntoView {
    let subject = RwSignal::new(Subject::default());
    let busy = RwSignal::new(false);
    let dialog = NodeRef::<Dialog>::new();
    Effect::new(move |_| {
        dismiss_at_click();
        close_at_click();
        let ask = move |link: HtmlElement| {
            busy.set(false);
            subject.set(Subject::of(&link));
            open(dialog);
        };
        browser::on_click("a[data-revoke]", Box::new(ask));
    });
    let text = move |part: fn(&Subject) -> String| move || subject.with(part);
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
                action=text(|subject| subject.action.clone())
                on:submit=move |_| busy.set(true)
            >
                <input type="hidden" name="return_to" value=return_to/>
                <header class="dialog-head">
                    <h2 id="revoke-title">"Revoke this key?"</h2>
                </header>
                <div class="dialog-body">
                    <div class="subject">
                        <strong><bdi>{text(|subject| subject.name.clone())}</bdi></strong>
                        <code class="key-mask">
                            {text(|subject| subject.prefix.clone())}
                            <span class="dots" aria-hidden="true">"••••••••"</span>
                        </code>
                    </div>
                    <div id="revoke-what">
                        <p>
                            <strong>{text(|subject| subject.used.clone())} "."</strong>
                            " Requests with this key will fail (" <code>"401"</code>
                            ") immediately. A revoked key cannot be restored."
                        </p>
                    </div>
                </div>
                <Buttons class="button danger" todo="Revoke key" doing="Revoking…" busy/>
            </form>
        </dialog>
    }
}
