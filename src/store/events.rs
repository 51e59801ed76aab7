//! Events: taken in many at a time, read by page, let go when their time is over.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use quick_cache::Equivalent;
use serde::Serialize;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite};
use uuid::Uuid;

use super::db::{Db, StoreError, reading, sql, writing};
use super::few::Few;
use crate::model::{EnvironmentId, KeyId, OrganisationId, Timestamp};

/// A request's repetition is recognised for so long: 24 hours, in milliseconds.
const IDEMPOTENCY_WINDOW: i64 = 24 * 3600 * 1000;
/// How many events one transaction removes at the most, so that others get their turn.
const REMOVED_AT_ONCE: i64 = 1000;

/// An event to be stored.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Version 7.
    pub uuid: Uuid,
    /// Whose.
    pub organisation: OrganisationId,
    /// Where it belongs: the key's environment.
    pub environment: EnvironmentId,
    /// What sent it.
    pub source: String,
    /// The key that let it in.
    pub key: KeyId,
    /// What its sender recognises it by.
    pub idempotency_key: Option<String>,
    /// JSON, as it came.
    pub body: bytes::Bytes,
    /// When.
    pub received_at: Timestamp,
}

/// What is answered for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Its id: for a repetition that of the first.
    pub uuid: Uuid,
    /// When it (for a repetition: the first) came.
    pub accepted_at: Timestamp,
    /// Whether it came before.
    pub repeated: bool,
}

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
}

/// The smallest id that an event of this moment can have.
fn first_of(at: Timestamp) -> Uuid {
    let milliseconds = u64::try_from(at.0).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &[0; 10]).into_uuid()
}

impl NewEvent {
    fn place(&self) -> Place<'_> {
        Place(self.environment.0, &self.source)
    }

    /// What is answered if it did not come before.
    fn taken(&self) -> Taken {
        Taken { uuid: self.uuid, accepted_at: self.received_at, repeated: false }
    }
}

/// Counts the events of sources that are there. $3: JSON, an array a source: its id, how many events.
macro_rules! count_on_sqlite {
    ($counts:literal) => {
        concat!(
            "UPDATE sources SET event_count = event_count + counted.events \
             FROM (SELECT value ->> 0 AS source, value ->> 1 AS events FROM json_each(",
            $counts,
            ")) AS counted WHERE id = counted.source;"
        )
    };
}
const ON_SQLITE: &str = concat!(count_on_sqlite!("$3"), include_str!("sql/events_insert.sqlite.sql"));
/// The same, as a transaction of its own.
const TRANSACTION_ON_SQLITE: &str =
    concat!("BEGIN IMMEDIATE;", count_on_sqlite!("$3"), include_str!("sql/events_insert.sqlite.sql"), ";COMMIT");

/// The same for few events, with the parameters of [`of_few`].
static FEW_ON_SQLITE: LazyLock<Few> = LazyLock::new(|| {
    let before = concat!(
        "BEGIN IMMEDIATE;",
        count_on_sqlite!("?"),
        "INSERT INTO events (uuid, organisation_id, source_id, key_id, received_at, body) VALUES "
    );
    Few::new(before, "(?,?,?,?,?,?)", ";COMMIT")
});

/// The ids of the events' sources, which are made where they are not there. Changes nothing of those that are, but
/// locks them: in one order everywhere, as two transactions must not wait for each other.
macro_rules! find_sources {
    ($events:expr, $new_ids:expr, $tx:ident) => {{
        let events: &[NewEvent] = $events;
        let places: BTreeMap<Place, (&NewEvent, &i64)> =
            events.iter().zip($new_ids).map(|(event, new_id)| (event.place(), (event, new_id))).collect();
        let mut ids: BTreeMap<Place, i64> = BTreeMap::new();
        for (place, (event, new_id)) in places {
            let id = sqlx::query_scalar(sql!("source_find_or_insert"))
                .bind(new_id)
                .bind(place.0)
                .bind(place.1)
                .bind(event.received_at.0)
                .fetch_one(&mut *$tx)
                .await?;
            ids.insert(place, id);
        }
        let found: Option<Vec<i64>> = events.iter().map(|event| ids.get(&event.place()).copied()).collect();
        found.ok_or(sqlx::Error::RowNotFound)?
    }};
}

/// The environment and the name of a source; an array in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
struct Place<'a>(i64, &'a str);

