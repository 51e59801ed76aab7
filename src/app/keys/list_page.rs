//! The main page: the keys of an environment.

use std::collections::HashSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::http::request::Parts;
use leptos::prelude::*;

use super::filters::{Filters, Pager};
use super::lost_key::LostKey;
use super::revoke_dialog::RevokeDialog;
use super::table::KeysTable;
use crate::app::islands::icons::{ALERT, PLUS, icon};
use crate::app::islands::{CreateKey, EnvironmentChoice, RevokeKey};
use crate::app::kit::{Flash, Here, NoKeys, NoMatch, Page, Section, Toasts, Unsearchable, take_flash};
use crate::app::links::REFERENCE;
use crate::app::links::keys::KeysLink;
use crate::app::links::place::EnvironmentPath;
use crate::app::shell::{Answer, Document};
use crate::domain::{Action, Caller, Key, KeyFilter, KeyState, Search};
use crate::keys::{self, Request};
use crate::model::{ApiError, KeyId, NameError, Timestamp};
use crate::web::Services;

/// The data of the page.
struct List {
    at: Here,
    here: KeysLink,
    keys: Vec<Key>,
    /// The keys of the page that have created keys.
    makers: HashSet<KeyId>,
    older: Option<KeysLink>,
    /// The key in the revocation dialog, and the number of its descendants that are not revoked.
    asked: Option<(Key, i64)>,
    /// The error of the search text.
    unsearchable: Option<NameError>,
    /// The lost key: its creation got no answer. `None` if it does not exist.
    lost: Option<Key>,
    flash: Option<Flash>,
    origin: String,
    now: Timestamp,
}

/// Milliseconds after its creation for which a lost key is looked for: 10 minutes.
const LOST_KEY_WINDOW_MS: i64 = 10 * 60 * 1000;
/// Largest difference of two nodes' clocks, in milliseconds. The time of the lost request is by the clock of the node
/// that rendered the page, the creation time of the key by that of the node that stored it.
const MAX_CLOCK_SKEW_MS: i64 = 2000;

/// `GET /o/…/keys`.
///
/// # Errors
/// 401 without a session, 404 for an environment that the person may not see, 503 when the database fails.
pub async fn keys(State(services): State<Services>, at: Here, parts: Parts) -> Result<Answer, ApiError> {
    let place = at.place();
    let mut here = KeysLink::read(place, parts.uri.query());
    let caller = Caller::Person(at.person.clone());
    let owner = caller.listing(Some(place.organisation), Some(place.environment)).map_err(|_| no_place())?;
    let mut request = Request { owner, filter: KeyFilter::default(), limit: KeysLink::PAGE, after: here.cursor };
    request.filter.state = here.state;
    let search = Search::parse(here.name.as_deref().unwrap_or_default());
    let page = match &search {
        Ok(search) => {
            request.filter.search.clone_from(search);
            let admission = services.lists.admit(caller.tenant(owner)).await?;
            services.keys.list(&request, &admission).await?
        }
        // No name matches an invalid search; show no keys instead of all.
        Err(_) => keys::Page { keys: Vec::new(), next: None },
    };
    let makers = services.keys.makers_among(&page.keys).await?;
    let now = services.clock.now();

    let asked = asked(&services, &caller, &here, now).await?;
    here.revoke = asked.as_ref().map(|(key, _)| key.id);
    let lost_key = lost(&services, &caller, &request, &here, now).await?;
    let list = List {
        older: page.next.map(|cursor| here.with_cursor(cursor)),
        keys: page.keys,
        makers,
        flash: take_flash(&parts).await?,
        origin: origin(&services, &parts),
        at,
        here,
        asked,
        unsearchable: search.err(),
        lost: lost_key,
        now,
    };
    let title = list.at.title("API keys");
    let status = if list.unsearchable.is_none() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    Ok(Document::new(title, move || view! { <KeysPage list/> }).with_islands().with_status(status).into())
}

fn no_place() -> ApiError {
    ApiError::not_found("There is no such organisation or environment.")
}

/// Returns the key of the revocation dialog, if it is in this environment and the caller may revoke it.
async fn asked(
    services: &Services,
    caller: &Caller,
    here: &KeysLink,
    now: Timestamp,
) -> Result<Option<(Key, i64)>, ApiError> {
    let Some(id) = here.revoke else {
        return Ok(None);
    };
    let is_asked = |key: &Key| {
        caller.may_manage(key).is_ok() && EnvironmentPath::of(key) == here.place && key.state(now) != KeyState::Revoked
    };
    Ok(match services.keys.get(id).await?.filter(is_asked) {
        Some(key) => Some((key, services.keys.count_descendants(id).await?)),
        None => None,
    })
}

