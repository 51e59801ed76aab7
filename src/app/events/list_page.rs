//! The page of an organisation's events.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;
use leptos::prelude::*;

use super::retention::{RetentionForm, RetentionSection};
use super::table::{EventFilters, EventPager, EventsTable, Live, NoEventMatches, NoEvents};
use crate::app::keys::list_page::origin;
use crate::app::kit::{Flash, Page, Section, Toasts, no_organisation, take_flash, thousands};
use crate::app::links::events::EventsLink;
use crate::app::shell::{Answer, Document};
use crate::domain::{Caller, Environment, Key, KeyFilter, Membership, Person};
use crate::events::{EventFilter, EventHead, EventPage, Retention};
use crate::keys::Request;
use crate::model::{ApiError, EnvironmentId, Timestamp};
use crate::runtime::lists::{Admission, Tenant};
use crate::web::Services;
use crate::web::auth::SignedIn;

/// Largest number of sources or keys in a drop-down list. With more sources, the page has a text field instead.
const MAX_CHOICES: u32 = 100;

/// The data of the page.
struct List {
    person: Person,
    membership: Membership,
    here: EventsLink,
    total: i64,
    events: Vec<EventHead>,
    /// Empty if there are more than [`MAX_CHOICES`].
    sources: Vec<String>,
    keys: Vec<Key>,
    kept: Vec<(Environment, Retention)>,
    retention: RetentionForm,
    /// The address that events are sent to, without the source.
    address: String,
    flash: Option<Flash>,
    now: Timestamp,
}

/// `GET /events`.
///
/// # Errors
/// 401 without a session, 404 for an organisation that the person is not in, 503 when the database fails.
pub async fn events(
    State(services): State<Services>,
    SignedIn(person): SignedIn,
    parts: Parts,
) -> Result<Answer, ApiError> {
    let here = EventsLink::read(parts.uri.query()).map_err(|_| no_place())?;
    if person.memberships.is_empty() {
        return Ok(no_organisation(person).into());
    }
    // An address with nothing but an event's id: the page of the event finds its organisation.
    if let Some(id) = here.event {
        return Ok(Answer::SeeOther(here.cleared().event_href(id)));
    }
    events_page(&services, &parts, person, here, RetentionForm::default()).await
}

/// Renders the page, with the text that was typed into one of its retention forms.
///
/// # Errors
/// 404 for an organisation that the person is not in, 503 when the database fails.
pub async fn events_page(
    services: &Services,
    parts: &Parts,
    person: Person,
    mut here: EventsLink,
    retention: RetentionForm,
) -> Result<Answer, ApiError> {
    let membership = match here.organisation {
        Some(organisation) => person.in_organisation(organisation),
        None => person.memberships.first(),
    };
    let membership = membership.ok_or_else(no_place)?.clone();
    here.organisation = Some(membership.organisation);
    here.environment = here.environment.filter(|id| membership.environment(*id).is_some());
    let key = chosen_key(services, &membership, &here).await?;
    let page = EventPage {
        organisation: membership.organisation,
        filter: EventFilter {
            source: here.source.clone(),
            key: key.as_ref().map(|key| key.uuid),
            since: here.from.map(crate::app::links::events::Day::begins),
            until: here.to.map(crate::app::links::events::Day::ends),
        },
        descending: true,
        offset: here.pages_before * EventsLink::PAGE,
        limit: EventsLink::PAGE,
    };
    let admission = services.lists.admit(Tenant::Organisation(membership.organisation)).await?;
    let place = admission.step().await;
    let (total, events) = services.events.page(&page).await?;
    drop(place);

    let environments: Vec<EnvironmentId> = membership.environments.iter().map(|environment| environment.id).collect();
    let mut sources = services.events.sources(&environments, MAX_CHOICES as usize + 1).await?;
    if sources.len() > MAX_CHOICES as usize {
        sources.clear();
    }
    let mut kept = Vec::new();
    for environment in &membership.environments {
        if let Some(found) = services.events.retention(environment.id).await? {
            kept.push((environment.clone(), found));
        }
    }
    let status = if !retention.errors.is_empty() {
        StatusCode::BAD_REQUEST
    } else if retention.is_stale() {
        StatusCode::CONFLICT
    } else {
        StatusCode::OK
    };
    let list = List {
        keys: keys(services, &admission, &person, &membership, key).await?,
        address: format!("{}/api/v1/ingest/{}", origin(services, parts), membership.uuid),
        flash: take_flash(parts).await?,
        now: services.clock.now(),
        person,
        membership,
        here,
        total,
        events,
        sources,
        kept,
        retention,
    };
    Ok(Document::new("Events", move || view! { <EventsView list/> }).with_islands().with_status(status).into())
}

fn no_place() -> ApiError {
    ApiError::not_found("There is no such organisation or key.")
}

/// Returns the key that the address filters by. A key of another organisation counts as missing.
///
/// # Errors
/// 404 for a missing key, 503 when the database fails.
pub async fn chosen_key(
    services: &Services,
    membership: &Membership,
    here: &EventsLink,
) -> Result<Option<Key>, ApiError> {
    let Some(id) = here.key else {
        return Ok(None);
    };
    let found = services.keys.get(id).await?;
    found.filter(|key| key.organisation == membership.organisation).map(Some).ok_or_else(no_place)
}

/// Returns the keys of the drop-down list: the newest ones, and the chosen one.
async fn keys(
    services: &Services,
    admission: &Admission<'_>,
    person: &Person,
    membership: &Membership,
    chosen: Option<Key>,
) -> Result<Vec<Key>, ApiError> {
    let caller = Caller::Person(person.clone());
    let owner = caller.listing(Some(membership.organisation), None).map_err(|_| no_place())?;
    let request = Request { owner, filter: KeyFilter::default(), limit: MAX_CHOICES, after: None };
    let mut keys = services.keys.list(&request, admission).await?.keys;
    if let Some(chosen) = chosen.filter(|chosen| keys.iter().all(|key| key.id != chosen.id)) {
        keys.insert(0, chosen);
    }
    Ok(keys)
}

#[component]
fn EventsView(list: List) -> AnyView {
    let List { person, membership, here, total, events, sources, keys, kept, retention, address, flash, now } = list;
    let organisation = membership.organisation;
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
            <EventsTable events membership=membership.clone() here=here.clone() now/>
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
            <NoEvents organisation=membership.name.clone() address waiting/>
        }
        .into_any()
    };
    let (return_to, environment) = (here.href(), here.environment);
    view! {
        <Page person organisation=Some(organisation) environment section=Section::Events>
            <div class="page-head">
                <div>
                    <h1>"Events"</h1>
                    <p class="lead">
                        "What your services and webhooks sent with a key, exactly as it came."
                    </p>
                </div>
            </div>
            {content}
            <RetentionSection membership kept form=retention here/>
        </Page>
        <Toasts flash here=return_to/>
    }
    .into_any()
}
