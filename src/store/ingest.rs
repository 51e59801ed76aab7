//! Events on their way in: many at a time, in one transaction.

use std::collections::{BTreeMap, HashMap, HashSet};

use quick_cache::Equivalent;
use serde::Serialize;
use uuid::Uuid;
use uuid::fmt::Simple;

use super::db::{Db, StoreError, sql, writing};
use super::events::IDEMPOTENCY_WINDOW;
use crate::model::{EnvironmentId, KeyId, OrganisationId, Timestamp};

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

impl NewEvent {
    fn place(&self) -> Place<'_> {
        Place(self.environment.0, &self.source)
    }

    /// How long its body is, in bytes.
    fn size(&self) -> i64 {
        i64::try_from(self.body.len()).unwrap_or(i64::MAX)
    }

    /// What is answered if it did not come before.
    fn taken(&self) -> Taken {
        Taken { uuid: self.uuid, accepted_at: self.received_at, repeated: false }
    }
}

/// Counts the events of sources that are there, and inserts them. $1 and $2: what [`written`] returns; $3: what [`counts`] does.
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
/// The same, as a transaction of its own.
const TRANSACTION_ON_SQLITE: &str = concat!("BEGIN IMMEDIATE;", insert_on_sqlite!(), ";COMMIT");

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

/// How many events each source gets, and of how many bytes: JSON.
fn counts<'a>(events: impl Iterator<Item = (&'a NewEvent, i64)>) -> sqlx::Result<String> {
    let mut counts: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for (event, source) in events {
        let (events, bytes) = counts.entry(source).or_default();
        (*events, *bytes) = (*events + 1, *bytes + event.size());
    }
    json(&counts.into_iter().map(|(source, (events, bytes))| (source, events, bytes)).collect::<Vec<_>>())
}

/// The sources of the events, each with an id for a new one, its place, a moment, how many events it gets, and their
/// bytes: JSON.
/// In one order everywhere, as each is locked: two transactions must not wait for each other.
fn sources<'a>(events: impl Iterator<Item = (&'a NewEvent, i64)>) -> sqlx::Result<String> {
    let mut sources: BTreeMap<Place, (i64, i64, i64, i64)> = BTreeMap::new();
    for (event, new_id) in events {
        let source = sources.entry(event.place()).or_insert((new_id, event.received_at.0, 0, 0));
        (source.2, source.3) = (source.2 + 1, source.3 + event.size());
    }
    let each = sources
        .into_iter()
        .map(|(Place(environment, name), (id, at, events, bytes))| (id, environment, name, at, events, bytes));
    json(&each.collect::<Vec<_>>())
}

/// The idempotency keys of the events, each with its source's id, the first event with it, and a moment: what
/// `idempotency_keys_claim` reads, which can touch a row but once.
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
                let (heads, bodies) = written(events.iter().zip(sources.iter().copied()))?;
                let counts = counts(events.iter().zip(sources))?;
                let query = sqlx::query(TRANSACTION_ON_SQLITE).bind(heads).bind(bodies).bind(counts);
                let mut lent = file.writer.lend().await?;
                if let Err(error) = query.execute(lent.connection()?).await {
                    // Fails where SQLite itself has rolled back already.
                    let _ = sqlx::query("ROLLBACK").execute(lent.connection()?).await;
                    return Err(error.into());
                }
                lent.release();
            }
            Self::Postgres(connections) => {
                let (heads, bodies) = written(events.iter().map(|event| (event, event.place())))?;
                let sources = sources(events.iter().zip(new_ids.iter().copied()))?;
                let query = sqlx::query(sql!(self, "events_insert")).bind(heads).bind(bodies).bind(sources);
                let mut lent = connections.lend().await?;
                query.execute(lent.connection()?).await?;
                lent.release();
            }
        }
        Ok(events.iter().map(NewEvent::taken).collect())
    }

    /// The same, where some of them may have come before, or a source is new.
    async fn insert_in_steps(&self, events: &[NewEvent], new_ids: &[i64]) -> Result<Vec<Taken>, StoreError> {
        let mut taken: Vec<Taken> = events.iter().map(NewEvent::taken).collect();
        let found: Vec<(i64, String, i64)> = writing!(self, tx => {
            let places = sources(events.iter().zip(new_ids.iter().copied()))?;
            let found: Vec<(i64, String, i64)> =
                sqlx::query_as(sql!(self, "sources_find")).bind(places).fetch_all(&mut *tx).await?;
            let ids: HashMap<Place, i64> =
                found.iter().map(|(environment, name, id)| (Place(*environment, name), *id)).collect();
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
                Self::Sqlite(..) => (INSERT_ON_SQLITE, written(fresh.clone())?, counts(fresh)?),
                Self::Postgres(..) => {
                    let by_place = fresh.clone().map(|(event, _)| (event, event.place()));
                    (sql!(self, "events_insert"), written(by_place)?, sources(fresh)?)
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
