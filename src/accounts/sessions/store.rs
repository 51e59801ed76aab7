//! Sessions: a store for tower-sessions in our database.
//!
//! The cookie holds the id of a session, 128 random bits. The database has only the SHA-256 of the id, with the user
//! (so that all sessions of a user can be ended), the moment of creation, and the moment of the last use.

use async_trait::async_trait;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};
use tower_sessions::{Session, SessionStore};

use crate::accounts::error::{SessionError, SignInError};
use crate::domain::{AuditAction, AuditActor, AuditChain, AuditContext, AuditEntry, AuditTarget, Verified};
use crate::model::{Timestamp, UserId};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::security_log::{Actor, SecurityEvent, Target, request_origin};
use crate::store::Db;

/// A session ends after 7 days without use, in milliseconds.
pub const IDLE_TIME_OUT: i64 = 7 * 24 * 3600 * 1000;
/// A session ends after 30 days, used or not, in milliseconds.
pub const ABSOLUTE_TIME_OUT: i64 = 30 * 24 * 3600 * 1000;
/// The use of a session is stored at most once a minute, in milliseconds.
pub(in crate::accounts) const SEEN_PRECISION: i64 = 60 * 1000;

const USER: &str = "user";
/// The entry that carries the address from [`begin_session`] to [`DatabaseSessions::create`], which does not store it.
const EMAIL: &str = "email";
/// Carries the verified password hash from [`begin_session`] to [`DatabaseSessions::create`], which does not store it.
const PASSWORD_HASH: &str = "password_hash";
/// The entry with a message for the next page.
pub const FLASH: &str = "flash";

/// Signs a session in, under a new id, so that a session id that an attacker planted is worthless. The session is
/// stored here and not when the response leaves, because only here a sign-in that lost against a password reset can
/// still be refused.
///
/// # Errors
/// [`SignInError::Wrong`] when the verified password is no longer the stored one, or when the database fails.
pub async fn begin_session(session: &Session, verified: &Verified) -> std::result::Result<(), SignInError> {
    session.clear().await;
    if session.id().is_some() {
        session.cycle_id().await?;
    }
    session.insert(USER, verified.user.to_string()).await?;
    session.insert(EMAIL, verified.email.as_str()).await?;
    session.insert(PASSWORD_HASH, verified.password_hash.as_str()).await?;
    session.save().await?;
    if has_user(session).await? {
        return Ok(());
    }
    session.flush().await?;
    SecurityEvent::SignIn.entry(Actor::None, Target::Account(verified.user)).failed("password_changed").write();
    Err(SignInError::Wrong)
}

/// Returns whether the session is stored. The call makes tower-sessions load it, and so remove the cookie of an ended
/// session.
///
/// # Errors
/// When the database fails.
pub async fn has_user(session: &Session) -> std::result::Result<bool, SessionError> {
    Ok(session.get_value(USER).await?.is_some())
}

/// A session store for tower-sessions in our database.
#[derive(Debug, Clone)]
pub struct DatabaseSessions {
    db: Db,
    clock: Clock,
    entropy: Entropy,
    max_sessions: i64,
}

impl DatabaseSessions {
    /// Creates the store. One session more than `max_sessions` of an account ends its oldest.
    pub fn new(db: Db, clock: Clock, entropy: Entropy, max_sessions: i64) -> Self {
        Self { db, clock, entropy, max_sessions }
    }
}

/// Returns the hash of a session id, which is stored in place of the id.
pub(in crate::accounts) fn hash(id: Id) -> [u8; 32] {
    Sha256::digest(id.0.to_le_bytes()).into()
}

/// Returns the audit entry of a person that begins or ends their own session.
pub(in crate::accounts) fn session_entry(
    entropy: &Entropy,
    at: Timestamp,
    action: AuditAction,
    user: UserId,
    email: &str,
) -> AuditEntry {
    let context = AuditContext::new(entropy, at, AuditActor::person(user, email), request_origin());
    context.entry(AuditChain::Server, action, AuditTarget::account(user, email))
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
        let [email, password_hash] = [EMAIL, PASSWORD_HASH].map(|name| record.data.remove(name));
        let (Some(Value::String(email)), Some(Value::String(password_hash))) = (email, password_hash) else {
            return Err(Error::Encode("only `begin_session` stores a new session".to_owned()));
        };
        let verified = Verified { user, email, password_hash };
        // 128 random bits do not collide by chance; a conflict would be an error, never another user's session.
        record.id = Id(i128::from_le_bytes(self.entropy.bytes()));
        let data = serde_json::to_string(&record.data).map_err(|error| Error::Encode(error.to_string()))?;
        let now = self.clock.now();
        let entry = session_entry(&self.entropy, now, AuditAction::SessionCreated, user, &verified.email);
        let id_hash = hash(record.id);
        let stored = self.db.insert_session(&id_hash, &verified, &data, now, self.max_sessions, entry);
        let is_stored = stored.await.map_err(failed)?;
        if !is_stored {
            // Not an error: tower-sessions would log it as a failure of the store.
            record.data.clear();
        }
        Ok(())
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
            // Our clock decides about the time-outs; the expiry that tower-sessions gets is always in the future.
            expiry_date: time::OffsetDateTime::from_unix_timestamp((now.0 + ABSOLUTE_TIME_OUT) / 1000)
                .map_err(|error| Error::Decode(error.to_string()))?,
        }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let ended =
            |user, email: &str| session_entry(&self.entropy, self.clock.now(), AuditAction::SessionEnded, user, email);
        self.db.end_sessions(&[hash(*id)], ended).await.map_err(failed)
    }
}
