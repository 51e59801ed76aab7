//! The dialog that asks before a key is revoked.
//!
//! Every "Revoke" in the table is a link to a page with this dialog in it, which needs no WASM. Where
//! there is WASM, the links that carry all that the dialog shows (`data-revoke`) open it at once.

use leptos::html::Dialog;
use leptos::prelude::*;
use web_sys::HtmlElement;

use super::browser;
use super::dialog::{Buttons, close_at_click, open};
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
                action=text(|subject| format!("/keys/{}/revoke", subject.id))
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
                            " Whatever uses it will get " <code>"401"</code>
                            " at once. A revoked key cannot be brought back."
                        </p>
                    </div>
                </div>
                <Buttons class="button danger" todo="Revoke key" doing="Revoking…" busy/>
            </form>
        </dialog>
    }
}
