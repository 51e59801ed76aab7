//! The dialog that asks before a key is revoked, as a part of the page: it needs no WASM.

use leptos::prelude::*;

use super::table::Mask;
use super::words::{Moment, ago};
use crate::app::pages::KeysLink;
use crate::keys::Key;
use crate::model::Timestamp;

/// Stands in front of the list. `children` is how many keys that this one made still work.
#[component]
pub fn RevokeDialog(key: Key, made: i64, here: KeysLink, now: Timestamp) -> AnyView {
    let used = match key.last_used_at {
        Some(at) => view! { "Used " <Moment at words=ago(now, at)/> }.into_any(),
        None => "Never used".into_any(),
    };
    let others = (made > 0).then(|| {
        let words = if made == 1 { "the key".to_owned() } else { format!("the {made} keys") };
        view! {
            <label class="check">
                <input type="checkbox" name="descendants" value="true"/>
                <span><strong>"Also revoke " {words} " that it made"</strong></span>
            </label>
        }
    });
    let back = here.without_revoke().href();
    view! {
        <dialog
            class="dialog narrow"
            id="revoke-key"
            aria-labelledby="revoke-title"
            aria-describedby="revoke-what"
            open
        >
            <form method="post" action=format!("/keys/{}/revoke", key.id)>
                <input type="hidden" name="return_to" value=back.clone()/>
                <header class="dialog-head"><h2 id="revoke-title">"Revoke this key?"</h2></header>
                <div class="dialog-body">
                    <div class="subject"><strong>{key.name}</strong> <Mask prefix=key.prefix/></div>
                    <div id="revoke-what">
                        <p>
                            <strong>{used} "."</strong>
                            " Whatever uses it will get " <code>"401"</code>
                            " at once. A revoked key cannot be brought back."
                        </p>
                    </div>
                    {others}
                </div>
                <footer class="dialog-foot">
                    <a class="button" href=back autofocus>"Cancel"</a>
                    <button class="button danger" type="submit">"Revoke key"</button>
                </footer>
            </form>
        </dialog>
    }
    .into_any()
}
