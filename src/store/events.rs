//! Stored events: reads pages of them, and deletes events beyond their retention.

use std::collections::HashMap;

use uuid::Uuid;

use super::audit::write_audit;
use super::db::{Db, StoreError, reading, sql, writing};
use crate::domain::AuditEntry;
use crate::model::{EnvironmentId, OrganisationId, Timestamp};

/// The time in which a repeated request is recognised by its idempotency key: 24 hours, in milliseconds.
pub(super) const IDEMPOTENCY_WINDOW: i64 = 24 * 3600 * 1000;
/// The largest number of events or idempotency keys that one transaction deletes, so that other writers get their turn.
const DELETE_BATCH: i64 = 1000;

/// An event without its body.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct EventHead {
    /// The id.
    pub uuid: Uuid,
    /// The name of the source.
    pub source: String,
    /// The environment that the event belongs to.
    pub environment_id: i64,
    /// The key that the event was sent with.
    pub key_id: i64,
    /// The id of that key in HookSentry's contract.
    pub key_uuid: Uuid,
    /// The label of that key.
    pub key_name: String,
    /// The first characters of that key's string.
    pub key_prefix: String,
    /// The moment of arrival, milliseconds since 1970.
    pub received_at: i64,
    /// The length of the body in bytes.
    pub size: i64,
}

/// An event with its body.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// The event without the body.
    pub head: EventHead,
    /// The body: JSON, unchanged.
    pub body: Vec<u8>,
}

/// Filters of a list of events.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only events of this environment.
    pub environment: Option<EnvironmentId>,
    /// Only events of this source.
    pub source: Option<String>,
    /// Only events that were sent with this key.
    pub key: Option<Uuid>,
    /// Only events from this moment on.
    pub since: Option<Timestamp>,
    /// Only events before this moment.
    pub until: Option<Timestamp>,
}

/// A page of events.
#[derive(Debug, Clone)]
pub struct EventPage {
    /// The organisation that owns the events.
    pub organisation: OrganisationId,
    /// The filters.
    pub filter: EventFilter,
    /// Whether the newest come first.
    pub descending: bool,
    /// The number of events before the page.
    pub offset: i64,
    /// The largest number of events on the page.
    pub limit: i64,
}

/// The retention of an environment's events: the first limit that is reached counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Retention {
    /// The largest age in days.
    pub event_days: i64,
    /// The largest number of events.
    pub event_limit: i64,
}

#[derive(sqlx::FromRow)]
struct EnvironmentRow {
    id: i64,
    organisation_id: i64,
    event_days: i64,
    event_limit: i64,
    event_count: i64,
    event_bytes: i64,
}

/// Returns the smallest id that an event of a moment can have.
fn first_of(at: Timestamp) -> Uuid {
    let milliseconds = u64::try_from(at.0).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &[0; 10]).into_uuid()
}

impl EventFilter {
    /// Returns the range of ids for the times of the filter: from the first id on, before the second.
    fn bounds(&self) -> (Uuid, Uuid) {
        (self.since.map_or(Uuid::nil(), first_of), self.until.map_or(Uuid::max(), first_of))
    }
}

/// Existing sources, and the number of sources of each environment.
pub(crate) type KnownSources = (Vec<(EnvironmentId, String)>, HashMap<EnvironmentId, i64>);

impl Db {
    /// Returns the number of events that match the filter, and the events on the page.
    pub(crate) async fn event_page(&self, page: &EventPage) -> Result<(i64, Vec<EventHead>), StoreError> {
        let filter = &page.filter;
        let (lower, upper) = filter.bounds();
        let narrow = filter.key.is_some() || filter.since.is_some() || filter.until.is_some();
        let total: i64 = reading!(self, connection => {
            if narrow {
                sqlx::query_scalar(sql!("events_count_narrow"))
                    .bind(page.organisation.0)
                    .bind(filter.source.as_deref())
                    .bind(filter.key)
                    .bind(lower)
                    .bind(upper)
                    .bind(filter.environment.map(|id| id.0))
                    .fetch_one(connection)
                    .await?
            } else {
                sqlx::query_scalar(sql!("events_count"))
                    .bind(page.organisation.0)
                    .bind(filter.source.as_deref())
                    .bind(filter.environment.map(|id| id.0))
                    .fetch_one(connection)
                    .await?
            }
        });
        // The statement stops at the last match and does not scan further.
        let limit = page.limit.min(total - page.offset);
        if limit <= 0 {
            return Ok((total, Vec::new()));
        }
        Ok((total, self.event_heads(&EventPage { limit, ..page.clone() }).await?))
    }

