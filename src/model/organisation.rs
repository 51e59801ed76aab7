//! The modes of environments, and the roles of members. `domain/access.rs` has the rights of each role.

/// What an environment's keys are for. It shows in the key string: `hs_live_…`, `hs_test_…`.
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

/// What a member is in an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Made the organisation.
    Owner,
    /// Manages every key, settings and members.
    Admin,
    /// Manages the keys that they made.
    Member,
    /// Sees, and changes nothing.
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
