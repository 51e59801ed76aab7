//! Who is calling, and what they may do. All authorisation of people and keys is decided here.

use uuid::Uuid;

use crate::keys::Key;
use crate::model::{EnvironmentId, Mode, OrganisationId, Role, UserId};
use crate::runtime::lists::Tenant;
use crate::store::{Owner, PersonRow};

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

/// Where a key is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The organisation.
    pub organisation: OrganisationId,
    /// HookSentry's id of it.
    pub organisation_uuid: Uuid,
    /// The environment.
    pub environment: EnvironmentId,
    /// What that is for.
    pub mode: Mode,
}

/// There is no such organisation or environment for this caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceError;

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

/// The environment of a row, and the membership that it is by; none for somebody who is in no organisation, or when
/// something is there that the schema's CHECKs forbid: deny rather than guess.
fn membership(row: &PersonRow) -> Option<(Membership, Environment)> {
    let membership = Membership {
        organisation: OrganisationId(row.organisation_id?),
        uuid: row.uuid?,
        name: row.organisation_name.clone()?,
        role: Role::parse(row.role.as_deref()?)?,
        environments: Vec::new(),
    };
    let environment = Environment {
        id: EnvironmentId(row.environment_id?),
        name: row.environment_name.clone()?,
        mode: Mode::parse(row.mode.as_deref()?)?,
    };
    Some((membership, environment))
}

impl Person {
    /// Whether they may see who serves the database: it is about all organisations.
    pub fn may_see_the_cluster(&self) -> bool {
        self.is_operator
    }

    /// The person whose rows these are, in the order of their memberships; nobody without any.
    pub(super) fn new<'a>(rows: impl IntoIterator<Item = &'a PersonRow>) -> Option<Self> {
        let mut rows = rows.into_iter().peekable();
        let (id, email, is_operator) =
            rows.peek().map(|row| (UserId(row.user_id), row.email.clone(), row.operator != 0))?;
        let mut memberships: Vec<Membership> = Vec::new();
        for (mut membership, environment) in rows.filter_map(membership) {
            if let Some(last) = memberships.last_mut().filter(|last| last.organisation == membership.organisation) {
                last.environments.push(environment);
            } else {
                membership.environments.push(environment);
                memberships.push(membership);
            }
        }
        Some(Self { id, email, memberships, bound_to: None, is_operator })
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

    fn place(&self, environment: &Environment) -> Place {
        Place {
            organisation: self.organisation,
            organisation_uuid: self.uuid,
            environment: environment.id,
            mode: environment.mode,
        }
    }
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
