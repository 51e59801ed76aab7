//! Sessions: tower-sessions over our own store.
//!
//! The id of a session is what its cookie holds, 128 random bits. Only its SHA-256 is stored, with
//! whose it is (so that all of somebody's sessions can be ended), when it began and when it was seen.

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};
use tower_sessions::{Session, SessionStore};

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::model::{Timestamp, UserId};
use crate::store::Db;

/// A session that was not used for so long is over: 7 days, in milliseconds.
pub const IDLE_TIME_OUT: i64 = 7 * 24 * 3600 * 1000;
/// A session is over after so long, used or not: 30 days, in milliseconds.
pub const ABSOLUTE_TIME_OUT: i64 = 30 * 24 * 3600 * 1000;
/// How exactly it is known when a session was last used; so rarely is it written.
pub(super) const SEEN_PRECISION: i64 = 60 * 1000;

const USER: &str = "user";
/// Where a message waits for the next page.
pub const FLASH: &str = "flash";

/// What goes wrong with sessions: the database.
pub type SessionError = tower_sessions::session::Error;

/// Signs a session in, under a new id: one that was planted before is worth nothing.
///
/// # Errors
/// When the database fails.
pub async fn begin_session(session: &Session, user: UserId) -> std::result::Result<(), SessionError> {
    session.clear().await;
    session.cycle_id().await?;
    session.insert(USER, user.to_string()).await
}

/// Makes tower-sessions look for a session that is over, so that it tells the browser to forget it.
///
/// # Errors
/// When the database fails.
pub async fn forget_if_ended(session: &Session) -> std::result::Result<(), SessionError> {
    session.get_value(USER).await.map(drop)
}

/// tower-sessions' store over our database.
#[derive(Debug, Clone)]
pub struct DatabaseSessions {
    db: Db,
    clock: Clock,
    entropy: Entropy,
}

impl DatabaseSessions {
    /// The sessions of a database.
    pub fn new(db: Db, clock: Clock, entropy: Entropy) -> Self {
        Self { db, clock, entropy }
    }
}

/// What is stored of a session's id.
pub(super) fn hash(id: Id) -> [u8; 32] {
    Sha256::digest(id.0.to_le_bytes()).into()
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Backend(error.to_string())
}

#[async_trait]
impl SessionStore for DatabaseSessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let user = record
            .data
            .get(USER)
            .and_then(|user| user.as_str()?.parse::<UserId>().ok())
            .ok_or_else(|| Error::Encode("a session without a user is not stored".to_owned()))?;
        // 128 random bits do not meet by chance; a conflict would be an error, never another's session.
        record.id = Id(i128::from_le_bytes(self.entropy.bytes()));
        let data = serde_json::to_string(&record.data).map_err(|error| Error::Encode(error.to_string()))?;
        self.db.insert_session(&hash(record.id), user, &data, self.clock.now()).await.map_err(failed)
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let data = serde_json::to_string(&record.data).map_err(|error| Error::Encode(error.to_string()))?;
        self.db.save_session(&hash(record.id), &data).await.map_err(failed)
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let now = self.clock.now();
        let id_hash = hash(*id);
        let stored = self
            .db
            .load_session(&id_hash, now.plus(-ABSOLUTE_TIME_OUT), now.plus(-IDLE_TIME_OUT))
            .await
            .map_err(failed)?;
        let Some(stored) = stored else {
            return Ok(None);
        };
        if now.since(Timestamp(stored.seen_at)) >= SEEN_PRECISION {
            self.db.touch_session(&id_hash, now).await.map_err(failed)?;
        }
        Ok(Some(Record {
            id: *id,
            data: serde_json::from_str(&stored.data).map_err(|error| Error::Decode(error.to_string()))?,
            // Ours are the time-outs, by our clock: what tower-sessions asks for lies ahead of them.
            expiry_date: time::OffsetDateTime::from_unix_timestamp((now.0 + ABSOLUTE_TIME_OUT) / 1000)
                .map_err(|error| Error::Decode(error.to_string()))?,
        }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.db.delete_session(&hash(*id)).await.map_err(failed)
    }
}
