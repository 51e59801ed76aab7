//! The form by which a key is changed.

use leptos::prelude::*;

use super::frame::{ErrorText, Notice};
use super::key_form::KeyForm;
use super::revoke::LeaveDescendants;

/// A text between `<textarea>` and `</textarea>`. Leptos writes it there as it is, and a browser drops the first
/// line break.
fn inside(text: &str) -> String {
    format!("\n{}", text.replace('&', "&amp;").replace('<', "&lt;"))
}

/// `page` is where it is sent, and where the page without what was typed is; `made` is how many keys are below this
/// one.
///
/// No fragment goes along: a browser that is led to one does not go to the first mistake.
#[component]
pub fn KeyFields(form: KeyForm, page: String, made: i64) -> AnyView {
    let action = page.clone();
    let first_wrong = form.errors.first().map(|error| error.field.clone());
    let is_first = |field: &str| first_wrong.as_deref() == Some(field);
    let invalid = |field: &str| form.error(field).is_some().then_some("true");
    let failed = (!form.errors.is_empty()).then(|| {
        let text = "Nothing was saved: see what is wrong below.".to_owned();
        view! { <Notice id="edit-failed" text/> }
    });
    let networks = lines(
        &form,
        "ip_allowlist",
        "Allowed networks",
        view! { "One a line, such as " <code>"203.0.113.0/24"</code> " or " <code>"2001:db8::/32"</code> ". None: from anywhere." }
            .into_any(),
        &form.ip_allowlist,
    );
    let metadata = match &form.metadata {
        Some(text) => lines(
            &form,
            "metadata",
            "Metadata",
            view! { "Lines like " <code>"team=billing"</code> ", which every check answers with." }.into_any(),
            text,
        ),
        None => view! {
            <div class="field">
                <p><strong>"Metadata"</strong></p>
                <p class="hint">"It has line breaks or blanks that a form would lose: change it by the API."</p>
            </div>
        }
        .into_any(),
    };
    view! {
        <form class="form key-form" method="post" action=action aria-labelledby="edit-title" novalidate>
            {failed}
            <div class="field">
                <label for="key-name">"Name"</label>
                <input
                    class="input"
                    id="key-name"
                    name="name"
                    type="text"
                    autocomplete="off"
                    value=form.name.clone()
                    autofocus=is_first("name")
                    aria-invalid=invalid("name")
                    aria-describedby="key-name-error"
                />
                <ErrorText id="key-name-error" text=form.error("name")/>
            </div>
            <div class="field">
                <label for="key-expires_at">"Expires" <span class="optional">" UTC"</span></label>
                <input
                    class="input"
                    id="key-expires_at"
                    name="expires_at"
                    type="datetime-local"
                    step="1"
                    max="9999-12-31T23:59:59"
                    value=form.expires_at.clone()
                    autofocus=is_first("expires_at")
                    aria-invalid=invalid("expires_at")
                    aria-describedby="key-expires_at-hint key-expires_at-error"
                />
                <p class="hint" id="key-expires_at-hint">"Without a date, never."</p>
                <ErrorText id="key-expires_at-error" text=form.error("expires_at")/>
            </div>
            <ScopesField form=form.clone() focused=is_first("scopes")/>
            <LimitFields form=form.clone() rate_focused=is_first("rate_limit") quota_focused=is_first("quota")/>
            {networks}
            {metadata}
            <LeaveDescendants made/>
            <div class="buttons">
                <button class="button primary" type="submit">"Save changes"</button>
                <a class="button quiet" href=page>"Discard"</a>
            </div>
        </form>
    }
    .into_any()
}

/// A field of several lines.
fn lines(form: &KeyForm, field: &'static str, words: &'static str, hint: AnyView, text: &str) -> AnyView {
    let id = format!("key-{field}");
    let (hint_id, error_id) = (format!("{id}-hint"), format!("{id}-error"));
    view! {
        <div class="field">
            <label for=id.clone()>{words}</label>
            <textarea
                class="input mono"
                id=id
                name=field
                rows="4"
                autocomplete="off"
                autocapitalize="none"
                spellcheck="false"
                autofocus=form.errors.first().is_some_and(|error| error.field == field)
                aria-invalid=form.error(field).is_some().then_some("true")
                aria-describedby=format!("{hint_id} {error_id}")
                inner_html=inside(text)
            ></textarea>
            <p class="hint" id=hint_id>{hint}</p>
            <ErrorText id=error_id text=form.error(field)/>
        </div>
    }
    .into_any()
}

#[component]
fn ScopesField(form: KeyForm, focused: bool) -> AnyView {
    let access = |restricted: bool, value: &'static str, title: &'static str, words: &'static str| {
        view! {
            <label class="radio">
                <input type="radio" name="access" value=value checked=form.is_restricted == restricted/>
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
                <input
                    class="input mono"
                    id="key-scopes"
                    name="scopes"
                    type="text"
                    autocomplete="off"
                    autocapitalize="none"
                    spellcheck="false"
                    placeholder="events:write keys:verify"
                    value=form.scopes.clone()
                    autofocus=focused
                    aria-invalid=form.error("scopes").is_some().then_some("true")
                    aria-describedby="key-scopes-hint key-scopes-error"
                />
                <p class="hint" id="key-scopes-hint">"Names separated by spaces."</p>
                <ErrorText id="key-scopes-error" text=form.error("scopes")/>
            </div>
        </fieldset>
    }
    .into_any()
}

/// The rate limit, which is two numbers, and the quota.
#[component]
fn LimitFields(form: KeyForm, rate_focused: bool, quota_focused: bool) -> AnyView {
    let number = |field: &'static str, about: &'static str, unit: &'static str, value: &str, focused: bool| {
        view! {
            <div class="with-unit">
                <input
                    class="input"
                    id=format!("key-{field}")
                    name=field
                    type="text"
                    inputmode="numeric"
                    autocomplete="off"
                    value=value.to_owned()
                    autofocus=focused
                    aria-invalid=form.error(about).is_some().then_some("true")
                    aria-describedby=format!("key-{about}-hint key-{about}-error")
                />
                <span aria-hidden="true">{unit}</span>
            </div>
        }
    };
    let rate = number("rate_limit", "rate_limit", "requests", &form.rate_limit, rate_focused);
    let window = number("window_seconds", "rate_limit", "seconds", &form.window_seconds, false);
    let quota = number("quota", "quota", "requests", &form.quota, quota_focused);
    view! {
        <fieldset class="field">
            <legend>"Rate limit"</legend>
            <div class="rate">
                <label class="visually-hidden" for="key-rate_limit">"Rate limit, in requests"</label>
                {rate}
                <span aria-hidden="true">"in"</span>
                <label class="visually-hidden" for="key-window_seconds">"Rate limit, in how many seconds"</label>
                {window}
            </div>
            <p class="hint" id="key-rate_limit-hint">"Without numbers, as many as come."</p>
            <ErrorText id="key-rate_limit-error" text=form.error("rate_limit")/>
        </fieldset>
        <div class="field">
            <label for="key-quota">"Monthly quota" <span class="optional">" UTC"</span></label>
            {quota}
            <p class="hint" id="key-quota-hint">"Without a number, as many as come."</p>
            <ErrorText id="key-quota-error" text=form.error("quota")/>
        </div>
    }
    .into_any()
}
