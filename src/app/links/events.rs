//! Addresses of the events pages.

use time::Date;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use uuid::Uuid;

use super::key_in_address::contains_key;
use super::place::{EnvironmentPath, with_query};
use crate::events::SourceName;
use crate::model::{KeyId, Timestamp};

const DATE: &[BorrowedFormatItem] = format_description!("[year]-[month]-[day]");
/// The last page that an address can name.
const LAST_PAGE: i64 = 1_000_000;

/// A list of events, as its address encodes it: `/o/…/events?source=…&key=…&from=…&to=…&page=…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsLink {
    /// The environment of the events.
    pub place: EnvironmentPath,
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
}

/// The error for a malformed key id in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSuchKey;

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

    /// Returns the list of an environment's newest events.
    pub fn to(place: EnvironmentPath) -> Self {
        Self { place, source: None, key: None, from: None, to: None, pages_before: 0 }
    }

    /// Reads a query. An invalid filter is ignored; an invalid id is an error.
    ///
    /// # Errors
    /// When the id of the key is malformed.
    pub fn read(place: EnvironmentPath, query: Option<&str>) -> Result<Self, NoSuchKey> {
        let mut link = Self::to(place);
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                // The empty choice of the form means no filter.
                "key" if !value.is_empty() => link.key = Some(value.parse().map_err(|_| NoSuchKey)?),
                // A pasted key string must not be copied into another address.
                "source" if contains_key(&value) => {}
                "source" => link.source = SourceName::parse(value.trim()).map(|name| name.as_str().to_owned()),
                "from" => link.from = Day::parse(&value),
                "to" => link.to = Day::parse(&value),
                "page" => link.pages_before = value.parse::<i64>().map_or(0, |page| page.clamp(1, LAST_PAGE) - 1),
                _ => {}
            }
        }
        Ok(link)
    }

    fn at(&self, page: &str) -> String {
        let parameters = [
            ("source", self.source.clone()),
            ("key", self.key.map(|id| id.to_string())),
            ("from", self.from.map(|day| day.to_string())),
            ("to", self.to.map(|day| day.to_string())),
            ("page", (self.pages_before > 0).then(|| (self.pages_before + 1).to_string())),
        ];
        let parameters = parameters.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)));
        with_query(&self.place.path(page), parameters)
    }

    /// Returns the address of the list.
    pub fn href(&self) -> String {
        self.at("events")
    }

    /// Returns the address of the search form.
    pub fn search_href(&self) -> String {
        self.place.path("events/search")
    }

    /// Returns the address of an event; its page links back to this list.
    pub fn event_href(&self, id: Uuid) -> String {
        self.at(&format!("events/{id}"))
    }

    /// Returns the address of an event's body.
    pub fn body_href(&self, id: Uuid) -> String {
        self.place.path(&format!("events/{id}/body"))
    }

    /// Returns the address of the stream of new events, to which a parameter can be appended; `None` if new events would
    /// not be on this page.
    pub fn live_href(&self, now: Timestamp) -> Option<String> {
        let shows_new =
            self.to.is_none() && self.pages_before == 0 && self.from.is_none_or(|from| from.begins() <= now);
        shows_new.then(|| {
            let address = Self { from: None, ..self.clone() }.at("events/live");
            if address.contains('?') { format!("{address}&") } else { format!("{address}?") }
        })
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
        Self::to(self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::super::place::SOMEWHERE;
    use super::*;

    const LIST: &str = "/o/org_0000000000000001/env_0000000000000002/events";

    fn read(query: &str) -> Result<EventsLink, NoSuchKey> {
        EventsLink::read(SOMEWHERE, Some(query))
    }

    #[test]
    fn an_address_is_read_back_equal() {
        let link = EventsLink {
            place: SOMEWHERE,
            source: Some("stripe-EU_1".to_owned()),
            key: Some(KeyId(2)),
            from: Day::parse("2026-03-01"),
            to: Day::parse("2026-03-02"),
            pages_before: 6,
        };
        let href = link.href();
        assert_eq!(read(href.split_once('?').unwrap().1), Ok(link));
        assert_eq!(EventsLink::to(SOMEWHERE).href(), LIST);
        let page = read("source=a").unwrap().event_href(Uuid::nil());
        assert_eq!(page, format!("{LIST}/00000000-0000-0000-0000-000000000000?source=a"));
    }

    #[test]
    fn invalid_filters_are_ignored_and_invalid_ids_are_refused() {
        let nothing = Ok(EventsLink::to(SOMEWHERE));
        assert_eq!(read("source=a+b&key=&from=2026-02-30&to=tomorrow&page=x&utm=2"), nothing);
        assert_eq!(read("source=hks_0123456789abcdef0123456789abcdef"), nothing);
        for (page, before) in [("0", 0), ("-3", 0), ("1", 0), ("2", 1), ("99999999999", LAST_PAGE - 1)] {
            assert_eq!(read(&format!("page={page}")).unwrap().pages_before, before);
        }
        assert_eq!(read("key=mine"), Err(NoSuchKey));
    }

    #[test]
    fn a_day_is_whole() {
        let day = Day::parse("2026-03-01").unwrap();
        assert_eq!(day.begins(), Timestamp(1_772_323_200_000));
        assert_eq!(day.ends().since(day.begins()), 86_400_000);
    }

    #[test]
    fn new_events_are_streamed_to_a_page_that_would_show_them() {
        let now = Timestamp(1_772_366_400_000);
        let live = |query: &str| read(query).unwrap().live_href(now);
        assert_eq!(live(""), Some(format!("{LIST}/live?")));
        assert_eq!(live("source=a&from=2026-03-01"), Some(format!("{LIST}/live?source=a&")));
        assert_eq!(live("page=2"), None);
        assert_eq!(live("to=2026-03-01"), None);
        assert_eq!(live("from=2026-03-02"), None);
    }
}
