//! The dialog that confirms a revocation, as a part of the page. Needs no WASM.

use leptos::prelude::*;

use super::table::Mask;
use crate::app::kit::{Moment, ago, thousands};
use crate::app::links::keys::KeysLink;
use crate::domain::Key;
use crate::model::Timestamp;

/// A checkbox that leaves the `made` descendants of a key out of a change; nothing if there are none.
#[component]
pub fn LeaveDescendants(made: i64) -> impl IntoView {
    let words = if made == 1 { "the key".to_owned() } else { format!("the {} keys", thousands(made)) };
    (made > 0).then(|| {
        view! {
            <label class="check">
                <input type="checkbox" name="descendants" value="false"/>
                <span>"Leave " {words} " that it made as they are"</span>
            </label>
        }
    })
}

/// The dialog, in front of the list. `made` is the number of descendants that are not revoked.
#[component]
pub fn RevokeDialog(key: Key, made: i64, here: KeysLink, now: Timestamp) -> AnyView {
    let used = match key.last_used_at {
        Some(at) => view! { "Used " <Moment at words=ago(now, at)/> }.into_any(),
        None => "Never used".into_any(),
    };
    let others = (made > 0).then(|| {
        let words = if made == 1 { "The key".to_owned() } else { format!("The {} keys", thousands(made)) };
        view! {
            <p>{words} " that it made will be revoked as well."</p>
            <LeaveDescendants made/>
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
            <form method="post" action=here.revoke_href(key.id)>
                <input type="hidden" name="return_to" value=back.clone()/>
                <header class="dialog-head"><h2 id="revoke-title">"Revoke this key?"</h2></header>
                <div class="dialog-body">
                    <div class="subject"><strong><bdi>{key.name}</bdi></strong> <Mask prefix=key.prefix/></div>
                    <div id="revoke-what">
                        <p>
                            <strong>{used} "."</strong>
                            " Requests with this key will fail (" <code>"401"</code>
                            ") immediately. A revoked key cannot be restored."
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
