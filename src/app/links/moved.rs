//! Redirects from the start page, from incomplete paths, and from the addresses of earlier releases, which had the
//! organisation and the environment in the query (`org`, `env`).

use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use uuid::Uuid;

use super::keys::KeysLink;
use super::place::EnvironmentPath;
use super::{NEW_ORGANISATION, SERVER};
use crate::app::kit::Frame;
use crate::app::shell::Answer;
use crate::domain::{Caller, Person};
use crate::model::{ApiError, EnvironmentId, KeyId, OrganisationId};
use crate::web::Services;
use crate::web::auth::SignedIn;

fn no_place() -> ApiError {
    ApiError::not_found("There is no such organisation or environment.")
}

/// `GET /`: redirects to the keys of the environment that was visited last, or else of the first; without an organisation,
/// to the page that creates one.
///
/// # Errors
/// 401 without a session, 503 when the database fails.
pub async fn home(SignedIn(person): SignedIn, parts: Parts) -> Result<Answer, ApiError> {
    let place = Frame::of(person, &parts).place();
    Ok(Answer::SeeOther(place.map_or_else(|| NEW_ORGANISATION.to_owned(), |place| KeysLink::to(place).href())))
}

/// `GET /o/{organisation}`, `GET /o/{organisation}/{environment}`: redirects to the keys.
///
/// # Errors
/// 401 without a session, 404 for a place that the person may not see, 503 when the database fails.
pub async fn beginning(
    SignedIn(person): SignedIn,
    Path(path): Path<Vec<String>>,
    parts: Parts,
) -> Result<Answer, ApiError> {
    let mut ids = path.iter();
    let organisation: Option<OrganisationId> = ids.next().and_then(|id| id.parse().ok());
    let environment = ids.next().map(|id| id.parse::<EnvironmentId>().map_err(|_| no_place())).transpose()?;
    let frame = Frame::of(person, &parts);
    let place = frame.place().filter(|place| {
        Some(place.organisation) == organisation && environment.is_none_or(|asked| asked == place.environment)
    });
    Ok(Answer::SeeOther(KeysLink::to(place.ok_or_else(no_place)?).href()))
}

/// `GET /cluster`: redirects to the page of the server.
///
/// # Errors
/// None.
pub async fn cluster(_: Parts) -> Result<Answer, ApiError> {
    Ok(Answer::SeeOther(SERVER.to_owned()))
}

/// A request for an address of an earlier release.
pub struct Old {
    person: Person,
    organisation: Option<OrganisationId>,
    environment: Option<EnvironmentId>,
    /// The parameter `event`.
    event: Option<Uuid>,
    /// The path, without the slash at its beginning.
    page: String,
    /// All other parameters, with a question mark.
    query: String,
}

impl FromRequestParts<Services> for Old {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, ApiError> {
        let SignedIn(person) = SignedIn::from_request_parts(parts, services).await?;
        let page = parts.uri.path().trim_start_matches('/').to_owned();
        let mut old = Self { person, organisation: None, environment: None, event: None, page, query: String::new() };
        // Piece by piece, to keep the encoding of the others.
        for piece in parts.uri.query().unwrap_or_default().split('&').filter(|piece| !piece.is_empty()) {
            let (name, value) = form_urlencoded::parse(piece.as_bytes()).next().unwrap_or_default();
            match name.as_ref() {
                "org" => old.organisation = Some(value.parse().map_err(|_| no_place())?),
                "env" => old.environment = Some(value.parse().map_err(|_| no_place())?),
                "event" => old.event = Uuid::try_parse(value.trim()).ok(),
                _ => {
                    old.query.push(if old.query.is_empty() { '?' } else { '&' });
                    old.query.push_str(piece);
                }
            }
        }
        Ok(old)
    }
}

impl Old {
    fn is_at(&self, place: EnvironmentPath) -> bool {
        self.organisation.is_none_or(|asked| asked == place.organisation)
            && self.environment.is_none_or(|asked| asked == place.environment)
    }

    fn redirect(&self, place: EnvironmentPath, page: &str) -> Answer {
        Answer::SeeOther(format!("{}{}", place.path(page), self.query))
    }

    /// Redirects to the page of an event.
    async fn redirect_to_event(&self, services: &Services, id: Uuid, page: &str) -> Result<Answer, ApiError> {
        for membership in &self.person.memberships {
            let organisation = membership.organisation;
            if self.organisation.is_none_or(|asked| asked == organisation)
                && let Some(event) = services.events.get(organisation, id).await?
            {
                let environment = EnvironmentId(event.head.environment_id);
                return Ok(self.redirect(EnvironmentPath { organisation, environment }, page));
            }
        }
        Err(ApiError::not_found("There is no such event, or it is kept no longer."))
    }
}

/// `GET /keys`, `GET /events`: redirects to the place in the query, or to the place that was visited last.
///
/// # Errors
/// 401 without a session, 404 for a place that the person may not see, 503 when the database fails.
pub async fn list(State(services): State<Services>, old: Old, parts: Parts) -> Result<Answer, ApiError> {
    if let Some(id) = old.event {
        return old.redirect_to_event(&services, id, &format!("events/{id}")).await;
    }
    let frame = Frame::of(old.person.clone(), &parts);
    if old.person.memberships.is_empty() {
        return Ok(Answer::SeeOther(NEW_ORGANISATION.to_owned()));
    }
    let place = frame.places().find(|place| old.is_at(*place)).ok_or_else(no_place)?;
    Ok(old.redirect(place, &old.page))
}

/// `GET /keys/{id}`: redirects to the organisation and the environment of the key.
///
/// # Errors
/// 401 without a session, 404 for a key that the person may not see, 503 when the database fails.
pub async fn key(State(services): State<Services>, old: Old, Path(id): Path<String>) -> Result<Answer, ApiError> {
    let not_found = || ApiError::not_found("There is no such key.");
    let id: KeyId = id.parse().map_err(|_| not_found())?;
    let key = services.keys.get(id).await?.ok_or_else(not_found)?;
    let place = EnvironmentPath::of(&key);
    if !Caller::Person(old.person.clone()).may_see(&key) || !old.is_at(place) {
        return Err(not_found());
    }
    Ok(old.redirect(place, &old.page))
}

/// `GET /events/{id}`, `GET /events/{id}/body`: redirects to the organisation and the environment of the event.
///
/// # Errors
/// 401 without a session, 404 for an event that the person may not see, 503 when the database fails.
pub async fn event(State(services): State<Services>, old: Old, Path(id): Path<String>) -> Result<Answer, ApiError> {
    let id =
        Uuid::try_parse(&id).map_err(|_| ApiError::not_found("There is no such event, or it is kept no longer."))?;
    old.redirect_to_event(&services, id, &old.page).await
}
