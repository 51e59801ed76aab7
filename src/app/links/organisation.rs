//! Addresses of an organisation. The settings pages are below `/o/{organisation}/settings/`.

use crate::model::{EnvironmentId, InvitationId, OrganisationId, UserId};

/// An organisation, without an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrganisationLink(pub OrganisationId);

impl OrganisationLink {
    /// Reads the organisation at the beginning of a path.
    pub fn of_path(path: &str) -> Option<Self> {
        path.strip_prefix("/o/")?.split('/').next()?.parse().ok().map(Self)
    }

    /// Reads the path of a settings page; also returns the part after `settings`, without its slash.
    pub fn split(path: &str) -> Option<(Self, &str)> {
        let (id, page) = path.strip_prefix("/o/")?.split_once('/')?;
        let page = page.strip_prefix("settings")?;
        let page = if page.is_empty() { page } else { page.strip_prefix('/')? };
        Some((Self(id.parse().ok()?), page))
    }

    fn settings(self, page: &str) -> String {
        format!("/o/{}/settings{page}", self.0)
    }

    /// Returns the address of the general settings.
    pub fn general(self) -> String {
        self.settings("")
    }

    /// Returns the address of the form that deletes the organisation.
    pub fn delete(self) -> String {
        self.settings("/delete")
    }

    /// Returns the address of the members.
    pub fn members(self) -> String {
        self.settings("/members")
    }

    /// Returns the address of a form about a member.
    pub fn member(self, user: UserId, form: &str) -> String {
        self.settings(&format!("/members/{user}/{form}"))
    }

    /// Returns the address of the invitations.
    pub fn invitations(self) -> String {
        self.settings("/invitations")
    }

    /// Returns the address of the form that deletes an invitation.
    pub fn invitation_delete(self, id: InvitationId) -> String {
        self.settings(&format!("/invitations/{id}/delete"))
    }

    /// Returns the address of the environments.
    pub fn environments(self) -> String {
        self.settings("/environments")
    }

    /// Returns the address of an environment's settings.
    pub fn environment(self, id: EnvironmentId) -> String {
        self.settings(&format!("/environments/{id}"))
    }

    /// Returns the address of a form about an environment.
    pub fn environment_form(self, id: EnvironmentId, form: &str) -> String {
        self.settings(&format!("/environments/{id}/{form}"))
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
        for (path, page) in [(link.general(), ""), (link.members(), "members"), (link.settings("/a/b"), "a/b")] {
            assert_eq!(OrganisationLink::split(&path), Some((link, page)), "{path}");
        }
        for other in ["/o/org_0000000000000001", "/o/org_0000000000000001/settingsx", "/o/x/settings", "/settings"] {
            assert_eq!(OrganisationLink::split(other), None, "{other}");
        }
        for other in ["/o", "/o/", "/o/settings", "/keys"] {
            assert_eq!(OrganisationLink::of_path(other), None, "{other}");
        }
    }
}
