//! The cookie with the places that a browser visited last. The cookie has ids only and grants nothing: places that the
//! person may not see are ignored.

use axum::http::{HeaderMap, HeaderValue};

use super::place::EnvironmentPath;
use crate::model::OrganisationId;
use crate::web::{Site, credential};

/// Number of organisations in the cookie; older ones are dropped.
const MAX_PLACES: usize = 8;
/// Seconds until the cookie expires: a year.
const MAX_AGE: u32 = 365 * 24 * 3600;
/// Separates two places; a comma or a blank is not allowed in a cookie.
const SEPARATOR: char = '.';

/// The last visited place of each organisation, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visited(Vec<EnvironmentPath>);

impl Visited {
    /// Reads the cookie of a request. Malformed parts are skipped.
    pub fn read(headers: &HeaderMap, site: &Site) -> Self {
        let text = credential::cookies(headers, name(site)).next().and_then(|value| str::from_utf8(value).ok());
        let places = text.unwrap_or_default().split(SEPARATOR).filter_map(|place| place.parse().ok());
        Self(places.take(MAX_PLACES).collect())
    }

    /// Returns the places, newest first.
    pub fn places(&self) -> impl Iterator<Item = EnvironmentPath> {
        self.0.iter().copied()
    }

    /// Returns the last visited place of an organisation.
    pub fn in_organisation(&self, organisation: OrganisationId) -> Option<EnvironmentPath> {
        self.places().find(|place| place.organisation == organisation)
    }

    /// Returns the `Set-Cookie` header after a visit of this place; `None` if the cookie begins with it already.
    pub fn after(&self, place: EnvironmentPath, site: &Site) -> Option<HeaderValue> {
        if self.0.first() == Some(&place) {
            return None;
        }
        let others = self.places().filter(|other| other.organisation != place.organisation);
        let places: Vec<String> =
            std::iter::once(place).chain(others).take(MAX_PLACES).map(|place| place.to_string()).collect();
        let (name, places, secure) =
            (name(site), places.join(&SEPARATOR.to_string()), if site.is_secure() { "; Secure" } else { "" });
        HeaderValue::try_from(format!("{name}={places}; HttpOnly; SameSite=Lax{secure}; Path=/; Max-Age={MAX_AGE}"))
            .ok()
    }
}

fn name(site: &Site) -> &'static str {
    if site.is_secure() { "__Host-latchkey-visited" } else { "latchkey-visited" }
}

#[cfg(test)]
mod tests {
    use axum::http::header::COOKIE;

    use super::*;
    use crate::model::EnvironmentId;

    fn place(organisation: i64, environment: i64) -> EnvironmentPath {
        EnvironmentPath { organisation: OrganisationId(organisation), environment: EnvironmentId(environment) }
    }

    fn read(cookie: &str) -> Visited {
        let headers = HeaderMap::from_iter([(COOKIE, cookie.parse().unwrap())]);
        Visited::read(&headers, &Site::default())
    }

    /// Returns the cookie as a browser sends it back.
    fn sent(header: &HeaderValue) -> String {
        header.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_browser_remembers_the_last_place_of_each_organisation() {
        let site = Site::default();
        let mut visited = Visited::default();
        for (organisation, environment) in [(1, 2), (3, 4), (1, 5)] {
            let header = visited.after(place(organisation, environment), &site).unwrap();
            visited = read(&sent(&header));
        }
        assert_eq!(visited.0, [place(1, 5), place(3, 4)]);
        assert_eq!(visited.in_organisation(OrganisationId(3)), Some(place(3, 4)));
        assert_eq!(visited.in_organisation(OrganisationId(9)), None);
        assert_eq!(visited.after(place(1, 5), &site), None);
        let many = (10..40).fold(Visited::default(), |visited, organisation| {
            read(&sent(&visited.after(place(organisation, 1), &site).unwrap()))
        });
        assert_eq!(many.0.len(), MAX_PLACES);
        assert_eq!(many.0[0], place(39, 1));
    }

    #[test]
    fn the_cookie_is_for_this_server_only() {
        let header = Visited::default().after(place(1, 2), &Site::default()).unwrap();
        let expected = "latchkey-visited=org_0000000000000001/env_0000000000000002; HttpOnly; SameSite=Lax; Path=/; Max-Age=31536000";
        assert_eq!(header, expected);
        let site = Site { public_url: Some("https://keys.example.com".to_owned()), ..Site::default() };
        let header = Visited::default().after(place(1, 2), &site).unwrap();
        let text = header.to_str().unwrap();
        assert!(text.starts_with("__Host-latchkey-visited=") && text.contains("; Secure;"), "{text}");
    }

    #[test]
    fn malformed_parts_are_skipped() {
        for cookie in [
            "",
            "latchkey-visited=",
            "latchkey-visited=x",
            "latchkey-visited=org_0000000000000001",
            "a=1; latchkey-visited=..",
            "latchkey-visited",
        ] {
            assert_eq!(read(cookie), Visited::default(), "{cookie}");
        }
        let mixed = read("a=b; latchkey-visited=x.org_0000000000000001/env_0000000000000002.<b>");
        assert_eq!(mixed.0, [place(1, 2)]);
    }
}
