//! The edit form of a key as text: its current values, the typed values, and the resulting edit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::Key;
use crate::keys::Edit;
use crate::model::{FieldError, KeyName, Quota, RateLimit, Scopes, Timestamp};
use crate::web::fields::{self, Fields};
use crate::web::time::seconds;

/// The text of the form's fields. A field that was not sent keeps its value.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyForm {
    /// The label.
    pub name: String,
    /// Whether the key is restricted to named scopes.
    pub is_restricted: bool,
    /// The names of the scopes, separated by spaces.
    pub scopes: String,
    /// `2026-03-01T12:00`, UTC; empty for never.
    pub expires_at: String,
    /// Requests of the rate limit.
    pub rate_limit: String,
    /// Seconds of the rate limit's window.
    pub window_seconds: String,
    /// Requests a month.
    pub quota: String,
    /// One network per line.
    pub ip_allowlist: String,
    /// One `name=value` per line; `None` if the metadata cannot be written as lines.
    pub metadata: Option<String>,
    /// The mistakes, by field.
    #[serde(skip)]
    pub errors: Vec<FieldError>,
    /// The fields that were changed in the form and, after it was rendered, elsewhere.
    #[serde(skip)]
    pub conflicts: Vec<&'static str>,
}

impl KeyForm {
    /// Returns the form with the values of a key.
    pub fn of(key: &Key) -> Self {
        let rate = key.limits.rate_limit;
        let networks = key.limits.ip_allowlist.iter().flatten().map(ToString::to_string).collect::<Vec<_>>();
        let expires = key.limits.expires_at.map(seconds).unwrap_or_default();
        Self {
            name: key.name.clone(),
            is_restricted: !key.scopes.is_full(),
            scopes: key.scopes.names().join(" "),
            expires_at: expires.trim_end_matches('Z').to_owned(),
            rate_limit: rate.map(|rate| rate.limit.to_string()).unwrap_or_default(),
            window_seconds: rate.map(|rate| rate.window_seconds.to_string()).unwrap_or_default(),
            quota: key.limits.quota.map(|quota| quota.limit.to_string()).unwrap_or_default(),
            ip_allowlist: networks.join("\n"),
            metadata: as_lines(key.metadata.as_ref()),
            errors: Vec::new(),
            conflicts: Vec::new(),
        }
    }

    /// Sets the text of a field; `false` if there is no such field.
    pub fn set(&mut self, field: &str, text: String) -> bool {
        match field {
            "name" => self.name = text,
            // An unknown value means restricted, never full access.
            "access" => self.is_restricted = text != "full",
            "scopes" => self.scopes = text,
            "expires_at" => self.expires_at = text,
            "rate_limit" => self.rate_limit = text,
            "window_seconds" => self.window_seconds = text,
            "quota" => self.quota = text,
            "ip_allowlist" => self.ip_allowlist = text.replace("\r\n", "\n"),
            "metadata" => self.metadata = Some(text.replace("\r\n", "\n")),
            _ => return false,
        }
        true
    }

    /// Returns the edit that the form asks for; `shown` is the version that it was rendered with. Unchanged fields are
    /// not validated, so an expired key can still be renamed.
    ///
    /// # Errors
    /// The mistakes by field, in the words of the API.
    pub fn read(&self, shown: &Self, now: Timestamp) -> Result<Edit, Vec<FieldError>> {
        let (mut fields, mut edit) = (Fields::default(), Edit::default());
        if !self.is_same(shown, "name") {
            edit.name = fields.take("name", KeyName::parse(&self.name));
        }
        if !self.is_same(shown, "expires_at") {
            let expires = with_zone(&self.expires_at);
            edit.expires_at = if expires.is_empty() {
                Some(None)
            } else {
                fields.take("expires_at", fields::expiry(&expires, now)).map(Some)
            };
        }
        // Unchanged full access stays as it was stored, `null` or `*`.
        if !self.is_same(shown, "scopes") {
            let names = self.is_restricted.then_some(self.scopes.as_str());
            edit.scopes = fields.take("scopes", Scopes::parse(names));
        }
        if !self.is_same(shown, "rate_limit") {
            edit.rate_limit = if is_empty(&self.rate_limit) && is_empty(&self.window_seconds) {
                Some(None)
            } else {
                let rate = RateLimit { limit: number(&self.rate_limit), window_seconds: number(&self.window_seconds) };
                fields.take("rate_limit", fields::rate_limit(rate)).map(Some)
            };
        }
        if !self.is_same(shown, "quota") {
            edit.quota = if is_empty(&self.quota) {
                Some(None)
            } else {
                fields.take("quota", fields::quota(Quota { limit: number(&self.quota) })).map(Some)
            };
        }
        if !self.is_same(shown, "ip_allowlist") {
            let networks: Vec<String> = lines(&self.ip_allowlist).map(str::to_owned).collect();
            edit.ip_allowlist = if networks.is_empty() {
                Some(None)
            } else {
                fields.take("ip_allowlist", fields::networks(&networks)).map(Some)
            };
        }
        if let Some(text) = self.metadata.as_ref().filter(|_| !self.is_same(shown, "metadata")) {
            let pairs = pairs(text).and_then(|pairs| fields::metadata(pairs).map_err(str::to_owned));
            edit.metadata = fields.take("metadata", pairs);
        }
        if fields.are_right() { Ok(edit) } else { Err(fields.error().errors) }
    }

