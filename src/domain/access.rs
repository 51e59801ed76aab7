//! Who is calling, and what they may do. All authorisation of people and keys is decided here.

use super::{Key, Owner, Person, Place, PlaceError};
use crate::model::{EnvironmentId, OrganisationId, UserId};
use crate::runtime::lists::Tenant;

/// What a caller may do with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Not even know that it exists.
    Hidden,
    /// See it, masked.
    See,
    /// Edit and end it.
    Manage,
}

/// Who calls a management endpoint.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Somebody who is signed in.
    Person(Person),
    /// A key that may manage keys.
    Key(Box<Key>),
}

impl Caller {
    /// The person; for a key, who made it.
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::Person(person) => Some(person.id),
            Self::Key(key) => key.created_by,
        }
    }

    /// The key that calls, if it is one.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Person(_) => None,
            Self::Key(key) => Some(key),
        }
    }

    /// Where the caller may make a key: where it says, or without a word in the first
    /// organisation's Production environment; a key only in its own environment.
    ///
    /// # Errors
    /// When there is no such place for the caller.
    pub fn place(&self, asked: Option<(OrganisationId, EnvironmentId)>) -> Result<Place, PlaceError> {
        match self {
            Self::Person(person) => {
                let (membership, environment) = if let Some((organisation, environment)) = asked {
                    let membership = person.in_organisation(organisation).ok_or(PlaceError)?;
                    (membership, membership.environment(environment).ok_or(PlaceError)?)
                } else {
                    let membership = person.memberships.first().ok_or(PlaceError)?;
                    // Live ones come first, and every organisation is made with one.
                    (membership, membership.environments.first().ok_or(PlaceError)?)
                };
                Ok(membership.place(environment))
            }
            Self::Key(key) => match asked {
                Some(asked) if asked != (key.organisation, key.environment) => Err(PlaceError),
                _ => Ok(Place {
                    organisation: key.organisation,
                    organisation_uuid: key.organisation_uuid,
                    environment: key.environment,
                    mode: key.mode,
                }),
            },
        }
    }

    /// Whose keys the caller asks to see: a person's own ones, or all of an organisation or of an
    /// environment of it; a key those of its environment.
    ///
    /// # Errors
    /// When there is no such organisation or environment for the caller.
    pub fn listing(
        &self,
        organisation: Option<OrganisationId>,
        environment: Option<EnvironmentId>,
    ) -> Result<Owner, PlaceError> {
        match self {
            Self::Person(person) => match (organisation, environment) {
                (None, None) => Ok(person
                    .bound_to
                    .map_or(Owner::Creator(person.id), |organisation| Owner::CreatorFor(person.id, organisation))),
                (None, Some(environment)) => {
                    let known = person.memberships.iter().any(|member| member.environment(environment).is_some());
                    known.then_some(Owner::CreatorIn(person.id, environment)).ok_or(PlaceError)
                }
                (Some(organisation), environment) => {
                    let membership = person.in_organisation(organisation).ok_or(PlaceError)?;
                    match environment {
                        None => Ok(Owner::Organisation(organisation)),
                        Some(id) => membership.environment(id).map(|_| Owner::Environment(id)).ok_or(PlaceError),
                    }
                }
            },
            Self::Key(key) => {
                let own = organisation.is_none_or(|asked| asked == key.organisation)
                    && environment.is_none_or(|asked| asked == key.environment);
                own.then_some(Owner::Environment(key.environment)).ok_or(PlaceError)
            }
        }
    }

    /// The tenant that a listing counts for: the organisation, or the person where they list across organisations.
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

    /// What the caller may do with a key.
    pub fn access_to(&self, key: &Key) -> Access {
        match self {
            Self::Person(person) => match person.in_organisation(key.organisation) {
                None => Access::Hidden,
                Some(membership) if membership.role.manages_all_keys() => Access::Manage,
                Some(_) if key.created_by == Some(person.id) => Access::Manage,
                Some(_) => Access::See,
            },
            Self::Key(own) if own.environment == key.environment => Access::Manage,
            Self::Key(_) => Access::Hidden,
        }
    }
}
