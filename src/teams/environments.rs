//! Environments: created, renamed, archived and opened again.

use super::{MAX_ENVIRONMENTS, TeamError, Teams, allowed, chain, judge};
use crate::domain::{Action, AuditAction, AuditEntry, AuditFields, AuditTarget, Environment, Person};
use crate::model::{EnvironmentId, KeyName, Mode, OrganisationId};
use crate::runtime::time::seconds;
use crate::security_log::{Actor, SecurityEvent, Target};
use crate::store::{Held, HeldEnvironment, KeySet};

/// A change of an environment; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct EnvironmentChange {
    /// Another name.
    pub name: Option<KeyName>,
    /// Whether it is archived.
    pub archived: Option<bool>,
    /// Whether keys that are not revoked are revoked first when it is archived; otherwise they refuse it.
    pub revoke_keys: bool,
}

impl Teams {
    /// Counts the keys of each environment that are not revoked. Environments without such a key are left out.
    ///
    /// # Errors
    /// When the person is no member, or the database fails.
    pub async fn active_keys(
        &self,
        person: &Person,
        organisation: OrganisationId,
    ) -> Result<Vec<(EnvironmentId, i64)>, TeamError> {
        allowed(person, organisation, Action::SeeOrganisation)?;
        Ok(self.db.active_keys_by_environment(organisation).await?)
    }

    /// Creates an environment.
    ///
    /// # Errors
    /// When the person may not, the organisation has too many, or the database fails.
    pub async fn create_environment(
        &self,
        person: &Person,
        organisation: OrganisationId,
        name: &KeyName,
        mode: Mode,
    ) -> Result<Environment, TeamError> {
        allowed(person, organisation, Action::ManageSettings)?;
        let (id, name) = (EnvironmentId(self.entropy.id()), name.as_str().to_owned());
        let new = Environment { id, name, mode, archived_at: None };
        let target = AuditTarget::environment(id, &new.name);
        let entry = self.audit(person).entry(chain(organisation), AuditAction::EnvironmentCreated, target);
        let entry = entry.after(fields(&new).with("mode", mode.as_str()));
        let judged = |held: &Held, count| {
            judge(held.role, Action::ManageSettings)?;
            if count < MAX_ENVIRONMENTS { Ok(()) } else { Err(TeamError::TooManyEnvironments(MAX_ENVIRONMENTS)) }
        };
        self.db.create_environment(organisation, person.id, &new, judged, entry).await??;
        let event = SecurityEvent::EnvironmentCreated.entry(Actor::Person(person.id), Target::Environment(id));
        event.of(organisation).write();
        Ok(new)
    }

    /// Changes an environment. When an environment is archived, every node refuses its keys, and no key is created in it
    /// any more.
    ///
    /// # Errors
    /// When the person may not, the environment has keys or is the last one, or when the database fails.
    pub async fn change_environment(
        &self,
        person: &Person,
        organisation: OrganisationId,
        id: EnvironmentId,
        change: &EnvironmentChange,
    ) -> Result<Environment, TeamError> {
        let membership = allowed(person, organisation, Action::ManageSettings)?;
        let now = membership.environment(id).ok_or(TeamError::NoEnvironment)?;
        if change.archived == Some(true) && change.revoke_keys {
            // Before any key is revoked for nothing.
            let has_other = membership.open_environments().any(|other| other.id != id);
            if now.archived_at.is_none() && !has_other {
                return Err(TeamError::LastEnvironment);
            }
            let set = KeySet::Environment(organisation, id);
            let again = || async move {
                match self.store_change(person, organisation, id, change).await {
                    Err(TeamError::EnvironmentHasKeys(_)) => Ok(None),
                    outcome => outcome.map(Some),
                }
            };
            let (changed, _) = self.after_revoking(person, set, again).await?;
            self.keys.proof().await?;
            return Ok(changed);
        }
        self.store_change(person, organisation, id, change).await
    }

    async fn store_change(
        &self,
        person: &Person,
        organisation: OrganisationId,
        id: EnvironmentId,
        change: &EnvironmentChange,
    ) -> Result<Environment, TeamError> {
        let mut event = None;
        let changed = self
            .db
            .update_environment(organisation, person.id, id, |held| {
                let (before, changed) = self.judge_change(held, change)?;
                let action = action_of(&before, &changed);
                event = action.map(event_of);
                let entry = action.map(|action| self.change_entry(person, organisation, action, &before, &changed));
                Ok::<_, TeamError>((changed, entry))
            })
            .await??;
        if let Some(event) = event {
            event.entry(Actor::Person(person.id), Target::Environment(id)).of(organisation).write();
        }
        Ok(changed)
    }

    fn judge_change(
        &self,
        held: HeldEnvironment,
        change: &EnvironmentChange,
    ) -> Result<(Environment, Environment), TeamError> {
        judge(held.organisation.role, Action::ManageSettings)?;
        let before = held.environment.ok_or(TeamError::NoEnvironment)?;
        let mut changed = before.clone();
        if let Some(name) = &change.name {
            name.as_str().clone_into(&mut changed.name);
        }
        match (change.archived, before.archived_at) {
            (Some(true), None) => {
                if held.open <= 1 {
                    return Err(TeamError::LastEnvironment);
                }
                if held.active_keys > 0 {
                    return Err(TeamError::EnvironmentHasKeys(held.active_keys.unsigned_abs()));
                }
                changed.archived_at = Some(self.clock.now());
            }
            (Some(false), Some(_)) => changed.archived_at = None,
            _ => {}
        }
        Ok((before, changed))
    }

    fn change_entry(
        &self,
        person: &Person,
        organisation: OrganisationId,
        action: AuditAction,
        before: &Environment,
        changed: &Environment,
    ) -> AuditEntry {
        let target = AuditTarget::environment(changed.id, &changed.name);
        let entry = self.audit(person).entry(chain(organisation), action, target);
        entry.before(fields(before)).after(fields(changed))
    }
}

fn fields(environment: &Environment) -> AuditFields {
    let fields = AuditFields::default().with("name", &environment.name);
    fields.with("archived_at", environment.archived_at.map(seconds))
}

/// The action of a change; `None` when nothing changes.
fn action_of(before: &Environment, changed: &Environment) -> Option<AuditAction> {
    match (before.archived_at, changed.archived_at) {
        (None, Some(_)) => Some(AuditAction::EnvironmentArchived),
        (Some(_), None) => Some(AuditAction::EnvironmentUnarchived),
        _ => (before.name != changed.name).then_some(AuditAction::EnvironmentUpdated),
    }
}

fn event_of(action: AuditAction) -> SecurityEvent {
    match action {
        AuditAction::EnvironmentArchived => SecurityEvent::EnvironmentArchived,
        AuditAction::EnvironmentUnarchived => SecurityEvent::EnvironmentUnarchived,
        _ => SecurityEvent::EnvironmentUpdated,
    }
}
