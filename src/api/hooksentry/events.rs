//! `/api/v1/events`.

use axum::Json as Answer;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::caller::TenantReader;
use super::error::Error;
use super::query::Query;
use super::wire::{Event, EventItem, Page};
use crate::api::{Services, time};
use crate::events::SourceName;
use crate::model::{ApiError, Timestamp};
use crate::store::{EventFilter, EventPage};

const KNOWN: [&str; 8] = ["Qt", "Pg", "CpOrd", "TpOrd", "Source", "KeyId", "From", "To"];

/// `GET /api/v1/events`.
pub async fn list(
    State(services): State<Services>,
    TenantReader(tenant): TenantReader,
    RawQuery(query): RawQuery,
) -> Result<Answer<Page<EventItem>>, Error> {
    let query = Query::parse(query.as_deref(), &KNOWN)?;
    let paging = query.paging()?;
    // Ids are in the order of arrival: both words mean the same.
    query.choose("CpOrd", &[("id", ()), ("acceptedAt", ())])?;
    let page = EventPage {
        organisation: tenant,
        filter: EventFilter {
            source: source(&query)?,
            key: query.read("KeyId", "a UUID")?,
            since: moment(&query, "From")?,
            until: moment(&query, "To")?,
        },
        descending: paging.descending,
        offset: paging.offset,
        limit: paging.limit,
    };
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
            time::parse(text).ok_or_else(|| Error::Invalid(format!("`{name}` must be a time like 2026-03-01T12:00:00Z.")))
        })
        .transpose()
}

/// `GET /api/v1/events/{id}`.
pub async fn one(
    State(services): State<Services>,
    TenantReader(tenant): TenantReader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Answer<Event>, Error> {
    let not_found = || ApiError::not_found("There is no such event, or it is kept no longer.");
    let id = id.ok().and_then(|Path(id)| Uuid::try_parse(&id).ok()).ok_or_else(not_found)?;
    let event = services.events.get(tenant, id).await?.ok_or_else(not_found)?;
    let body = String::from_utf8(event.body).ok().and_then(|text| RawValue::from_string(text).ok());
    Ok(Answer(Event { item: event.head.into(), body: body.ok_or_else(ApiError::internal)? }))
}
