//! The stream of new events for an open events page: server-sent events with rendered rows.
//!
//! A notification of the inbox only triggers a query. Each query reads the new events from the database, and checks the
//! session and the membership again. So a stream that fell behind or started late misses nothing, and it ends when
//! the person signs out or leaves the organisation.

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
use crate::app::kit::Here;
use crate::app::links::events::EventsLink;
use crate::events::{Arrival, EventFilter, EventHead, EventPage, WatchError, Watcher};
use crate::model::{ApiError, Timestamp};
use crate::runtime::lists::{Admission, Tenant};
use crate::web::{Services, event_stream};

/// The statuses of a request that may not see the environment.
const UNAUTHORIZED: u16 = 401;
const NOT_FOUND: u16 = 404;
/// Idle time after which a comment is sent, so that no proxy closes the stream.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Longest life of a stream; then the page opens another one.
const MAX_LIFETIME: Duration = Duration::from_mins(15);
/// Time between a notification and its query, so that a burst of events causes about two queries a second.
const BATCH_WINDOW: Duration = Duration::from_millis(400);
/// Longest time between two queries. Without a notification, a query finds events that another server stored, and
/// sessions that have ended.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Each query begins this many milliseconds earlier, because events are not committed exactly in the order of ids.
const OVERLAP_MS: i64 = 2000;
/// After a query without new events, the next one begins this many milliseconds before that query. An event is
/// committed within this time, even by a node with a clock that is a little behind.
const COMMIT_DELAY_MS: i64 = 10_000;
/// Largest number of events that one query counts; the page then shows `+`.
const MAX_COUNTED: i64 = 2000;
/// Largest number of rows that one query sends, the newest ones; a page shows no more. Other events are only counted.
const MAX_ROWS: usize = 200;
/// Seconds in `Retry-After` of a 429 for too many streams. The streams of closed pages have ended by then.
const RETRY_AFTER_SECONDS: u64 = 5;

/// `GET /o/…/events/live?source=…&key=…&after=…&oldest=…`. `after` is the newest event of the page. `oldest` is the
/// last event of a full page: older ones belong to later pages and are not sent.
///
/// # Errors
/// 401 without a session, 404 for an environment that the person may not see, 429 for too many streams of the person or
/// the organisation, 503 for too many streams of the server, or when the database fails.
pub async fn live(State(services): State<Services>, at: Here, parts: Parts) -> Result<Response, ApiError> {
    let here = EventsLink::read(at.place(), parts.uri.query());
    let here = here.map_err(|_| ApiError::not_found("There is no such organisation or key."))?;
    let key = chosen_key(&services, &here).await?.map(|key| key.uuid);
    let watching = services.events.inbox().watch(here.place.organisation, at.person.id);
    let watcher = watching.map_err(|error| match error {
        WatchError::PersonIsFull => {
            ApiError::too_many("You have 20 pages open that show live events; close one.", RETRY_AFTER_SECONDS)
        }
        WatchError::OrganisationIsFull => {
            ApiError::too_many("Your organisation has 50 pages open that show live events.", RETRY_AFTER_SECONDS)
        }
        WatchError::ServerIsFull => ApiError::unavailable("Too many pages are watching events at the moment."),
    })?;
    // Without a limit on its age, so that a page that was hidden for hours has no gap. The first query then reads as
    // much as loading the page would, and later ones read little.
    let since = event(&parts, "after").and_then(received).unwrap_or_else(|| services.clock.now());
    let watch = Watch {
        after: event(&parts, "after"),
        oldest: event(&parts, "oldest"),
        services,
        parts,
        here,
        key,
        watcher,
        since,
        sent_before: HashSet::new(),
        waiting: VecDeque::new(),
        ends_at: Instant::now() + MAX_LIFETIME,
        is_new: true,
    };
    let (headers, stream) = event_stream(futures::stream::unfold(watch, Watch::next));
    Ok((headers, stream.keep_alive(KeepAlive::new().interval(HEARTBEAT))).into_response())
}

/// Returns the event id in a query parameter.
fn event(parts: &Parts, parameter: &str) -> Option<Uuid> {
    let query = parts.uri.query().unwrap_or_default();
    let (_, value) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == parameter)?;
    Uuid::try_parse(&value).ok()
}

/// Returns the time at which an event arrived, from its id (UUID version 7).
fn received(event: Uuid) -> Option<Timestamp> {
    let (seconds, nanoseconds) = event.get_timestamp()?.to_unix();
    let milliseconds = i64::try_from(seconds).ok()?.checked_mul(1000)?;
    milliseconds.checked_add(i64::from(nanoseconds / 1_000_000)).map(Timestamp)
}

