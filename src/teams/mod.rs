//! Organisations and their people: creation and deletion, environments, members and invitations (docs/API.md,
//! "Organisations and people").
//!
//! Each change holds the row of the organisation and judges the rights of its caller again, as they are then. The second of two
//! concurrent changes sees the first. New keys are stored under the same lock (`store/keys.rs`).

mod accept;
mod environments;
mod error;
mod invitations;
mod members;
mod organisations;

pub use crate::store::{Invitation, Invited, Member};
pub use environments::EnvironmentChange;
pub use error::{AcceptError, TeamError};
pub use invitations::NewInvitation;
pub use members::LeaversKeys;

use std::sync::Arc;

use crate::accounts::Accounts;
use crate::cluster::Proof;
use crate::domain::{Action, AuditChain, AuditContext, Caller, Membership, Person, may};
use crate::jobs::Jobs;
use crate::keys::Keys;
use crate::model::{OrganisationId, Role, Timestamp};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::security_log::request_origin;
use crate::store::{Db, KeySet, StoreError};

/// Organisations that a person may own: one more is refused.
pub const MAX_OWNED: i64 = 100;
/// Environments of an organisation, archived ones included: one more is refused.
pub const MAX_ENVIRONMENTS: i64 = 50;
/// Open invitations of an organisation: one more is refused.
pub const MAX_INVITATIONS: i64 = 100;
/// An invitation is open for 7 days, in milliseconds.
pub const INVITATION_LIFETIME: i64 = 7 * 24 * 3600 * 1000;
/// Attempts to revoke all keys before a change that allows none: keys that are created meanwhile need a further one.
const MAX_ATTEMPTS: usize = 20;

/// The organisations and their people.
#[derive(Debug)]
pub struct Teams {
    db: Db,
    clock: Clock,
    entropy: Entropy,
    keys: Arc<Keys>,
    accounts: Arc<Accounts>,
    jobs: Jobs,
}

/// The keys that a change revoked, and the proof that every node refuses them.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The number of keys.
    pub keys: u64,
    /// The nodes that have applied it.
    pub proof: Proof,
}

/// The position of a page: the row after which it begins, by its moment and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageStart {
    at: i64,
    id: i64,
}

impl PageStart {
    /// Before the first row.
    pub const FIRST: Self = Self { at: i64::MIN, id: i64::MIN };

    fn after(at: Timestamp, id: i64) -> Self {
        Self { at: at.0, id }
    }
}

impl std::fmt::Display for PageStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:016x}", self.at, self.id)
    }
}

impl std::str::FromStr for PageStart {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ERROR: &str = "must be the `next_cursor` of an earlier answer";
        if text.len() != 32 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ERROR);
        }
        let half = |range| u64::from_str_radix(&text[range], 16).map(u64::cast_signed).map_err(|_| ERROR);
        Ok(Self { at: half(0..16)?, id: half(16..32)? })
    }
}

/// A page of rows, and the start of the next one if there is one.
#[derive(Debug, Clone)]
pub struct TeamPage<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The start of the next page.
    pub next: Option<PageStart>,
}

impl<T> TeamPage<T> {
    /// Makes a page of rows of which one more than `limit` was asked for.
    fn of(mut rows: Vec<T>, limit: u32, position: impl Fn(&T) -> PageStart) -> Self {
        let limit = limit as usize;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(position);
        Self { rows, next }
    }
}

impl Teams {
    /// The organisations of a database.
    pub fn new(db: Db, clock: Clock, entropy: Entropy, keys: Arc<Keys>, accounts: Arc<Accounts>, jobs: Jobs) -> Self {
        Self { db, clock, entropy, keys, accounts, jobs }
    }

    /// The context of a change that a person asks for.
    fn audit(&self, person: &Person) -> AuditContext {
        AuditContext::new(&self.entropy, self.clock.now(), person.into(), request_origin())
    }

    /// Revokes keys until `change` accepts that none is left, and returns what it returned then. `change` answers `None`
    /// when there still is a key.
    async fn after_revoking<T, F>(
        &self,
        person: &Person,
        keys: KeySet,
        change: impl Fn() -> F,
    ) -> Result<(T, u64), TeamError>
    where
        F: Future<Output = Result<Option<T>, TeamError>>,
    {
        let caller = Caller::Person(person.clone());
        let mut revoked = 0;
        for _ in 0..MAX_ATTEMPTS {
            revoked += self.keys.revoke_all(&caller, keys).await?;
            if let Some(done) = change().await? {
                return Ok((done, revoked));
            }
        }
        Err(TeamError::KeysAreCreated)
    }

    /// Deletes invitations that are over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_ended_invitations(&self) -> Result<(), StoreError> {
        self.db.delete_ended_invitations(self.clock.now()).await
    }
}

/// The membership by which a person may do something in an organisation.
fn allowed(person: &Person, organisation: OrganisationId, action: Action) -> Result<&Membership, TeamError> {
    let membership = person.in_organisation(organisation).ok_or(TeamError::NotFound)?;
    judge(Some(membership.role), action)?;
    Ok(membership)
}

/// Judges a role as a transaction finds it.
fn judge(role: Option<Role>, action: Action) -> Result<(), TeamError> {
    match role {
        None => Err(TeamError::NotFound),
        Some(role) if may(role, action) => Ok(()),
        Some(_) => Err(TeamError::NotAllowed),
    }
}

fn chain(organisation: OrganisationId) -> AuditChain {
    AuditChain::Organisation(organisation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_start_is_read_back_and_nothing_else_is_one() {
        for start in [PageStart::FIRST, PageStart { at: 1_772_366_400_000, id: -7 }] {
            assert_eq!(start.to_string().parse(), Ok(start));
        }
        for text in ["", "0", &"g".repeat(32), &"0".repeat(31), &"0".repeat(33), &"é".repeat(16), &"A".repeat(32)] {
            assert!(text.parse::<PageStart>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_page_names_the_next_one_only_if_there_are_more_rows() {
        let position = |row: &i64| PageStart { at: *row, id: *row };
        let page = TeamPage::of(vec![1, 2, 3], 2, position);
        assert_eq!((page.rows, page.next), (vec![1, 2], Some(PageStart { at: 2, id: 2 })));
        let page = TeamPage::of(vec![1, 2], 2, position);
        assert_eq!((page.rows, page.next), (vec![1, 2], None));
    }
}
