//! Addresses of the events pages.

use time::Date;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use uuid::Uuid;

use super::key_in_address::contains_key;
use super::keys::NoSuchPlace;
use crate::events::SourceName;
use crate::model::{EnvironmentId, KeyId, OrganisationId, Timestamp};

const DATE: &[BorrowedFormatItem] = format_description!("[year]-[month]-[day]");
/// The last page that an address can name.
const LAST_PAGE: i64 = 1_000_000;

/// A list of events, as its address encodes it: `/events?org=…&env=…&source=…&key=…&from=…&to=…&page=…`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventsLink {
    /// The organisation.
    pub organisation: Option<OrganisationId>,
    /// The environment of the keys page that the bar links back to; not a filter.
    pub environment: Option<EnvironmentId>,
    /// Only events of this source.
    pub source: Option<String>,
    /// Only events that were sent with this key.
    pub key: Option<KeyId>,
    /// Only events from the beginning of this day on, UTC.
    pub from: Option<Day>,
    /// Only events until the end of this day, UTC.
    pub to: Option<Day>,
    /// Number of pages before this one.
    pub pages_before: i64,
    /// An event to redirect to, in any organisation.
    pub event: Option<Uuid>,
}

/// A day, as `<input type="date">` writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day(Date);

impl Day {
    fn parse(text: &str) -> Option<Self> {
        Date::parse(text, DATE).ok().map(Self)
    }

    /// Returns the first moment of the day, UTC.
    pub fn begins(self) -> Timestamp {
        Timestamp(self.0.midnight().assume_utc().unix_timestamp() * 1000)
    }

    /// Returns the first moment after the day.
    pub fn ends(self) -> Timestamp {
        self.begins().plus(24 * 3600 * 1000)
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.format(DATE).unwrap_or_default())
    }
}

impl EventsLink {
    /// Number of events on a page.
    pub const PAGE: i64 = 50;

    /// The newest events of an organisation.
    pub fn to(organisation: OrganisationId) -> Self {
        Self { organisation: Some(organisation), ..Self::default() }
    }

    /// Returns the list with links back to the keys of this environment.
    #[must_use]
    pub fn beside(self, environment: Option<EnvironmentId>) -> Self {
        Self { environment, ..self }
    }

    /// Reads the address of a list of events; `None` for any other address.
    pub fn of_address(address: &str) -> Option<Self> {
        let query = address.strip_prefix("/events")?.split('#').next().unwrap_or_default();
        let query = if query.is_empty() { Some("") } else { query.strip_prefix('?') };
        Self::read(Some(query?)).ok()
    }

