//! What an environment is for, and what a member may do.

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
    /// Manages everybody's keys.
    Admin,
    /// Manages the keys that they made.
    Member,
}

impl Role {
    /// The word on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }

    /// Reads [`as_str`](Self::as_str) back.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Owner, Self::Admin, Self::Member].into_iter().find(|role| role.as_str() == text)
    }

    /// Whether the keys that others made may be revoked and edited.
    pub fn manages_all_keys(self) -> bool {
        matches!(self, Self::Owner | Self::Admin)
    }
}
