//! The view of a key's edit form.

use leptos::prelude::*;

use super::form::KeyForm;
use super::revoke_dialog::LeaveDescendants;
use crate::app::kit::{ErrorText, Notice, StoredText};

/// Escapes a text for the inside of a `<textarea>`: Leptos writes `inner_html` unescaped, and a browser drops the first
/// line break.
fn inside(text: &str) -> String {
    format!("\n{}", text.replace('&', "&amp;").replace('<', "&lt;"))
}

/// The form. `page` is its address, and the address to discard it. `shown` is the version that `form` was rendered
/// with, sent along in a hidden field. `made` is the number of descendants of the key.
///
/// The address has no fragment, because a browser that scrolls to a fragment ignores `autofocus` on the first mistake.
#[component]
pub fn KeyFields(form: KeyForm, shown: KeyForm, page: String, made: i64) -> AnyView {
    let action = page.clone();
    let first_wrong = form.first_wrong().map(str::to_owned);
    let is_first = |field: &str| first_wrong.as_deref() == Some(field);
    let invalid = |field: &str| form.error(field).is_some().then_some("true");
    let failed = if form.is_stale() {
        Some("Nothing was saved: fields that you changed were changed elsewhere as well. Compare them below.")
    } else {
        (!form.errors.is_empty()).then_some("Nothing was saved: see what is wrong below.")
    };
    let failed = failed.map(|text| view! { <Notice id="edit-failed" text=text.to_owned()/> });
    let is_typed = form.is_stale() || !form.errors.is_empty();
    let save = if form.is_stale() { "Save my changes anyway" } else { "Save changes" };
    let now = |field: &'static str| {
        let value = form.conflicts.contains(&field).then(|| shown.describe(field));
        view! { <StoredText id=format!("key-{field}-now") value/> }
    };
    let networks = lines(
        &form,
        "ip_allowlist",
        "Allowed networks",
        view! {
            "One per line, such as " <code>"203.0.113.0/24"</code> " or " <code>"2001:db8::/32"</code>
            ". Leave empty to allow any address."
        }
        .into_any(),
        now("ip_allowlist"),
        &form.ip_allowlist,
    );
    let metadata = metadata(&form, now("metadata"));
    view! {
        <form
            class="form key-form"
            method="post"
            action=action
            aria-labelledby="edit-title"
            data-guard=if is_typed { "typed" } else { "" }
            novalidate
        >
            {failed}
            <input type="hidden" name="version" value=shown.version() autocomplete="off"/>
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
                    aria-describedby="key-name-now key-name-error"
                />
                {now("name")}
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
                    aria-describedby="key-expires_at-hint key-expires_at-now key-expires_at-error"
                />
                <p class="hint" id="key-expires_at-hint">"Leave empty for a key that does not expire."</p>
                {now("expires_at")}
                <ErrorText id="key-expires_at-error" text=form.error("expires_at")/>
            </div>
            <ScopesField form=form.clone() focused=is_first("scopes") now=now("scopes").into_any()/>
            <LimitFields form=form.clone() shown=shown.clone() rate_focused=is_first("rate_limit") quota_focused=is_first("quota")/>
            {networks}
            {metadata}
            <LeaveDescendants made/>
            <div class="buttons">
                <button class="button primary" type="submit">{save}</button>
                <a class="button quiet" href=page data-discard>"Discard"</a>
            </div>
        </form>
    }
    .into_any()
}

/// The field of the metadata, or a line of text for metadata that the form cannot express.
fn metadata(form: &KeyForm, now: impl IntoView + 'static) -> AnyView {
    let Some(text) = &form.metadata else {
        return view! {
            <div class="field">
                <p><strong>"Metadata"</strong></p>
                <p class="hint">"The values have line breaks or spaces that a form would lose. Use the API."</p>
            </div>
        }
        .into_any();
    };
    let hint = view! { "One " <code>"name=value"</code> " per line. Returned with every verification." }.into_any();
    lines(form, "metadata", "Metadata", hint, now, text)
}

/// A text area with label, hint and error.
fn lines(
    form: &KeyForm,
    field: &'static str,
    words: &'static str,
    hint: AnyView,
    now: impl IntoView + 'static,
    text: &str,
) -> AnyView {
    let id = format!("key-{field}");
    let (hint_id, error_id) = (format!("{id}-hint"), format!("{id}-error"));
    let described_by = format!("{hint_id} {id}-now {error_id}");
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
                autofocus=form.first_wrong() == Some(field)
                aria-invalid=form.error(field).is_some().then_some("true")
                aria-describedby=described_by
                inner_html=inside(text)
            ></textarea>
            <p class="hint" id=hint_id>{hint}</p>
            {now.into_any()}
            <ErrorText id=error_id text=form.error(field)/>
        </div>
    }
    .into_any()
}

#[component]
fn ScopesField(form: KeyForm, focused: bool, now: AnyView) -> AnyView {
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
            {now}
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
                    aria-describedby="key-scopes-hint key-scopes-now key-scopes-error"
                />
                <p class="hint" id="key-scopes-hint">"Names separated by spaces."</p>
                <ErrorText id="key-scopes-error" text=form.error("scopes")/>
            </div>
        </fieldset>
    }
    .into_any()
}

/// The rate limit (two numbers) and the quota.
#[component]
fn LimitFields(form: KeyForm, shown: KeyForm, rate_focused: bool, quota_focused: bool) -> AnyView {
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
                    aria-describedby=format!("key-{about}-hint key-{about}-now key-{about}-error")
                />
                <span aria-hidden="true">{unit}</span>
            </div>
        }
    };
    let now = |field: &'static str| {
        let value = form.conflicts.contains(&field).then(|| shown.describe(field));
        view! { <StoredText id=format!("key-{field}-now") value/> }
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
            <p class="hint" id="key-rate_limit-hint">"Leave empty for no limit."</p>
            {now("rate_limit")}
            <ErrorText id="key-rate_limit-error" text=form.error("rate_limit")/>
        </fieldset>
        <div class="field">
            <label for="key-quota">"Monthly quota" <span class="optional">" UTC"</span></label>
            {quota}
            <p class="hint" id="key-quota-hint">"Leave empty for no limit."</p>
            {now("quota")}
            <ErrorText id="key-quota-error" text=form.error("quota")/>
        </div>
    }
    .into_any()
}
