//! Addresses of an organisation. The settings pages are below `/o/{organisation}/settings/`.

use crate::model::OrganisationId;

/// An organisation, without an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrganisationLink(pub OrganisationId);

impl OrganisationLink {
    /// Reads the organisation at the beginning of a path.
    pub fn of_path(path: &str) -> Option<Self> {
        path.strip_prefix("/o/")?.split('/').next()?.parse().ok().map(Self)
    }

    /// Returns the address that redirects to the environment that was visited last, or else to the first.
    pub fn href(self) -> String {
        format!("/o/{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_organisation_of_a_path_is_read_back_equal() {
        let link = OrganisationLink(OrganisationId(1));
        assert_eq!(OrganisationLink::of_path(&link.href()), Some(link));
        assert_eq!(OrganisationLink::of_path("/o/org_0000000000000001/settings/members"), Some(link));
        for other in ["/o", "/o/", "/o/settings", "/keys"] {
            assert_eq!(OrganisationLink::of_path(other), None, "{other}");
        }
    }
}
