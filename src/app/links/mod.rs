//! Reads and writes the addresses of pages.
//!
//! `/o/{organisation}/{environment}/…` is a page of an environment (`place`), `/o/{organisation}/settings/…` a page of an
//! organisation (`organisation`). Filters, search, sort order and page of a list are in the query.

pub(crate) mod accounts;
pub(crate) mod events;
pub(crate) mod invited;
pub(crate) mod key_in_address;
pub(crate) mod keys;
pub(crate) mod moved;
pub(crate) mod organisation;
pub(crate) mod place;
pub(crate) mod visited;

/// Redirects to the environment that this browser visited last.
pub const HOME: &str = "/";
/// The page for signing in.
pub const SIGN_IN: &str = "/sign-in";
/// The page that creates an account.
pub const REGISTER: &str = "/register";
/// The page that creates the first account.
pub const SET_UP: &str = "/setup";
/// The form that signs out.
pub const SIGN_OUT: &str = "/sign-out";
/// The page that creates an organisation.
pub const NEW_ORGANISATION: &str = "/organisations/new";
/// The page of the invitation that this browser has opened. The link of an invitation is `/invite/{token}`.
pub const INVITE: &str = "/invite";
/// The API reference.
pub const REFERENCE: &str = "/docs/api";
/// The page of the server, for operators.
pub const SERVER: &str = "/server";

/// Returns `text` if it is a path of this server to which a response may redirect. `None` for an address that a browser
/// could take for another server's, and for one with a control character, a key string or the beginning of one.
pub fn local_path(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('/')?;
    let own = !rest.starts_with('/') && !text.contains('\\') && text.bytes().all(|byte| byte.is_ascii_graphic());
    (own && !key_in_address::contains_key(text)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::local_path;

    #[test]
    fn only_paths_of_this_server_are_followed() {
        for good in ["/", "/o/org_1/env_1/keys", "/keys?org=org_1&q=a%2Fb", "/a//b"] {
            assert_eq!(local_path(good), Some(good));
        }
        for bad in [
            "",
            "keys",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil",
            "/a\\b",
            "https://evil.example",
            "javascript:alert(1)",
            "/a\nb",
            "/\t/evil",
            "/\u{0}",
            "/\u{7f}",
            "/\u{85}",
            " //evil.example",
            "/ é",
            "/keys?q=hks_0123456789abcdef0123456789abcdef",
            "/keys?q=hks_0123456789abcdef",
        ] {
            assert_eq!(local_path(bad), None, "{bad:?}");
        }
    }
}
