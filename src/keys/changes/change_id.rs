//! The id of a change, which a stream resumes after (`Last-Event-ID`).

use std::fmt;
use std::str::FromStr;

use crate::store::{Change, OrganisationEnd};

/// The id of a change, for subscribers. The id reveals nothing about other organisations, and is valid on every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeId {
    pub(super) history: i64,
    pub(super) token: i64,
    pub(super) number: i64,
}

impl ChangeId {
    pub(super) fn of(history: i64, change: &Change) -> Self {
        Self { history, token: change.token, number: change.organisation_number }
    }
}

impl From<OrganisationEnd> for ChangeId {
    fn from(end: OrganisationEnd) -> Self {
        Self { history: end.history, token: end.token, number: end.number }
    }
}

/// Writes `HISTORY-TOKEN-NUMBER`; the first two parts are 16 hex digits.
impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}-{}", self.history, self.token, self.number)
    }
}

/// The error for a text that is no id of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoChangeId;

impl FromStr for ChangeId {
    type Err = NoChangeId;

    fn from_str(text: &str) -> Result<Self, NoChangeId> {
        let mut parts = text.splitn(3, '-');
        let mut bits = || u64::from_str_radix(parts.next()?, 16).ok().map(u64::cast_signed);
        let (history, token) = (bits().ok_or(NoChangeId)?, bits().ok_or(NoChangeId)?);
        let number = parts.next().and_then(|number| number.parse().ok()).ok_or(NoChangeId)?;
        Ok(Self { history, token, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_parsed_from_its_text() {
        let id = ChangeId { history: -2, token: i64::MIN, number: 17 };
        assert_eq!(id.to_string(), "fffffffffffffffe-8000000000000000-17");
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "x", "1-2", "1-2-", "1-2-3-4", "-1--2-3", "00000000000000ff-1", "1-2-x"] {
            assert_eq!(text.parse::<ChangeId>(), Err(NoChangeId), "{text}");
        }
    }
}
