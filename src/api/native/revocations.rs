//! `GET /v1/revocations`: streams key changes to services that cache checks, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior};

use crate::domain::{Ask, Code};
use crate::keys::{Notification, Purpose, Start, SubscribeError, Subscription};
use crate::model::{ApiError, ScopeList};
use crate::security_log::authenticated;
use crate::web::client_address::ClientAddress;
use crate::web::openapi::Problem;
use crate::web::{Services, credential, event_stream, fast_path};

/// The interval of heartbeats. A client that gets none for three intervals must not trust its cache.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// The `Retry-After` for an organisation with too many streams. Streams that are not read end by themselves.
const RETRY_AFTER_SECONDS: u64 = 10;

/// The state of one stream.
struct Listener {
    services: Services,
    /// The request, to check its key again during the stream.
    parts: Parts,
    subscription: Subscription,
    heartbeat: Interval,
}

/// Stream revocations
///
/// Sends server-sent events to services that cache the outcome of checks. `changed`: a key of the caller's organisation
/// was revoked, edited, paused or resumed; the data has the key's id and the SHA-256 of the key string in hex.
/// `heartbeat`, at the beginning and every second: all earlier changes have been sent. `reset`: changes may have been
/// missed, so drop all cached outcomes.
///
/// Resumes after `Last-Event-ID` for up to an hour, on any node; ids are opaque. Before a change is answered, the
/// answering node has passed its event to the connection of each of its streams (it waits up to 20 ms for clients that
/// do not read), and every other node with a lease has put the event into the queues of its streams. The network
/// determines when an event arrives. The stream ends when the caller's key ends. An organisation may have 50 streams
/// per server; further ones get 429.
#[utoipa::path(
    get,
    path = "/v1/revocations",
    operation_id = "followRevocations",
    tag = "Key verification",
    params(("Last-Event-ID" = Option<String>, Header, nullable = false, description = "The id of the last event that the client received.")),
    responses(
        (status = 200, description = "The stream.", content_type = "text/event-stream", body = String, example = json!("id: 5b6c7d8e9f0a1b2c-0f1e2d3c4b5a6978-17\nevent: changed\ndata: {\"key_id\":\"ak_8f3a1b2c4d5e6f7a\",\"hash\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\",\"revoked\":true}\n\n")),
        Problem<401>, Problem<403>, Problem<429>, Problem<503>,
    ),
    security(("api_key" = []), ("api_key_bearer" = [])),
)]
pub(super) async fn follow(State(services): State<Services>, parts: Parts) -> Result<Response, ApiError> {
    let organisation =
        fast_path::authenticate_service(&services, &parts.headers, ClientAddress::of(&parts, &services.site)).await?;
    authenticated();
    // An invalid id is treated like an expired id: the stream begins with a reset.
    let start = match parts.headers.get("last-event-id") {
        None => Start::Now,
        Some(id) => id.to_str().ok().and_then(|id| id.parse().ok()).map_or(Start::Unknown, Start::After),
    };
    let subscription = services.changes.subscribe(organisation, start).await.map_err(|error| match error {
        SubscribeError::OrganisationIsFull => {
            ApiError::too_many("The organisation has 50 open streams on this server; close one.", RETRY_AFTER_SECONDS)
        }
        SubscribeError::ServerIsFull => ApiError::unavailable("The server has too many open streams at the moment."),
        SubscribeError::Store(error) => error.into(),
    })?;
    let mut heartbeat = tokio::time::interval(HEARTBEAT_INTERVAL);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let listener = Listener { services, parts, subscription, heartbeat };
    Ok(event_stream(futures::stream::unfold(listener, Listener::next)).into_response())
}

impl Listener {
    /// Returns the next event; `None` ends the stream.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        let event = loop {
            // Catches up first, because a heartbeat promises that all earlier changes have been sent.
            if self.subscription.is_behind() {
                let read = tokio::select! {
                    biased;
                    () = self.services.stopping.cancelled() => return None,
                    read = self.subscription.catch_up() => read,
                };
                match read {
                    Ok(None) => continue,
                    Ok(Some(notification)) => break self.event(notification),
                    Err(error) => {
                        tracing::warn!(%error, "cannot read the change log for a stream of revocations; it ends");
                        return None;
                    }
                }
            }
            tokio::select! {
                biased;
                () = self.services.stopping.cancelled() => return None,
                changed = self.subscription.changed() => if let Some(changed) = changed { break self.event(changed) },
                _ = self.heartbeat.tick() => {
                    if !is_still_allowed(&self.services, &self.parts).await {
                        return None;
                    }
                    // Without a lease there is no heartbeat: this node may have missed changes. The client then stops
                    // trusting its cache.
                    if self.services.checks.trusts_cache() {
                        break Event::default().event("heartbeat").id(self.subscription.at().to_string()).data("{}");
                    }
                }
            }
        };
        Some((Ok(event), self))
    }

    fn event(&self, notification: Notification) -> Event {
        let event = Event::default().id(self.subscription.at().to_string());
        match notification {
            Notification::Reset => event.event("reset").data("{}"),
            Notification::Changed(change) => {
                let data = json!({
                    "key_id": change.key.to_string(),
                    "hash": hex::encode(change.hash.as_bytes()),
                    "revoked": change.revoked,
                });
                event.event("changed").data(data.to_string())
            }
        }
    }
}

/// Whether the caller's key is still valid. The stream does not count as a use of the key.
async fn is_still_allowed(services: &Services, parts: &Parts) -> bool {
    let headers = &parts.headers;
    let Some(presented) = credential::presented_key(headers) else {
        return false;
    };
    let address = ClientAddress::of_request(&parts.extensions, headers, &services.site);
    let ask = Ask { scopes: ScopeList::constant(fast_path::VERIFY), ..address.ask() };
    let good = services.checks.verify(presented, &ask, Purpose::Identify, |verdict| verdict.code == Code::Valid).await;
    good.unwrap_or(false)
}
