//! The page of one event, and the download of its unchanged body.

use axum::extract::{FromRequestParts, Path, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::response::IntoResponse;
use leptos::prelude::*;
use uuid::Uuid;

use super::json_view::{MAX_SHOWN_BYTES, pretty};
use super::table::{EnvironmentBadge, key_href};
use crate::app::islands::icons::{ALERT, BACK, DOWNLOAD, icon};
use crate::app::keys::table::Mask;
use crate::app::kit::{Exact, Here, Moment, Page, Section, ago, size};
use crate::app::links::events::EventsLink;
use crate::app::shell::{Answer, Document};
use crate::events::StoredEvent;
use crate::model::{ApiError, KeyId, Timestamp};
use crate::web::Services;

/// The requested event, and the signed-in person.
pub struct Found {
    at: Here,
    here: EventsLink,
    event: StoredEvent,
}

impl FromRequestParts<Services> for Found {
    type Rejection = ApiError;

    /// Finds the event of the id in the path, in the environment of the path.
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        let at = Here::from_request_parts(parts, services).await?;
        let not_found = || ApiError::not_found("There is no such event, or it is kept no longer.");
        let here = EventsLink::read(at.place(), parts.uri.query()).map_err(|_| not_found())?;
        let path = Path::<(String, String, Uuid)>::from_request_parts(parts, services).await;
        let Path((_, _, id)) = path.map_err(|_| not_found())?;
        let event = services.events.get(here.place.organisation, id).await?;
        let event = event.filter(|event| event.head.environment_id == here.place.environment.0);
        Ok(Self { event: event.ok_or_else(not_found)?, at, here })
    }
}

/// `GET /o/…/events/{id}`.
///
/// # Errors
/// 401 without a session, 404 for an event of an organisation that the person is not in, 503 when the database fails.
pub async fn event(State(services): State<Services>, found: Found) -> Result<Answer, ApiError> {
    let now = services.clock.now();
    let title = found.at.title(&format!("Event from {}", found.event.head.source));
    Ok(Document::new(title, move || view! { <EventView found now/> }).into())
}

/// `GET /o/…/events/{id}/body`: a download, which a browser never displays.
///
/// # Errors
/// As [`event`].
pub async fn body(Found { event, .. }: Found) -> Result<Answer, ApiError> {
    let name = format!("attachment; filename=\"event-{}.json\"", event.head.uuid);
    let name = HeaderValue::try_from(name).map_err(|_| ApiError::internal())?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CONTENT_DISPOSITION, name),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok(Answer::Other((headers, event.body).into_response()))
}

#[component]
fn EventView(found: Found, now: Timestamp) -> AnyView {
    let Found { at, here, event: StoredEvent { head, body } } = found;
    let frame = at.frame();
    let environment = at.environment;
    let at = Timestamp(head.received_at);
    let (text, whole) = pretty(&body);
    let cut = (!whole).then(|| {
        let shown = size(i64::try_from(MAX_SHOWN_BYTES).unwrap_or_default());
        view! {
            <p class="notice plain">
                {icon(ALERT)}
                <span>
                    <strong>"The body is cut."</strong>
                    {format!(" The first {shown} of the indented text are shown. Download the body to have all of it.")}
                </span>
            </p>
        }
    });
    let of_source = EventsLink { source: Some(head.source.clone()), ..here.cleared() };
    let of_key = EventsLink { key: Some(KeyId(head.key_id)), ..here.cleared() };
    view! {
        <Page frame section=Section::Events>
            <a class="back" href=here.href()>{icon(BACK)} "Back to the list"</a>
            <div class="page-head">
                <div>
                    <h1>"Event from " {head.source.clone()}</h1>
                    <p class="lead"><code>{head.uuid.to_string()}</code></p>
                </div>
                <a class="button" href=here.body_href(head.uuid) download>{icon(DOWNLOAD)} "Download body"</a>
            </div>
            <dl class="event-facts">
                <div><dt>"Received"</dt><dd><Exact at/> <span class="sub"><Moment at words=ago(now, at)/></span></dd></div>
                <div>
                    <dt>"Source"</dt>
                    <dd>{head.source.clone()} <a class="sub" href=of_source.href()>"All of this source"</a></dd>
                </div>
                <div>
                    <dt>"Key"</dt>
                    <dd>
                        <a href=key_href(&head, &here)><bdi>{head.key_name.clone()}</bdi></a>
                        " "
                        <Mask prefix=head.key_prefix.clone()/>
                        <a class="sub" href=of_key.href()>"All with this key"</a>
                    </dd>
                </div>
                <div>
                    <dt>"Environment"</dt>
                    <dd><bdi>{environment.name.clone()}</bdi> " " <EnvironmentBadge environment/></dd>
                </div>
                <div><dt>"Size"</dt><dd>{size(head.size)}</dd></div>
            </dl>
            <section aria-labelledby="body-title">
                <h2 class="body-title" id="body-title">"Body"</h2>
                {cut}
                <div class="code-block event-body"><pre><code>{text}</code></pre></div>
            </section>
        </Page>
    }
    .into_any()
}
