//! Who is behind a session, and where they belong: one reading, shared by all who ask while another is under way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tower_sessions::session::Id;

use super::session::{ABSOLUTE_TIME_OUT, IDLE_TIME_OUT, SEEN_PRECISION, hash};
use super::{Accounts, Person};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::store::{Db, StoreError};

/// Sessions of one statement at the most.
const GROUP: usize = 128;
/// Statements at once.
const AT_ONCE: usize = 2;
/// A statement that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who waits at the most; more are told to come again.
const WAITING: usize = 4096;

/// The database did not say whose session it is, or too many ask at once.
#[derive(Debug, thiserror::Error)]
#[error("the session could not be read")]
pub struct Unread;

struct Asked {
    id_hash: [u8; 32],
    answer: oneshot::Sender<Option<Person>>,
}

/// Where it is asked.
#[derive(Debug)]
pub(super) struct Sessions(mpsc::Sender<Asked>);

impl Sessions {
    pub(super) fn new(db: Db, clock: Clock) -> Self {
        let (queue, asked) = mpsc::channel(WAITING);
        tokio::spawn(read(db, clock, asked));
        Self(queue)
    }
}

impl Accounts {
    /// Whose session it is, if it is one, as they are now. That it was used is noted, to the minute.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn signed_in(&self, session: Id) -> Result<Option<Person>, Unread> {
        let (answer, answered) = oneshot::channel();
        self.sessions.0.try_send(Asked { id_hash: hash(session), answer }).map_err(|_| Unread)?;
        answered.await.map_err(|_| Unread)
    }
}

/// Reads what is asked for, until nobody can ask any more.
async fn read(db: Db, clock: Clock, mut asked: mpsc::Receiver<Asked>) {
    let free = Arc::new(Semaphore::new(AT_ONCE));
    let mut group = Vec::new();
    while asked.recv_many(&mut group, GROUP).await > 0 {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        // While it waited for a permit, others have come.
        while group.len() < GROUP
            && let Ok(next) = asked.try_recv()
        {
            group.push(next);
        }
        let (db, clock, group) = (db.clone(), clock.clone(), std::mem::take(&mut group));
        tokio::spawn(async move {
            // A connection that leads nowhere must not keep its permit: soon there would be none left.
            let answering = tokio::time::timeout(PATIENCE, answer(&db, &clock, group));
            if let Err(error) = answering.await.unwrap_or_else(|_| Err(StoreError::slow())) {
                // Those who wait hear that nothing will come.
                tracing::error!(%error, "sessions could not be read");
            }
            drop(permit);
        });
    }
}

async fn answer(db: &Db, clock: &Clock, group: Vec<Asked>) -> Result<(), StoreError> {
    let now = clock.now();
    let mut id_hashes: Vec<[u8; 32]> = group.iter().map(|asked| asked.id_hash).collect();
    id_hashes.sort_unstable();
    id_hashes.dedup();
    let rows = db.signed_in(&id_hashes, now.plus(-ABSOLUTE_TIME_OUT), now.plus(-IDLE_TIME_OUT)).await?;
    for id_hash in id_hashes {
        let seen = rows.iter().find(|row| row.is_of(&id_hash)).map(|row| Timestamp(row.seen_at));
        if seen.is_some_and(|seen| now.since(seen) >= SEEN_PRECISION) {
            db.touch_session(&id_hash, now).await?;
        }
    }
    for asked in group {
        // Whoever does not wait any more asks again.
        let own = rows.iter().filter(|row| row.is_of(&asked.id_hash)).map(|row| &row.person);
        let _ = asked.answer.send(Person::new(own));
    }
    Ok(())
}
