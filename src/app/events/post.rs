//! The handler of the retention form.

use axum::extract::State;
use axum::http::request::Parts;

use super::list_page::events_page;
use super::retention::RetentionForm;
use crate::app::kit::{Flash, Form, Here, isolate, thousands};
use crate::app::links::events::EventsLink;
use crate::app::shell::Answer;
use crate::domain::Action;
use crate::events::Retention;
use crate::model::ApiError;
use crate::security_log::{Actor, SecurityEvent, Target};
use crate::web::Services;

/// `POST /o/…/events/retention`: changes the retention of an environment's events.
///
/// # Errors
/// 401 without a session, 404 for an environment that the person may not see, 403 without the right to manage
/// settings, 503 when the database fails. Invalid numbers (400), and numbers that were changed elsewhere after the form
/// was rendered (409), are shown on the page.
pub async fn retention(
    State(services): State<Services>,
    at: Here,
    parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    if !at.membership.may(Action::ManageSettings) {
        return Err(ApiError::forbidden("An owner or an admin of the organisation says how long its events are kept."));
    }
    let not_found = || ApiError::not_found("There is no such organisation or environment.");
    // The list above the form, with its filters.
    let here = EventsLink::read(at.place(), parts.uri.query()).map_err(|_| not_found())?;
    let (organisation, id) = (here.place.organisation, here.place.environment);
    let (days, limit) = (form.take("event_days"), form.take("event_limit"));
    let shown = RetentionForm::read_version(&form.take("version"));
    let typed = RetentionForm { days, limit, shown, ..RetentionForm::default() };
    let wanted = match Retention::parse(&typed.days, &typed.limit) {
        Ok(wanted) => wanted,
        Err(errors) => {
            let typed = RetentionForm { errors, ..typed };
            return events_page(&services, &parts, at, typed).await;
        }
    };
    let merge = |stored| RetentionForm::merge(shown, wanted, stored);
    let changed = services.events.change_retention(&at.person, organisation, &at.environment, merge).await?;
    let kept = match changed.ok_or_else(not_found)? {
        Ok(kept) => kept,
        Err(stored) => {
            let typed = typed.in_conflict(wanted, stored);
            return events_page(&services, &parts, at, typed).await;
        }
    };
    let entry = SecurityEvent::RetentionChanged.entry(Actor::Person(at.person.id), Target::Environment(id));
    entry.of(organisation).changed(format!("event_days={} event_limit={}", kept.event_days, kept.event_limit)).write();
    let days = if kept.event_days == 1 { "1 day".to_owned() } else { format!("{} days", thousands(kept.event_days)) };
    let text = format!("{} keeps events for {days}", isolate(&at.environment.name));
    let flash = Flash::success(text, format!("At most {} of them", thousands(kept.event_limit)));
    flash.on_page(&parts, here.href()).await
}
