//! The fields of the forms for signing in and registering.

use leptos::prelude::*;

/// The email field. The children stand below the input and describe it. Not `type=email`: browsers reject letters
/// beyond ASCII, which mail servers and the API accept. The server validates the address.
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

/// The password field; `autocomplete` says whether it is a new password. The server checks the length, because a
/// browser counts UTF-16 units and silently cuts input at `maxlength`.
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
