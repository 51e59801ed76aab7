//! Looks up the people of sessions: look-ups that wait while a statement runs share the next one.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tower_sessions::session::Id;

use super::store::{ABSOLUTE_TIME_OUT, IDLE_TIME_OUT, SEEN_PRECISION, hash, session_entry};
use crate::domain::{AuditAction, Person, Unavailable};
use crate::model::Timestamp;
use crate::runtime::Tenant;
use crate::runtime::batch::{self, Limits, Queue};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::store::{Db, PersonRow, StoreError};

/// Look-ups that wait, in all and from one network (further ones get 503), and look-ups in one statement.
const LIMITS: Limits = Limits { capacity: 4096, tenant_capacity: 1024, batch: 128, batch_weight: usize::MAX };
/// Statements at the same time.
const MAX_STATEMENTS: usize = 2;
/// A statement that takes longer is given up: its look-ups get 503.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

struct Asked {
    id_hash: [u8; 32],
    answer: oneshot::Sender<Option<Person>>,
}

/// The queue of session look-ups.
#[derive(Debug)]
pub struct Sessions {
    queue: Queue<Asked>,
    db: Db,
    clock: Clock,
    entropy: Entropy,
}

impl Sessions {
    pub(in crate::accounts) fn new(db: Db, clock: Clock, entropy: Entropy) -> Self {
        let (queue, asked) = batch::queue(LIMITS);
        tokio::spawn(asked.work(MAX_STATEMENTS, {
            let (db, clock) = (db.clone(), clock.clone());
            move |group| read(db.clone(), clock.clone(), group)
        }));
        Self { queue, db, clock, entropy }
    }

    /// Returns the person of a session, as they are now, if it is one. Notes that it was used, to the minute. `tenant` is
    /// the one that a look-up is charged to.
    ///
    /// # Errors
    /// When the database fails, or too many look-ups wait.
    pub async fn person(&self, session: Id, tenant: Tenant) -> Result<Option<Person>, Unavailable> {
        let id_hash = hash(session);
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
        let ended =
            |user, email: &str| session_entry(&self.entropy, self.clock.now(), AuditAction::SessionEnded, user, email);
        self.db.end_sessions(&id_hashes, ended).await
    }
}

async fn read(db: Db, clock: Clock, group: Vec<Asked>) {
    // A dead connection must not hold one of the statements for ever.
    let answering = tokio::time::timeout(STATEMENT_TIMEOUT, answer(&db, clock.now(), group));
    if let Err(error) = answering.await.unwrap_or_else(|_| Err(StoreError::slow())) {
        // Requests that wait get 503, because their senders are dropped.
        tracing::error!(%error, "cannot look up sessions");
    }
}

async fn answer(db: &Db, now: Timestamp, group: Vec<Asked>) -> Result<(), StoreError> {
    let mut id_hashes: Vec<[u8; 32]> = group.iter().map(|asked| asked.id_hash).collect();
    id_hashes.sort_unstable();
    id_hashes.dedup();
    let rows = db.signed_in(&id_hashes, now.plus(-ABSOLUTE_TIME_OUT), now.plus(-IDLE_TIME_OUT)).await?;
    let mut people = HashMap::new();
    for id_hash in id_hashes {
        let own = || rows.iter().filter(|row| row.is_of(&id_hash));
        let (Some(row), Some(person)) = (own().next(), PersonRow::person(own().map(|row| &row.person))) else {
            continue;
        };
        if now.since(Timestamp(row.seen_at)) >= SEEN_PRECISION {
            // A session whose use cannot be stored, for example because the disk is full, is valid all the same.
            if let Err(error) = db.touch_session(&id_hash, now).await {
                tracing::error!(%error, "cannot store when a session was last used");
            }
        }
        people.insert(id_hash, person);
    }
    for asked in group {
        // A request that has gone away needs no answer.
        let _ = asked.answer.send(people.get(&asked.id_hash).cloned());
    }
    Ok(())
}
