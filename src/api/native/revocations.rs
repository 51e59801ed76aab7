//! `GET /v1/revocations`: what ended or changed, for services that remember keys; server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::http::request::Parts;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, MissedTickBehavior};

use crate::api::client_address::ClientAddress;
use crate::api::openapi::Problem;
use crate::api::{Services, credential, event_stream, hot};
use crate::keys::{Ask, Change, Code, Purpose, Subscription};
use crate::model::{ApiError, OrganisationId, ScopeList};

/// Who hears nothing for three of these no longer knows what it remembers.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The most streams of this server at one time, so that they never take all of its connections.
const MOST_STREAMS: usize = 1000;

type Stopping = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One stream.
struct Listener {
    services: Services,
    /// The request, by whose key it is checked again who asks.
    parts: Parts,
    organisation: OrganisationId,
    subscription: Subscription,
    waiting: std::collections::VecDeque<Event>,
    heartbeat: Interval,
    stopping: Stopping,
}

/// Follow what ends and changes
///
/// Server-sent events for services that remember the outcome of a check: `changed` when a key of the caller's
/// organisation was revoked, edited, disabled or enabled, with its id and the SHA-256 of its string in hex;
/// `heartbeat` at the beginning and every second; `reset` when something may have been missed and all that is
/// remembered must be forgotten. Resumes after `Last-Event-ID`. The change is sent before the call that made it is
/// answered. Ends when the caller's key does.
#[utoipa::path(
    get,
    path = "/v1/revocations",
    operation_id = "followRevocations",
    tag = "Checking keys",
    params(("Last-Event-ID" = Option<String>, Header, nullable = false, description = "The id of the last event that was heard.")),
    responses(
        (status = 200, description = "The stream.", content_type = "text/event-stream", body = String, example = json!("id: 00000000000000ff-1\nevent: changed\ndata: {\"key_id\":\"ak_8f3a1b2c4d5e6f7a\",\"hash\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\",\"revoked\":true}\n\n")),
        Problem<401>, Problem<403>, Problem<429>, Problem<503>,
    ),
    security(("api_key" = []), ("api_key_bearer" = [])),
)]
#[expect(dead_code, reason = "describes `stream`, which the server calls with what it knows of its end")]
pub(super) fn described() {}

/// Answers `GET /v1/revocations`. `stopping` resolves when the server is about to stop: streams must not
/// hold that up.
///
/// # Errors
/// 401, 403 or 429 by what the caller's key is; 503 when there are too many streams.
pub async fn stream(
    services: Services,
    parts: Parts,
    stopping: impl Future<Output = ()> + Send + 'static,
) -> Result<Response, ApiError> {
    let organisation = hot::service(&services, &parts.headers, parts.extensions.get().copied()).await?;
    if services.keys.listeners() >= MOST_STREAMS {
        return Err(ApiError::unavailable("Too many services are listening at the moment."));
    }
    let after = parts.headers.get("last-event-id").and_then(|id| read_id(id.to_str().ok()?));
    let is_new = !parts.headers.contains_key("last-event-id");
    // An id that is none of ours is one that nobody knows any more.
    let subscription = services.keys.changes(if is_new { None } else { Some(after.unwrap_or_default()) });
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut listener = Listener {
        services,
        parts,
        organisation,
        subscription,
        waiting: std::collections::VecDeque::new(),
        heartbeat,
        stopping: Box::pin(stopping),
    };
    listener.catch_up();
    Ok(event_stream(futures::stream::unfold(listener, Listener::next)).into_response())
}

fn read_id(text: &str) -> Option<(u64, i64)> {
    let (epoch, number) = text.split_once('-')?;
    Some((u64::from_str_radix(epoch, 16).ok()?, number.parse().ok()?))
}

impl Listener {
    fn id(&self, number: i64) -> String {
        format!("{:016x}-{number}", self.subscription.epoch)
    }

    fn catch_up(&mut self) {
        match self.subscription.missed.take() {
            Some(missed) => missed.iter().for_each(|change| self.tell(change)),
            None => {
                self.waiting.push_back(Event::default().event("reset").data("{}").id(self.id(self.subscription.last)));
            }
        }
    }

    /// Puts a change where it is sent from, if it is the caller's to know.
    fn tell(&mut self, change: &Change) {
        if change.number > self.subscription.last + 1 {
            // This node did not hear what came between.
            self.waiting.push_back(Event::default().event("reset").data("{}").id(self.id(change.number - 1)));
        }
        self.subscription.last = change.number;
        if change.organisation == self.organisation {
            let data = json!({
                "key_id": change.key.to_string(),
                "hash": hex::encode(change.hash.as_bytes()),
                "revoked": change.revoked,
            });
            let event = Event::default().event("changed").id(self.id(change.number)).data(data.to_string());
            self.waiting.push_back(event);
        }
    }

    /// The next thing to send; `None` ends the stream.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some((Ok(event), self));
            }
            tokio::select! {
                // In this order: a heartbeat says that everything before it was told.
                biased;
                () = &mut self.stopping => return None,
                heard = self.subscription.heard.recv() => match heard {
                    Ok(change) => self.tell(&change),
                    Err(RecvError::Lagged(_)) => {
                        self.subscription = self.services.keys.changes(Some((0, 0)));
                        self.catch_up();
                    }
                    Err(RecvError::Closed) => return None,
                },
                _ = self.heartbeat.tick() => {
                    if !is_still_allowed(&self.services, &self.parts).await {
                        return None;
                    }
                    // It would say that nothing has ended. Who gets none stops going by what it remembers.
                    if !self.services.keys.hears() {
                        continue;
                    }
                    let event = Event::default().event("heartbeat").id(self.id(self.subscription.last)).data("{}");
                    self.waiting.push_back(event);
                }
            }
        }
    }
}

/// Whether the caller's key is still good. Listening is no use of it.
async fn is_still_allowed(services: &Services, parts: &Parts) -> bool {
    let headers = &parts.headers;
    let Some(presented) = credential::presented_key(headers) else {
        return false;
    };
    let address = ClientAddress::of_request(&parts.extensions, headers, &services.site);
    let ask = Ask { scopes: ScopeList::constant(hot::VERIFY), address: address.for_allowlist(), ..Ask::default() };
    let good = services.keys.check(presented, &ask, Purpose::Identify, |verdict| verdict.code == Code::Valid).await;
    good.unwrap_or(false)
}
