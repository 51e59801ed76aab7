//! The handler of the retention form. A new retention that deletes events is confirmed first.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::environment::{InEnvironment, Typed, environment_page};
use super::retention::RetentionForm;
use super::words;
use crate::app::kit::{Flash, Form};
use crate::app::shell::Answer;
use crate::domain::Action;
use crate::events::{EventFilter, EventPage, Retention};
use crate::model::ApiError;
use crate::runtime::lists::Tenant;
use crate::security_log::{Actor, SecurityEvent, Target};
use crate::web::Services;

/// A day in milliseconds.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// `POST /o/{organisation}/settings/environments/{id}/retention`: changes the retention of an environment's events.
///
/// # Errors
/// 401 without a session, 404 for an environment that the person may not see, 403 without the right to manage
/// settings, 503 when the database fails. Invalid numbers (400), numbers that were changed elsewhere after the form was
/// rendered (409), and the question before events are deleted (409) are shown on the page.
pub async fn retention(
    State(services): State<Services>,
    here: InEnvironment,
    parts: Parts,
    mut form: Form,
) -> Result<Answer, ApiError> {
    let InEnvironment { at, environment } = &here;
    at.require(Action::ManageSettings, words::NO_RETENTION)?;
    let (days, limit) = (form.take("event_days"), form.take("event_limit"));
    let is_confirmed = form.take("confirmed") == "true";
    let shown = RetentionForm::read_version(&form.take("version"));
    let typed = RetentionForm { days, limit, shown, ..RetentionForm::default() };
    let wanted = match Retention::parse(&typed.days, &typed.limit) {
        Ok(wanted) => wanted,
        Err(errors) => {
            let typed = Typed { retention: RetentionForm { errors, ..typed }, ..Typed::default() };
            return environment_page(&services, &parts, here, typed, StatusCode::BAD_REQUEST).await;
        }
    };
    let merge = |stored| RetentionForm::merge(shown, wanted, stored);
    if !is_confirmed
        && let Some(stored) = services.events.retention(environment.id).await?
        && let Some(merged) = merge(stored)
    {
        let events = deletes(&services, &here, stored, merged).await?;
        if events > 0 {
            let typed = Typed { retention: typed, deletes: Some((wanted, events)), ..Typed::default() };
            return environment_page(&services, &parts, here, typed, StatusCode::CONFLICT).await;
        }
    }
    let changed = services.events.change_retention(&at.person, at.id(), environment, merge).await?;
    let kept = match changed.ok_or_else(|| ApiError::not_found("There is no such environment."))? {
        Ok(kept) => kept,
        Err(stored) => {
            let typed = Typed { retention: typed.in_conflict(wanted, stored), ..Typed::default() };
            return environment_page(&services, &parts, here, typed, StatusCode::CONFLICT).await;
        }
    };
    let entry = SecurityEvent::RetentionChanged.entry(Actor::Person(at.person.id), Target::Environment(environment.id));
    entry.of(at.id()).changed(format!("event_days={} event_limit={}", kept.event_days, kept.event_limit)).write();
    let flash = Flash::success(words::keeps(&environment.name, kept.event_days), words::keeps_detail(kept.event_limit));
    flash.on_page(&parts, at.link().environment(environment.id)).await
}

/// Returns how many stored events a new retention deletes.
async fn deletes(
    services: &Services,
    here: &InEnvironment,
    stored: Retention,
    wanted: Retention,
) -> Result<i64, ApiError> {
    if wanted.event_days >= stored.event_days && wanted.event_limit >= stored.event_limit {
        return Ok(0);
    }
    let organisation = here.at.id();
    let admission = services.lists.admit(Tenant::Organisation(organisation)).await?;
    let _place = admission.step().await;
    let count = async |until| {
        let filter = EventFilter { environment: Some(here.environment.id), until, ..EventFilter::default() };
        let page = EventPage { organisation, filter, descending: true, offset: 0, limit: 1 };
        services.events.page(&page).await.map(|(total, _)| total)
    };
    let cut = services.clock.now().plus(-wanted.event_days.saturating_mul(DAY_MS));
    let (old, all) = (count(Some(cut)).await?, count(None).await?);
    Ok(old.max(all - wanted.event_limit).max(0))
}
