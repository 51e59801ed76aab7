//! Moments on the wire: RFC 3339, UTC.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::model::Timestamp;

/// Formats a moment in whole seconds, as hookstream and the native contract show it: `2026-03-01T12:00:00Z`.
pub fn seconds(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000))
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// Formats a moment in milliseconds, as HookSentry shows it: `2026-07-03T14:32:00.000Z`.
pub fn milliseconds(at: Timestamp) -> String {
    const FORMAT: &[time::format_description::BorrowedFormatItem<'_>] =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .ok()
        .and_then(|moment| moment.format(FORMAT).ok())
        .unwrap_or_default()
}

/// Parses an RFC 3339 moment with any offset.
pub fn parse(text: &str) -> Option<Timestamp> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000)).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_in_utc() {
        assert_eq!(seconds(Timestamp(1_772_366_400_999)), "2026-03-01T12:00:00Z");
        assert_eq!(seconds(Timestamp(i64::MAX)), "");
    }

    #[test]
    fn milliseconds_in_utc() {
        assert_eq!(milliseconds(Timestamp(1_772_366_400_007)), "2026-03-01T12:00:00.007Z");
    }

    #[test]
    fn any_offset_is_read() {
        assert_eq!(parse("2026-03-01T13:00:00+01:00"), Some(Timestamp(1_772_366_400_000)));
        assert_eq!(parse("2026-03-01T12:00:00.5Z"), Some(Timestamp(1_772_366_400_500)));
        assert_eq!(parse("2026-03-01"), None);
        assert_eq!(parse("tomorrow"), None);
    }
}