/// The state of one stream.
struct Watch {
    services: Services,
    /// The request, to check its session again.
    parts: Parts,
    here: EventsLink,
    key: Option<Uuid>,
    watcher: Watcher,
    /// Events that arrived before this moment have been sent or counted.
    since: Timestamp,
    /// The newest event that the page had when the stream began. Older events without a row were counted by the
    /// previous stream.
    after: Option<Uuid>,
    /// Events up to this one are not sent.
    oldest: Option<Uuid>,
    /// Events that the last query found.
    sent_before: HashSet<Uuid>,
    /// Messages to be sent.
    waiting: VecDeque<Event>,
    ends_at: Instant,
    is_new: bool,
}

impl Watch {
    /// Returns the next message; `None` ends the stream.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some((Ok(event), self));
            }
            // The first query runs at once, to find events that arrived after the page was rendered.
            if !std::mem::take(&mut self.is_new) {
                tokio::select! {
                    () = self.services.stopping.cancelled() => return None,
                    () = sleep_until(self.ends_at) => return None,
                    () = self.watcher.arrival(|arrival| matches_filters(&self.here, arrival)) => sleep(BATCH_WINDOW).await,
                    () = sleep(POLL_INTERVAL) => {}
                }
            }
            // A query needs a place like any list, because a filter that matches few events reads many.
            let lists = Arc::clone(&self.services.lists);
            let tenant = Tenant::Organisation(self.here.place.organisation);
            let admission = tokio::select! {
                () = self.services.stopping.cancelled() => return None,
                admission = lists.admit(tenant) => admission,
            };
            // No place in time: skip this query.
            let Ok(admission) = admission else { continue };
            match self.query_new(&admission).await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    tracing::warn!(%error, "cannot read new events; a live page is closed and reconnects");
                    return None;
                }
            }
        }
    }

    /// Queues events that were not sent yet; `false` if the person may no longer see them.
    async fn query_new(&mut self, admission: &Admission<'_>) -> Result<bool, ApiError> {
        // This query finds every event that was notified until now.
        self.watcher.forget();
        if !self.is_still_allowed().await? {
            return Ok(false);
        }
        let filter = EventFilter {
            environment: Some(self.here.place.environment),
            source: self.here.source.clone(),
            key: self.key,
            since: Some(self.since.plus(-OVERLAP_MS)),
            until: None,
        };
        let organisation = self.here.place.organisation;
        let page = EventPage { organisation, filter, descending: true, offset: 0, limit: MAX_COUNTED };
        let place = admission.step().await;
        let queried_at = self.services.clock.now();
        let found = self.services.events.heads(&page).await?;
        drop(place);
        let sent_before: HashSet<Uuid> = found.iter().map(|event| event.uuid).collect();
        let is_new = |event: &EventHead| {
            !self.sent_before.contains(&event.uuid) && self.oldest.is_none_or(|oldest| event.uuid > oldest)
        };
        let mut fresh: Vec<EventHead> = found.into_iter().filter(is_new).collect();
        let is_counted = |event: &EventHead| self.after.is_none_or(|after| event.uuid > after);
        let unsent = fresh.iter().skip(MAX_ROWS).filter(|event| is_counted(event)).count();
        if unsent > 0 {
            // The number of events without a row; `+` if there are more than were counted.
            let is_cut = i64::try_from(fresh.len()) == Ok(MAX_COUNTED) && fresh.last().is_some_and(is_counted);
            let more = if is_cut { "+" } else { "" };
            self.waiting.push_back(Event::default().event("missed").data(format!("{unsent}{more}")));
        }
        fresh.truncate(MAX_ROWS);
        let now = self.services.clock.now();
        let newest = fresh.first().map(|newest| Timestamp(newest.received_at));
        self.since = self.since.max(newest.unwrap_or(queried_at.plus(-COMMIT_DELAY_MS)));
        for event in fresh.into_iter().rev() {
            let id = event.uuid.to_string();
            let row = self.row(event, now);
            self.waiting.push_back(Event::default().event("row").id(id).data(row));
        }
        self.sent_before = sent_before;
        Ok(true)
    }

    /// Whether the session is valid and its user still in the organisation. An open stream counts as use of the
    /// session.
    async fn is_still_allowed(&mut self) -> Result<bool, ApiError> {
        if let Some(session) = self.parts.extensions.get::<Session>().cloned() {
            // The session is cached in the request; load it again.
            session.load().await?;
        }
        match Here::from_request_parts(&mut self.parts, &self.services).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.status, UNAUTHORIZED | NOT_FOUND) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Renders a row as the page does, as HTML.
    fn row(&self, event: EventHead, now: Timestamp) -> String {
        let here = self.here.clone();
        Owner::new().with(|| view! { <EventRow event here now fresh=true/> }.to_html())
    }
}

/// Whether an arrival matches the filters of the page.
fn matches_filters(here: &EventsLink, arrival: &Arrival) -> bool {
    here.source.as_ref().is_none_or(|source| *source == arrival.source) && here.key.is_none_or(|key| key == arrival.key)
}
