//! The retention form of an environment's events, and its version.

use leptos::prelude::*;

use super::parts::Question;
use super::words;
use crate::app::kit::{ErrorText, Notice, StoredText, thousands};
use crate::domain::Environment;
use crate::events::Retention;
use crate::model::FieldError;

/// The state of the form of one environment, with its mistakes.
#[derive(Debug, Clone, Default)]
pub struct RetentionForm {
    /// The text of the field "days".
    pub days: String,
    /// The text of the field "events".
    pub limit: String,
    /// The version: the values that the form was rendered with.
    pub shown: Option<Retention>,
    /// The mistakes, by field.
    pub errors: Vec<FieldError>,
    /// The fields that were changed in the form and, after it was rendered, elsewhere.
    pub conflicts: Vec<&'static str>,
}

impl RetentionForm {
    fn of(kept: Retention) -> Self {
        Self {
            days: kept.event_days.to_string(),
            limit: kept.event_limit.to_string(),
            shown: Some(kept),
            ..Self::default()
        }
    }

    /// Encodes the version for the hidden field of the form.
    fn version(&self) -> String {
        self.shown.map(|shown| format!("{} {}", shown.event_days, shown.event_limit)).unwrap_or_default()
    }

    /// Decodes a version; `None` for invalid text.
    pub fn read_version(text: &str) -> Option<Retention> {
        let (days, limit) = text.split_once(' ')?;
        Some(Retention { event_days: days.parse().ok()?, event_limit: limit.parse().ok()? })
    }

    /// Whether a field is in conflict.
    pub fn is_stale(&self) -> bool {
        !self.conflicts.is_empty()
    }

    /// Returns the stored value with the fields that were changed in the form; `None` if one of them was also changed
    /// elsewhere. Without a version, both fields count as changed in both places.
    pub fn merge(shown: Option<Retention>, wanted: Retention, stored: Retention) -> Option<Retention> {
        if !conflicts(shown, wanted, stored).is_empty() {
            return None;
        }
        let pick = |field: fn(&Retention) -> i64| {
            if shown.is_some_and(|shown| field(&shown) == field(&wanted)) { field(&stored) } else { field(&wanted) }
        };
        Some(Retention { event_days: pick(|kept| kept.event_days), event_limit: pick(|kept| kept.event_limit) })
    }

    /// Returns the form after a failed [`merge`](Self::merge): the typed text, with the stored value as its version.
    #[must_use]
    pub fn in_conflict(self, wanted: Retention, stored: Retention) -> Self {
        let conflicts = conflicts(self.shown, wanted, stored);
        let untouched = |field: fn(&Retention) -> i64| {
            self.shown.is_some_and(|shown| field(&shown) == field(&wanted)).then(|| field(&stored).to_string())
        };
        Self {
            days: untouched(|kept| kept.event_days).unwrap_or(self.days),
            limit: untouched(|kept| kept.event_limit).unwrap_or(self.limit),
            shown: Some(stored),
            conflicts,
            ..self
        }
    }
}

fn conflicts(shown: Option<Retention>, wanted: Retention, stored: Retention) -> Vec<&'static str> {
    type Field = fn(&Retention) -> i64;
    let fields: [(&str, Field); 2] = [("event_days", |kept| kept.event_days), ("event_limit", |kept| kept.event_limit)];
    let is_conflict = |field: Field| {
        field(&wanted) != field(&stored)
            && shown.is_none_or(|shown| field(&shown) != field(&stored) && field(&shown) != field(&wanted))
    };
    fields.into_iter().filter(|(_, field)| is_conflict(*field)).map(|(name, _)| name).collect()
}

