//! Addresses of the keys pages.

use super::key_in_address::contains_key;
use crate::domain::KeyState;
use crate::keys::Cursor;
use crate::model::{EnvironmentId, KeyId, KeyName, OrganisationId, Timestamp};

/// A list of keys, as its address encodes it: `/keys?org=…&env=…&state=…&q=…&cursor=…&revoke=…`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeysLink {
    /// The organisation.
    pub organisation: Option<OrganisationId>,
    /// The environment.
    pub environment: Option<EnvironmentId>,
    /// Only keys in this state.
    pub state: Option<KeyState>,
    /// Only keys that a search for this text finds.
    pub name: Option<String>,
    /// Only keys after this one.
    pub cursor: Option<Cursor>,
    /// The key of the revocation dialog.
    pub revoke: Option<KeyId>,
    /// The name of a lost key: its creation got no answer. Links do not repeat the name.
    pub lost: Option<String>,
    /// The time of the request that created that key.
    pub since: Option<Timestamp>,
}

/// The error for a malformed id in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSuchPlace;

impl KeysLink {
    /// Number of keys on a page.
    pub const PAGE: u32 = 50;

    /// Returns the list of an organisation's or an environment's newest keys.
    pub fn to(organisation: OrganisationId, environment: Option<EnvironmentId>) -> Self {
        Self { organisation: Some(organisation), environment, ..Self::default() }
    }

    /// Reads a query. An invalid filter is ignored; an invalid id is an error.
    ///
    /// # Errors
    /// When the id of the organisation or of the environment is malformed.
    pub fn read(query: Option<&str>) -> Result<Self, NoSuchPlace> {
        let mut link = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                "org" => link.organisation = Some(value.parse().map_err(|_| NoSuchPlace)?),
                "env" => link.environment = Some(value.parse().map_err(|_| NoSuchPlace)?),
                "state" => link.state = KeyState::parse(&value),
                // A pasted key string must not be copied into another address.
                "q" | "lost" if contains_key(&value) => {}
                "q" => link.name = Some(value.trim().to_owned()).filter(|text| !text.is_empty()),
                "cursor" => link.cursor = value.parse().ok(),
                "revoke" => link.revoke = value.parse().ok(),
                "lost" => link.lost = KeyName::parse(&value).ok().map(|name| name.as_str().to_owned()),
                "since" => link.since = value.parse().ok().map(Timestamp),
                _ => {}
            }
        }
        Ok(link)
    }

    /// Returns the parameters that are set.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        [
            ("org", self.organisation.map(|id| id.to_string())),
            ("env", self.environment.map(|id| id.to_string())),
            ("state", self.state.map(|state| state.as_str().to_owned())),
            ("q", self.name.clone()),
            ("cursor", self.cursor.map(|cursor| cursor.to_string())),
            ("revoke", self.revoke.map(|id| id.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .collect()
    }

    fn at(&self, path: &str) -> String {
        let mut query = form_urlencoded::Serializer::for_suffix(format!("{path}?"), path.len() + 1);
        query.extend_pairs(self.parameters());
        query.finish().trim_end_matches('?').to_owned()
    }

    /// Returns the address of the list.
    pub fn href(&self) -> String {
        self.at("/keys")
    }

    /// Returns the address of a key; its page links back to this list.
    pub fn key_href(&self, id: KeyId) -> String {
        self.without_revoke().at(&format!("/keys/{id}"))
    }

    /// Returns the address that pauses and resumes a key.
    pub fn enabled_href(&self, id: KeyId) -> String {
        self.without_revoke().at(&format!("/keys/{id}/enabled"))
    }

    /// Returns the address of the API reference, which links back to this environment.
    pub fn reference_href(&self) -> String {
        self.cleared().at("/docs/api")
    }

    /// Whether a filter is set, or the list is not at its beginning.
    pub fn is_filtered(&self) -> bool {
        self.state.is_some() || self.name.is_some() || self.cursor.is_some()
    }

    /// Returns the first page of the list.
    #[must_use]
    pub fn first_page(&self) -> Self {
        Self { cursor: None, revoke: None, ..self.clone() }
    }

    /// Returns the page of the list after this key.
    #[must_use]
    pub fn with_cursor(&self, cursor: Cursor) -> Self {
        Self { cursor: Some(cursor), ..self.first_page() }
    }

    /// Returns the list of the keys in a state.
    #[must_use]
    pub fn with_state(&self, state: Option<KeyState>) -> Self {
        Self { state, ..self.first_page() }
    }

    /// Returns the list of the keys that a search for this text finds.
    #[must_use]
    pub fn with_name(&self, name: Option<String>) -> Self {
        Self { name, ..self.first_page() }
    }

    /// Returns the list without filters.
    #[must_use]
    pub fn cleared(&self) -> Self {
        Self { organisation: self.organisation, environment: self.environment, ..Self::default() }
    }

    /// Returns the list with the revocation dialog of a key.
    #[must_use]
    pub fn with_revoke(&self, id: KeyId) -> Self {
        Self { revoke: Some(id), ..self.clone() }
    }

    /// Returns the list without the revocation dialog.
    #[must_use]
    pub fn without_revoke(&self) -> Self {
        Self { revoke: None, ..self.clone() }
    }
}

