//! The version of the form of a key: the values that it was filled from, and how they are compared with those that are
//! stored.

use super::form::{KeyForm, with_zone};
use crate::domain::Key;

/// The fields that are compared, named as their errors are. Two inputs can make one field.
const FIELDS: [&str; 7] = ["name", "expires_at", "scopes", "rate_limit", "quota", "ip_allowlist", "metadata"];

impl KeyForm {
    /// The version that a form carries: the values that it was filled from. How often the key is used does not
    /// change it.
    pub fn version(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads [`version`](Self::version) back; `None` for a text that no form of this release carried.
    pub fn from_version(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether a field says the same in both forms. Spelling that a browser changes by itself does not count.
    pub(crate) fn is_same(&self, other: &Self, field: &str) -> bool {
        match field {
            "name" => self.name == other.name,
            "expires_at" => with_zone(&self.expires_at) == with_zone(&other.expires_at),
            // Without the restriction, the names are not looked at.
            "scopes" if self.is_restricted => other.is_restricted && self.scopes == other.scopes,
            "scopes" => !other.is_restricted,
            "rate_limit" => (&self.rate_limit, &self.window_seconds) == (&other.rate_limit, &other.window_seconds),
            "quota" => self.quota == other.quota,
            "ip_allowlist" => self.ip_allowlist == other.ip_allowlist,
            _ => self.metadata == other.metadata,
        }
    }

    fn take_over(&mut self, other: &Self, field: &str) {
        match field {
            "name" => self.name.clone_from(&other.name),
            "expires_at" => self.expires_at.clone_from(&other.expires_at),
            "scopes" => {
                self.is_restricted = other.is_restricted;
                self.scopes.clone_from(&other.scopes);
            }
            "rate_limit" => {
                self.rate_limit.clone_from(&other.rate_limit);
                self.window_seconds.clone_from(&other.window_seconds);
            }
            "quota" => self.quota.clone_from(&other.quota),
            "ip_allowlist" => self.ip_allowlist.clone_from(&other.ip_allowlist),
            _ => self.metadata.clone_from(&other.metadata),
        }
    }

    /// The fields that an edit would overwrite although they are not what `version`, which its form was filled from,
    /// says. A field that was set to the same value elsewhere is not among them; without a version, every field that
    /// would change is.
    pub fn conflicts(version: Option<&Self>, stored: &Key, edited: &Key) -> Vec<&'static str> {
        let (stored, edited) = (Self::of(stored), Self::of(edited));
        let is_current = |field: &str| version.is_some_and(|version| stored.is_same(version, field));
        FIELDS.into_iter().filter(|field| !is_current(field) && !edited.is_same(&stored, field)).collect()
    }

    /// Brings the fields that were not touched up to date, in what was typed and in the version that it was typed
    /// over. A field in conflict keeps what was typed, over the stored value: to save it again is on purpose.
    pub fn catch_up(&mut self, version: &mut Self, stored: &Self) {
        for field in FIELDS {
            if self.is_same(version, field) {
                self.take_over(stored, field);
                version.take_over(stored, field);
            } else if self.conflicts.contains(&field) {
                version.take_over(stored, field);
            }
        }
    }
}
