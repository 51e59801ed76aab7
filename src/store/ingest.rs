//! Stores new events, many in one transaction.

use std::collections::{BTreeMap, HashMap, HashSet};

use quick_cache::Equivalent;
use serde::Serialize;
use uuid::Uuid;
use uuid::fmt::Simple;

use super::db::{Db, StoreError, sql, writing};
use super::events::IDEMPOTENCY_WINDOW;
use crate::model::{EnvironmentId, KeyId, OrganisationId, Timestamp};

/// A new event.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The id, a version 7 UUID.
    pub uuid: Uuid,
    /// The organisation that owns the event.
    pub organisation: OrganisationId,
    /// The environment of the event, which is that of the key.
    pub environment: EnvironmentId,
    /// The name of the source.
    pub source: String,
    /// The key that the event was sent with.
    pub key: KeyId,
    /// The idempotency key that the sender chose.
    pub idempotency_key: Option<String>,
    /// The body: JSON, unchanged.
    pub body: bytes::Bytes,
    /// The moment of arrival.
    pub received_at: Timestamp,
}

/// The receipt of an event, for the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The id of the event; for a repetition, of the first event.
    pub uuid: Uuid,
    /// The moment of arrival; for a repetition, of the first event.
    pub accepted_at: Timestamp,
    /// Whether the event is a repetition.
    pub repeated: bool,
}

impl NewEvent {
    fn place(&self) -> SourceRef<'_> {
        SourceRef(self.environment.0, &self.source)
    }

    /// Returns the length of the body in bytes.
    fn size(&self) -> i64 {
        i64::try_from(self.body.len()).unwrap_or(i64::MAX)
    }

    /// Returns the receipt of an event that is not a repetition.
    fn taken(&self) -> Taken {
        Taken { uuid: self.uuid, accepted_at: self.received_at, repeated: false }
    }
}

/// Counts the events of existing sources, and inserts them. $1 and $2: the result of [`encode_events`]; $3: the result
/// of [`counts`].
macro_rules! insert_on_sqlite {
    () => {
        concat!(
            "UPDATE sources SET event_count = event_count + counted.events, event_bytes = event_bytes + counted.bytes \
             FROM (SELECT value ->> 0 AS source, value ->> 1 AS events, value ->> 2 AS bytes FROM json_each($3)) AS counted \
             WHERE id = counted.source;",
            include_str!("sql/events_insert.sqlite.sql")
        )
    };
}
const INSERT_ON_SQLITE: &str = insert_on_sqlite!();
/// [`INSERT_ON_SQLITE`] as a whole transaction.
const TRANSACTION_ON_SQLITE: &str = concat!("BEGIN IMMEDIATE;", insert_on_sqlite!(), ";COMMIT");

/// The environment and the name of a source; an array in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
struct SourceRef<'a>(i64, &'a str);

impl Equivalent<(i64, String)> for SourceRef<'_> {
    fn equivalent(&self, known: &(i64, String)) -> bool {
        *self == SourceRef(known.0, &known.1)
    }
}

/// Encodes events for `events_insert`: the heads as JSON, and the bodies one after the other. The text of the statement
/// does not depend on the number of events, so it stays prepared. A source is an id on SQLite, and a [`SourceRef`] on
/// PostgreSQL.
fn encode_events<'a, Source: Serialize>(
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

/// Returns the number and the bytes of the new events of each source, as JSON.
fn counts<'a>(events: impl Iterator<Item = (&'a NewEvent, i64)>) -> sqlx::Result<String> {
    let mut counts: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for (event, source) in events {
        let (events, bytes) = counts.entry(source).or_default();
        (*events, *bytes) = (*events + 1, *bytes + event.size());
    }
    json(&counts.into_iter().map(|(source, (events, bytes))| (source, events, bytes)).collect::<Vec<_>>())
}

/// Returns the sources of the events, each with an id in case it is new, its place, a moment, and the number and bytes
/// of its events, as JSON. The sources are sorted, because each is locked: two transactions must not deadlock.
fn sources<'a>(events: impl Iterator<Item = (&'a NewEvent, i64)>) -> sqlx::Result<String> {
    let mut sources: BTreeMap<SourceRef, (i64, i64, i64, i64)> = BTreeMap::new();
    for (event, new_id) in events {
        let source = sources.entry(event.place()).or_insert((new_id, event.received_at.0, 0, 0));
        (source.2, source.3) = (source.2 + 1, source.3 + event.size());
    }
    let each = sources
        .into_iter()
        .map(|(SourceRef(environment, name), (id, at, events, bytes))| (id, environment, name, at, events, bytes));
    json(&each.collect::<Vec<_>>())
}

/// Returns the idempotency keys of the events for `idempotency_keys_claim`, each with the id of its source, the first
/// event with it, and a moment. A key appears once, because a statement can change a row only once.
fn claims<'a>(events: &'a [NewEvent], sources: &[i64]) -> Vec<(i64, &'a str, Simple, i64)> {
    let mut seen = HashSet::new();
    let keys = events.iter().zip(sources).filter_map(|(event, source)| {
        let text = event.idempotency_key.as_deref()?;
        seen.insert((*source, text)).then(|| (*source, text, event.uuid.simple(), event.received_at.0))
    });
    keys.collect()
}

