//! The modes of environments, and the roles of members. `domain/access.rs` has the rights of each role.

/// The mode of an environment: live or test. Key strings show it: `hs_live_…`, `hs_test_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Real traffic.
    Live,
    /// Development.
    Test,
}

impl Mode {
    /// The word on the wire, in the database and in key strings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    /// Reads [`as_str`](Self::as_str) back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Live, Self::Test].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// The role of a member in an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Has every right in the organisation; its creator has this role.
    Owner,
    /// Manages every key, settings and members.
    Admin,
    /// Manages their own keys.
    Member,
    /// Reads only.
    Viewer,
}

impl Role {
    /// Every role, with the most powerful first.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Admin, Self::Member, Self::Viewer];

    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Viewer => "viewer",
        }
    }

    /// Reads [`as_str`](Self::as_str) back.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}
