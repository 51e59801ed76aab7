//! The place in the path of a page and the signed-in person, for handlers and for the frame.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::app::links::organisation::OrganisationLink;
use crate::app::links::place::EnvironmentPath;
use crate::app::links::visited::Visited;
use crate::domain::{Action, Environment, Membership, Person};
use crate::model::{ApiError, OrganisationId};
use crate::web::Services;
use crate::web::auth::{InSession, SignedIn};

/// The environment in the path of a page, and the signed-in member of its organisation.
#[derive(Debug, Clone)]
pub struct Here {
    /// The person.
    pub person: Person,
    /// Their membership in the organisation.
    pub membership: Membership,
    /// The environment.
    pub environment: Environment,
    visited: Visited,
}

/// Marks a request as a visit of a place, which the cookie `Visited` records.
#[derive(Debug, Clone, Copy)]
pub struct Visit(pub EnvironmentPath);

impl Here {
    /// Returns the place.
    pub fn place(&self) -> EnvironmentPath {
        EnvironmentPath { organisation: self.membership.organisation, environment: self.environment.id }
    }

    /// Returns the title of a page: the page, the environment, the organisation.
    pub fn title(&self, page: &str) -> String {
        format!("{page} · {} · {}", self.environment.name, self.membership.name)
    }

    /// Returns the frame of a page.
    pub fn frame(&self) -> Frame {
        Frame {
            person: self.person.clone(),
            place: Some((self.membership.clone(), self.environment.clone())),
            visited: self.visited.clone(),
        }
    }
}

impl FromRequestParts<Services> for Here {
    type Rejection = ApiError;

    /// 401 without a session, 404 for a place that the person may not see, 503 when the database fails.
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        let SignedIn(person) = SignedIn::from_request_parts(parts, services).await?;
        let not_found = || ApiError::not_found("There is no such organisation or environment.");
        let (place, _) = EnvironmentPath::split(parts.uri.path()).ok_or_else(not_found)?;
        let (membership, environment) = find(&person, place).ok_or_else(not_found)?;
        let (membership, environment) = (membership.clone(), environment.clone());
        parts.extensions.insert(Visit(place));
        Ok(Self { person, membership, environment, visited: visited(parts) })
    }
}

/// The organisation in the path of a settings page, and the signed-in member. Settings need a session: an access token is
/// refused.
#[derive(Debug, Clone)]
pub struct InOrganisation {
    /// The person.
    pub person: Person,
    /// Their membership in the organisation.
    pub membership: Membership,
    frame: Frame,
}

impl InOrganisation {
    /// Returns the id of the organisation.
    pub fn id(&self) -> OrganisationId {
        self.membership.organisation
    }

    /// Returns the addresses of the organisation.
    pub fn link(&self) -> OrganisationLink {
        OrganisationLink(self.id())
    }

    /// Returns the title of a page: the page, the organisation.
    pub fn title(&self, page: &str) -> String {
        format!("{page} · {}", self.membership.name)
    }

    /// Returns the frame of a page.
    pub fn frame(&self) -> Frame {
        self.frame.clone()
    }

    /// Refuses (403) a person whose role does not allow an action.
    ///
    /// # Errors
    /// 403, with this detail.
    pub fn require(&self, action: Action, detail: &'static str) -> Result<(), ApiError> {
        if self.membership.may(action) { Ok(()) } else { Err(ApiError::forbidden(detail)) }
    }
}

impl FromRequestParts<Services> for InOrganisation {
    type Rejection = ApiError;

    /// 401 without a session, 404 for an organisation that the person is no member of, 503 when the database fails.
    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        let InSession(person) = InSession::from_request_parts(parts, services).await?;
        let not_found = || ApiError::not_found("There is no such organisation.");
        let OrganisationLink(id) = OrganisationLink::of_path(parts.uri.path()).ok_or_else(not_found)?;
        let membership = person.in_organisation(id).cloned().ok_or_else(not_found)?;
        let frame = Frame::of(person.clone(), parts);
        Ok(Self { person, membership, frame })
    }
}

/// The data of a frame: the person, and the place that its links keep.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The person.
    pub person: Person,
    /// `None` for a person without an organisation.
    pub place: Option<(Membership, Environment)>,
    /// The places that the browser visited last.
    pub visited: Visited,
}

impl Frame {
    /// Returns the frame of any page. The place is that of the path, or the place that was visited last, or the first.
    pub fn of(person: Person, parts: &Parts) -> Self {
        let in_path = EnvironmentPath::split(parts.uri.path()).map(|(place, _)| place);
        let organisation = OrganisationLink::of_path(parts.uri.path());
        let mut frame = Self { place: None, visited: visited(parts), person };
        let is_named = |place: &EnvironmentPath| organisation.is_some_and(|named| named.0 == place.organisation);
        let named: Vec<EnvironmentPath> = frame.places().filter(is_named).collect();
        let mut candidates = in_path.into_iter().chain(named).chain(frame.places());
        let found = candidates.find_map(|place| find(&frame.person, place));
        let found = found.map(|(membership, environment)| (membership.clone(), environment.clone()));
        drop(candidates);
        frame.place = found;
        frame
    }

    /// Returns the place.
    pub fn place(&self) -> Option<EnvironmentPath> {
        let (membership, environment) = self.place.as_ref()?;
        Some(EnvironmentPath { organisation: membership.organisation, environment: environment.id })
    }

    /// Returns the places of the person: the visited ones that are not archived, newest first, then all.
    pub fn places(&self) -> impl Iterator<Item = EnvironmentPath> {
        let is_open =
            |place: &EnvironmentPath| find(&self.person, *place).is_some_and(|(_, found)| found.archived_at.is_none());
        let visited = self.visited.places().filter(is_open);
        let all = self.person.memberships.iter().flat_map(|membership| {
            let organisation = membership.organisation;
            let place = move |environment: &Environment| EnvironmentPath { organisation, environment: environment.id };
            membership.open_environments().map(place)
        });
        visited.chain(all)
    }
}

fn visited(parts: &Parts) -> Visited {
    parts.extensions.get().cloned().unwrap_or_default()
}

fn find(person: &Person, place: EnvironmentPath) -> Option<(&Membership, &Environment)> {
    let membership = person.in_organisation(place.organisation)?;
    Some((membership, membership.environment(place.environment)?))
}
