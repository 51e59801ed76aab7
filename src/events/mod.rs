//! Ingest: stores events that clients send with a key. An event is on disk before it is answered.

mod inbox;
mod reserve;
mod sources;
mod watchers;

pub use crate::store::{EventFilter, EventHead, EventPage, NewEvent, Retention, StoredEvent};
pub use inbox::{Inbox, Incoming, Refused};
pub use watchers::{Arrival, WatchError, Watcher};

use uuid::Uuid;

use crate::domain::{AuditAction, AuditChain, AuditContext, AuditFields, AuditTarget, Environment, Person};
use crate::model::{EnvironmentId, FieldError, OrganisationId};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::security_log::request_origin;
use crate::store::{Db, StoreError};

/// The name of an event's source: `[A-Za-z0-9_-]{1,64}` (docs/CONTRACTS.md, "HookSentry").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceName(String);

impl SourceName {
    /// Parses a name; `None` if it has another form.
    pub fn parse(text: &str) -> Option<Self> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        ((1..=64).contains(&text.len()) && text.bytes().all(is_allowed)).then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An idempotency key, chosen by the sender: 1 to 255 characters without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Parses a key; `None` if it has another form.
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid = (1..=255).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        is_valid.then(|| Self(text.to_owned()))
    }
}

/// The longest retention of events, in days.
pub const MAX_EVENT_DAYS: i64 = 3650;
/// The highest number of events that an environment can retain.
pub const MAX_EVENT_LIMIT: i64 = 100_000_000;

impl Retention {
    /// Parses the input of a form.
    ///
    /// # Errors
    /// One error each for an invalid `event_days` and an invalid `event_limit`.
    pub fn parse(days: &str, limit: &str) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut number = |field: &str, text: &str, max: i64, written_max: &str| {
            let digits = Some(text.trim()).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let found = digits.and_then(|text| text.parse().ok()).filter(|number| (1..=max).contains(number));
            if found.is_none() {
                errors.push(FieldError::new(field, format!("must be a whole number from 1 to {written_max}")));
            }
            found.unwrap_or_default()
        };
        let retention = Self {
            event_days: number("event_days", days, MAX_EVENT_DAYS, "3,650"),
            event_limit: number("event_limit", limit, MAX_EVENT_LIMIT, "100,000,000"),
        };
        if errors.is_empty() { Ok(retention) } else { Err(errors) }
    }

    fn audit_fields(self) -> AuditFields {
        AuditFields::default().with("event_days", self.event_days).with("event_limit", self.event_limit)
    }
}

/// The operator's limits on events.
#[derive(Debug, Clone, Copy)]
pub struct EventLimits {
    /// Bytes to keep free on the file system of a SQLite file: with less, events get 503. 0 turns the reserve off.
    pub disk_reserve: u64,
    /// The maximal number of sources of one environment: an event of a further source gets 400.
    pub max_sources: i64,
    /// The maximal bytes of one environment's events: beyond, the oldest events are deleted within a minute.
    pub max_bytes: i64,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self { disk_reserve: 64 << 20, max_sources: 1000, max_bytes: 10 << 30 }
    }
}

/// Stores, lists and deletes events.
#[derive(Debug)]
pub struct Events {
    db: Db,
    clock: Clock,
    entropy: Entropy,
    inbox: Inbox,
    limits: EventLimits,
}

impl Events {
    /// Opens the events of a database. Needs a Tokio runtime, because the inbox spawns a task.
    pub fn new(db: Db, clock: Clock, entropy: Entropy, limits: EventLimits) -> Self {
        let inbox = Inbox::new(db.clone(), clock.clone(), entropy.clone(), limits);
        Self { db, clock, entropy, inbox, limits }
    }

    /// The queue of incoming events.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Returns a page of an organisation's events, and the number of events on all pages. The caller checks the access.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn page(&self, page: &EventPage) -> Result<(i64, Vec<EventHead>), StoreError> {
        self.db.event_page(page).await
    }

    /// Returns a page of an organisation's events, without the number of events on all pages.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn heads(&self, page: &EventPage) -> Result<Vec<EventHead>, StoreError> {
        self.db.event_heads(page).await
    }

    /// Returns the names of the sources of an environment, sorted: the first `limit` of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sources(&self, environment: EnvironmentId, limit: usize) -> Result<Vec<String>, StoreError> {
        let mut names = self.db.sources(environment, i64::try_from(limit).unwrap_or(i64::MAX)).await?;
        // Databases differ in their collation.
        names.sort();
        Ok(names)
    }

    /// Returns one event of an organisation, with its body.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, organisation: OrganisationId, id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        self.db.event(organisation, id).await
    }

    /// Returns the retention of an environment's events.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retention(&self, environment: EnvironmentId) -> Result<Option<Retention>, StoreError> {
        self.db.retention(environment).await
    }

    /// Replaces the retention of an environment's events by the result of `change`, which gets the stored value.
    /// Returns the retention that holds now; as an error, the stored value if `change` refuses to change it; `None` if
    /// the environment does not exist. The caller checks the access of `person`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn change_retention(
        &self,
        person: &Person,
        organisation: OrganisationId,
        environment: &Environment,
        change: impl Fn(Retention) -> Option<Retention>,
    ) -> Result<Option<Result<Retention, Retention>>, StoreError> {
        let context = AuditContext::new(&self.entropy, self.clock.now(), person.into(), request_origin());
        let target = AuditTarget::environment(environment.id, &environment.name);
        while let Some(stored) = self.db.retention(environment.id).await? {
            let Some(retention) = change(stored) else {
                return Ok(Some(Err(stored)));
            };
            if retention == stored {
                return Ok(Some(Ok(retention)));
            }
            let entry = context
                .entry(AuditChain::Organisation(organisation), AuditAction::RetentionChanged, target.clone())
                .before(stored.audit_fields())
                .after(retention.audit_fields());
            // False if another request has changed it since the read; then `change` judges the new value.
            if self.db.replace_retention(environment.id, stored, retention, entry).await? {
                return Ok(Some(Ok(retention)));
            }
        }
        Ok(None)
    }

    /// Deletes events that exceed the retention of their environment. Returns the number of deleted events.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_old_events(&self) -> Result<u64, StoreError> {
        self.db.delete_old_events(self.clock.now(), self.limits.max_bytes).await
    }

    /// Deletes expired idempotency keys.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_old_idempotency_keys(&self) -> Result<(), StoreError> {
        self.db.delete_old_idempotency_keys(self.clock.now()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_is_parsed_from_whole_numbers_within_bounds() {
        let retention = Retention::parse(" 3650 ", "100000000").unwrap();
        assert_eq!((retention.event_days, retention.event_limit), (MAX_EVENT_DAYS, MAX_EVENT_LIMIT));
        assert_eq!(Retention::parse("1", "1").unwrap().event_days, 1);
        for wrong in ["", "0", "3651", "-1", "+7", "7.5", "1e2", "seven", "99999999999999999999"] {
            assert_eq!(Retention::parse(wrong, "1").unwrap_err()[0].field, "event_days", "{wrong}");
        }
        let both = Retention::parse("0", "100000001").unwrap_err();
        assert_eq!(both.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["event_days", "event_limit"]);
    }

    #[test]
    fn a_source_name_has_ascii_letters_digits_hyphens_and_underscores() {
        assert!(SourceName::parse("stripe-EU_1").is_some());
        assert!(SourceName::parse(&"a".repeat(64)).is_some());
        for wrong in ["", "a b", "é", "a/b", "a.b", &"a".repeat(65)] {
            assert!(SourceName::parse(wrong).is_none(), "{wrong}");
        }
    }
}
