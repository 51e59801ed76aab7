//! Looks up the people of sessions: look-ups that wait while a statement runs share the next one.
//!
//! Where no other process writes to the database, people are cached until this process writes something that may
//! change them: signing out, leaving an organisation and a new password take effect when they are answered, as without
//! the cache. A write counts as such a change unless its statement is known to be harmless.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::oneshot;
use tower_sessions::session::Id;

use super::store::{ABSOLUTE_TIME_OUT, IDLE_TIME_OUT, SEEN_PRECISION, hash};
use crate::domain::{Person, Unavailable};
use crate::model::Timestamp;
use crate::runtime::Tenant;
use crate::runtime::batch::{self, Limits, Queue};
use crate::runtime::clock::Clock;
use crate::store::{Changes, Db, PersonRow, StoreError};

/// Look-ups that wait, in all and from one network (further ones get 503), and look-ups in one statement.
const LIMITS: Limits = Limits { capacity: 4096, tenant_capacity: 1024, batch: 128, batch_weight: usize::MAX };
/// Statements at the same time.
const MAX_STATEMENTS: usize = 2;
/// A statement that takes longer is given up: its look-ups get 503.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Cached sessions; one more evicts another.
const CACHE_CAPACITY: usize = 4096;

struct Asked {
    id_hash: [u8; 32],
    answer: oneshot::Sender<Option<Person>>,
}

/// Queue and cache of session look-ups.
#[derive(Debug)]
pub struct Sessions {
    queue: Queue<Asked>,
    known: Arc<Known>,
}

impl Sessions {
    pub(in crate::accounts) fn new(db: Db, clock: Clock) -> Self {
        let (queue, asked) = batch::queue(LIMITS);
        let known = Arc::new(Known { db, clock, sessions: Cache::new(CACHE_CAPACITY) });
        tokio::spawn(asked.work(MAX_STATEMENTS, {
            let known = Arc::clone(&known);
            move |group| read(Arc::clone(&known), group)
        }));
        Self { queue, known }
    }

    /// Returns the person of a session, as they are now, if it is one. Notes that it was used, to the minute. `tenant` is
    /// the one that a look-up is charged to.
    ///
    /// # Errors
    /// When the database fails, or too many look-ups wait.
    pub async fn person(&self, session: Id, tenant: Tenant) -> Result<Option<Person>, Unavailable> {
        let id_hash = hash(session);
        if let Some(person) = self.known.of(&id_hash) {
            return Ok(Some(person));
        }
        let (answer, answered) = oneshot::channel();
        self.queue.push(tenant, 1, Asked { id_hash, answer }).map_err(|_| Unavailable::Session)?;
        answered.await.map_err(|_| Unavailable::Session)
    }

    /// Ends these sessions.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end(&self, sessions: &[Id]) -> Result<(), StoreError> {
        if sessions.is_empty() {
            return Ok(());
        }
        let id_hashes: Vec<[u8; 32]> = sessions.iter().copied().map(hash).collect();
        self.known.db.delete_sessions(&id_hashes).await
    }
}

/// The cache.
struct Known {
    db: Db,
    clock: Clock,
    sessions: Cache<[u8; 32], Arc<Remembered>>,
}

/// A session and its person, as they were in the database.
struct Remembered {
    person: Person,
    created_at: Timestamp,
    seen_at: Timestamp,
    /// [`Db::changes`] before the read.
    changes: Changes,
}

impl Known {
    /// Returns the person of a session if the cached row is still valid.
    fn of(&self, id_hash: &[u8; 32]) -> Option<Person> {
        let changes = self.db.changes()?;
        let read = self.sessions.get(id_hash)?;
        let now = self.clock.now();
        // The row is read once a minute in any case, to store that the session was used.
        let is_recent = (0..SEEN_PRECISION).contains(&now.since(read.seen_at));
        let is_good = read.changes == changes && is_recent && now.since(read.created_at) < ABSOLUTE_TIME_OUT;
        is_good.then(|| read.person.clone())
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("sessions", &self.sessions.len()).finish_non_exhaustive()
    }
}

async fn read(known: Arc<Known>, group: Vec<Asked>) {
    // A dead connection must not hold one of the statements for ever.
    let answering = tokio::time::timeout(STATEMENT_TIMEOUT, answer(&known, group));
    if let Err(error) = answering.await.unwrap_or_else(|_| Err(StoreError::slow())) {
        // Requests that wait get 503, because their senders are dropped.
        tracing::error!(%error, "cannot look up sessions");
    }
}

async fn answer(known: &Known, group: Vec<Asked>) -> Result<(), StoreError> {
    let now = known.clock.now();
    let mut id_hashes: Vec<[u8; 32]> = group.iter().map(|asked| asked.id_hash).collect();
    id_hashes.sort_unstable();
    id_hashes.dedup();
    let changes = known.db.changes();
    let rows = known.db.signed_in(&id_hashes, now.plus(-ABSOLUTE_TIME_OUT), now.plus(-IDLE_TIME_OUT)).await?;
    let mut people = HashMap::new();
    for id_hash in id_hashes {
        let own = || rows.iter().filter(|row| row.is_of(&id_hash));
        let (Some(row), Some(person)) = (own().next(), PersonRow::person(own().map(|row| &row.person))) else {
            continue;
        };
        let (created_at, seen_at) = (Timestamp(row.created_at), Timestamp(row.seen_at));
        if now.since(seen_at) >= SEEN_PRECISION {
            // A session whose use cannot be stored, for example because the disk is full, is valid all the same.
            if let Err(error) = known.db.touch_session(&id_hash, now).await {
                tracing::error!(%error, "cannot store when a session was last used");
            }
        }
        if let Some(changes) = changes {
            let read = Remembered { person: person.clone(), created_at, seen_at, changes };
            known.sessions.insert(id_hash, Arc::new(read));
        }
        people.insert(id_hash, person);
    }
    for asked in group {
        // A request that has gone away needs no answer.
        let _ = asked.answer.send(people.get(&asked.id_hash).cloned());
    }
    Ok(())
}
