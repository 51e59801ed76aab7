//! People, their memberships, and the proof of a password.

use uuid::Uuid;

use super::Place;
use super::access::{Action, may, operator_may};
use crate::model::{EnvironmentId, Mode, OrganisationId, Role, Timestamp, UserId};

/// A signed-in person.
#[derive(Debug, Clone)]
pub struct Person {
    /// The ID of the person.
    pub id: UserId,
    /// The e-mail address.
    pub email: String,
    /// The memberships, oldest first.
    pub memberships: Vec<Membership>,
    /// The organisation that the sign-in was for, if it was for one.
    pub bound_to: Option<OrganisationId>,
    /// Whether the person is an operator of the server, as the first account is. An operator has no role in an
    /// organisation for that.
    pub is_operator: bool,
}

/// A membership in an organisation.
#[derive(Debug, Clone)]
pub struct Membership {
    /// The id of the organisation in hookstream's contract.
    pub organisation: OrganisationId,
    /// The id of the same organisation in HookSentry's contract.
    pub uuid: Uuid,
    /// The name of the organisation.
    pub name: String,
    /// The role of the person in it.
    pub role: Role,
    /// The moment when the person became a member.
    pub joined_at: Timestamp,
    /// The environments of the organisation: open ones before archived ones, and live ones before test ones.
    pub environments: Vec<Environment>,
}

/// An environment of an organisation.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The id.
    pub id: EnvironmentId,
    /// The name.
    pub name: String,
    /// The mode.
    pub mode: Mode,
    /// Since when it is archived: it has no active key and gets none.
    pub archived_at: Option<Timestamp>,
}

impl Person {
    /// Returns whether the person may do an action on the server as a whole.
    pub fn may(&self, action: Action) -> bool {
        self.is_operator && operator_may(action)
    }

    /// Limits the person to one organisation, even without a membership in it.
    #[must_use]
    pub fn bound_to(mut self, organisation: OrganisationId) -> Self {
        self.memberships.retain(|membership| membership.organisation == organisation);
        self.bound_to = Some(organisation);
        self
    }

    /// Returns the membership in an organisation that the person may see.
    pub fn in_organisation(&self, id: OrganisationId) -> Option<&Membership> {
        self.memberships
            .iter()
            .find(|membership| membership.organisation == id && membership.may(Action::SeeOrganisation))
    }
}

impl Membership {
    /// Returns whether the role allows an action in the organisation.
    pub fn may(&self, action: Action) -> bool {
        may(self.role, action)
    }

    /// Returns the environment with an id, if it belongs to this organisation.
    pub fn environment(&self, id: EnvironmentId) -> Option<&Environment> {
        self.environments.iter().find(|environment| environment.id == id)
    }

    /// The environments that can get keys.
    pub fn open_environments(&self) -> impl Iterator<Item = &Environment> {
        self.environments.iter().filter(|environment| environment.archived_at.is_none())
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

/// Proof that a password was verified. Argon2 takes so long that a password reset may happen before the proof is used,
/// so a session and a token family are stored only while the verified hash is still the stored one.
pub struct Verified {
    pub(crate) user: UserId,
    /// The e-mail address.
    pub(crate) email: String,
    /// The stored hash that the password was compared with.
    pub(crate) password_hash: String,
}

impl Verified {
    /// Returns the user that the password belongs to.
    pub fn user(&self) -> UserId {
        self.user
    }
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified").field("user", &self.user).finish_non_exhaustive()
    }
}
