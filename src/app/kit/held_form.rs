//! A form that was sent after the session had ended. The sign-in page holds it, and the user then sends it again, so
//! that no typed text is lost and nothing happens without a click.

use axum::http::request::Parts;
use leptos::prelude::*;

use crate::app::kit::Bare;
use crate::app::links::key_in_address::contains_key;
use crate::app::links::organisation::OrganisationLink;
use crate::app::links::place::EnvironmentPath;
use crate::app::links::{HOME, NEW_ORGANISATION, local_path};
use crate::app::shell::Document;

/// The address and the fields of a held form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldForm {
    action: String,
    fields: Vec<(String, String)>,
}

/// Describes the action of a form by its address; `None` for a form that is not held.
fn describe(action: &str) -> Option<&'static str> {
    let path = action.split('?').next().unwrap_or_default();
    if path == NEW_ORGANISATION {
        return Some("Create the organisation");
    }
    if let Some((_, page)) = OrganisationLink::split(path) {
        return describe_setting(page);
    }
    let (_, page) = EnvironmentPath::split(path)?;
    let key = page.strip_prefix("keys/ak_").map(|rest| rest.split_once('/').map_or("", |(_, action)| action));
    match key {
        Some("") => Some("Save the changes of the key"),
        Some("enabled") => Some("Pause or resume the key"),
        Some("revoke") => Some("Revoke the key"),
        _ => None,
    }
}

/// Describes a form of an organisation's settings.
fn describe_setting(page: &str) -> Option<&'static str> {
    let parts: Vec<&str> = page.split('/').collect();
    match parts[..] {
        [""] => Some("Rename the organisation"),
        ["delete"] => Some("Delete the organisation"),
        ["members", _, "role"] => Some("Change the role"),
        ["members", _, "remove"] => Some("Remove the member"),
        ["invitations"] => Some("Create the invitation"),
        ["invitations", _, "delete"] => Some("Delete the invitation"),
        ["environments"] => Some("Create the environment"),
        ["environments", _] => Some("Rename the environment"),
        ["environments", _, "archive"] => Some("Archive or open the environment"),
        ["environments", _, "retention"] => Some("Save how long events are kept"),
        _ => None,
    }
}

impl HeldForm {
    /// Holds the form of a request; `None` for an unknown kind of form, or for one with a key string.
    pub fn of(parts: &Parts, fields: Vec<(String, String)>) -> Option<Self> {
        Self::new(parts.uri.path_and_query()?.as_str(), fields)
    }

    fn new(action: &str, fields: Vec<(String, String)>) -> Option<Self> {
        let action = local_path(action)?.to_owned();
        let is_held = describe(&action).is_some() && fields.iter().all(|(_, text)| !contains_key(text));
        is_held.then_some(Self { action, fields })
    }

    /// Reads the form back from the fields of the sign-in page.
    pub fn read(action: &str, body: &str) -> Option<Self> {
        Self::new(action, form_urlencoded::parse(body.as_bytes()).into_owned().collect())
    }

    /// Renders the form as hidden fields of the sign-in page.
    pub fn as_fields(&self) -> impl IntoView + use<> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.fields).finish();
        view! {
            <input type="hidden" name="held_action" value=self.action.clone() autocomplete="off"/>
            <input type="hidden" name="held_body" value=body autocomplete="off"/>
        }
    }

    /// Renders a button that sends the form again.
    pub fn button(self) -> AnyView {
        let what = describe(&self.action).unwrap_or_default();
        let fields = self.fields.into_iter().map(|(name, value)| {
            view! { <input type="hidden" name=name value=value autocomplete="off"/> }
        });
        view! {
            <form method="post" action=self.action>
                {fields.collect_view()}
                <button class="button primary" type="submit">{what}</button>
            </form>
        }
        .into_any()
    }

    /// Renders the page after sign-in, with the button that sends the form again.
    pub fn page(self) -> Document {
        Document::new("Signed in", move || {
            view! {
                <Bare>
                    <div class="message-page">
                        <h1>"You are signed in again"</h1>
                        <div class="bitting" aria-hidden="true"></div>
                        <p>"Your session had ended when you sent this form, so nothing was changed. Send it now?"</p>
                        <div class="actions">
                            {self.button()}
                            <a class="button" href=HOME>"Discard"</a>
                        </div>
                    </div>
                </Bare>
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_forms_of_the_dashboard_are_held() {
        let held = |action: &str, text: &str| HeldForm::read(action, &format!("name={text}")).is_some();
        let place = "/o/org_0000000000000001/env_0000000000000002";
        for page in ["/keys/ak_0?state=active", "/keys/ak_0/enabled", "/keys/ak_0/revoke?a=b", "/keys/ak_0"] {
            assert!(held(&format!("{place}{page}"), "a%20b"), "{page}");
            assert!(!held(page, "a"), "no form is sent to an address of an earlier release: {page}");
        }
        let settings = "/o/org_0000000000000001/settings";
        for page in [
            "",
            "/delete",
            "/members/usr_1/role",
            "/members/usr_1/remove?after=x",
            "/invitations",
            "/invitations/inv_1/delete",
            "/environments",
            "/environments/env_1",
            "/environments/env_1/archive",
            "/environments/env_1/retention",
        ] {
            assert!(held(&format!("{settings}{page}"), "a"), "{page}");
        }
        for page in ["/members", "/members/usr_1", "/other", "/environments/env_1/keys"] {
            assert!(!held(&format!("{settings}{page}"), "a"), "{page}");
        }
        assert!(held(NEW_ORGANISATION, "a"));
        for action in ["/invite", "/invite/lki_1"] {
            assert!(!held(action, "a"), "a password is not held: {action}");
        }
        for action in ["", "/", "/sign-out", "//evil.example/keys/ak_0", "https://evil.example"] {
            assert!(!held(action, "a") && !held(&format!("/{place}{action}"), "a"), "{action}");
        }
        for page in ["/keys/search", "/keys/ak_0/other", "/keys", "/events/retention"] {
            assert!(!held(&format!("{place}{page}"), "a"), "{page}");
        }
        assert!(!held(&format!("{place}/keys/ak_0"), "hks_0123456789abcdef0123456789abcdef"));
    }
}