/// The retention of an environment; a form, if the viewer may change it.
#[component]
pub fn RetentionSection(
    action: String,
    environment: Environment,
    may_change: bool,
    kept: Retention,
    form: RetentionForm,
) -> AnyView {
    let body = if may_change {
        let is_filled = !form.errors.is_empty() || form.is_stale() || !form.days.is_empty();
        let form = if is_filled { form } else { RetentionForm::of(kept) };
        view! { <RetentionFields action environment form/> }.into_any()
    } else {
        view! {
            <p class="value">{words::kept(kept.event_days, kept.event_limit)}</p>
            <p class="hint">{words::NO_RETENTION}</p>
        }
        .into_any()
    };
    view! {
        <section class="card" id="retention" aria-labelledby="retention-title">
            <h2 id="retention-title">{words::RETENTION}</h2>
            <p class="lead">{words::RETENTION_LEAD}</p>
            {body}
        </section>
    }
    .into_any()
}

#[component]
fn RetentionFields(action: String, environment: Environment, form: RetentionForm) -> AnyView {
    let wrong = |field: &str| {
        form.errors.iter().find(|error| error.field == field).map(|error| format!("It {}.", error.message))
    };
    let first_wrong =
        form.errors.first().map(|error| error.field.as_str()).or(form.conflicts.first().copied()).map(str::to_owned);
    let now = |field: &str| {
        let value = form.shown.filter(|_| form.conflicts.contains(&field));
        value.map(|kept| thousands(if field == "event_days" { kept.event_days } else { kept.event_limit }))
    };
    let failed = form.is_stale().then(|| view! { <Notice id="retention-failed" text=words::STALE.to_owned()/> });
    let is_typed = form.is_stale() || !form.errors.is_empty();
    let version = form.version();
    let field = |name: &'static str, words: &'static str, unit: &'static str, value: String, error: Option<String>| {
        let id = format!("{name}-{}", environment.id);
        let (now_id, error_id) = (format!("{id}-now"), format!("{id}-error"));
        let described_by = format!("{now_id} {error_id}");
        let first = first_wrong.as_deref() == Some(name);
        view! {
            <div class="field">
                <label for=id.clone()>{words}</label>
                <div class="with-unit">
                    <input
                        class="input"
                        id=id
                        name=name
                        type="text"
                        inputmode="numeric"
                        autocomplete="off"
                        value=value
                        autofocus=first
                        aria-invalid=error.is_some().then_some("true")
                        aria-describedby=described_by
                    />
                    <span aria-hidden="true">{unit}</span>
                </div>
                <StoredText id=now_id value=now(name)/>
                <ErrorText id=error_id text=error/>
            </div>
        }
    };
    let days = field("event_days", words::KEEP_DAYS, words::DAYS, form.days.clone(), wrong("event_days"));
    let limit = field("event_limit", words::KEEP_EVENTS, words::EVENTS, form.limit.clone(), wrong("event_limit"));
    view! {
        <form
            class="form"
            method="post"
            action=format!("{action}#retention")
            aria-labelledby="retention-title"
            data-guard=if is_typed { "typed" } else { "" }
        >
            <input type="hidden" name="version" value=version autocomplete="off"/>
            {failed}
            <div class="row">{days} {limit}</div>
            <div class="buttons"><button class="button" type="submit">{words::SAVE}</button></div>
        </form>
    }
    .into_any()
}

/// The dialog that asks before a new retention deletes events.
#[component]
pub fn DeleteEvents(
    action: String,
    back: String,
    name: String,
    wanted: Retention,
    #[prop(optional_no_strip)] shown: Option<Retention>,
    events: i64,
) -> AnyView {
    let version = RetentionForm { shown, ..RetentionForm::default() }.version();
    let title = words::delete_events_question(events, &name);
    view! {
        <Question action back title button=words::DELETE_EVENTS.to_owned()>
            <input type="hidden" name="version" value=version autocomplete="off"/>
            <input type="hidden" name="event_days" value=wanted.event_days.to_string() autocomplete="off"/>
            <input type="hidden" name="event_limit" value=wanted.event_limit.to_string() autocomplete="off"/>
            <input type="hidden" name="confirmed" value="true" autocomplete="off"/>
            <p>
                <strong>{words::delete_events_why(wanted.event_days, wanted.event_limit)}</strong>
                " " {words::DELETE_EVENTS_WHAT}
            </p>
        </Question>
    }
    .into_any()
}
