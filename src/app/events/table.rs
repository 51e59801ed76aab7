//! The list of events: its filters, rows and pages.

use leptos::prelude::*;
use uuid::Uuid;

use crate::app::islands::LiveTail;
use crate::app::keys::table::Mask;
use crate::app::kit::{Beginning, Moment, NothingFound, ago, isolate, size, thousands, to_the_second};
use crate::app::links::events::EventsLink;
use crate::app::links::keys::KeysLink;
use crate::domain::{Environment, Key};
use crate::events::EventHead;
use crate::model::{KeyId, Mode, Timestamp};

/// An environment's mode as a badge, with its name.
#[component]
pub fn EnvironmentBadge(environment: Environment) -> AnyView {
    let class = match environment.mode {
        Mode::Live => "badge live",
        Mode::Test => "badge test",
    };
    view! { <span class=class title=environment.name>{environment.mode.as_str()}</span> }.into_any()
}

/// Links to the event's key in the list of keys, filtered by its name so that the key is on the first page.
pub fn key_href(head: &EventHead, here: &EventsLink) -> String {
    let list = KeysLink { name: Some(head.key_name.clone()), ..KeysLink::to(here.place) };
    format!("{}#{}", list.href(), KeyId(head.key_id))
}

/// Returns the last characters of an event's id; the first ones are only its time.
fn short(id: Uuid) -> String {
    let text = id.to_string();
    format!("…{}", &text[text.len() - 12..])
}

/// The table of a page's events.
#[component]
pub fn EventsTable(events: Vec<EventHead>, environment: String, here: EventsLink, now: Timestamp) -> AnyView {
    let row = |event: EventHead| view! { <EventRow event here=here.clone() now/> };
    let rows = events.into_iter().map(row).collect_view();
    view! {
        <table class="keys-table events-table" role="table" aria-label=format!("Events in {environment}")>
            <thead role="rowgroup">
                <tr role="row">
                    <th role="columnheader" scope="col" class="name">"Source"</th>
                    <th role="columnheader" scope="col">"Received"</th>
                    <th role="columnheader" scope="col">"Key"</th>
                    <th role="columnheader" scope="col" class="size">"Size"</th>
                </tr>
            </thead>
            <tbody role="rowgroup" id="event-rows">{rows}</tbody>
        </table>
    }
    .into_any()
}

/// The row of one event; `fresh` marks an event that arrived while the page was open.
#[component]
pub fn EventRow(event: EventHead, here: EventsLink, now: Timestamp, #[prop(optional)] fresh: bool) -> AnyView {
    let at = Timestamp(event.received_at);
    let key = key_href(&event, &here);
    view! {
        <tr role="row" id=event.uuid.to_string() class=fresh.then_some("fresh")>
            <th role="rowheader" scope="row" class="name">
                <a class="title" href=here.event_href(event.uuid)>{event.source}</a>
                <code class="sub" title=event.uuid.to_string()>{short(event.uuid)}</code>
            </th>
            <td role="cell" class="received">
                <Moment at words=ago(now, at)/>
                <span class="sub">{to_the_second(at)}</span>
            </td>
            <td role="cell" class="by-key" data-label="Key">
                <a href=key><bdi>{event.key_name}</bdi></a>
                <span class="sub"><Mask prefix=event.key_prefix/></span>
            </td>
            <td role="cell" class="size" data-label="Size">{size(event.size)}</td>
        </tr>
    }
    .into_any()
}

/// The live status and its pause button; hidden until WASM fills it.
#[component]
pub fn Live(address: String, newest: String, oldest: String) -> AnyView {
    view! {
        <div class="tail" id="live" data-address=address data-newest=newest data-oldest=oldest hidden>
            <p id="live-words"></p>
            <button class="button small" id="live-pause" type="button">"Pause"</button>
            <p class="visually-hidden" id="live-said" role="status"></p>
        </div>
        <LiveTail/>
    }
    .into_any()
}

