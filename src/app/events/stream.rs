//! New events, told to the page that shows them: server-sent events with ready rows in them.
//!
//! What the inbox says is only the moment to look; what is sent is read from the database, and who
//! asks is checked anew each time. So a stream that fell behind, or began a little late, has lost
//! nothing, and whoever leaves the organisation or signs out sees nothing more.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Response};
use leptos::prelude::*;
use tokio::time::{Instant, sleep, sleep_until};
use tower_sessions::Session;
use uuid::Uuid;

use super::list_page::chosen_key;
use super::table::EventRow;
use crate::app::links::events::EventsLink;
use crate::domain::Membership;
use crate::events::{Arrival, EventFilter, EventHead, EventPage, WatchError, Watcher};
use crate::model::{ApiError, Timestamp};
use crate::runtime::lists::{Admission, Tenant};
use crate::web::auth::SignedIn;
use crate::web::{Services, event_stream};

/// A comment is sent after so much silence, so that nobody on the way takes the stream for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream ends after so long; the page begins another one.
const LIFETIME: Duration = Duration::from_mins(15);
/// Events are gathered for so long, so that a flood is two looks a second and not thousands.
const GATHER: Duration = Duration::from_millis(400);
/// There is a look even when nothing was heard: for who left, and for events that came to another
/// server of the same database.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Events are looked for so far back, in milliseconds: the order of ids is not quite that of commits.
const OVERLAP: i64 = 2000;
/// A look that finds nothing new moves the next one's beginning to so long before itself, in milliseconds: within this
/// time an event is committed, by a node whose clock may be a little behind.
const COMMITTED_WITHIN: i64 = 10_000;
/// The most events that one look counts. The page says when there were more.
const COUNTED: i64 = 2000;
/// The most rows that one look sends, the newest ones: a page shows no more. The others are counted.
const ROWS: usize = 200;
/// Seconds after which someone with too many streams may try again: streams of pages that were closed have ended.
const RETRY_AFTER: u64 = 5;

/// `GET /events/live?org=…&source=…&key=…&after=…&oldest=…`, where `after` is the newest event that the page has, and
/// `oldest` the last one of a full page: what is older belongs to later pages and is not new.
///
/// # Errors
/// 401 when nobody is signed in, 404 for a place that is not theirs, 429 when the person or the organisation has too
/// many streams, 503 when the server has or the database fails.
pub async fn live(
    State(services): State<Services>,
    SignedIn(person): SignedIn,
    parts: Parts,
) -> Result<Response, ApiError> {
    let not_found = || ApiError::not_found("There is no such organisation or key.");
    let here = EventsLink::read(parts.uri.query()).map_err(|_| not_found())?;
    let membership = here.organisation.and_then(|asked| person.in_organisation(asked)).ok_or_else(not_found)?.clone();
    let key = chosen_key(&services, &membership, &here).await?.map(|key| key.uuid);
    let watching = services.events.inbox().watch(membership.organisation, person.id);
    let watcher = watching.map_err(|error| match error {
        WatchError::PersonIsFull => {
            ApiError::too_many("You have 20 pages open that show live events; close one.", RETRY_AFTER)
        }
        WatchError::OrganisationIsFull => {
            ApiError::too_many("Your organisation has 50 pages open that show live events.", RETRY_AFTER)
        }
        WatchError::ServerIsFull => ApiError::unavailable("Too many pages are watching events at the moment."),
    })?;
    // However old it is: a page that nobody saw for hours has no gap. The first look then reads what loading the page
    // would, and later ones read little.
    let since = event(&parts, "after").and_then(received).unwrap_or_else(|| services.clock.now());
    let watch = Watch {
        after: event(&parts, "after"),
        oldest: event(&parts, "oldest"),
        services,
        parts,
        membership,
        here,
        key,
        watcher,
        since,
        told: HashSet::new(),
        waiting: VecDeque::new(),
        ends_at: Instant::now() + LIFETIME,
        is_new: true,
    };
    let (headers, stream) = event_stream(futures::stream::unfold(watch, Watch::next));
    Ok((headers, stream.keep_alive(KeepAlive::new().interval(HEARTBEAT))).into_response())
}

/// The event that a parameter names.
fn event(parts: &Parts, parameter: &str) -> Option<Uuid> {
    let query = parts.uri.query().unwrap_or_default();
    let (_, value) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == parameter)?;
    Uuid::try_parse(&value).ok()
}

/// When an event came.
fn received(event: Uuid) -> Option<Timestamp> {
    let (seconds, nanoseconds) = event.get_timestamp()?.to_unix();
    let milliseconds = i64::try_from(seconds).ok()?.checked_mul(1000)?;
    milliseconds.checked_add(i64::from(nanoseconds / 1_000_000)).map(Timestamp)
}

