//! Addresses of the keys pages.

use super::key_in_address::contains_key;
use super::place::{EnvironmentPath, with_query};
use crate::domain::KeyState;
use crate::keys::Cursor;
use crate::model::{KeyId, KeyName, Timestamp};

/// A list of keys, as its address encodes it: `/o/…/keys?state=…&q=…&cursor=…&revoke=…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysLink {
    /// The environment of the keys.
    pub place: EnvironmentPath,
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

impl KeysLink {
    /// Number of keys on a page.
    pub const PAGE: u32 = 50;

    /// Returns the list of an environment's newest keys.
    pub fn to(place: EnvironmentPath) -> Self {
        Self { place, state: None, name: None, cursor: None, revoke: None, lost: None, since: None }
    }

    /// Reads a query. An invalid filter is ignored.
    pub fn read(place: EnvironmentPath, query: Option<&str>) -> Self {
        let mut link = Self::to(place);
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match name.as_ref() {
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
        link
    }

    /// Returns the parameters that are set.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        [
            ("state", self.state.map(|state| state.as_str().to_owned())),
            ("q", self.name.clone()),
            ("cursor", self.cursor.map(|cursor| cursor.to_string())),
            ("revoke", self.revoke.map(|id| id.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .collect()
    }

    fn at(&self, page: &str) -> String {
        with_query(&self.place.path(page), self.parameters())
    }

    /// Returns the address of the list.
    pub fn href(&self) -> String {
        self.at("keys")
    }

    /// Returns the address of the search form.
    pub fn search_href(&self) -> String {
        self.place.path("keys/search")
    }

    /// Returns the address of a key; its page links back to this list.
    pub fn key_href(&self, id: KeyId) -> String {
        self.without_revoke().at(&format!("keys/{id}"))
    }

    /// Returns the address that pauses and resumes a key.
    pub fn enabled_href(&self, id: KeyId) -> String {
        self.without_revoke().at(&format!("keys/{id}/enabled"))
    }

    /// Returns the address that revokes a key.
    pub fn revoke_href(&self, id: KeyId) -> String {
        self.place.path(&format!("keys/{id}/revoke"))
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
        Self::to(self.place)
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

#[cfg(test)]
mod tests {
    use super::super::place::SOMEWHERE;
    use super::*;

    #[test]
    fn an_address_is_read_back_equal() {
        let link = KeysLink {
            state: Some(KeyState::Expired),
            name: Some("a & b=é".to_owned()),
            cursor: "00000000000000010000000000000002".parse().ok(),
            revoke: Some(KeyId(3)),
            ..KeysLink::to(SOMEWHERE)
        };
        let href = link.href();
        assert_eq!(KeysLink::read(SOMEWHERE, href.split_once('?').map(|(_, query)| query)), link);
        let list = "/o/org_0000000000000001/env_0000000000000002/keys";
        assert_eq!(KeysLink::to(SOMEWHERE).href(), list);
        let page = KeysLink { revoke: Some(KeyId(3)), ..KeysLink::to(SOMEWHERE) }.key_href(KeyId(3));
        assert_eq!(page, format!("{list}/ak_0000000000000003"));
        let active = KeysLink::to(SOMEWHERE).with_state(Some(KeyState::Active));
        assert_eq!(active.enabled_href(KeyId(3)), format!("{list}/ak_0000000000000003/enabled?state=active"));
    }

    #[test]
    fn invalid_filters_are_ignored() {
        let read = |query: Option<&str>| KeysLink::read(SOMEWHERE, query);
        assert_eq!(read(Some("state=x&q=+&cursor=zz&revoke=1&utm=2")), KeysLink::to(SOMEWHERE));
        assert_eq!(read(None), KeysLink::to(SOMEWHERE));
        for key in ["hks_0123456789abcdef0123456789abcdef", "hks_0123456789abcdef"] {
            assert_eq!(read(Some(&format!("q={key}&lost={key}"))), KeysLink::to(SOMEWHERE));
        }
    }
}