    /// Whether a field is in conflict.
    pub fn is_stale(&self) -> bool {
        !self.conflicts.is_empty()
    }

    /// Returns the first field with an error, or else the first field in conflict.
    pub fn first_wrong(&self) -> Option<&str> {
        self.errors.first().map(|error| error.field.as_str()).or(self.conflicts.first().copied())
    }

    /// Describes the value of a field in words.
    pub fn describe(&self, field: &str) -> String {
        let or = |text: &str, none: &str| if is_empty(text) { none.to_owned() } else { text.to_owned() };
        match field {
            "name" => self.name.clone(),
            "expires_at" if is_empty(&self.expires_at) => "does not expire".to_owned(),
            "expires_at" => format!("{} UTC", self.expires_at.replace('T', ", ")),
            "scopes" if self.is_restricted => self.scopes.clone(),
            "scopes" => "full access".to_owned(),
            "rate_limit" if is_empty(&self.rate_limit) => "no limit".to_owned(),
            "rate_limit" => format!("{} requests in {} seconds", self.rate_limit, self.window_seconds),
            "quota" => or(&self.quota, "no limit"),
            "ip_allowlist" => or(&self.ip_allowlist.replace('\n', ", "), "any address"),
            _ => match &self.metadata {
                Some(text) => or(&text.replace('\n', ", "), "none"),
                None => "see the details on this page".to_owned(),
            },
        }
    }

    /// Returns the error of a field as a sentence.
    pub fn error(&self, field: &str) -> Option<String> {
        let error = self.errors.iter().find(|error| error.field == field)?;
        // The API's messages are about JSON; these are about inputs.
        match field {
            "name" if is_empty(&self.name) => return Some("Enter a name.".to_owned()),
            "rate_limit" => {
                return Some(
                    "Enter two whole numbers: 1 to 1,000,000,000 requests in 1 to 86,400 seconds. Leave both empty for \
                     no limit."
                        .to_owned(),
                );
            }
            "quota" => return Some("Enter a whole number of 1 or more. Leave empty for no limit.".to_owned()),
            "expires_at" if error.message.starts_with("must be a time") => {
                return Some("Enter a date and a time, such as 1 March 2027, 12:00.".to_owned());
            }
            "expires_at" => return Some("Choose a date and a time in the future, before the year 10000.".to_owned()),
            _ => {}
        }
        // A message that quotes the mistake is a whole sentence already.
        let it = if error.message.starts_with('`') { "" } else { "It " };
        Some(format!("{it}{}.", error.message))
    }
}

fn is_empty(text: &str) -> bool {
    text.trim().is_empty()
}

/// Parses a number. Invalid text becomes 0, which is outside of every range, so that the error names the range.
fn number<N: std::str::FromStr + Default>(text: &str) -> N {
    text.trim().parse().unwrap_or_default()
}

