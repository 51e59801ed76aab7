//! Organisations: created, renamed, deleted.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Ended, MAX_OWNED, PageStart, TeamError, TeamPage, Teams, allowed, chain, judge};
use crate::domain::{Action, AuditAction, AuditFields, AuditTarget, Membership, NewOrganisation, Person};
use crate::jobs::{Failure, Kind};
use crate::model::{KeyName, OrganisationId, nfc};
use crate::security_log::{Actor, SecurityEvent, Target};
use crate::store::{Held, KeySet};

/// The rest of a deleted organisation is erased after a minute, in milliseconds: requests that began before its deletion
/// have ended by then.
const ERASED_AFTER: i64 = 60_000;

/// The payload of the job.
#[derive(Serialize, Deserialize)]
struct Erasure {
    organisation: String,
}

impl Teams {
    /// Creates an organisation with Production and Development. The person is its owner.
    ///
    /// # Errors
    /// [`TeamError::TooManyOrganisations`], or when the database fails.
    pub async fn create(&self, person: &Person, name: &KeyName) -> Result<Membership, TeamError> {
        let new = NewOrganisation::new(name.as_str().to_owned(), self.clock.now(), &self.entropy);
        let entry = new.entry(&self.audit(person), person.id);
        if !self.db.create_organisation(&new, person.id, MAX_OWNED, entry).await? {
            return Err(TeamError::TooManyOrganisations(MAX_OWNED));
        }
        let event = SecurityEvent::OrganisationCreated;
        event.entry(Actor::Person(person.id), Target::Organisation(new.id)).of(new.id).write();
        Ok(new.into_membership())
    }

    /// Lists the organisations of a person, in the order in which they joined them.
    pub fn organisations(&self, person: Person, start: PageStart, limit: u32) -> TeamPage<Membership> {
        let position = |membership: &Membership| PageStart::after(membership.joined_at, membership.organisation.0);
        let is_later =
            |membership: &Membership| (position(membership).at, position(membership).id) > (start.at, start.id);
        let rows = person.memberships.into_iter().filter(is_later).take(limit as usize + 1).collect();
        TeamPage::of(rows, limit, position)
    }

    /// Returns the membership by which a person may change the settings of an organisation.
    ///
    /// # Errors
    /// When they may not.
    pub fn settings(&self, person: &Person, organisation: OrganisationId) -> Result<Membership, TeamError> {
        allowed(person, organisation, Action::ManageSettings).cloned()
    }

    /// Gives an organisation another name.
    ///
    /// # Errors
    /// When the person may not, or the database fails.
    pub async fn rename(
        &self,
        person: &Person,
        organisation: OrganisationId,
        name: &KeyName,
    ) -> Result<Membership, TeamError> {
        let membership = allowed(person, organisation, Action::ManageSettings)?;
        let entry = |before: &str| {
            let target = AuditTarget::organisation(organisation, name.as_str());
            self.audit(person)
                .entry(chain(organisation), AuditAction::OrganisationRenamed, target)
                .before(AuditFields::default().with("name", before))
                .after(AuditFields::default().with("name", name.as_str()))
        };
        self.db
            .rename_organisation(
                organisation,
                person.id,
                name.as_str(),
                |held| judge(held.role, Action::ManageSettings),
                entry,
            )
            .await??;
        let event = SecurityEvent::OrganisationRenamed;
        event.entry(Actor::Person(person.id), Target::Organisation(organisation)).of(organisation).write();
        Ok(Membership { name: name.as_str().to_owned(), ..membership.clone() })
    }

    /// Deletes an organisation; `confirm` has to be its name. Revokes all of its keys, then ends its memberships,
    /// invitations and tokens. A job erases its events and keys.
    ///
    /// # Errors
    /// When the person may not or the name is another one, or when the database fails. Keys may be revoked then; a second
    /// call goes on.
    pub async fn delete(
        &self,
        person: &Person,
        organisation: OrganisationId,
        confirm: &str,
    ) -> Result<Ended, TeamError> {
        let membership = allowed(person, organisation, Action::ManageOwnership)?;
        let is_name = |name: &str| nfc(confirm).trim() == name;
        if !is_name(&membership.name) {
            return Err(TeamError::OtherName);
        }
        let now = self.clock.now();
        let payload = json!(Erasure { organisation: organisation.to_string() });
        let job = self.jobs.prepare(Kind::EraseOrganisation, &payload, now.plus(ERASED_AFTER));
        let job = job.map_err(|_| TeamError::NotFound)?;
        let judged = |held: &Held, has_keys: bool| {
            judge(held.role, Action::ManageOwnership)?;
            match (is_name(&held.name), has_keys) {
                (false, _) => Err(TeamError::OtherName),
                (true, true) => Err(TeamError::KeysAreCreated),
                (true, false) => Ok(()),
            }
        };
        let entry = |name: &str, members| {
            let target = AuditTarget::organisation(organisation, name);
            let fields = AuditFields::default().with("name", name).with("members", members);
            self.audit(person).entry(chain(organisation), AuditAction::OrganisationDeleted, target).before(fields)
        };
        let (judged, entry, job) = (&judged, &entry, &job);
        let change = || async move {
            match self.db.delete_organisation(organisation, person.id, now, job, judged, entry).await? {
                Err(TeamError::KeysAreCreated) => Ok(None),
                outcome => outcome.map(Some),
            }
        };
        let ((), keys) = self.after_revoking(person, KeySet::Organisation(organisation), change).await?;
        self.jobs.wake();
        let event = SecurityEvent::OrganisationDeleted;
        event.entry(Actor::Person(person.id), Target::Organisation(organisation)).of(organisation).write();
        Ok(Ended { keys, proof: self.keys.proof().await? })
    }

    /// Erases the rest of a deleted organisation, which the payload of a job names.
    ///
    /// # Errors
    /// When the database fails; a second call goes on. When the payload names no organisation.
    pub async fn erase(&self, payload: &str) -> Result<(), Failure> {
        let Erasure { organisation } = serde_json::from_str(payload)?;
        Ok(self.db.erase_organisation(organisation.parse()?).await?)
    }
}
