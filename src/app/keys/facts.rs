//! The details of a key, and the addresses that used it.

use leptos::prelude::*;

use crate::app::kit::{Exact, Moment, Sentence, ago, date, isolate, thousands};
use crate::app::links::keys::KeysLink;
use crate::domain::{Key, Person};
use crate::keys::KeyUsage;
use crate::model::{Scopes, Timestamp};

/// The list of details. Long values have a row of their own.
#[component]
pub fn KeyFacts(key: Key, usage: KeyUsage, person: Person, here: KeysLink, now: Timestamp) -> AnyView {
    let by = key.creator.clone().map(|email| {
        let who =
            if key.created_by == Some(person.id) { "by you".to_owned() } else { format!("by {}", isolate(&email)) };
        view! { <span class="sub"><Sentence text=who/></span> }
    });
    let used = match key.last_used_at {
        Some(at) => view! { <Moment at words=ago(now, at)/> <span class="sub"><Exact at/></span> }.into_any(),
        None => view! { <span class="none">"Never used"</span> }.into_any(),
    };
    let expires = match key.limits.expires_at {
        Some(at) => view! { <Exact at/> }.into_any(),
        None => none("Never"),
    };
    let rate = key.limits.rate_limit.map_or_else(
        || none("None"),
        |rate| {
            let window = match rate.window_seconds {
                1 => "a second".to_owned(),
                seconds => format!("in {} seconds", thousands(seconds.into())),
            };
            format!("{} {window}", requests(rate.limit.into())).into_any()
        },
    );
    let quota = key.limits.quota.map_or_else(
        || none("None"),
        |quota| {
            let left = usage.quota.map(|state| {
                let until = now.plus(i64::try_from(state.reset).unwrap_or_default().saturating_mul(1000));
                view! { <span class="sub">{format!("{} left until {}", whole(state.remaining), date(until))}</span> }
            });
            view! { {format!("{} a month", requests(quota.limit))} {left} }.into_any()
        },
    );
    let networks = key.limits.ip_allowlist.as_ref().map_or_else(
        || none("Any"),
        |networks| {
            let network = |network: String| view! { <li><code class="chip">{network}</code></li> };
            view! { <ul class="chips">{networks.iter().map(ToString::to_string).map(network).collect_view()}</ul> }
                .into_any()
        },
    );
    let metadata = key.metadata.as_ref().map_or_else(
        || none("None"),
        |map| {
            let pair = |(name, value): (&String, &String)| {
                view! { <div><dt><code>{name.clone()}</code></dt><dd>{value.clone()}</dd></div> }
            };
            view! { <dl class="pairs">{map.iter().map(pair).collect_view()}</dl> }.into_any()
        },
    );
    let parent = key.parent.map(|parent| {
        view! {
            <div><dt>"Made by the key"</dt><dd><a href=here.key_href(parent)><code>{parent.to_string()}</code></a></dd></div>
        }
    });
    view! {
        <section class="card" aria-labelledby="facts-title">
            <h2 id="facts-title">"Details"</h2>
            <dl class="key-facts">
                <div><dt>"Requests"</dt><dd>{thousands(key.request_count)}</dd></div>
                <div><dt>"Last used"</dt><dd>{used}</dd></div>
                <div><dt>"Created"</dt><dd><Exact at=key.created_at/> {by}</dd></div>
                <div><dt>"Expires"</dt><dd>{expires}</dd></div>
                <div><dt>"Rate limit"</dt><dd>{rate}</dd></div>
                <div><dt>"Quota"</dt><dd>{quota}</dd></div>
                <div class="wide"><dt>"Scopes"</dt><dd>{scopes(&key.scopes)}</dd></div>
                <div class="wide"><dt>"Allowed networks"</dt><dd>{networks}</dd></div>
                <div class="wide"><dt>"Metadata"</dt><dd>{metadata}</dd></div>
                <div><dt>"Id"</dt><dd><code>{key.id.to_string()}</code></dd></div>
                <div class="long"><dt>"UUID"</dt><dd><code>{key.uuid.to_string()}</code></dd></div>
                {parent}
            </dl>
        </section>
    }
    .into_any()
}

fn none(words: &'static str) -> AnyView {
    view! { <span class="none">{words}</span> }.into_any()
}

fn whole(number: u64) -> String {
    thousands(i64::try_from(number).unwrap_or(i64::MAX))
}

fn requests(number: u64) -> String {
    format!("{} {}", whole(number), if number == 1 { "request" } else { "requests" })
}

fn scopes(scopes: &Scopes) -> AnyView {
    if scopes.is_full() {
        return view! { <span class="chip full">"Full access"</span> }.into_any();
    }
    let chip = |name: &String| view! { <li><code class="chip">{name.clone()}</code></li> };
    view! { <ul class="chips">{scopes.names().iter().map(chip).collect_view()}</ul> }.into_any()
}

/// The addresses that last used the key, newest first.
#[component]
pub fn Addresses(usage: KeyUsage, now: Timestamp) -> AnyView {
    let from = usage.addresses.into_iter().map(|from| {
        let at = from.last_used_at;
        view! { <li><code>{from.address.to_string()}</code> <Moment at words=ago(now, at)/></li> }
    });
    let from = from.collect::<Vec<_>>();
    let content = if from.is_empty() {
        view! { <p class="none">"None yet."</p> }.into_any()
    } else {
        view! { <ul class="addresses">{from}</ul> }.into_any()
    };
    view! {
        <section class="card" aria-labelledby="addresses-title">
            <h2 id="addresses-title">"Recent addresses"</h2>
            {content}
        </section>
    }
    .into_any()
}
