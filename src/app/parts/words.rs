//! Times and numbers as people say them.

use leptos::prelude::*;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::model::Timestamp;

const DATE: &[BorrowedFormatItem] = format_description!("[day padding:none] [month repr:short] [year]");
const EXACT: &[BorrowedFormatItem] =
    format_description!("[day padding:none] [month repr:long] [year], [hour]:[minute]:[second] UTC");

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// How long ago: `just now`, `3 minutes ago`, `1 year ago`.
pub fn ago(now: Timestamp, at: Timestamp) -> String {
    let seconds = now.since(at) / 1000;
    let (count, unit) = match seconds {
        ..MINUTE => return "just now".to_owned(),
        MINUTE..HOUR => (seconds / MINUTE, "minute"),
        HOUR..DAY => (seconds / HOUR, "hour"),
        _ => match seconds / DAY {
            days @ ..14 => (days, "day"),
            days @ ..60 => (days / 7, "week"),
            days @ ..365 => (days / 30, "month"),
            days => (days / 365, "year"),
        },
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

/// `just now` and so on for a day, then the date: `12 Nov 2026`.
pub fn ago_or_date(now: Timestamp, at: Timestamp) -> String {
    if now.since(at) < DAY * 1000 { ago(now, at) } else { format(at, DATE) }
}

/// `22 November 2026, 10:25:07 UTC`.
pub fn exact(at: Timestamp) -> String {
    format(at, EXACT)
}

/// `2026-11-22T10:25:07Z`, for `datetime`.
pub fn on_wire(at: Timestamp) -> String {
    crate::api::time::seconds(at)
}

fn format(at: Timestamp, description: &[BorrowedFormatItem]) -> String {
    OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000))
        .ok()
        .and_then(|moment| moment.format(description).ok())
        .unwrap_or_default()
}

/// A moment in words, with the exact one where a pointer rests.
#[component]
pub fn Moment(at: Timestamp, #[prop(into)] words: String) -> impl IntoView {
    view! { <time datetime=on_wire(at) title=exact(at)>{words}</time> }
}

/// `48,210,775`.
pub fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut grouped = String::from(if number < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T10:28:19Z
    const NOW: Timestamp = Timestamp(1_795_343_299_000);

    fn before(seconds: i64) -> Timestamp {
        NOW.plus(-seconds * 1000)
    }

    #[test]
    fn how_long_ago_in_words() {
        for (seconds, words) in [
            (-5, "just now"),
            (0, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (3 * MINUTE, "3 minutes ago"),
            (HOUR, "1 hour ago"),
            (23 * HOUR, "23 hours ago"),
            (DAY, "1 day ago"),
            (13 * DAY, "13 days ago"),
            (14 * DAY, "2 weeks ago"),
            (60 * DAY, "2 months ago"),
            (364 * DAY, "12 months ago"),
            (365 * DAY, "1 year ago"),
            (800 * DAY, "2 years ago"),
        ] {
            assert_eq!(ago(NOW, before(seconds)), words);
        }
    }

    #[test]
    fn dates() {
        assert_eq!(ago_or_date(NOW, before(HOUR)), "1 hour ago");
        assert_eq!(ago_or_date(NOW, before(10 * DAY)), "12 Nov 2026");
        assert_eq!(exact(NOW), "22 November 2026, 10:28:19 UTC");
        assert_eq!(exact(Timestamp(i64::MAX)), "");
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, words) in [(0, "0"), (999, "999"), (1000, "1,000"), (48_210_775, "48,210,775"), (-1234, "-1,234")] {
            assert_eq!(thousands(number), words);
        }
    }
}
