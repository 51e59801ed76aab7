//! Events that are there: read by page, let go when their time is over.

use std::collections::HashMap;

use uuid::Uuid;

use super::audit::write_audit;
use super::db::{Db, StoreError, reading, sql, writing};
use crate::domain::AuditEntry;
use crate::model::{EnvironmentId, OrganisationId, Timestamp};

/// A request's repetition is recognised for so long: 24 hours, in milliseconds.
pub(super) const IDEMPOTENCY_WINDOW: i64 = 24 * 3600 * 1000;
/// How many events or idempotency keys one transaction removes at the most, so that others get their turn.
const REMOVED_AT_ONCE: i64 = 1000;

/// An event without its body.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct EventHead {
    /// Its id.
    pub uuid: Uuid,
    /// What sent it.
    pub source: String,
    /// Where it belongs.
    pub environment_id: i64,
    /// The key that let it in.
    pub key_id: i64,
    /// HookSentry's id of that key.
    pub key_uuid: Uuid,
    /// That key's label.
    pub key_name: String,
    /// The first characters of its string.
    pub key_prefix: String,
    /// When, milliseconds since 1970.
    pub received_at: i64,
    /// How long its body is, in bytes.
    pub size: i64,
}

/// An event with its body.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// All but the body.
    pub head: EventHead,
    /// JSON, as it came.
    pub body: Vec<u8>,
}

/// Which events.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only from this source.
    pub source: Option<String>,
    /// Only those that this key let in.
    pub key: Option<Uuid>,
    /// Only from this moment on.
    pub since: Option<Timestamp>,
    /// Only before this moment.
    pub until: Option<Timestamp>,
}

/// Which page of them.
#[derive(Debug, Clone)]
pub struct EventPage {
    /// Whose.
    pub organisation: OrganisationId,
    /// Which of them.
    pub filter: EventFilter,
    /// Newest first.
    pub descending: bool,
    /// How many before the page.
    pub offset: i64,
    /// How many on it.
    pub limit: i64,
}

/// How long an environment's events are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Retention {
    /// So many days.
    pub event_days: i64,
    /// And at most so many of them.
    pub event_limit: i64,
}

#[derive(sqlx::FromRow)]
struct Kept {
    id: i64,
    organisation_id: i64,
    event_days: i64,
    event_limit: i64,
    event_count: i64,
    event_bytes: i64,
}

/// The smallest id that an event of this moment can have.
fn first_of(at: Timestamp) -> Uuid {
    let milliseconds = u64::try_from(at.0).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &[0; 10]).into_uuid()
}

impl EventFilter {
    /// The ids that its times leave: from the first one on, before the second.
    fn bounds(&self) -> (Uuid, Uuid) {
        (self.since.map_or(Uuid::nil(), first_of), self.until.map_or(Uuid::max(), first_of))
    }
}

/// Sources that are there, and how many each environment has.
pub(crate) type KnownSources = (Vec<(EnvironmentId, String)>, HashMap<EnvironmentId, i64>);