/// Returns `text` if it is a path of this server to which a response may redirect. `None` for an address that a browser
/// could take for another server's, and for one with a key string or the beginning of one.
pub fn local_path(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('/')?;
    let own = !rest.starts_with('/') && !text.contains('\\') && text.bytes().all(|byte| byte.is_ascii_graphic());
    (own && !contains_key(text)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_equal() {
        let link = KeysLink {
            organisation: Some(OrganisationId(1)),
            environment: Some(EnvironmentId(2)),
            state: Some(KeyState::Expired),
            name: Some("a & b=é".to_owned()),
            cursor: "00000000000000010000000000000002".parse().ok(),
            revoke: Some(KeyId(3)),
            lost: None,
            since: None,
        };
        let href = link.href();
        assert_eq!(KeysLink::read(href.split_once('?').map(|(_, query)| query)), Ok(link));
        assert_eq!(KeysLink::default().href(), "/keys");
        assert_eq!(KeysLink::default().key_href(KeyId(3)), "/keys/ak_0000000000000003");
        let page = KeysLink { revoke: Some(KeyId(3)), ..KeysLink::to(OrganisationId(1), None) }.key_href(KeyId(3));
        assert_eq!(page, "/keys/ak_0000000000000003?org=org_0000000000000001");
    }

    #[test]
    fn invalid_filters_are_ignored_and_invalid_ids_are_refused() {
        assert_eq!(KeysLink::read(Some("state=x&q=+&cursor=zz&revoke=1&utm=2")), Ok(KeysLink::default()));
        assert_eq!(KeysLink::read(Some("org=1")), Err(NoSuchPlace));
        assert_eq!(KeysLink::read(Some("env=prod")), Err(NoSuchPlace));
        assert_eq!(KeysLink::read(None), Ok(KeysLink::default()));
        for key in ["hks_0123456789abcdef0123456789abcdef", "hks_0123456789abcdef"] {
            assert_eq!(KeysLink::read(Some(&format!("q={key}&lost={key}"))), Ok(KeysLink::default()));
        }
    }

    #[test]
    fn only_paths_of_this_server_are_followed() {
        for good in ["/", "/keys", "/keys?org=org_1&q=a%2Fb"] {
            assert_eq!(local_path(good), Some(good));
        }
        for bad in [
            "",
            "keys",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil",
            "https://evil.example",
            "/a\nb",
            "/\t/evil",
            "/ é",
            "/keys?q=hks_0123456789abcdef0123456789abcdef",
            "/keys?q=hks_0123456789abcdef",
        ] {
            assert_eq!(local_path(bad), None, "{bad:?}");
        }
    }
}