fn json(rows: &impl Serialize) -> sqlx::Result<String> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(error.into()))
}

impl Db {
    /// Stores events in one transaction: after the return, all of them are on disk. A repetition gets the id of the
    /// first event.
    pub(crate) async fn insert_events(&self, events: &[NewEvent], new_ids: &[i64]) -> Result<Vec<Taken>, StoreError> {
        if events.iter().any(|event| event.idempotency_key.is_some()) {
            return self.insert_in_steps(events, new_ids).await;
        }
        // One round trip to the database, which runs it as one transaction.
        match self {
            Self::Sqlite(file) => {
                // Sources are never deleted, so a cached id stays valid.
                let known: Option<Vec<i64>> = events.iter().map(|event| file.sources.get(&event.place())).collect();
                let Some(sources) = known else { return self.insert_in_steps(events, new_ids).await };
                let (heads, bodies) = encode_events(events.iter().zip(sources.iter().copied()))?;
                let counts = counts(events.iter().zip(sources))?;
                let query = sqlx::query(TRANSACTION_ON_SQLITE).bind(heads).bind(bodies).bind(counts);
                let mut pooled = file.writer.acquire().await?;
                if let Err(error) = query.execute(pooled.connection()?).await {
                    // Fails when SQLite itself has rolled back already.
                    let _ = sqlx::query("ROLLBACK").execute(pooled.connection()?).await;
                    return Err(error.into());
                }
                pooled.release();
            }
            Self::Postgres(connections) => {
                let (heads, bodies) = encode_events(events.iter().map(|event| (event, event.place())))?;
                let sources = sources(events.iter().zip(new_ids.iter().copied()))?;
                let query = sqlx::query(sql!(self, "events_insert")).bind(heads).bind(bodies).bind(sources);
                let mut pooled = connections.acquire().await?;
                query.execute(pooled.connection()?).await?;
                pooled.release();
            }
        }
        Ok(events.iter().map(NewEvent::taken).collect())
    }

    /// Stores events of which some may be repetitions, or have a new source.
    async fn insert_in_steps(&self, events: &[NewEvent], new_ids: &[i64]) -> Result<Vec<Taken>, StoreError> {
        let mut taken: Vec<Taken> = events.iter().map(NewEvent::taken).collect();
        let found: Vec<(i64, String, i64)> = writing!(self, tx => {
            let places = sources(events.iter().zip(new_ids.iter().copied()))?;
            let found: Vec<(i64, String, i64)> =
                sqlx::query_as(sql!(self, "sources_find")).bind(places).fetch_all(&mut *tx).await?;
            let ids: HashMap<SourceRef, i64> =
                found.iter().map(|(environment, name, id)| (SourceRef(*environment, name), *id)).collect();
            let ids: Option<Vec<i64>> = events.iter().map(|event| ids.get(&event.place()).copied()).collect();
            let ids = ids.ok_or(sqlx::Error::RowNotFound)?;
            let claims = claims(events, &ids);
            if !claims.is_empty() {
                let held: Vec<(i64, String, Uuid, i64)> = sqlx::query_as(sql!(self, "idempotency_keys_claim"))
                    .bind(json(&claims)?)
                    .bind(IDEMPOTENCY_WINDOW)
                    .fetch_all(&mut *tx)
                    .await?;
                let held: HashMap<(i64, &str), (Uuid, i64)> =
                    held.iter().map(|(source, text, uuid, at)| ((*source, text.as_str()), (*uuid, *at))).collect();
                for ((event, source), taken) in events.iter().zip(&ids).zip(&mut taken) {
                    if let Some(text) = &event.idempotency_key {
                        let (uuid, at) = *held.get(&(*source, text.as_str())).ok_or(sqlx::Error::RowNotFound)?;
                        *taken = Taken { uuid, accepted_at: Timestamp(at), repeated: uuid != event.uuid };
                    }
                }
            }
            let fresh = events.iter().zip(ids).zip(&taken).filter_map(|(event, taken)| (!taken.repeated).then_some(event));
            let (insert, (heads, bodies), sources) = match self {
                Self::Sqlite(..) => (INSERT_ON_SQLITE, encode_events(fresh.clone())?, counts(fresh)?),
                Self::Postgres(..) => {
                    let by_place = fresh.clone().map(|(event, _)| (event, event.place()));
                    (sql!(self, "events_insert"), encode_events(by_place)?, sources(fresh)?)
                }
            };
            sqlx::query(insert).bind(heads).bind(bodies).bind(sources).execute(&mut *tx).await?;
            found
        });
        if let Self::Sqlite(file) = self {
            for (environment, name, id) in found {
                file.sources.insert((environment, name), id);
            }
        }
        Ok(taken)
    }
}
