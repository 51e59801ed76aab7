//! The fields of the forms for signing in and registering.

use leptos::prelude::*;

/// An account's address. What stands below it, and describes it, are the children.
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
                type="email"
                autocomplete="username"
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

/// A password; `autocomplete` says whether it is a new one, and only a new one has bounds.
#[component]
pub fn PasswordField(
    autocomplete: &'static str,
    #[prop(optional)] bounds: Option<(usize, usize)>,
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
                minlength=bounds.map(|(shortest, _)| shortest.to_string())
                maxlength=bounds.map(|(_, longest)| longest.to_string())
                required
                aria-invalid=invalid.then_some("true")
                aria-describedby=described_by
            />
            {children.map(|children| children())}
        </div>
    }
    .into_any()
}
