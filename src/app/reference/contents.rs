//! The list of the operations beside them, and the search above it.

use leptos::prelude::*;

use super::call::{Call, Group};
use super::search::Search;
use crate::app::islands::icons::{SEARCH, icon};
use crate::app::links::REFERENCE;

/// The search, and the list: beside the operations on a wide screen, collapsed above them on a narrow one.
#[component]
pub fn Contents<'a>(groups: &'a [Group], search: &'a Search) -> AnyView {
    view! {
        <div class="side">
            <SearchForm groups search/>
            <nav class="wide" aria-label="Contents">{entries(groups, search)}</nav>
            <details class="narrow">
                <summary>"Contents"</summary>
                <nav aria-label="Contents">{entries(groups, search)}</nav>
            </details>
        </div>
    }
    .into_any()
}

/// GET, so that the address restores the view. `reference.js` filters as the user types, without a request.
#[component]
fn SearchForm<'a>(groups: &'a [Group], search: &'a Search) -> AnyView {
    let calls = || groups.iter().flat_map(|group| &group.calls);
    let (found, all) = (calls().filter(|call| search.finds(call)).count(), calls().count());
    let count = if search.is_empty() { String::new() } else { format!("{found} of {all} match") };
    view! {
        <form class="search" role="search" method="get" action=REFERENCE data-filter aria-label="Operations">
            {icon(SEARCH)}
            <label class="visually-hidden" for="q">"Search operations"</label>
            <input
                class="input"
                id="q"
                name="q"
                type="search"
                placeholder="Search operations"
                value=search.text.clone()
                autocomplete="off"
                enterkeyhint="search"
                aria-keyshortcuts="/"
            />
            <kbd class="needs-js" aria-hidden="true">"/"</kbd>
            <button class="visually-hidden" type="submit">"Search"</button>
        </form>
        <p class="found">
            <span role="status" data-count>{count}</span>
            " "
            <a href=REFERENCE data-clear hidden=search.is_empty()>"Clear search"</a>
        </p>
    }
    .into_any()
}

fn entries(groups: &[Group], search: &Search) -> AnyView {
    let entry = |call: &Call| {
        view! { <li hidden=!search.finds(call)><a href=format!("#{}", call.id())>{call.summary()}</a></li> }
    };
    let group = |group: &Group| {
        let entries = group.calls.iter().map(entry).collect_view();
        let is_hidden = !search.is_empty() && !group.calls.iter().any(|call| search.finds(call));
        view! {
            <li hidden=is_hidden>
                <a href=format!("#{}", group.id())>{group.name}</a>
                <ul>{entries}</ul>
            </li>
        }
    };
    let fixed = |id: &'static str, name: &'static str| {
        view! { <li hidden=!search.is_empty()><a href=format!("#{id}")>{name}</a></li> }
    };
    view! {
        <ul>
            {fixed("credentials", "Credentials")}
            {groups.iter().map(group).collect_view()}
            {fixed("errors", "Errors")}
        </ul>
    }
    .into_any()
}
