//! A new organisation, with the environments that each begins with.

use serde_json::json;
use uuid::Uuid;

use super::{AuditAction, AuditChain, AuditContext, AuditEntry, AuditFields, AuditTarget, Environment, Membership};
use crate::model::{EnvironmentId, Mode, OrganisationId, Role, Timestamp, UserId};
use crate::runtime::entropy::Entropy;

/// An organisation that is about to be created.
#[derive(Debug, Clone)]
pub struct NewOrganisation {
    /// Its id.
    pub id: OrganisationId,
    /// HookSentry's id of it.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Production (live) and Development (test).
    pub environments: [Environment; 2],
    /// The moment of its creation.
    pub at: Timestamp,
}

impl NewOrganisation {
    /// Draws the ids of an organisation and of its environments.
    pub fn new(name: String, at: Timestamp, entropy: &Entropy) -> Self {
        let environment = |name: &str, mode| Environment {
            id: EnvironmentId(entropy.id()),
            name: name.to_owned(),
            mode,
            archived_at: None,
        };
        Self {
            id: OrganisationId(entropy.id()),
            uuid: entropy.uuid(),
            name,
            environments: [environment("Production", Mode::Live), environment("Development", Mode::Test)],
            at,
        }
    }

    /// The audit entry of its creation.
    pub fn entry(&self, context: &AuditContext, owner: UserId) -> AuditEntry {
        let environment = |environment: &Environment| json!({ "id": environment.id.to_string(), "name": environment.name, "mode": environment.mode.as_str() });
        let made = AuditFields::default()
            .with("name", &self.name)
            .with("owner", owner.to_string())
            .with("environments", self.environments.iter().map(environment).collect::<Vec<_>>());
        let target = AuditTarget::organisation(self.id, &self.name);
        context.entry(AuditChain::Organisation(self.id), AuditAction::OrganisationCreated, target).after(made)
    }

    /// The membership of its owner.
    pub fn into_membership(self) -> Membership {
        Membership {
            organisation: self.id,
            uuid: self.uuid,
            name: self.name,
            role: Role::Owner,
            joined_at: self.at,
            environments: self.environments.into(),
        }
    }
}
