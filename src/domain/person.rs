//! People, their memberships, and the proof of a password.

use uuid::Uuid;

use super::Place;
use super::access::{Action, may, operator_may};
use crate::model::{EnvironmentId, Mode, OrganisationId, Role, UserId};

/// A person who is signed in.
#[derive(Debug, Clone)]
pub struct Person {
    /// Their ID.
    pub id: UserId,
    /// Their address.
    pub email: String,
    /// Their memberships, oldest first.
    pub memberships: Vec<Membership>,
    /// The one organisation that they signed in for, if they did.
    pub bound_to: Option<OrganisationId>,
    /// Whether they operate the server, as the first account does. No role in an organisation follows from it.
    pub is_operator: bool,
}

/// A membership in an organisation.
#[derive(Debug, Clone)]
pub struct Membership {
    /// hookstream's id.
    pub organisation: OrganisationId,
    /// HookSentry's id of the same organisation.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// Their role in it.
    pub role: Role,
    /// Its environments, live ones first.
    pub environments: Vec<Environment>,
}

/// An environment of an organisation.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// Its name.
    pub name: String,
    /// Its mode.
    pub mode: Mode,
}

impl Person {
    /// Returns whether they may do something with the server as a whole.
    pub fn may(&self, action: Action) -> bool {
        self.is_operator && operator_may(action)
    }

    /// The same person, for one organisation only, whether they are in it or not.
    #[must_use]
    pub fn bound_to(mut self, organisation: OrganisationId) -> Self {
        self.memberships.retain(|membership| membership.organisation == organisation);
        self.bound_to = Some(organisation);
        self
    }

    /// Returns the membership in an organisation that they may see.
    pub fn in_organisation(&self, id: OrganisationId) -> Option<&Membership> {
        self.memberships
            .iter()
            .find(|membership| membership.organisation == id && membership.may(Action::SeeOrganisation))
    }
}

impl Membership {
    /// Returns whether their role allows an action in the organisation.
    pub fn may(&self, action: Action) -> bool {
        may(self.role, action)
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
    /// Their address.
    pub(crate) email: String,
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
