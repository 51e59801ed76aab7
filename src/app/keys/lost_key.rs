//! The notice about a lost key, created without an answer.

use leptos::prelude::*;

use super::table::RevokeLink;
use crate::app::islands::icons::{ALERT, icon};
use crate::app::kit::{Moment, ago};
use crate::app::links::keys::KeysLink;
use crate::domain::Key;
use crate::model::Timestamp;

/// Says whether the key exists, and offers to revoke it. `name` is the requested name.
#[component]
pub fn LostKey(name: String, lost: Option<Key>, here: KeysLink, now: Timestamp) -> AnyView {
    let Some(key) = lost else {
        return view! {
            <p class="notice plain lost" role="status">
                {icon(ALERT)}
                <span>
                    <strong>"You created no key “" <bdi>{name}</bdi> "” here since you asked for it."</strong>
                    " A slow request may still create it: load this page again before you try once more."
                </span>
            </p>
        }
        .into_any();
    };
    let at = key.created_at;
    view! {
        <p class="notice danger lost" role="alert">
            {icon(ALERT)}
            <span>
                <strong>"The key “" <bdi>{name}</bdi> "” was created "</strong> <Moment at words=ago(now, at)/>
                <strong>", but its string did not arrive."</strong>
                " The string was not shown. Revoke this key, then create another. "
                <RevokeLink key has_made_keys=false used=None here/>
            </span>
        </p>
    }
    .into_any()
}