/// Returns the lost key: the newest unused key with the name in the address that the person created after the time in
/// the address. An older key of the same name is another key.
async fn lost(
    services: &Services,
    caller: &Caller,
    request: &Request,
    here: &KeysLink,
    now: Timestamp,
) -> Result<Option<Key>, ApiError> {
    let Some(name) = &here.lost else {
        return Ok(None);
    };
    let Ok(search) = Search::parse(name) else {
        return Ok(None);
    };
    let filter = KeyFilter { search, ..KeyFilter::default() };
    let admission = services.lists.admit(caller.tenant(request.owner)).await?;
    let found = services.keys.list(&Request { filter, after: None, ..request.clone() }, &admission).await?;
    Ok(found.keys.into_iter().find(|key| {
        key.name == *name
            && key.created_by == caller.user()
            && key.revoked_at.is_none()
            && key.last_used_at.is_none()
            && now.since(key.created_at) <= LOST_KEY_WINDOW_MS
            && here.since.is_none_or(|asked| key.created_at >= asked.plus(-MAX_CLOCK_SKEW_MS))
    }))
}

/// Returns the origin of this server, for commands to copy.
pub(crate) fn origin(services: &Services, parts: &Parts) -> String {
    services.site.public_url.clone().unwrap_or_else(|| {
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        format!("http://{host}")
    })
}

#[component]
fn KeysPage(list: List) -> AnyView {
    let List { at, here, keys, makers, older, asked, unsearchable, lost, flash, origin, now } = list;
    let frame = at.frame();
    let Here { person, membership, environment, .. } = at;
    let organisation = membership.organisation;
    let environments = membership
        .open_environments()
        .map(|environment| EnvironmentChoice {
            id: environment.id.to_string(),
            label: format!("{} ({})", environment.name, environment.mode.as_str()),
            href: KeysLink::to(EnvironmentPath { organisation, environment: environment.id }).href(),
        })
        .collect();
    let caller = Caller::Person(person);
    let is_archived = environment.archived_at.is_some();
    let may_create = membership.may(Action::CreateKeys) && !is_archived;
    let marked = lost.as_ref().map(|key| key.id);
    let notice = here.lost.clone().map(|name| view! { <LostKey name lost here=here.clone() now/> });
    let content = if let Some(error) = unsearchable {
        view! { <Filters here=here.clone()/> <Unsearchable error here=here.clone()/> }.into_any()
    } else if !keys.is_empty() {
        view! {
            <Filters here=here.clone()/>
            <KeysTable keys makers caller environment=environment.name.clone() here=here.without_revoke() marked now/>
            <Pager here=here.clone() older/>
        }
        .into_any()
    } else if here.is_filtered() {
        view! { <Filters here=here.clone()/> <NoMatch environment=environment.name.clone() here=here.clone()/> }
            .into_any()
    } else {
        view! { <NoKeys environment=environment.name.clone() mode=environment.mode origin may_create/> }.into_any()
    };
    let current = environment.id.to_string();
    let return_to = here.without_revoke().href();
    let dialogs = match asked {
        Some((key, made)) => view! { <RevokeDialog key made here=here.clone() now/> }.into_any(),
        None => view! {
            {may_create.then(|| view! { <CreateKey org_id=organisation.to_string() environments current now=now.0/> })}
            <RevokeKey return_to=return_to.clone()/>
        }
        .into_any(),
    };
    view! {
        <Page frame section=Section::Keys inert=here.revoke.is_some()>
            <Head may_create/>
            {is_archived.then(|| view! { <Archived/> })}
            {notice}
            {content}
        </Page>
        {dialogs}
        <Toasts flash here=return_to/>
    }
    .into_any()
}

/// The notice that the environment is archived.
#[component]
fn Archived() -> AnyView {
    view! {
        <p class="notice plain standing">
            {icon(ALERT)}
            <span><strong>"This environment is archived."</strong> " It gets no new keys. Its revoked keys and its events stay visible."</span>
        </p>
    }
    .into_any()
}

#[component]
fn Head(may_create: bool) -> AnyView {
    let create = may_create.then(|| {
        view! {
            <button class="button primary needs-js" type="button" aria-haspopup="dialog" data-create-key>
                {icon(PLUS)}
                "Create key"
            </button>
        }
    });
    view! {
        <div class="page-head">
            <div>
                <h1>"API keys"</h1>
                <p class="lead">
                    "Give each service a key of its own, so that you can revoke one and break nothing else."
                </p>
            </div>
            {create}
        </div>
        {may_create.then(|| view! { <NeedsWasm/> })}
    }
    .into_any()
}

/// The notices that creating a key needs WebAssembly: without JavaScript, and when WebAssembly did not start.
#[component]
fn NeedsWasm() -> AnyView {
    view! {
        <noscript>
            {needs_wasm(
                "Creating a key needs JavaScript and WebAssembly,",
                " because the key is shown once and only inside your browser. Without them, use ",
            )
            .into_any()}
        </noscript>
        <div class="no-wasm" role="alert" tabindex="-1" data-no-wasm hidden>
            {needs_wasm(
                "The part of this page that creates keys did not start:",
                " WebAssembly was blocked or did not arrive. Load the page again, allow WebAssembly, or use ",
            )
            .into_any()}
        </div>
    }
    .into_any()
}

/// One such notice, with a link to the API.
fn needs_wasm(what: &'static str, why: &'static str) -> impl IntoView {
    view! {
        <p class="notice plain">
            {icon(ALERT)}
            <span>
                <strong>{what}</strong>
                {why}
                <a href=format!("{REFERENCE}#createApiKey")><code>"POST /v1/auth/api-keys"</code></a>
                ". Everything else on this page works."
            </span>
        </p>
    }
}
