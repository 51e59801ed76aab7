//! A person, and where they belong.

use uuid::Uuid;

use super::Place;
use crate::model::{EnvironmentId, Mode, OrganisationId, Role, UserId};

/// Somebody who is signed in.
#[derive(Debug, Clone)]
pub struct Person {
    /// Who.
    pub id: UserId,
    /// Their address.
    pub email: String,
    /// Where they belong, oldest membership first.
    pub memberships: Vec<Membership>,
    /// The one organisation that they signed in for, if they did.
    pub bound_to: Option<OrganisationId>,
    /// Whether they operate the server: the first account does.
    pub is_operator: bool,
}

/// An organisation that somebody is in.
#[derive(Debug, Clone)]
pub struct Membership {
    /// hookstream's id.
    pub organisation: OrganisationId,
    /// HookSentry's id of the same organisation.
    pub uuid: Uuid,
    /// What it is called.
    pub name: String,
    /// What they are in it.
    pub role: Role,
    /// Its environments, live ones first.
    pub environments: Vec<Environment>,
}

/// An environment of an organisation.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub mode: Mode,
}

impl Person {
    /// Whether they may see who serves the database: it is about all organisations.
    pub fn may_see_the_cluster(&self) -> bool {
        self.is_operator
    }

    /// The same person, for one organisation only, whether they are in it or not.
    #[must_use]
    pub fn bound_to(mut self, organisation: OrganisationId) -> Self {
        self.memberships.retain(|membership| membership.organisation == organisation);
        self.bound_to = Some(organisation);
        self
    }

    /// The membership in an organisation, if there is one.
    pub fn in_organisation(&self, id: OrganisationId) -> Option<&Membership> {
        self.memberships.iter().find(|membership| membership.organisation == id)
    }
}

impl Membership {
    /// Whether they may say how long events are kept.
    pub fn may_set_retention(&self) -> bool {
        matches!(self.role, Role::Owner | Role::Admin)
    }

    /// The environment of that id, if it is one of this organisation.
    pub fn environment(&self, id: EnvironmentId) -> Option<&Environment> {
        self.environments.iter().find(|environment| environment.id == id)
    }

    pub(super) fn place(&self, environment: &Environment) -> Place {
        Place {
            organisation: self.organisation,
            organisation_uuid: self.uuid,
            environment: environment.id,
            mode: environment.mode,
        }
    }
}

/// Proof that a password was verified. Argon2 takes long enough for a password reset to come between the verification
/// and what it is for, so a session and a token family are stored only while the verified hash is still the stored one.
pub struct Verified {
    pub(crate) user: UserId,
    /// As it was stored when the password was compared with it.
    pub(crate) password_hash: String,
}

impl Verified {
    /// The user whose password it is.
    pub fn user(&self) -> UserId {
        self.user
    }
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified").field("user", &self.user).finish_non_exhaustive()
    }
}
