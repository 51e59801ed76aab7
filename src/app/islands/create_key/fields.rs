//! The fields of the form that creates a key.

#![allow(
    clippy::large_types_passed_by_value,
    reason = "a component takes its arguments by value; on WASM they are smaller"
)]

use leptos::prelude::*;

use super::Form;
use crate::app::islands::expiry::CHOICES;
use crate::app::islands::field::Field;
use crate::model::Scopes;

/// Scopes that Latchkey itself checks.
const SUGGESTED_SCOPES: [&str; 3] = ["events:write", "events:read", "keys:verify"];

/// A single-line text input.
#[component]
pub(super) fn TextInput(
    id: &'static str,
    class: &'static str,
    described_by: &'static str,
    field: Field,
    #[prop(optional)] placeholder: &'static str,
) -> impl IntoView {
    view! {
        <input
            class=class
            id=id
            type="text"
            autocomplete="off"
            autocapitalize=(!placeholder.is_empty()).then_some("none")
            spellcheck=(!placeholder.is_empty()).then_some("false")
            placeholder=(!placeholder.is_empty()).then_some(placeholder)
            aria-describedby=described_by
            aria-invalid=field.invalid()
            prop:value=field.text
            on:input=move |event| field.typed(event_target_value(&event))
            on:blur=move |_| field.left()
        />
    }
}

/// A drop-down list; `options` are pairs of value and label.
#[component]
pub(super) fn Choice(id: &'static str, chosen: RwSignal<String>, options: Vec<(String, String)>) -> impl IntoView {
    view! {
        <select
            class="select"
            id=id
            prop:value=chosen
            on:change=move |event| chosen.set(event_target_value(&event))
        >
            {options
                .into_iter()
                .map(|(value, words)| view! { <option value=value>{words}</option> })
                .collect_view()}
        </select>
    }
}

#[component]
pub(super) fn Expires(form: Form) -> impl IntoView {
    let options = CHOICES.map(|(value, words)| (value.to_owned(), words.to_owned())).to_vec();
    view! {
        <div class="field">
            <label for="key-expiry">"Expires"</label>
            <Choice id="key-expiry" chosen=form.expiry options/>
            <div class="field" hidden=move || !form.is_dated()>
                <label class="visually-hidden" for="key-date">"Expiry date"</label>
                <input
                    class="input"
                    id="key-date"
                    type="date"
                    aria-describedby="key-date-hint key-date-error"
                    aria-invalid=form.date.invalid()
                    prop:value=form.date.text
                    on:focus=move |_| form.tell_zone()
                    on:input=move |event| {
                        form.date.typed(event_target_value(&event));
                        form.tell_zone();
                    }
                    on:blur=move |_| form.date.left()
                />
                <p class="hint" id="key-date-hint">{form.zone}</p>
                {form.date.error_text("key-date-error")}
            </div>
        </div>
    }
}

#[component]
pub(super) fn ScopesField(form: Form) -> impl IntoView {
    let access = move |restricted: bool, value: &'static str, title: &'static str, words: &'static str| {
        view! {
            <label class="radio">
                <input
                    type="radio"
                    name="access"
                    value=value
                    checked=!restricted
                    prop:checked=move || form.restricted.get() == restricted
                    on:change=move |_| form.restricted.set(restricted)
                />
                <span><strong>{title}</strong> <small>{words}</small></span>
            </label>
        }
    };
    view! {
        <fieldset class="field">
            <legend>"Scopes"</legend>
            <div class="choices">
                {access(false, "full", "Full access", "Everything the API allows")}
                {access(true, "restricted", "Restricted", "Only the scopes you name")}
            </div>
            <div class="subfield restricted-only">
                <label class="visually-hidden" for="key-scopes">"Scope names, separated by spaces"</label>
                <TextInput
                    id="key-scopes"
                    class="input mono"
                    placeholder="events:write keys:verify"
                    described_by="key-scopes-hint key-scopes-error"
                    field=form.scopes
                />
                <div class="chips" role="group" aria-label="Suggested scopes">
                    {SUGGESTED_SCOPES.map(|scope| view! { <Suggestion scope field=form.scopes/> })}
                </div>
                <p class="hint" id="key-scopes-hint">"Names separated by spaces."</p>
                {form.scopes.error_text("key-scopes-error")}
            </div>
        </fieldset>
    }
}

/// A suggested scope: a click adds it, another click removes it.
#[component]
fn Suggestion(scope: &'static str, field: Field) -> impl IntoView {
    let is_named = move |text: &String| Scopes::words(text).any(|name| name == scope);
    let toggle = move |_| {
        let text = field.text.with_untracked(|text| {
            let mut names: Vec<&str> = Scopes::words(text).filter(|name| *name != scope).collect();
            if !is_named(text) {
                names.push(scope);
            }
            names.join(" ")
        });
        field.typed(text);
    };
    view! {
        <button
            class="chip"
            type="button"
            aria-pressed=move || if field.text.with(is_named) { "true" } else { "false" }
            on:click=toggle
        >
            {scope}
        </button>
    }
}