    /// Reads a query. An invalid filter is ignored; an invalid id is an error.
    ///
    /// # Errors
    /// When the id of the organisation or of the key is malformed.
    pub fn read(query: Option<&str>) -> Result<Self, NoSuchPlace> {
        let mut link = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                "org" => link.organisation = Some(value.parse().map_err(|_| NoSuchPlace)?),
                "env" => link.environment = value.parse().ok(),
                // The empty choice of the form means no filter.
                "key" if !value.is_empty() => link.key = Some(value.parse().map_err(|_| NoSuchPlace)?),
                // A pasted key string must not be copied into another address.
                "source" if contains_key(&value) => {}
                "source" => link.source = SourceName::parse(value.trim()).map(|name| name.as_str().to_owned()),
                "from" => link.from = Day::parse(&value),
                "to" => link.to = Day::parse(&value),
                "page" => link.pages_before = value.parse::<i64>().map_or(0, |page| page.clamp(1, LAST_PAGE) - 1),
                "event" => link.event = Uuid::try_parse(value.trim()).ok(),
                _ => {}
            }
        }
        Ok(link)
    }

    /// Returns the query with its question mark, or an empty string.
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::for_suffix(String::from("?"), 1);
        let parameters = [
            ("org", self.organisation.map(|id| id.to_string())),
            ("env", self.environment.map(|id| id.to_string())),
            ("source", self.source.clone()),
            ("key", self.key.map(|id| id.to_string())),
            ("from", self.from.map(|day| day.to_string())),
            ("to", self.to.map(|day| day.to_string())),
            ("page", (self.pages_before > 0).then(|| (self.pages_before + 1).to_string())),
        ];
        for (name, value) in parameters {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        query.finish().trim_end_matches('?').to_owned()
    }

    /// Returns the address of the list.
    pub fn href(&self) -> String {
        format!("/events{}", self.query())
    }

    /// Returns the address of an event; its page links back to this list.
    pub fn event_href(&self, id: Uuid) -> String {
        format!("/events/{id}{}", self.query())
    }

    /// Returns the address of an event's body.
    pub fn body_href(&self, id: Uuid) -> String {
        let place = Self { organisation: self.organisation, ..Self::default() };
        format!("/events/{id}/body{}", place.query())
    }

    /// Returns the address of the stream of new events; `None` if new events would not be on this page.
    pub fn live_href(&self, now: Timestamp) -> Option<String> {
        let shows_new =
            self.to.is_none() && self.pages_before == 0 && self.from.is_none_or(|from| from.begins() <= now);
        shows_new.then(|| format!("/events/live{}", Self { from: None, ..self.clone() }.query()))
    }

    /// Whether a filter is set.
    pub fn is_filtered(&self) -> bool {
        self.source.is_some() || self.key.is_some() || self.from.is_some() || self.to.is_some()
    }

    /// Returns another page of the list.
    #[must_use]
    pub fn with_pages_before(&self, pages_before: i64) -> Self {
        Self { pages_before, ..self.clone() }
    }

    /// Returns the list without filters.
    #[must_use]
    pub fn cleared(&self) -> Self {
        Self { organisation: self.organisation, environment: self.environment, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_back_equal() {
        let link = EventsLink {
            organisation: Some(OrganisationId(1)),
            environment: Some(EnvironmentId(2)),
            source: Some("stripe-EU_1".to_owned()),
            key: Some(KeyId(2)),
            from: Day::parse("2026-03-01"),
            to: Day::parse("2026-03-02"),
            pages_before: 6,
            event: None,
        };
        let href = link.href();
        assert_eq!(EventsLink::read(href.split_once('?').map(|(_, query)| query)), Ok(link));
        assert_eq!(EventsLink::default().href(), "/events");
        assert_eq!(EventsLink::of_address(&format!("{href}#retention")).map(|link| link.href()), Some(href));
        assert_eq!(EventsLink::of_address("/events"), Some(EventsLink::default()));
        for other in ["/keys?org=org_0000000000000001", "/events/7", "/eventsx", "", "/events?org=1"] {
            assert_eq!(EventsLink::of_address(other), None, "{other}");
        }
    }

    #[test]
    fn invalid_filters_are_ignored_and_invalid_ids_are_refused() {
        let nothing = "source=a+b&key=&from=2026-02-30&to=tomorrow&page=x&event=7&utm=2";
        assert_eq!(EventsLink::read(Some(nothing)), Ok(EventsLink::default()));
        assert_eq!(EventsLink::read(Some("source=hks_0123456789abcdef0123456789abcdef")), Ok(EventsLink::default()));
        for (page, before) in [("0", 0), ("-3", 0), ("1", 0), ("2", 1), ("99999999999", LAST_PAGE - 1)] {
            assert_eq!(EventsLink::read(Some(&format!("page={page}"))).unwrap().pages_before, before);
        }
        assert_eq!(EventsLink::read(Some("org=1")), Err(NoSuchPlace));
        assert_eq!(EventsLink::read(Some("key=mine")), Err(NoSuchPlace));
    }

    #[test]
    fn a_day_has_24_hours() {
        let day = Day::parse("2026-03-01").unwrap();
        assert_eq!(day.begins(), Timestamp(1_772_323_200_000));
        assert_eq!(day.ends().since(day.begins()), 86_400_000);
    }

    #[test]
    fn only_pages_with_the_newest_events_have_a_stream() {
        let now = Timestamp(1_772_366_400_000);
        let live = |query: &str| EventsLink::read(Some(query)).unwrap().live_href(now);
        assert_eq!(live("source=a&from=2026-03-01").as_deref(), Some("/events/live?source=a"));
        assert_eq!(live("page=2"), None);
        assert_eq!(live("to=2026-03-01"), None);
        assert_eq!(live("from=2026-03-02"), None);
    }
}