    /// Returns the events on a page.
    pub(crate) async fn event_heads(&self, page: &EventPage) -> Result<Vec<EventHead>, StoreError> {
        let filter = &page.filter;
        let (lower, upper) = filter.bounds();
        let statement = if page.descending { sql!("events_newest_first") } else { sql!("events_oldest_first") };
        Ok(reading!(self, connection => {
            sqlx::query_as(statement)
                .bind(page.organisation.0)
                .bind(filter.source.as_deref())
                .bind(filter.key)
                .bind(lower)
                .bind(upper)
                .bind(page.limit)
                .bind(page.offset)
                .bind(filter.environment.map(|id| id.0))
                .fetch_all(connection)
                .await?
        }))
    }

    /// Returns the first sources of an environment, by name.
    pub(crate) async fn sources(&self, environment: EnvironmentId, limit: i64) -> Result<Vec<String>, StoreError> {
        Ok(reading!(self, connection => {
            sqlx::query_scalar(sql!("source_names")).bind(environment.0).bind(limit).fetch_all(connection).await?
        }))
    }

    /// Returns an event of an organisation, with its body.
    pub(crate) async fn event(
        &self,
        organisation: OrganisationId,
        uuid: Uuid,
    ) -> Result<Option<StoredEvent>, StoreError> {
        Ok(reading!(self, connection => {
            let head: Option<EventHead> = sqlx::query_as(sql!("event_head"))
                .bind(organisation.0)
                .bind(uuid)
                .fetch_optional(&mut *connection)
                .await?;
            let body: Option<Vec<u8>> = sqlx::query_scalar(sql!("event_body"))
                .bind(organisation.0)
                .bind(uuid)
                .fetch_optional(connection)
                .await?;
            head.zip(body).map(|(head, body)| StoredEvent { head, body })
        }))
    }

    /// Returns the retention of an environment's events.
    pub(crate) async fn retention(&self, environment: EnvironmentId) -> Result<Option<Retention>, StoreError> {
        Ok(reading!(self, connection => {
            sqlx::query_as(sql!("retention")).bind(environment.0).fetch_optional(connection).await?
        }))
    }

    /// Replaces the retention of an environment, if it still equals `stored`; returns whether it did.
    pub(crate) async fn replace_retention(
        &self,
        environment: EnvironmentId,
        stored: Retention,
        new: Retention,
        entry: AuditEntry,
    ) -> Result<bool, StoreError> {
        Ok(writing!(self, tx => {
            let replaced = sqlx::query(sql!("retention_replace"))
                .bind(environment.0)
                .bind(stored.event_days)
                .bind(stored.event_limit)
                .bind(new.event_days)
                .bind(new.event_limit)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if replaced == 1 {
                write_audit!(self, tx, &[entry]);
            }
            replaced == 1
        }))
    }

    /// Deletes events beyond the retention of their environment, and the oldest events of environments with more than
    /// `max_bytes` of events. One transaction deletes a limited number. Returns the number of deleted events.
    pub(crate) async fn delete_old_events(&self, now: Timestamp, max_bytes: i64) -> Result<u64, StoreError> {
        const DAY: i64 = 24 * 3600 * 1000;
        let environments: Vec<EnvironmentRow> = reading!(self, connection => {
            sqlx::query_as(sql!("retention_all")).fetch_all(connection).await?
        });
        let mut removed = 0;
        for environment in environments {
            let mut bound = first_of(now.plus(-environment.event_days.saturating_mul(DAY)));
            if environment.event_count > environment.event_limit {
                let over: Option<Uuid> = match environment.event_limit {
                    ..=0 => Some(Uuid::max()),
                    limit => reading!(self, connection => {
                        sqlx::query_scalar(sql!("event_at"))
                            .bind(environment.organisation_id)
                            .bind(environment.id)
                            .bind(limit - 1)
                            .fetch_optional(connection)
                            .await?
                    }),
                };
                bound = bound.max(over.unwrap_or_default());
            }
            if environment.event_bytes > max_bytes {
                let oldest: Option<Uuid> = reading!(self, connection => {
                    sqlx::query_scalar(sql!("event_at_bytes"))
                        .bind(environment.organisation_id)
                        .bind(environment.id)
                        .bind(max_bytes)
                        .fetch_optional(connection)
                        .await?
                });
                // `None`: the newest event alone is too large.
                bound = bound.max(oldest.unwrap_or(Uuid::max()));
            }
            // Only sources with events to delete get a transaction.
            let sources: Vec<i64> = reading!(self, connection => {
                sqlx::query_scalar(sql!("sources_with_events_before"))
                    .bind(environment.id)
                    .bind(bound)
                    .fetch_all(connection)
                    .await?
            });
            for source in sources {
                removed += self.delete_events_before(source, bound).await?;
                self.delete_idempotency_keys_before(source, bound).await?;
            }
        }
        Ok(removed)
    }