/// The filters by source, key and day. `sources` is empty if there are too many for a drop-down list.
#[component]
pub fn EventFilters(here: EventsLink, sources: Vec<String>, keys: Vec<Key>) -> AnyView {
    let source = if sources.is_empty() {
        view! {
            <input class="input" id="source" name="source" type="text" autocomplete="off"
                autocapitalize="none" spellcheck="false" value=here.source.clone().unwrap_or_default()/>
        }
        .into_any()
    } else {
        let option = |name: String| {
            let chosen = here.source.as_ref() == Some(&name);
            let value = name.clone();
            view! { <option value=value selected=chosen>{name}</option> }
        };
        let options = sources.into_iter().map(option).collect_view();
        view! {
            <select class="select" id="source" name="source"><option value="">"All sources"</option>{options}</select>
        }
        .into_any()
    };
    let option = |key: Key| {
        let chosen = here.key == Some(key.id);
        view! { <option value=key.id.to_string() selected=chosen>{key.name} " (" {key.prefix} "…)"</option> }
    };
    let keys = keys.into_iter().map(option).collect_view();
    let day = |name: &'static str, words: &'static str, value: Option<String>| {
        view! {
            <div class="field day">
                <label for=name>{words} <span class="optional">" UTC"</span></label>
                <input class="input" id=name name=name type="date" value=value/>
            </div>
        }
    };
    view! {
        // POST, because a key that is pasted here must not appear in an address.
        <form class="event-filters" role="search" aria-label="Events" method="post" action=here.search_href()>
            <div class="field"><label for="source">"Source"</label>{source}</div>
            <div class="field">
                <label for="key">"Key"</label>
                <select class="select" id="key" name="key"><option value="">"All keys"</option>{keys}</select>
            </div>
            {day("from", "From", here.from.map(|day| day.to_string()))}
            {day("to", "To", here.to.map(|day| day.to_string()))}
            <div class="buttons">
                <button class="button" type="submit">"Filter"</button>
                {here.is_filtered().then(|| view! { <a class="button quiet" href=here.cleared().href()>"Clear"</a> })}
            </div>
        </form>
    }
    .into_any()
}

/// Links to newer and older events; nothing if everything fits on one page.
#[component]
pub fn EventPager(here: EventsLink, total: i64) -> AnyView {
    let before = here.pages_before;
    let pages = (total + EventsLink::PAGE - 1) / EventsLink::PAGE;
    if pages <= 1 && before == 0 {
        return ().into_any();
    }
    let newer = (before > 0).then(|| here.with_pages_before(before.min(pages) - 1));
    let older = (before + 1 < pages).then(|| here.with_pages_before(before + 1));
    let step = |words: &'static str, to: Option<EventsLink>| match to {
        Some(link) => view! { <a class="button small" href=link.href()>{words}</a> }.into_any(),
        None => view! { <span class="button small" aria-disabled="true">{words}</span> }.into_any(),
    };
    view! {
        <nav class="pager" aria-label="Pages">
            <p>{format!("Page {} of {}", thousands(before + 1), thousands(pages))}</p>
            <div class="pages">
                {step("Newest", (before > 0).then(|| here.with_pages_before(0)))}
                {step("Newer", newer)}
                {step("Older", older)}
            </div>
        </nav>
    }
    .into_any()
}

/// The empty list: explains ingest, with a command that sends the first event to `address`.
#[component]
pub fn NoEvents(environment: String, mode: Mode, address: String, waiting: bool) -> AnyView {
    let steps = view! {
        <li><span><strong>"Create a key"</strong> " whose scopes include " <code>"events:write"</code> ", or all."</span></li>
        <li><span><strong>"Send an event."</strong> " The last part of the address names its source: letters, digits, _ and -."</span></li>
        <li>
            <span>
                <strong>"Read it here."</strong>
                " An " <code>"X-Idempotency-Key"</code> " makes sending again safe for a day."
            </span>
        </li>
    };
    let sample =
        view! { "A first event from a source called " <code>"orders"</code> ". It answers with the event’s id." };
    let code = view! {
        {format!("curl {address}/orders \\\n  -H 'X-Api-Key: ")}
        <span class="secret">{format!("hs_{}_…", mode.as_str())}</span>
        "' \\\n  -d '{\"order\": 1042, \"total\": 99.90}'\n\n"
        <span class="out">"{\n  \"id\": \"0199f3c2-…\",\n  \"status\": \"Accepted\",\n  \"acceptedAt\": \"…\"\n}"</span>
    };
    view! {
        <Beginning
            title=format!("No events in {} yet", isolate(&environment))
            lead="Latchkey takes in JSON from your services and webhooks, checks their key, and answers only \
                  once the event is on disk."
            steps=steps.into_any()
            sample=sample.into_any()
            code=code.into_any()
        >
            {waiting.then(|| view! { <p class="small needs-js">"This page shows the first event as soon as it comes."</p> })}
        </Beginning>
    }
    .into_any()
}

/// The notice that no event matches the filters.
#[component]
pub fn NoEventMatches(here: EventsLink) -> AnyView {
    let (title, hint) = if here.pages_before > 0 {
        ("No older events", "This is the end of the list.")
    } else {
        ("No event matches", "Events that are kept no longer are not found either.")
    };
    view! { <NothingFound title hint href=here.cleared().href() clear="Show all events"/> }.into_any()
}
