//! The version of a key's edit form: the values that it was rendered with, compared with the stored ones to detect
//! conflicting edits.

use super::form::{KeyForm, with_zone};
use crate::domain::Key;

/// The compared fields, by the names in errors. One field can have two inputs.
const FIELDS: [&str; 7] = ["name", "expires_at", "scopes", "rate_limit", "quota", "ip_allowlist", "metadata"];

impl KeyForm {
    /// Encodes the version for the hidden field of the form. Use of the key does not change it.
    pub fn version(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Decodes a [`version`](Self::version); `None` for text that is not from this release.
    pub fn from_version(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether a field has the same value in both forms, apart from the spelling of times in browsers.
    pub(crate) fn is_same(&self, other: &Self, field: &str) -> bool {
        match field {
            "name" => self.name == other.name,
            "expires_at" => with_zone(&self.expires_at) == with_zone(&other.expires_at),
            // The names matter only for a restricted key.
            "scopes" if self.is_restricted => other.is_restricted && self.scopes == other.scopes,
            "scopes" => !other.is_restricted,
            "rate_limit" => (&self.rate_limit, &self.window_seconds) == (&other.rate_limit, &other.window_seconds),
            "quota" => self.quota == other.quota,
            "ip_allowlist" => self.ip_allowlist == other.ip_allowlist,
            _ => self.metadata == other.metadata,
        }
    }

    fn copy_field(&mut self, other: &Self, field: &str) {
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

    /// Returns the fields in conflict: the edit changes them, and their stored value differs from `version`, the values
    /// that the form was rendered with. A field that was set to the same value elsewhere is not in conflict. Without a
    /// version, every changed field is.
    pub fn conflicts(version: Option<&Self>, stored: &Key, edited: &Key) -> Vec<&'static str> {
        let (stored, edited) = (Self::of(stored), Self::of(edited));
        let is_current = |field: &str| version.is_some_and(|version| stored.is_same(version, field));
        FIELDS.into_iter().filter(|field| !is_current(field) && !edited.is_same(&stored, field)).collect()
    }

    /// Updates unchanged fields of the form and of its version to the stored values. A field in conflict keeps the
    /// typed text and gets the stored value as its version, so that sending the form again overwrites that value.
    pub fn rebase(&mut self, version: &mut Self, stored: &Self) {
        for field in FIELDS {
            if self.is_same(version, field) {
                self.copy_field(stored, field);
                version.copy_field(stored, field);
            } else if self.conflicts.contains(&field) {
                version.copy_field(stored, field);
            }
        }
    }
}
