//! The caller of a management endpoint, and the places and keys that the access table opens to it.

use super::{Action, Denied, Key, Owner, Person, Place};
use crate::model::{EnvironmentId, OrganisationId, UserId};
use crate::runtime::lists::Tenant;

/// The caller of a management endpoint.
#[derive(Debug, Clone)]
pub enum Caller {
    /// A signed-in person.
    Person(Person),
    /// A key that may manage keys.
    Key(Box<Key>),
}

impl Caller {
    /// Returns the person; for a key, the person that created the key.
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::Person(person) => Some(person.id),
            Self::Key(key) => key.created_by,
        }
    }

    /// Returns the key, if the caller is one.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Person(_) => None,
            Self::Key(key) => Some(key),
        }
    }

    /// Returns the place where the caller may create a key: the requested one, or by default the Production environment
    /// of the person's first organisation; for a key its own environment.
    ///
    /// # Errors
    /// [`Denied`] when there is no such place for the caller, or the role of the caller creates no keys there.
    pub fn place(&self, asked: Option<(OrganisationId, EnvironmentId)>) -> Result<Place, Denied> {
        match self {
            Self::Person(person) => {
                let (membership, environment) = if let Some((organisation, environment)) = asked {
                    let membership = person.in_organisation(organisation).ok_or(Denied::Hidden)?;
                    (membership, membership.environment(environment).ok_or(Denied::Hidden)?)
                } else {
                    let membership = person.memberships.first().ok_or(Denied::Hidden)?;
                    // Live environments come first, and at least one environment is not archived.
                    (membership, membership.open_environments().next().ok_or(Denied::Hidden)?)
                };
                if !membership.may(Action::CreateKeys) {
                    return Err(Denied::NotAllowed);
                }
                Ok(membership.place(environment))
            }
            Self::Key(key) => match asked {
                Some(asked) if asked != (key.organisation, key.environment) => Err(Denied::Hidden),
                _ => Ok(key.place()),
            },
        }
    }

    /// Returns the owner of the keys that the caller asks to list: the person, or an organisation or an environment of
    /// it; for a key its environment.
    ///
    /// # Errors
    /// [`Denied::Hidden`] when there is no such organisation or environment for the caller.
    pub fn listing(
        &self,
        organisation: Option<OrganisationId>,
        environment: Option<EnvironmentId>,
    ) -> Result<Owner, Denied> {
        match self {
            Self::Person(person) => match (organisation, environment) {
                (None, None) => Ok(person
                    .bound_to
                    .map_or(Owner::Creator(person.id), |organisation| Owner::CreatorFor(person.id, organisation))),
                (None, Some(environment)) => {
                    let known = person.memberships.iter().any(|member| member.environment(environment).is_some());
                    known.then_some(Owner::CreatorIn(person.id, environment)).ok_or(Denied::Hidden)
                }
                (Some(organisation), environment) => {
                    let membership = person.in_organisation(organisation).ok_or(Denied::Hidden)?;
                    match environment {
                        None => Ok(Owner::Organisation(organisation)),
                        Some(id) => membership.environment(id).map(|_| Owner::Environment(id)).ok_or(Denied::Hidden),
                    }
                }
            },
            Self::Key(key) => {
                let own = organisation.is_none_or(|asked| asked == key.organisation)
                    && environment.is_none_or(|asked| asked == key.environment);
                own.then_some(Owner::Environment(key.environment)).ok_or(Denied::Hidden)
            }
        }
    }

    /// Returns the tenant that a listing is charged to: the organisation, or the person for a list across
    /// organisations.
    pub fn tenant(&self, owner: Owner) -> Tenant {
        match (self, owner) {
            (Self::Key(key), _) => Tenant::Organisation(key.organisation),
            (_, Owner::Organisation(organisation) | Owner::CreatorFor(_, organisation)) => {
                Tenant::Organisation(organisation)
            }
            (Self::Person(person), Owner::Environment(id) | Owner::CreatorIn(_, id)) => {
                let membership = person.memberships.iter().find(|membership| membership.environment(id).is_some());
                membership.map_or(Tenant::Person(person.id), |found| Tenant::Organisation(found.organisation))
            }
            (Self::Person(person), Owner::Creator(_)) => Tenant::Person(person.id),
        }
    }

    /// Returns whether the caller may see a key, masked.
    pub fn may_see(&self, key: &Key) -> bool {
        self.may_manage(key) != Err(Denied::Hidden)
    }

    /// Decides whether the caller may edit, pause and revoke a key.
    ///
    /// # Errors
    /// [`Denied`] when the caller may not.
    pub fn may_manage(&self, key: &Key) -> Result<(), Denied> {
        match self {
            Self::Person(person) => {
                let membership = person.in_organisation(key.organisation).ok_or(Denied::Hidden)?;
                let is_own = key.created_by == Some(person.id);
                let may = membership.may(Action::ManageAllKeys) || is_own && membership.may(Action::ManageOwnKeys);
                may.then_some(()).ok_or(Denied::NotAllowed)
            }
            // A key that may manage keys manages the keys of its environment, and sees no others.
            Self::Key(own) if own.environment == key.environment => Ok(()),
            Self::Key(_) => Err(Denied::Hidden),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{Environment, Membership, key};
    use crate::model::{Mode, Role};

    const ADA: UserId = UserId(1);
    const BOB: UserId = UserId(2);

    /// Returns Ada, an operator of the server with a role in the organisation of [`key`].
    fn ada(role: Role) -> Caller {
        let (id, name) = (EnvironmentId(1), "Production".to_owned());
        let environment = Environment { id, name, mode: Mode::Live, archived_at: None };
        let membership = Membership {
            organisation: OrganisationId(1),
            uuid: Uuid::nil(),
            name: "Ada's organisation".to_owned(),
            role,
            joined_at: crate::model::Timestamp(0),
            environments: vec![environment],
        };
        let email = "ada@example.com".to_owned();
        Caller::Person(Person { id: ADA, email, memberships: vec![membership], bound_to: None, is_operator: true })
    }

    #[test]
    fn a_role_decides_about_own_keys_and_keys_of_others() {
        let made_by = |maker| Key { created_by: maker, ..key() };
        for (role, own, others) in [
            (Role::Owner, Ok(()), Ok(())),
            (Role::Admin, Ok(()), Ok(())),
            (Role::Member, Ok(()), Err(Denied::NotAllowed)),
            (Role::Viewer, Err(Denied::NotAllowed), Err(Denied::NotAllowed)),
        ] {
            let ada = ada(role);
            assert_eq!(ada.may_manage(&made_by(Some(ADA))), own, "{role:?}");
            assert_eq!(ada.may_manage(&made_by(Some(BOB))), others, "{role:?}");
            assert_eq!(ada.may_manage(&made_by(None)), others, "{role:?}");
            assert!(ada.may_see(&made_by(Some(BOB))), "{role:?}");
        }
    }

    /// Also for an operator, and for a creator of the key that has left the organisation.
    #[test]
    fn a_key_of_another_organisation_is_hidden() {
        let elsewhere = Key { organisation: OrganisationId(2), created_by: Some(ADA), ..key() };
        for role in Role::ALL {
            assert_eq!(ada(role).may_manage(&elsewhere), Err(Denied::Hidden), "{role:?}");
            assert!(!ada(role).may_see(&elsewhere), "{role:?}");
        }
    }

    #[test]
    fn all_but_viewers_create_keys_in_their_organisation() {
        let here = (OrganisationId(1), EnvironmentId(1));
        for (role, outcome) in [
            (Role::Owner, Ok(())),
            (Role::Admin, Ok(())),
            (Role::Member, Ok(())),
            (Role::Viewer, Err(Denied::NotAllowed)),
        ] {
            for asked in [None, Some(here)] {
                assert_eq!(ada(role).place(asked).map(drop), outcome, "{role:?}");
            }
            for nowhere in [(OrganisationId(2), EnvironmentId(1)), (OrganisationId(1), EnvironmentId(2))] {
                assert_eq!(ada(role).place(Some(nowhere)).map(drop), Err(Denied::Hidden), "{role:?}");
            }
        }
    }

    #[test]
    fn a_key_manages_the_keys_of_its_environment_and_sees_no_others() {
        let caller = Caller::Key(Box::new(key()));
        let elsewhere = Key { environment: EnvironmentId(2), ..key() };
        assert_eq!(caller.may_manage(&key()), Ok(()));
        assert_eq!(caller.may_manage(&elsewhere), Err(Denied::Hidden));
        assert!(!caller.may_see(&elsewhere));
    }
}
