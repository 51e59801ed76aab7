//! The filters of the list of keys (state, name) and its pager.

use leptos::prelude::*;

use crate::app::islands::icons::{SEARCH, icon};
use crate::app::links::keys::KeysLink;
use crate::domain::KeyState;

/// The filter by state, and the search.
#[component]
pub fn Filters(here: KeysLink) -> AnyView {
    let mut states = vec![
        (None, "All"),
        (Some(KeyState::Active), "Active"),
        (Some(KeyState::Revoked), "Revoked"),
        (Some(KeyState::Expired), "Expired"),
    ];
    // Few keys are paused: their filter shows only if the address asks for it.
    if here.state == Some(KeyState::Disabled) {
        states.push((Some(KeyState::Disabled), "Paused"));
    }
    let state = |(state, words): (Option<KeyState>, &'static str)| {
        let is_current = here.state == state;
        view! {
            <a href=here.with_state(state).href() aria-current=is_current.then_some("page")>{words}</a>
        }
    };
    let states = states.into_iter().map(state).collect_view();
    let kept = here.with_name(None).parameters().into_iter().map(|(name, value)| {
        view! { <input type="hidden" name=name value=value/> }
    });
    view! {
        <div class="filters">
            <nav class="segmented" aria-label="Filter by state">{states}</nav>
            // POST, because a key that is pasted here must not appear in an address.
            <form class="search" role="search" method="post" action=here.search_href()>
                {kept.collect_view()}
                {icon(SEARCH)}
                <label class="visually-hidden" for="q">"Search keys by name or ID"</label>
                <input
                    class="input"
                    id="q"
                    name="q"
                    type="search"
                    placeholder="Search by name or ID"
                    value=here.name.clone().unwrap_or_default()
                    autocomplete="off"
                    enterkeyhint="search"
                />
                <button class="visually-hidden" type="submit">"Search"</button>
            </form>
        </div>
    }
    .into_any()
}

/// Links to older keys and back to the newest; nothing if everything fits on one page.
#[component]
pub fn Pager(here: KeysLink, older: Option<KeysLink>) -> impl IntoView {
    let is_first = here.cursor.is_none();
    (!is_first || older.is_some()).then(|| {
        view! {
            <nav class="pager" aria-label="Pages">
                <p>{format!("Newest first, {} keys a page", KeysLink::PAGE)}</p>
                <div class="pages">
                    {step("Newest", (!is_first).then(|| here.first_page()))}
                    {step("Older", older)}
                </div>
            </nav>
        }
    })
}

fn step(words: &'static str, to: Option<KeysLink>) -> impl IntoView {
    match to {
        Some(link) => view! { <a class="button small" href=link.href()>{words}</a> }.into_any(),
        None => view! { <span class="button small" aria-disabled="true">{words}</span> }.into_any(),
    }
}