    /// Deletes idempotency keys after their window, a limited number in one transaction.
    pub(crate) async fn delete_old_idempotency_keys(&self, now: Timestamp) -> Result<(), StoreError> {
        loop {
            let gone = writing!(self, tx => {
                sqlx::query(sql!(self, "idempotency_keys_delete_old"))
                    .bind(now.0 - IDEMPOTENCY_WINDOW)
                    .bind(DELETE_BATCH)
                    .execute(&mut *tx)
                    .await?
                    .rows_affected()
            });
            if gone < DELETE_BATCH.unsigned_abs() {
                return Ok(());
            }
        }
    }

    /// Deletes idempotency keys of one source that belong to deleted events, which are the events before the moment in
    /// `bound`. So an environment never has more idempotency keys than it may have events.
    async fn delete_idempotency_keys_before(&self, source: i64, bound: Uuid) -> Result<(), StoreError> {
        let moment = i64::try_from(bound.as_u128() >> 80).unwrap_or(i64::MAX);
        loop {
            let gone = writing!(self, tx => {
                sqlx::query(sql!(self, "idempotency_keys_delete_of_source"))
                    .bind(source)
                    .bind(moment)
                    .bind(DELETE_BATCH)
                    .execute(&mut *tx)
                    .await?
                    .rows_affected()
            });
            if gone < DELETE_BATCH.unsigned_abs() {
                return Ok(());
            }
        }
    }

    /// Returns the existing ones of these sources, and the number of sources of each of their environments.
    pub(crate) async fn known_sources(&self, sources: &[(EnvironmentId, String)]) -> Result<KnownSources, StoreError> {
        let places: Vec<(i64, &str)> =
            sources.iter().map(|(environment, name)| (environment.0, name.as_str())).collect();
        let places = serde_json::json!(places).to_string();
        let (known, counts) = reading!(self, connection => {
            let known: Vec<(i64, String)> =
                sqlx::query_as(sql!(self, "sources_known")).bind(&places).fetch_all(&mut *connection).await?;
            let counts: Vec<(i64, i64)> =
                sqlx::query_as(sql!(self, "sources_counted")).bind(&places).fetch_all(connection).await?;
            (known, counts)
        });
        let known = known.into_iter().map(|(environment, name)| (EnvironmentId(environment), name)).collect();
        Ok((known, counts.into_iter().map(|(environment, count)| (EnvironmentId(environment), count)).collect()))
    }

    /// Deletes events of one source. A transaction that locked several sources could deadlock with a batch of new
    /// events.
    async fn delete_events_before(&self, source: i64, bound: Uuid) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let gone: i64 = writing!(self, tx => {
                let sizes: Vec<i64> = sqlx::query_scalar(sql!("events_delete"))
                    .bind(source)
                    .bind(bound)
                    .bind(DELETE_BATCH)
                    .fetch_all(&mut *tx)
                    .await?;
                let gone = i64::try_from(sizes.len()).unwrap_or(i64::MAX);
                let bytes: i64 = sizes.iter().sum();
                sqlx::query(sql!("source_count")).bind(source).bind(-gone).bind(-bytes).execute(&mut *tx).await?;
                gone
            });
            removed += gone.unsigned_abs();
            if gone < DELETE_BATCH {
                return Ok(removed);
            }
        }
    }
}
