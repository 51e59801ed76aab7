//! The organisation and the environment in the path of a page.

use std::fmt;
use std::str::FromStr;

use crate::domain::Key;
use crate::model::{EnvironmentId, IdError, OrganisationId};

/// The ids of an organisation and an environment. The type does not prove that they exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvironmentPath {
    /// The organisation.
    pub organisation: OrganisationId,
    /// The environment.
    pub environment: EnvironmentId,
}

impl EnvironmentPath {
    /// Reads the beginning of a path, and returns the rest without its slash.
    pub fn split(path: &str) -> Option<(Self, &str)> {
        let mut parts = path.strip_prefix("/o/")?.splitn(3, '/');
        let organisation = parts.next()?.parse().ok()?;
        let environment = parts.next()?.parse().ok()?;
        Some((Self { organisation, environment }, parts.next().unwrap_or_default()))
    }

    /// Returns the place of a key.
    pub fn of(key: &Key) -> Self {
        Self { organisation: key.organisation, environment: key.environment }
    }

    /// Returns the path of a page.
    pub fn path(self, page: &str) -> String {
        format!("/o/{self}/{page}")
    }
}

impl fmt::Display for EnvironmentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.organisation, self.environment)
    }
}

impl FromStr for EnvironmentPath {
    type Err = IdError;

    /// Reads `org_…/env_…`.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (organisation, environment) = text.split_once('/').unwrap_or((text, ""));
        Ok(Self { organisation: organisation.parse()?, environment: environment.parse()? })
    }
}

/// Returns a path with a query; without parameters, the path.
pub(super) fn with_query(path: &str, parameters: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let mut query = form_urlencoded::Serializer::for_suffix(format!("{path}?"), path.len() + 1);
    query.extend_pairs(parameters);
    query.finish().trim_end_matches('?').to_owned()
}

#[cfg(test)]
pub(super) const SOMEWHERE: EnvironmentPath =
    EnvironmentPath { organisation: OrganisationId(1), environment: EnvironmentId(2) };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_path_is_read_back_equal() {
        let path = SOMEWHERE.path("keys/ak_1");
        assert_eq!(path, "/o/org_0000000000000001/env_0000000000000002/keys/ak_1");
        assert_eq!(EnvironmentPath::split(&path), Some((SOMEWHERE, "keys/ak_1")));
        assert_eq!(EnvironmentPath::split(path.trim_end_matches("/keys/ak_1")), Some((SOMEWHERE, "")));
        assert_eq!(SOMEWHERE.to_string().parse(), Ok(SOMEWHERE));
        for other in [
            "",
            "/keys",
            "/o/",
            "/o/org_0000000000000001",
            "/o/org_0000000000000001/settings/members",
            "/o/org_1/env_0000000000000002/keys",
            "//o/org_0000000000000001/env_0000000000000002/keys",
        ] {
            assert_eq!(EnvironmentPath::split(other), None, "{other}");
        }
        for other in ["", "org_0000000000000001", "org_0000000000000001/", "env_0000000000000002/org_0000000000000001"]
        {
            assert!(other.parse::<EnvironmentPath>().is_err(), "{other}");
        }
    }
}