/// One stream.
struct Watch {
    services: Services,
    /// The request, by which it is checked again who asks.
    parts: Parts,
    membership: Membership,
    here: EventsLink,
    key: Option<Uuid>,
    watcher: Watcher,
    /// Events that came before this moment were told, or found by a look.
    since: Timestamp,
    /// The newest event that the page had when the stream began. Older ones that it has no rows of were counted by the
    /// stream before.
    after: Option<Uuid>,
    /// Events up to this one are not told.
    oldest: Option<Uuid>,
    /// Events that the last look found.
    told: HashSet<Uuid>,
    /// What is to be sent.
    waiting: VecDeque<Event>,
    ends_at: Instant,
    is_new: bool,
}

impl Watch {
    /// The next thing to send; `None` ends the stream.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some((Ok(event), self));
            }
            // What came between the page and its stream is found at once.
            if !std::mem::take(&mut self.is_new) {
                tokio::select! {
                    () = self.services.stopping.cancelled() => return None,
                    () = sleep_until(self.ends_at) => return None,
                    () = self.watcher.arrival(|arrival| is_shown(&self.here, arrival)) => sleep(GATHER).await,
                    () = sleep(LOOK_AGAIN) => {}
                }
            }
            // As any list: a filter that fits few events reads many.
            let lists = Arc::clone(&self.services.lists);
            let tenant = Tenant::Organisation(self.membership.organisation);
            let admission = tokio::select! {
                () = self.services.stopping.cancelled() => return None,
                admission = lists.admit(tenant) => admission,
            };
            // A tenant that is busy for so long is looked at again.
            let Ok(admission) = admission else { continue };
            match self.look(&admission).await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    tracing::warn!(%error, "a stream of events ends");
                    return None;
                }
            }
        }
    }

    /// Looks for events that were not told yet; whether who asks may still see them.
    async fn look(&mut self, admission: &Admission<'_>) -> Result<bool, ApiError> {
        // Whatever was heard until now, this look finds.
        self.watcher.forget();
        if !self.is_still_allowed().await? {
            return Ok(false);
        }
        let filter = EventFilter {
            source: self.here.source.clone(),
            key: self.key,
            since: Some(self.since.plus(-OVERLAP)),
            until: None,
        };
        let organisation = self.membership.organisation;
        let page = EventPage { organisation, filter, descending: true, offset: 0, limit: COUNTED };
        let place = admission.step().await;
        let looked_at = self.services.clock.now();
        let found = self.services.events.heads(&page).await?;
        drop(place);
        let told: HashSet<Uuid> = found.iter().map(|event| event.uuid).collect();
        let is_new = |event: &EventHead| {
            !self.told.contains(&event.uuid) && self.oldest.is_none_or(|oldest| event.uuid > oldest)
        };
        let mut fresh: Vec<EventHead> = found.into_iter().filter(is_new).collect();
        let is_counted = |event: &EventHead| self.after.is_none_or(|after| event.uuid > after);
        let unsent = fresh.iter().skip(ROWS).filter(|event| is_counted(event)).count();
        if unsent > 0 {
            // How many the page does not get as rows; `+` when there are more than were counted.
            let is_cut = i64::try_from(fresh.len()) == Ok(COUNTED) && fresh.last().is_some_and(is_counted);
            let more = if is_cut { "+" } else { "" };
            self.waiting.push_back(Event::default().event("missed").data(format!("{unsent}{more}")));
        }
        fresh.truncate(ROWS);
        let now = self.services.clock.now();
        let newest = fresh.first().map(|newest| Timestamp(newest.received_at));
        self.since = self.since.max(newest.unwrap_or(looked_at.plus(-COMMITTED_WITHIN)));
        for event in fresh.into_iter().rev() {
            let id = event.uuid.to_string();
            let row = self.row(event, now);
            self.waiting.push_back(Event::default().event("row").id(id).data(row));
        }
        self.told = told;
        Ok(true)
    }

    /// Whether the session is not over, and its user still in the organisation. (A stream counts as
    /// use of the session: somebody has the page before them.)
    async fn is_still_allowed(&mut self) -> Result<bool, ApiError> {
        if let Some(session) = self.parts.extensions.get::<Session>().cloned() {
            // It would otherwise go on saying what it was at the beginning.
            session.load().await?;
        }
        let person = match SignedIn::from_request_parts(&mut self.parts, &self.services).await {
            Ok(SignedIn(person)) => person,
            Err(error) if error.status == axum::http::StatusCode::UNAUTHORIZED.as_u16() => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(membership) = person.in_organisation(self.membership.organisation) else {
            return Ok(false);
        };
        self.membership = membership.clone();
        Ok(true)
    }

    /// The same row that the page itself would have, as HTML.
    fn row(&self, event: EventHead, now: Timestamp) -> String {
        let (membership, here) = (self.membership.clone(), self.here.clone());
        Owner::new().with(|| view! { <EventRow event membership here now fresh=true/> }.to_html())
    }
}

/// Whether the page may have an event more.
fn is_shown(here: &EventsLink, arrival: &Arrival) -> bool {
    here.source.as_ref().is_none_or(|source| *source == arrival.source) && here.key.is_none_or(|key| key == arrival.key)
}
