//! Looks up the persons of sessions. Look-ups that arrive while a statement runs share the next statement.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tower_sessions::session::Id;

use super::store::{ABSOLUTE_TIME_OUT, IDLE_TIME_OUT, SEEN_PRECISION, hash, session_entry};
use crate::domain::{AuditAction, Person, Unavailable};
use crate::model::Timestamp;
use crate::runtime::Tenant;
use crate::runtime::batch::{self, Queue, QueueLimits};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::store::{Db, PersonRow, StoreError};

/// Pending look-ups, in all and of one tenant (further ones get 503), and look-ups in one statement.
const LIMITS: QueueLimits = QueueLimits { capacity: 4096, tenant_capacity: 1024, batch: 128, batch_weight: usize::MAX };
/// Concurrent statements.
const MAX_STATEMENTS: usize = 2;
/// The time limit of a statement: after it, the look-ups get 503.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

struct Lookup {
    id_hash: [u8; 32],
    answer: oneshot::Sender<Option<Person>>,
}

/// The queue of session look-ups.
#[derive(Debug)]
pub struct Sessions {
    queue: Queue<Lookup>,
    db: Db,
    clock: Clock,
    entropy: Entropy,
}

impl Sessions {
    pub(in crate::accounts) fn new(db: Db, clock: Clock, entropy: Entropy) -> Self {
        let (queue, lookups) = batch::queue(LIMITS);
        tokio::spawn(lookups.work(MAX_STATEMENTS, {
            let (db, clock) = (db.clone(), clock.clone());
            move |batch| read(db.clone(), clock.clone(), batch)
        }));
        Self { queue, db, clock, entropy }
    }

    /// Returns the current data of the person of a session; `None` for an invalid session. Records the use of the
    /// session, to the minute. `tenant` is charged for the look-up.
    ///
    /// # Errors
    /// When the database fails, or too many look-ups wait.
    pub async fn person(&self, session: Id, tenant: Tenant) -> Result<Option<Person>, Unavailable> {
        let id_hash = hash(session);
        let (answer, answered) = oneshot::channel();
        self.queue.push(tenant, 1, Lookup { id_hash, answer }).map_err(|_| Unavailable::Session)?;
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

async fn read(db: Db, clock: Clock, batch: Vec<Lookup>) {
    // A dead connection must not occupy a statement for ever.
    let answering = tokio::time::timeout(STATEMENT_TIMEOUT, answer(&db, clock.now(), batch));
    if let Err(error) = answering.await.unwrap_or_else(|_| Err(StoreError::slow())) {
        // Dropping the senders answers the pending requests with 503.
        tracing::error!(%error, "cannot look up sessions; their requests get 503");
    }
}

async fn answer(db: &Db, now: Timestamp, batch: Vec<Lookup>) -> Result<(), StoreError> {
    let mut id_hashes: Vec<[u8; 32]> = batch.iter().map(|lookup| lookup.id_hash).collect();
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
            // A session stays valid when its use cannot be stored, for example because the disk is full.
            if let Err(error) = db.touch_session(&id_hash, now).await {
                tracing::error!(%error, "cannot save the last use of a session; the session stays valid");
            }
        }
        people.insert(id_hash, person);
    }
    for lookup in batch {
        // A cancelled request needs no answer.
        let _ = lookup.answer.send(people.get(&lookup.id_hash).cloned());
    }
    Ok(())
}
