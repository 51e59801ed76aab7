//! The fields of the forms for signing in and registering.

use leptos::prelude::*;

/// An account's address. What stands below it, and describes it, are the children. Not `type=email`, which refuses
/// letters beyond ASCII that mail servers and the API take: what is no address, the server says.
#[component]
pub fn EmailField(
    value: String,
    invalid: bool,
    #[prop(optional_no_strip)] described_by: Option<&'static str>,
    #[prop(optional)] children: Option<Children>,
) -> AnyView {
    view! {
        <div class="field">
            <label for="email">"Email"</label>
            <input
                class="input"
                id="email"
                name="email"
                type="text"
                autocomplete="username"
                autocapitalize="none"
                spellcheck="false"
                inputmode="email"
                required
                value=value
                aria-invalid=invalid.then_some("true")
                aria-describedby=described_by
            />
            {children.map(|children| children())}
        </div>
    }
    .into_any()
}

/// A password; `autocomplete` says whether it is a new one. The server says what is wrong with its length: a browser
/// counts UTF-16 units, and cuts off what is longer than `maxlength` without a word.
#[component]
pub fn PasswordField(
    autocomplete: &'static str,
    invalid: bool,
    #[prop(optional_no_strip)] described_by: Option<&'static str>,
    #[prop(optional)] children: Option<Children>,
) -> AnyView {
    view! {
        <div class="field">
            <label for="password">"Password"</label>
            <input
                class="input"
                id="password"
                name="password"
                type="password"
                autocomplete=autocomplete
                required
                aria-invalid=invalid.then_some("true")
                aria-describedby=described_by
            />
            {children.map(|children| children())}
        </div>
    }
    .into_any()
}