impl Equivalent<(i64, String)> for Place<'_> {
    fn equivalent(&self, known: &(i64, String)) -> bool {
        *self == Place(known.0, &known.1)
    }
}

/// Events as `events_insert` reads them, whose text is the same for any number of them: so it stays prepared. Heads, and
/// the bodies one after the other. A source is an id on SQLite, and its place on PostgreSQL.
fn written<'a, Source: Serialize>(
    events: impl Iterator<Item = (&'a NewEvent, Source)>,
) -> sqlx::Result<(String, Vec<u8>)> {
    let (mut heads, mut bodies) = (Vec::new(), Vec::new());
    for (event, source) in events {
        heads.push((
            event.uuid.simple(),
            event.organisation.0,
            source,
            event.key.0,
            event.received_at.0,
            bodies.len() + 1,
            event.body.len(),
        ));
        bodies.extend_from_slice(&event.body);
    }
    Ok((json(&heads)?, bodies))
}

/// How many events each source gets: JSON.
fn counts(sources: impl Iterator<Item = i64>) -> sqlx::Result<String> {
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    sources.for_each(|source| *counts.entry(source).or_default() += 1);
    json(&counts.into_iter().collect::<Vec<_>>())
}

/// The sources of the events, each with an id for a new one, its place, a moment, and how many events it gets: JSON.
/// In one order everywhere, as each is locked: two transactions must not wait for each other.
fn sources<'a>(events: impl Iterator<Item = (&'a NewEvent, i64)>) -> sqlx::Result<String> {
    let mut sources: BTreeMap<Place, (i64, i64, i64)> = BTreeMap::new();
    for (event, new_id) in events {
        sources.entry(event.place()).or_insert((new_id, event.received_at.0, 0)).2 += 1;
    }
    let each =
        sources.into_iter().map(|(Place(environment, name), (id, at, events))| (id, environment, name, at, events));
    json(&each.collect::<Vec<_>>())
}

fn json(rows: &impl Serialize) -> sqlx::Result<String> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// The statement for so many events, with its parameters.
fn of_few<'q>(
    statement: Arc<str>,
    events: &'q [NewEvent],
    sources: &[i64],
) -> sqlx::Result<Query<'q, Sqlite, SqliteArguments>> {
    // Nothing in its text is anybody's input.
    let query = sqlx::query(AssertSqlSafe(statement)).bind(counts(sources.iter().copied())?);
    Ok(events.iter().zip(sources).fold(query, |query, (event, source)| {
        query
            .bind(event.uuid)
            .bind(event.organisation.0)
            .bind(*source)
            .bind(event.key.0)
            .bind(event.received_at.0)
            .bind(&event.body[..])
    }))
}

impl EventFilter {
    /// The ids that its times leave: from the first one on, before the second.
    fn bounds(&self) -> (Uuid, Uuid) {
        (self.since.map_or(Uuid::nil(), first_of), self.until.map_or(Uuid::max(), first_of))
    }
}

impl Db {
    /// Stores events in one transaction: when this returns, all of them are on disk. Repetitions are
    /// answered with the first one's id.
    pub(crate) async fn insert_events(&self, events: &[NewEvent], new_ids: &[i64]) -> Result<Vec<Taken>, StoreError> {
        if events.iter().any(|event| event.idempotency_key.is_some()) {
            return self.insert_in_steps(events, new_ids).await;
        }
        // One trip to the database, which makes a transaction of it.
        match self {
            Self::Sqlite(file) => {
                // No source is ever deleted, so those that were used lately are known.
                let known: Option<Vec<i64>> = events.iter().map(|event| file.sources.get(&event.place())).collect();
                let Some(sources) = known else { return self.insert_in_steps(events, new_ids).await };
                let few = FEW_ON_SQLITE.of(events.len()).map(|statement| of_few(statement, events, &sources));
                let query = few.unwrap_or_else(|| {
                    let (heads, bodies) = written(events.iter().zip(sources.iter().copied()))?;
                    let counts = counts(sources.iter().copied())?;
                    Ok(sqlx::query(TRANSACTION_ON_SQLITE).bind(heads).bind(bodies).bind(counts))
                })?;
                let mut lent = file.writer.lend().await?;
                if let Err(error) = query.execute(lent.connection()?).await {
                    // Fails where SQLite itself has rolled back already.
                    let _ = sqlx::query("ROLLBACK").execute(lent.connection()?).await;
                    return Err(error.into());
                }
                lent.done_quietly();
            }
            Self::Postgres(connections) => {
                let (heads, bodies) = written(events.iter().map(|event| (event, event.place())))?;
                let sources = sources(events.iter().zip(new_ids.iter().copied()))?;
                let query = sqlx::query(sql!(self, "events_insert")).bind(heads).bind(bodies).bind(sources);
                let mut lent = connections.lend().await?;
                query.execute(lent.connection()?).await?;
                lent.done();
            }
        }
        Ok(events.iter().map(NewEvent::taken).collect())
    }

