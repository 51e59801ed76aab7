//! The form of a key as text: what the key is, what was typed, and what that changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::Key;
use crate::keys::Edit;
use crate::model::{FieldError, KeyName, Quota, RateLimit, Scopes, Timestamp};
use crate::web::fields::{self, Fields};
use crate::web::time::seconds;

/// What stands in the form. A field that was not sent stands as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyForm {
    /// The label.
    pub name: String,
    /// Whether it is for named scopes only.
    pub is_restricted: bool,
    /// Their names, separated by blanks.
    pub scopes: String,
    /// `2026-03-01T12:00`, UTC; empty for never.
    pub expires_at: String,
    /// Requests,
    pub rate_limit: String,
    /// in so many seconds.
    pub window_seconds: String,
    /// Requests in a month.
    pub quota: String,
    /// One a line.
    pub ip_allowlist: String,
    /// `name=value`, one a line; `None` where lines cannot say what there is.
    pub metadata: Option<String>,
    /// What is wrong with it.
    #[serde(skip)]
    pub errors: Vec<FieldError>,
    /// The fields that were changed here and, since the form was filled, elsewhere as well.
    #[serde(skip)]
    pub conflicts: Vec<&'static str>,
}

impl KeyForm {
    /// What a key is.
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

    /// Takes over what was typed into a field; false if there is no such field.
    pub fn set(&mut self, field: &str, text: String) -> bool {
        match field {
            "name" => self.name = text,
            // Whatever is not full access is less.
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

    /// What is to change of the key, when `shown` is the version that the form was filled from. A field that nobody touched is not held to any
    /// rule: a key that is expired can still be renamed.
    ///
    /// # Errors
    /// What is wrong, by the names of the fields, in the words of the API.
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
        // Full access is kept as it was asked for, as `null` or as `*`.
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

    /// Whether a field was changed elsewhere as well.
    pub fn is_stale(&self) -> bool {
        !self.conflicts.is_empty()
    }

    /// The first field that needs a look: one with an error, or else in conflict.
    pub fn first_wrong(&self) -> Option<&str> {
        self.errors.first().map(|error| error.field.as_str()).or(self.conflicts.first().copied())
    }

    /// A field's value in words.
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
                None => "what the details on this page show".to_owned(),
            },
        }
    }

    /// What is wrong with a field, as a sentence.
    pub fn error(&self, field: &str) -> Option<String> {
        let error = self.errors.iter().find(|error| error.field == field)?;
        // The API speaks of its JSON; the form has inputs.
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
        // What quotes the mistake is a sentence already.
        let it = if error.message.starts_with('`') { "" } else { "It " };
        Some(format!("{it}{}.", error.message))
    }
}

fn is_empty(text: &str) -> bool {
    text.trim().is_empty()
}

/// What is no number is outside of every bound, and the bound is what is said about it.
fn number<N: std::str::FromStr + Default>(text: &str) -> N {
    text.trim().parse().unwrap_or_default()
}

/// A browser leaves out the zone, and seconds that are zero.
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

/// `None` for what would read back as something else, or not come through a browser unchanged.
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
    fn what_was_not_touched_is_left_out() {
        let edit = shown().read(&shown(), NOW).unwrap();
        assert_eq!(format!("{edit:?}"), format!("{:?}", Edit::default()));
        let ended = KeyForm { expires_at: "2020-01-01T00:00:00".to_owned(), ..shown() };
        let renamed = KeyForm { name: "new".to_owned(), expires_at: "2020-01-01T00:00".to_owned(), ..ended.clone() };
        let edit = renamed.read(&ended, NOW).unwrap();
        assert!(edit.expires_at.is_none() && edit.name.is_some());
        assert!(!shown().set("key", String::new()));
    }

    #[test]
    fn what_is_emptied_is_taken_away() {
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
    fn full_access_stays_as_it_was_asked_for() {
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
    fn moments_are_read_as_a_browser_writes_them() {
        for text in ["2026-03-02T12:00", "2026-03-02T12:00:00", " 2026-03-02T12:00:00Z ", "2026-03-02T13:00:00+01:00"] {
            let edit = typed("expires_at", text).read(&shown(), NOW).unwrap();
            assert_eq!(edit.expires_at, Some(Some(NOW.plus(24 * 3_600_000))), "{text}");
        }
        let past = "Choose a date and a time in the future, before the year 10000.";
        assert_eq!(message("expires_at", "2026-02-01T12:00"), past);
        assert_eq!(message("expires_at", "soon"), "Enter a date and a time, such as 1 March 2027, 12:00.");
    }

    #[test]
    fn mistakes_are_sentences() {
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
    fn lines_say_what_they_can() {
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