/// Completes the text of `datetime-local`: a browser omits the zone, and seconds that are zero.
pub(crate) fn with_zone(text: &str) -> String {
    match text.trim() {
        text if text.len() == "2026-03-01T12:00".len() => format!("{text}:00Z"),
        text if text.len() == "2026-03-01T12:00:00".len() => format!("{text}Z"),
        text => text.to_owned(),
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut map = BTreeMap::new();
    for line in lines(text) {
        let pair = line.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
        let Some((name, value)) = pair.filter(|(name, _)| !name.is_empty()) else {
            let shown: String = line.chars().take(60).collect();
            return Err(format!("must have lines like `name=value`, which “{shown}” is not"));
        };
        if map.insert(name.to_owned(), value.to_owned()).is_some() {
            let shown: String = name.chars().take(60).collect();
            return Err(format!("must name “{shown}” only once"));
        }
    }
    Ok(map)
}

/// Writes metadata as lines; `None` if the lines would be read back differently or changed by a browser.
fn as_lines(map: Option<&BTreeMap<String, String>>) -> Option<String> {
    let Some(map) = map else {
        return Some(String::new());
    };
    let text = map.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("\n");
    let comes_through = !text.chars().any(|character| character.is_control() && character != '\n');
    (comes_through && pairs(&text).is_ok_and(|read| read == *map)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-01T12:00:00Z
    const NOW: Timestamp = Timestamp(1_772_366_400_000);

    fn shown() -> KeyForm {
        KeyForm { name: "key".to_owned(), metadata: Some(String::new()), ..KeyForm::default() }
    }

    fn typed(field: &str, text: &str) -> KeyForm {
        let mut form = shown();
        assert!(form.set(field, text.to_owned()), "{field}");
        form
    }

    fn message(field: &str, text: &str) -> String {
        let form = typed(field, text);
        let errors = form.read(&shown(), NOW).expect_err(text);
        assert_eq!(errors.len(), 1, "{errors:?}");
        KeyForm { errors, ..form }.error(field).expect("about this field")
    }

    #[test]
    fn unchanged_fields_are_left_out_of_the_edit() {
        let edit = shown().read(&shown(), NOW).unwrap();
        assert_eq!(format!("{edit:?}"), format!("{:?}", Edit::default()));
        let ended = KeyForm { expires_at: "2020-01-01T00:00:00".to_owned(), ..shown() };
        let renamed = KeyForm { name: "new".to_owned(), expires_at: "2020-01-01T00:00".to_owned(), ..ended.clone() };
        let edit = renamed.read(&ended, NOW).unwrap();
        assert!(edit.expires_at.is_none() && edit.name.is_some());
        assert!(!shown().set("key", String::new()));
    }

    #[test]
    fn an_emptied_field_removes_the_limit() {
        let full = KeyForm {
            expires_at: "2027-01-01T00:00:00".to_owned(),
            rate_limit: "1".to_owned(),
            window_seconds: "1".to_owned(),
            quota: "1".to_owned(),
            ip_allowlist: "10.0.0.0/8".to_owned(),
            metadata: Some("a=b".to_owned()),
            ..shown()
        };
        let edit = shown().read(&full, NOW).unwrap();
        assert_eq!((edit.expires_at, edit.rate_limit, edit.quota), (Some(None), Some(None), Some(None)));
        assert_eq!((edit.ip_allowlist, edit.metadata), (Some(None), Some(None)));
    }

    #[test]
    fn unchanged_full_access_is_left_out_of_the_edit() {
        assert_eq!(typed("scopes", "a:b").read(&shown(), NOW).unwrap().scopes, None);
        let restricted = KeyForm { is_restricted: true, scopes: "a:b".to_owned(), ..shown() };
        assert_eq!(restricted.read(&shown(), NOW).unwrap().scopes, Some(Scopes::Named(vec!["a:b".to_owned()])));
        assert_eq!(restricted.read(&restricted, NOW).unwrap().scopes, None);
        assert_eq!(shown().read(&restricted, NOW).unwrap().scopes, Some(Scopes::Unset));
        let mut odd = restricted.clone();
        odd.set("access", "everything".to_owned());
        assert!(odd.is_restricted);
    }

    #[test]
    fn times_are_read_in_the_formats_of_browsers() {
        for text in ["2026-03-02T12:00", "2026-03-02T12:00:00", " 2026-03-02T12:00:00Z ", "2026-03-02T13:00:00+01:00"] {
            let edit = typed("expires_at", text).read(&shown(), NOW).unwrap();
            assert_eq!(edit.expires_at, Some(Some(NOW.plus(24 * 3_600_000))), "{text}");
        }
        let past = "Choose a date and a time in the future, before the year 10000.";
        assert_eq!(message("expires_at", "2026-02-01T12:00"), past);
        assert_eq!(message("expires_at", "soon"), "Enter a date and a time, such as 1 March 2027, 12:00.");
    }

    #[test]
    fn errors_are_shown_as_sentences() {
        assert_eq!(message("name", " "), "Enter a name.");
        assert!(message("rate_limit", "1.5").starts_with("Enter two whole numbers: 1 to 1,000,000,000 requests"));
        assert_eq!(message("rate_limit", "5"), message("rate_limit", "1.5"));
        assert_eq!(message("quota", "many"), "Enter a whole number of 1 or more. Leave empty for no limit.");
        assert_eq!(
            message("ip_allowlist", "10.0.0.0/8\nhome"),
            "`home` is not a network: write 203.0.113.0/24 or 2001:db8::/32."
        );
        assert_eq!(message("metadata", "a=b\nc"), "It must have lines like `name=value`, which “c” is not.");
        assert_eq!(message("metadata", "a=b\na = c"), "It must name “a” only once.");
        assert_eq!(message("metadata", &format!("a={}", "b".repeat(5000))), "It must have at most 4 KiB as JSON.");
    }

    #[test]
    fn metadata_is_written_as_lines_only_if_they_read_back_equal() {
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(as_lines(None).as_deref(), Some(""));
        assert_eq!(as_lines(Some(&map(&[("a", "b=c"), ("d", "")]))).as_deref(), Some("a=b=c\nd="));
        for (name, value) in [("a=", "b"), ("", "b"), ("a", " b"), ("a", "b\nc=d"), ("a", "b\r"), ("a", "b\0c")] {
            assert_eq!(as_lines(Some(&map(&[(name, value)]))), None, "{name:?} {value:?}");
        }
        assert_eq!(pairs(" a = b \n\n c=d=e").unwrap(), map(&[("a", "b"), ("c", "d=e")]));
    }
}
