//! `/api/v1/events`.

use axum::Json as Answer;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::caller::TenantReader;
use super::error::{Error, Invalid};
use super::params;
use super::query::Query;
use super::wire::{Event, EventItem, Page};
use crate::events::SourceName;
use crate::model::{ApiError, Timestamp};
use crate::runtime::lists::Tenant;
use crate::store::{EventFilter, EventPage};
use crate::web::openapi::Problem;
use crate::web::{Services, time};

const KNOWN_PARAMETERS: [&str; 8] = ["Qt", "Pg", "CpOrd", "TpOrd", "Source", "KeyId", "From", "To"];

/// List events
///
/// Returns a page of the tenant's events, without their bodies. The names of the parameters and their words are
/// case-insensitive.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    operation_id = "listEvents",
    tag = "Events",
    params(params::Paging, params::OfEvents),
    responses(
        (status = 200, description = "A page.", body = Page<EventItem>),
        Invalid, Problem<401>, Problem<403>, Problem<429>,
    ),
    security(("access_token" = []), ("api_key" = []), ("api_key_bearer" = [])),
)]
pub async fn list(
    State(services): State<Services>,
    TenantReader(tenant): TenantReader,
    RawQuery(query): RawQuery,
) -> Result<Answer<Page<EventItem>>, Error> {
    let query = Query::parse(query.as_deref(), &KNOWN_PARAMETERS)?;
    let paging = query.paging()?;
    // Ids are in the order of arrival, so both columns give the same order.
    query.choose("CpOrd", &[("id", ()), ("acceptedAt", ())])?;
    let page = EventPage {
        organisation: tenant,
        filter: EventFilter {
            environment: None,
            source: source(&query)?,
            key: query.read("KeyId", "a UUID")?,
            since: moment(&query, "From")?,
            until: moment(&query, "To")?,
        },
        descending: paging.descending,
        offset: paging.offset,
        limit: paging.limit,
    };
    let admission = services.lists.admit(Tenant::Organisation(tenant)).await?;
    let _place = admission.step().await;
    let (total, heads) = services.events.page(&page).await?;
    Ok(Answer(Page { total, items: heads.into_iter().map(EventItem::from).collect() }))
}

fn source(query: &Query) -> Result<Option<String>, Error> {
    let Some(text) = query.get("Source") else {
        return Ok(None);
    };
    let name = SourceName::parse(text).ok_or_else(|| {
        Error::Invalid("`Source` must be 1 to 64 of the characters A-Z, a-z, 0-9, _ and -.".to_owned())
    })?;
    Ok(Some(name.as_str().to_owned()))
}

fn moment(query: &Query, name: &str) -> Result<Option<Timestamp>, Error> {
    query
        .get(name)
        .map(|text| {
            time::parse(text)
                .ok_or_else(|| Error::Invalid(format!("`{name}` must be a time like 2026-03-01T12:00:00Z.")))
        })
        .transpose()
}

/// Get event
///
/// Returns the event with its body, exactly as it was received.
#[utoipa::path(
    get,
    path = "/api/v1/events/{id}",
    operation_id = "getEvent",
    tag = "Events",
    params(("id" = Uuid, Path, description = "The event's id.", example = "0190a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b")),
    responses(
        (status = 200, description = "The event.", body = Event),
        Problem<401>, Problem<403>, Problem<404>,
    ),
    security(("access_token" = []), ("api_key" = []), ("api_key_bearer" = [])),
)]
pub async fn one(
    State(services): State<Services>,
    TenantReader(tenant): TenantReader,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Answer<Event>, Error> {
    let not_found = || ApiError::not_found("There is no such event, or it is kept no longer.");
    let Path(id) = id.map_err(|_| not_found())?;
    let event = services.events.get(tenant, id).await?.ok_or_else(not_found)?;
    let body = String::from_utf8(event.body).ok().and_then(|text| RawValue::from_string(text).ok());
    Ok(Answer(Event { item: event.head.into(), body: body.ok_or_else(ApiError::internal)? }))
}