    /// The same, where some of them may have come before, or a source is new.
    async fn insert_in_steps(&self, events: &[NewEvent], new_ids: &[i64]) -> Result<Vec<Taken>, StoreError> {
        let mut taken: Vec<Taken> = events.iter().map(NewEvent::taken).collect();
        let found = writing!(self, tx => {
            let found = find_sources!(events, new_ids, tx);
            let mut fresh = Vec::new();
            for ((event, source), taken) in events.iter().zip(found.iter().copied()).zip(&mut taken) {
                if let Some(text) = &event.idempotency_key {
                    let claimed = sqlx::query(sql!("idempotency_key_claim"))
                        .bind(source)
                        .bind(text)
                        .bind(event.uuid)
                        .bind(event.received_at.0)
                        .bind(event.received_at.0 - IDEMPOTENCY_WINDOW)
                        .execute(&mut *tx)
                        .await?;
                    if claimed.rows_affected() == 0 {
                        let (uuid, at): (Uuid, i64) = sqlx::query_as(sql!("idempotency_key_find"))
                            .bind(source)
                            .bind(text)
                            .fetch_one(&mut *tx)
                            .await?;
                        *taken = Taken { uuid, accepted_at: Timestamp(at), repeated: true };
                        continue;
                    }
                }
                fresh.push((event, source));
            }
            let fresh = fresh.into_iter();
            let (insert, (heads, bodies), sources) = match self {
                Self::Sqlite(..) => (ON_SQLITE, written(fresh.clone())?, counts(fresh.map(|(_, source)| source))?),
                Self::Postgres(..) => {
                    let by_place = fresh.clone().map(|(event, _)| (event, event.place()));
                    (sql!(self, "events_insert"), written(by_place)?, sources(fresh)?)
                }
            };
            sqlx::query(insert).bind(heads).bind(bodies).bind(sources).execute(&mut *tx).await?;
            found
        });
        if let Self::Sqlite(file) = self {
            for (event, source) in events.iter().zip(found) {
                file.sources.insert((event.environment.0, event.source.clone()), source);
            }
        }
        Ok(taken)
    }

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

    /// Sets how long an environment's events are kept.
    pub(crate) async fn set_retention(&self, environment: EnvironmentId, kept: Retention) -> Result<(), StoreError> {
        writing!(self, tx => {
            sqlx::query(sql!("retention_set"))
                .bind(environment.0)
                .bind(kept.event_days)
                .bind(kept.event_limit)
                .execute(&mut *tx)
                .await?;
        });
        Ok(())
    }

    /// Removes events whose time is over, a bounded number a transaction; how many.
    pub(crate) async fn delete_old_events(&self, now: Timestamp) -> Result<u64, StoreError> {
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
            let sources: Vec<i64> = reading!(self, connection => {
                sqlx::query_scalar(sql!("sources_of_environment")).bind(kept.id).fetch_all(connection).await?
            });
            for source in sources {
                removed += self.delete_events_before(source, bound).await?;
            }
        }
        writing!(self, tx => {
            sqlx::query(sql!("idempotency_keys_delete_old")).bind(now.0 - IDEMPOTENCY_WINDOW).execute(&mut *tx).await?;
        });
        Ok(removed)
    }

    /// Removes events of one source; a transaction that locked several could meet the inbox's.
    async fn delete_events_before(&self, source: i64, bound: Uuid) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let gone: i64 = writing!(self, tx => {
                let gone = sqlx::query(sql!("events_delete"))
                    .bind(source)
                    .bind(bound)
                    .bind(REMOVED_AT_ONCE)
                    .execute(&mut *tx)
                    .await?
                    .rows_affected();
                let gone = i64::try_from(gone).unwrap_or(i64::MAX);
                sqlx::query(sql!("source_count")).bind(source).bind(-gone).execute(&mut *tx).await?;
                gone
            });
            removed += gone.unsigned_abs();
            if gone < REMOVED_AT_ONCE {
                return Ok(removed);
            }
        }
    }
}
