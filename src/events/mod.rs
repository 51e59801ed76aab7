//! The ingest inbox: events that keys let in, on disk before they are answered.

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

/// What sent an event: `[A-Za-z0-9_-]{1,64}` (docs/CONTRACTS.md, "HookSentry").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceName(String);

impl SourceName {
    /// Reads a name; `None` for another form.
    pub fn parse(text: &str) -> Option<Self> {
        let right = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        ((1..=64).contains(&text.len()) && text.bytes().all(right)).then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a sender recognises a request by: 1 to 255 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Reads a key; `None` for another form.
    pub fn parse(text: &str) -> Option<Self> {
        let right = (1..=255).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        right.then(|| Self(text.to_owned()))
    }
}

/// How long events can be kept, in days.
pub const MOST_DAYS: i64 = 3650;
/// How many events of an environment can be kept.
pub const MOST_EVENTS: i64 = 100_000_000;

impl Retention {
    /// Reads what was typed.
    ///
    /// # Errors
    /// What is wrong with `event_days` and `event_limit`.
    pub fn parse(days: &str, limit: &str) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut number = |field: &str, text: &str, most: i64, right: &str| {
            let digits = Some(text.trim()).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let found = digits.and_then(|text| text.parse().ok()).filter(|number| (1..=most).contains(number));
            if found.is_none() {
                errors.push(FieldError::new(field, format!("must be a whole number from 1 to {right}")));
            }
            found.unwrap_or_default()
        };
        let kept = Self {
            event_days: number("event_days", days, MOST_DAYS, "3,650"),
            event_limit: number("event_limit", limit, MOST_EVENTS, "100,000,000"),
        };
        if errors.is_empty() { Ok(kept) } else { Err(errors) }
    }

    fn audit_fields(self) -> AuditFields {
        AuditFields::default().with("event_days", self.event_days).with("event_limit", self.event_limit)
    }
}

/// Bounds of what events may take, set by the operator.
#[derive(Debug, Clone, Copy)]
pub struct EventLimits {
    /// Bytes that stay free on the file system of a SQLite file: below, events get 503. 0 for no reserve.
    pub disk_reserve: u64,
    /// Sources of one environment at the most: an event of a further one gets 400.
    pub max_sources: i64,
    /// Bytes of the events of one environment at the most: beyond, the oldest are deleted within a minute.
    pub max_bytes: i64,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self { disk_reserve: 64 << 20, max_sources: 1000, max_bytes: 10 << 30 }
    }
}

/// The events, and all that is done with them.
#[derive(Debug)]
pub struct Events {
    db: Db,
    clock: Clock,
    entropy: Entropy,
    inbox: Inbox,
    limits: EventLimits,
}

impl Events {
    /// The events of a database. Needs a runtime: the inbox has a task of its own.
    pub fn new(db: Db, clock: Clock, entropy: Entropy, limits: EventLimits) -> Self {
        let inbox = Inbox::new(db.clone(), clock.clone(), entropy.clone(), limits);
        Self { db, clock, entropy, inbox, limits }
    }

    /// Where events come in.
    pub fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// A page of an organisation's events, and how many there are in all. Who may see them is the
    /// caller's to have decided.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn page(&self, page: &EventPage) -> Result<(i64, Vec<EventHead>), StoreError> {
        self.db.event_page(page).await
    }

    /// A page of an organisation's events, without counting the others.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn heads(&self, page: &EventPage) -> Result<Vec<EventHead>, StoreError> {
        self.db.event_heads(page).await
    }

    /// What sent events to these environments: the first names in their order, at most so many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sources(&self, environments: &[EnvironmentId], most: usize) -> Result<Vec<String>, StoreError> {
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        let mut names = Vec::new();
        for environment in environments {
            names.extend(self.db.sources(*environment, limit).await?);
        }
        names.sort();
        names.dedup();
        names.truncate(most);
        Ok(names)
    }

    /// One event of an organisation, with its body.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, organisation: OrganisationId, id: Uuid) -> Result<Option<StoredEvent>, StoreError> {
        self.db.event(organisation, id).await
    }

    /// How long an environment's events are kept.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retention(&self, environment: EnvironmentId) -> Result<Option<Retention>, StoreError> {
        self.db.retention(environment).await
    }

    /// Changes how long an environment's events are kept into what `change` returns for the stored value; returns the
    /// value that holds now, or as an error the one that `change` refused to change. `None` when there is no such
    /// environment. The caller has decided that `person` may.
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
            let Some(kept) = change(stored) else {
                return Ok(Some(Err(stored)));
            };
            if kept == stored {
                return Ok(Some(Ok(kept)));
            }
            let entry = context
                .entry(AuditChain::Organisation(organisation), AuditAction::RetentionChanged, target.clone())
                .before(stored.audit_fields())
                .after(kept.audit_fields());
            // False when somebody else changed it since it was read: then `change` judges the new value.
            if self.db.replace_retention(environment.id, stored, kept, entry).await? {
                return Ok(Some(Ok(kept)));
            }
        }
        Ok(None)
    }

    /// Deletes events that their environment keeps no longer; returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_old_events(&self) -> Result<u64, StoreError> {
        self.db.delete_old_events(self.clock.now(), self.limits.max_bytes).await
    }

    /// Deletes idempotency keys whose window is over.
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
    fn only_whole_numbers_within_bounds_are_kept() {
        let kept = Retention::parse(" 3650 ", "100000000").unwrap();
        assert_eq!((kept.event_days, kept.event_limit), (MOST_DAYS, MOST_EVENTS));
        assert_eq!(Retention::parse("1", "1").unwrap().event_days, 1);
        for wrong in ["", "0", "3651", "-1", "+7", "7.5", "1e2", "seven", "99999999999999999999"] {
            assert_eq!(Retention::parse(wrong, "1").unwrap_err()[0].field, "event_days", "{wrong}");
        }
        let both = Retention::parse("0", "100000001").unwrap_err();
        assert_eq!(both.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["event_days", "event_limit"]);
    }

    #[test]
    fn a_source_has_a_plain_name() {
        assert!(SourceName::parse("stripe-EU_1").is_some());
        assert!(SourceName::parse(&"a".repeat(64)).is_some());
        for wrong in ["", "a b", "é", "a/b", "a.b", &"a".repeat(65)] {
            assert!(SourceName::parse(wrong).is_none(), "{wrong}");
        }
    }
}
