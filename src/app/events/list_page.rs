//! The page of an organisation's events.

use axum::extract::State;
use axum::http::request::Parts;
use leptos::prelude::*;

use super::table::{EventFilters, EventPager, EventsTable, Live, NoEventMatches, NoEvents};
use crate::app::keys::list_page::origin;
use crate::app::kit::{Flash, Here, Page, Section, Sentence, Toasts, counted, isolate, take_flash, thousands};
use crate::app::links::events::EventsLink;
use crate::app::links::organisation::OrganisationLink;
use crate::app::links::place::EnvironmentPath;
use crate::app::shell::{Answer, Document};
use crate::domain::{Action, Caller, Environment, Key, KeyFilter, Membership};
use crate::events::{EventFilter, EventHead, EventPage, Retention};
use crate::keys::Request;
use crate::model::{ApiError, Timestamp};
use crate::runtime::lists::{Admission, Tenant};
use crate::web::Services;

/// Largest number of sources or keys in a drop-down list. With more sources, the page has a text field instead.
const MAX_CHOICES: u32 = 100;

/// The data of the page.
struct List {
    at: Here,
    here: EventsLink,
    total: i64,
    events: Vec<EventHead>,
    /// Empty if there are more than [`MAX_CHOICES`].
    sources: Vec<String>,
    keys: Vec<Key>,
    kept: Option<Retention>,
    /// The address that events are sent to, without the source.
    address: String,
    flash: Option<Flash>,
    now: Timestamp,
}

/// `GET /o/…/events`.
///
/// # Errors
/// 401 without a session, 404 for an environment that the person may not see, 503 when the database fails.
pub async fn events(State(services): State<Services>, at: Here, parts: Parts) -> Result<Answer, ApiError> {
    let here = EventsLink::read(at.place(), parts.uri.query()).map_err(|_| no_place())?;
    let key = chosen_key(&services, &here).await?;
    let organisation = here.place.organisation;
    let page = EventPage {
        organisation,
        filter: EventFilter {
            environment: Some(here.place.environment),
            source: here.source.clone(),
            key: key.as_ref().map(|key| key.uuid),
            since: here.from.map(crate::app::links::events::Day::begins),
            until: here.to.map(crate::app::links::events::Day::ends),
        },
        descending: true,
        offset: here.pages_before * EventsLink::PAGE,
        limit: EventsLink::PAGE,
    };
    let admission = services.lists.admit(Tenant::Organisation(organisation)).await?;
    let place = admission.step().await;
    let (total, events) = services.events.page(&page).await?;
    drop(place);

    let mut sources = services.events.sources(here.place.environment, MAX_CHOICES as usize + 1).await?;
    if sources.len() > MAX_CHOICES as usize {
        sources.clear();
    }
    let kept = services.events.retention(here.place.environment).await?;
    let list = List {
        keys: keys(&services, &admission, &at, key).await?,
        address: format!("{}/api/v1/ingest/{}", origin(&services, &parts), at.membership.uuid),
        flash: take_flash(&parts).await?,
        now: services.clock.now(),
        at,
        here,
        total,
        events,
        sources,
        kept,
    };
    let title = list.at.title("Events");
    Ok(Document::new(title, move || view! { <EventsView list/> }).with_islands().into())
}

fn no_place() -> ApiError {
    ApiError::not_found("There is no such organisation or key.")
}

/// Returns the key that the address filters by. A key of another environment counts as missing.
///
/// # Errors
/// 404 for a missing key, 503 when the database fails.
pub async fn chosen_key(services: &Services, here: &EventsLink) -> Result<Option<Key>, ApiError> {
    let Some(id) = here.key else {
        return Ok(None);
    };
    let found = services.keys.get(id).await?;
    found.filter(|key| EnvironmentPath::of(key) == here.place).map(Some).ok_or_else(no_place)
}

/// Returns the keys of the drop-down list: the newest ones, and the chosen one.
async fn keys(
    services: &Services,
    admission: &Admission<'_>,
    at: &Here,
    chosen: Option<Key>,
) -> Result<Vec<Key>, ApiError> {
    let EnvironmentPath { organisation, environment } = at.place();
    let caller = Caller::Person(at.person.clone());
    let owner = caller.listing(Some(organisation), Some(environment)).map_err(|_| no_place())?;
    let request = Request { owner, filter: KeyFilter::default(), limit: MAX_CHOICES, after: None };
    let mut keys = services.keys.list(&request, admission).await?.keys;
    if let Some(chosen) = chosen.filter(|chosen| keys.iter().all(|key| key.id != chosen.id)) {
        keys.insert(0, chosen);
    }
    Ok(keys)
}

#[component]
fn EventsView(list: List) -> AnyView {
    let List { at, here, total, events, sources, keys, kept, address, flash, now } = list;
    let frame = at.frame();
    let Here { membership, environment, .. } = at;
    let name = environment.name.clone();
    let live = here.live_href(now);
    let newest = events.first().map(|event| event.uuid.to_string()).unwrap_or_default();
    // Only a full page has a lower bound. On other pages, an event older than the last row arrived late and is new.
    let is_full = events.len() == usize::try_from(EventsLink::PAGE).unwrap_or_default();
    let oldest = events.last().filter(|_| is_full).map(|event| event.uuid.to_string()).unwrap_or_default();
    let waiting = live.is_some();
    let tail = live.map(|address| view! { <Live address newest oldest/> });
    let count = match total {
        1 => "1 event".to_owned(),
        total => format!("{} events", thousands(total)),
    };
    let content = if !events.is_empty() {
        view! {
            <EventFilters here=here.clone() sources keys/>
            <div class="list-bar"><p>{count}</p>{tail}</div>
            <EventsTable events environment=name here=here.clone() now/>
            <EventPager here=here.clone() total/>
            <p class="ingest">"Events are sent to " <code>"POST " {address} "/" <em>"source"</em></code></p>
        }
        .into_any()
    } else if here.is_filtered() || here.pages_before > 0 {
        view! {
            <EventFilters here=here.clone() sources keys/>
            <div class="list-bar"><p>{count}</p>{tail}</div>
            <NoEventMatches here=here.clone()/>
        }
        .into_any()
    } else {
        view! {
            <div class="list-bar"><p></p>{tail}</div>
            <NoEvents environment=name mode=environment.mode address waiting/>
        }
        .into_any()
    };
    let return_to = here.href();
    let kept = kept.map(|kept| view! { <Kept membership environment kept/> });
    view! {
        <Page frame section=Section::Events>
            <div class="page-head">
                <div>
                    <h1>"Events"</h1>
                    <p class="lead">
                        "What your services and webhooks sent with a key, exactly as it came."
                    </p>
                </div>
            </div>
            {content}
            {kept}
        </Page>
        <Toasts flash here=return_to/>
    }
    .into_any()
}

/// The retention of the environment's events, with a link to its settings.
#[component]
fn Kept(membership: Membership, environment: Environment, kept: Retention) -> AnyView {
    let link = membership.may(Action::ManageSettings).then(|| {
        let href = format!("{}#retention", OrganisationLink(membership.organisation).environment(environment.id));
        view! { " " <a href=href>"Change"</a> }
    });
    let (days, limit) = (counted(kept.event_days, "day", "days"), thousands(kept.event_limit));
    let text = format!("{} keeps events for {days}, at most {limit} of them.", isolate(&environment.name));
    view! {
        <p class="table-note" id="retention">
            <Sentence text=text/>
            {link}
        </p>
    }
    .into_any()
}
