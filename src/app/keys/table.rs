//! The table of keys, one masked key per row.
//!
//! Narrow screens show the rows as cards; the ARIA roles keep the table for screen readers.

use std::collections::HashSet;

use leptos::prelude::*;

use crate::app::kit::{Moment, Sentence, ago, ago_or_date, isolate, thousands};
use crate::app::links::keys::KeysLink;
use crate::domain::{Caller, Key, KeyState};
use crate::model::{KeyId, Scopes, Timestamp};

/// Number of scopes that a row names; the others are only counted.
const SHOWN_SCOPES: usize = 1;

/// The keys of a page, with the actions that `caller` may take. `makers` are the keys that have created keys.
#[component]
pub fn KeysTable(
    keys: Vec<Key>,
    makers: HashSet<KeyId>,
    caller: Caller,
    environment: String,
    here: KeysLink,
    /// The highlighted key.
    marked: Option<KeyId>,
    now: Timestamp,
) -> AnyView {
    let row = move |key: Key| {
        let (has_made_keys, is_marked) = (makers.contains(&key.id), marked == Some(key.id));
        view! { <Row caller=caller.clone() here=here.clone() now key has_made_keys is_marked/> }
    };
    view! {
        <table class="keys-table key-list" role="table" aria-label=format!("API keys in {environment}")>
            <thead role="rowgroup">
                <tr role="row">
                    <th role="columnheader" scope="col" class="name">"Name"</th>
                    <th role="columnheader" scope="col" class="key">"Key"</th>
                    <th role="columnheader" scope="col" class="scopes">"Scopes"</th>
                    <th role="columnheader" scope="col" class="requests">"Requests"</th>
                    <th role="columnheader" scope="col" class="used">"Last used"</th>
                    <th role="columnheader" scope="col" class="created">"Created"</th>
                    <th role="columnheader" scope="col" class="state-cell">"State"</th>
                    <th role="columnheader" scope="col" class="act"><span class="visually-hidden">"Actions"</span></th>
                </tr>
            </thead>
            <tbody role="rowgroup">{keys.into_iter().map(row).collect_view()}</tbody>
        </table>
    }
    .into_any()
}

#[component]
fn Row(key: Key, has_made_keys: bool, is_marked: bool, caller: Caller, here: KeysLink, now: Timestamp) -> AnyView {
    let state = key.state(now);
    let ended = matches!(state, KeyState::Revoked | KeyState::Expired);
    let revocable = state != KeyState::Revoked && caller.may_manage(&key).is_ok();
    let used = key.last_used_at.map(|at| ago(now, at));
    let act =
        revocable.then(|| view! { <RevokeLink key=key.clone() has_made_keys used=used.clone() here=here.clone()/> });
    let by = key.creator.clone().map(|email| {
        let who = if key.created_by == caller.user() { "by you".to_owned() } else { format!("by {}", isolate(&email)) };
        view! { <span class="sub" title=format!("by {email}")><Sentence text=who/></span> }
    });
    view! {
        <tr role="row" id=key.id.to_string() class=if is_marked { Some("marked") } else { ended.then_some("ended") }>
            <th role="rowheader" scope="row" class="name">
                <a class="title" href=here.key_href(key.id) title=key.name.clone()><bdi>{key.name.clone()}</bdi></a>
                <code class="sub">{key.id.to_string()}</code>
            </th>
            <td role="cell" class="key"><Mask prefix=key.prefix/></td>
            <td role="cell" class="scopes" data-label="Scopes">
                <span class="chips"><ScopeChips scopes=key.scopes/></span>
            </td>
            <td role="cell" class="requests" data-label="Requests">{thousands(key.request_count)}</td>
            <td role="cell" class="used" data-label="Last used">
                {match key.last_used_at.zip(used) {
                    Some((at, words)) => view! { <Moment at words/> }.into_any(),
                    None => view! { <span class="never">"Never used"</span> }.into_any(),
                }}
            </td>
            <td role="cell" class="created" data-label="Created">
                <Moment at=key.created_at words=ago_or_date(now, key.created_at)/>
                {by}
            </td>
            <td role="cell" class="state-cell"><State state/></td>
            <td role="cell" class="act">{act}</td>
        </tr>
    }
    .into_any()
}

/// A key's state: a word with a mark.
#[component]
pub fn State(state: KeyState) -> impl IntoView {
    let (class, words) = match state {
        KeyState::Active => ("state active", "Active"),
        KeyState::Disabled => ("state disabled", "Paused"),
        KeyState::Expired => ("state expired", "Expired"),
        KeyState::Revoked => ("state revoked", "Revoked"),
    };
    view! { <span class=class>{words}</span> }
}

/// The first characters of a key's string, and dots.
#[component]
pub fn Mask(prefix: String) -> impl IntoView {
    view! {
        <code class="key-mask">{prefix} <span class="dots" aria-hidden="true">"••••••••"</span></code>
    }
}

#[component]
fn ScopeChips(scopes: Scopes) -> impl IntoView {
    if scopes.is_full() {
        return view! { <span class="chip full">"Full access"</span> }.into_any();
    }
    let names = scopes.names();
    let (shown, hidden) = names.split_at(SHOWN_SCOPES.min(names.len()));
    let chips =
        shown.iter().map(|name| view! { <span class="chip" title=name.clone()>{name.clone()}</span> }).collect_view();
    let more = (!hidden.is_empty())
        .then(|| view! { <span class="chip more" title=hidden.join(" ")>{format!("+{} more", hidden.len())}</span> });
    view! { {chips} {more} }.into_any()
}

/// A link to the page with the revocation dialog. With WASM, the dialog opens at once, with the values of `data-…`. A
/// key with descendants always uses the page, which knows their number.
#[component]
pub fn RevokeLink(key: Key, has_made_keys: bool, used: Option<String>, here: KeysLink) -> impl IntoView {
    let used = used.map_or_else(|| "Never used".to_owned(), |words| format!("Used {words}"));
    view! {
        <a
            class="button quiet danger small"
            href=here.with_revoke(key.id).href()
            data-revoke=(!has_made_keys).then(|| here.revoke_href(key.id))
            data-name=key.name
            data-prefix=key.prefix
            data-used=used
        >
            "Revoke"
            <span class="visually-hidden">" " <bdi>{key.name.clone()}</bdi></span>
        </a>
    }
}