impl Db {
    /// How many events there are with that filter, and those on the page.
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
                    .fetch_one(connection)
                    .await?
            } else {
                sqlx::query_scalar(sql!("events_count"))
                    .bind(page.organisation.0)
                    .bind(filter.source.as_deref())
                    .fetch_one(connection)
                    .await?
            }
        });
        Ok((total, self.event_heads(page).await?))
    }

    /// The events on a page.
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
                .fetch_all(connection)
                .await?
        }))
    }

    /// The first sources of an environment, by name.
    pub(crate) async fn sources(&self, environment: EnvironmentId, limit: i64) -> Result<Vec<String>, StoreError> {
        Ok(reading!(self, connection => {
            sqlx::query_scalar(sql!("source_names")).bind(environment.0).bind(limit).fetch_all(connection).await?
        }))
    }

    /// One event of an organisation, with its body.
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

    /// How long an environment's events are kept.
    pub(crate) async fn retention(&self, environment: EnvironmentId) -> Result<Option<Retention>, StoreError> {
        Ok(reading!(self, connection => {
            sqlx::query_as(sql!("retention")).bind(environment.0).fetch_optional(connection).await?
        }))
    }

    /// Replaces how long an environment's events are kept, if it is `stored` still; whether it was.
    pub(crate) async fn replace_retention(
        &self,
        environment: EnvironmentId,
        stored: Retention,
        kept: Retention,
        entry: AuditEntry,
    ) -> Result<bool, StoreError> {
        Ok(writing!(self, tx => {
            let replaced = sqlx::query(sql!("retention_replace"))
                .bind(environment.0)
                .bind(stored.event_days)
                .bind(stored.event_limit)
                .bind(kept.event_days)
                .bind(kept.event_limit)
                .execute(&mut *tx)
                .await?
                .rows_affected();
            if replaced == 1 {
                write_audit!(self, tx, &[entry]);
            }
            replaced == 1
        }))
    }

    /// Removes events whose time is over, and the oldest ones of environments that have more than they may, in number or
    /// in bytes; a bounded number a transaction. How many.
    pub(crate) async fn delete_old_events(&self, now: Timestamp, max_bytes: i64) -> Result<u64, StoreError> {
        const DAY: i64 = 24 * 3600 * 1000;
        let environments: Vec<Kept> = reading!(self, connection => {
            sqlx::query_as(sql!("retention_all")).fetch_all(connection).await?
        });
        let mut removed = 0;
        for kept in environments {
            let mut bound = first_of(now.plus(-kept.event_days.saturating_mul(DAY)));
            if kept.event_count > kept.event_limit {
                let over: Option<Uuid> = match kept.event_limit {
                    ..=0 => Some(Uuid::max()),
                    limit => reading!(self, connection => {
                        sqlx::query_scalar(sql!("event_at"))
                            .bind(kept.organisation_id)
                            .bind(kept.id)
                            .bind(limit - 1)
                            .fetch_optional(connection)
                            .await?
                    }),
                };
                bound = bound.max(over.unwrap_or_default());
            }
            if kept.event_bytes > max_bytes {
                let oldest: Option<Uuid> = reading!(self, connection => {
                    sqlx::query_scalar(sql!("event_at_bytes"))
                        .bind(kept.organisation_id)
                        .bind(kept.id)
                        .bind(max_bytes)
                        .fetch_optional(connection)
                        .await?
                });
                // Without one, the newest is too large by itself.
                bound = bound.max(oldest.unwrap_or(Uuid::max()));
            }
            // A source without anything to delete gets no transaction.
            let sources: Vec<i64> = reading!(self, connection => {
                sqlx::query_scalar(sql!("sources_with_events_before"))
                    .bind(kept.id)
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

    /// Removes idempotency keys whose window is over; a bounded number a transaction.
    pub(crate) async fn delete_old_idempotency_keys(&self, now: Timestamp) -> Result<(), StoreError> {
        loop {
            let gone = writing!(self, tx => {
                sqlx::query(sql!(self, "idempotency_keys_delete_old"))
                    .bind(now.0 - IDEMPOTENCY_WINDOW)
                    .bind(REMOVED_AT_ONCE)
                    .execute(&mut *tx)
                    .await?
                    .rows_affected()
            });
            if gone < REMOVED_AT_ONCE.unsigned_abs() {
                return Ok(());
            }
        }
    }

    /// Removes idempotency keys of one source whose events are gone: those of events that came before the moment in
    /// `bound`. So there are never more than an environment may have events.
    async fn delete_idempotency_keys_before(&self, source: i64, bound: Uuid) -> Result<(), StoreError> {
        let moment = i64::try_from(bound.as_u128() >> 80).unwrap_or(i64::MAX);
        loop {
            let gone = writing!(self, tx => {
                sqlx::query(sql!(self, "idempotency_keys_delete_of_source"))
                    .bind(source)
                    .bind(moment)
                    .bind(REMOVED_AT_ONCE)
                    .execute(&mut *tx)
                    .await?
                    .rows_affected()
            });
            if gone < REMOVED_AT_ONCE.unsigned_abs() {
                return Ok(());
            }
        }
    }

    /// Which of these sources are there, and how many sources each of their environments has.
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

    /// Removes events of one source; a transaction that locked several could meet the inbox's.
    async fn delete_events_before(&self, source: i64, bound: Uuid) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let gone: i64 = writing!(self, tx => {
                let sizes: Vec<i64> = sqlx::query_scalar(sql!("events_delete"))
                    .bind(source)
                    .bind(bound)
                    .bind(REMOVED_AT_ONCE)
                    .fetch_all(&mut *tx)
                    .await?;
                let gone = i64::try_from(sizes.len()).unwrap_or(i64::MAX);
                let bytes: i64 = sizes.iter().sum();
                sqlx::query(sql!("source_count")).bind(source).bind(-gone).bind(-bytes).execute(&mut *tx).await?;
                gone
            });
            removed += gone.unsigned_abs();
            if gone < REMOVED_AT_ONCE {
                return Ok(removed);
            }
        }
    }
}
