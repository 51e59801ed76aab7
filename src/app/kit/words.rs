//! Formats times, numbers and names for pages.

use leptos::prelude::*;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::cluster::Proof;
use crate::model::{self, Timestamp};

const DATE: &[BorrowedFormatItem] = format_description!("[day padding:none] [month repr:short] [year]");
const EXACT: &[BorrowedFormatItem] =
    format_description!("[day padding:none] [month repr:long] [year], [hour]:[minute]:[second] UTC");

const TO_THE_SECOND: &[BorrowedFormatItem] =
    format_description!("[day padding:none] [month repr:short], [hour]:[minute]:[second] UTC");

const TO_THE_HOUR: &[BorrowedFormatItem] = format_description!("[day padding:none] [month repr:short], [hour]:00");

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Formats the time since a moment: `just now`, `3 minutes ago`, `1 year ago`.
pub fn ago(now: Timestamp, at: Timestamp) -> String {
    model::ago(now.since(at) / 1000)
}

/// Formats a moment like [`ago`] for a day, then as a date: `12 Nov 2026`.
pub fn ago_or_date(now: Timestamp, at: Timestamp) -> String {
    if now.since(at) < DAY_MS { ago(now, at) } else { format(at, DATE) }
}

/// `12 Nov 2026`.
pub fn date(at: Timestamp) -> String {
    format(at, DATE)
}

/// `22 Nov, 10:00`, UTC.
pub fn to_the_hour(at: Timestamp) -> String {
    format(at, TO_THE_HOUR)
}

/// `22 November 2026, 10:25:07 UTC`.
pub fn exact(at: Timestamp) -> String {
    format(at, EXACT)
}

/// `22 Nov, 10:25:07 UTC`.
pub fn to_the_second(at: Timestamp) -> String {
    format(at, TO_THE_SECOND)
}

/// `2026-11-22T10:25:07Z`, for `datetime`.
pub fn on_wire(at: Timestamp) -> String {
    crate::web::time::seconds(at)
}

fn format(at: Timestamp, description: &[BorrowedFormatItem]) -> String {
    OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000))
        .ok()
        .and_then(|moment| moment.format(description).ok())
        .unwrap_or_default()
}

/// A moment in words, with the exact time as a tooltip.
#[component]
pub fn Moment(at: Timestamp, #[prop(into)] words: String) -> impl IntoView {
    view! { <time datetime=on_wire(at) title=exact(at)>{words}</time> }
}

/// An exact moment in UTC; `page.js` shows it in the viewer's zone, with UTC as a tooltip.
#[component]
pub fn Exact(at: Timestamp) -> impl IntoView {
    view! { <time datetime=on_wire(at) title=exact(at) data-exact>{exact(at)}</time> }
}

/// Renders a text with `code` in backquotes.
pub fn with_code(text: &str) -> AnyView {
    let span = |(index, part): (usize, &str)| {
        let part = part.to_owned();
        if index % 2 == 1 { view! { <code>{part}</code> }.into_any() } else { part.into_any() }
    };
    text.split('`').enumerate().map(span).collect_view().into_any()
}

/// Describes how a revocation took effect: `All 3 nodes have dropped it`.
pub fn revoked_everywhere(proof: &Proof) -> String {
    let end = "requests with this key fail (401) from now on";
    match (proof.nodes, proof.waited_out.as_slice()) {
        (0 | 1, _) => "Requests with this key fail (401) from now on".to_owned(),
        (nodes, []) => format!("All {nodes} nodes have dropped it: {end}"),
        (nodes, silent) => {
            let (acknowledged, names) = (proof.acknowledged, silent.join(", "));
            format!("{acknowledged} of {nodes} nodes have dropped it, and the lease of {names} was waited out: {end}")
        }
    }
}

/// `1 key`, `1,234 keys`.
pub fn counted(number: i64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
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

/// Formats a size: `512 bytes`, `48.2 KB`, `1.0 MB`. A KB is 1,000 bytes.
pub fn size(bytes: i64) -> String {
    let tenths = |unit: i64| (bytes.saturating_mul(10) + unit / 2) / unit;
    let (tenths, unit) = match bytes {
        1 => return "1 byte".to_owned(),
        ..1000 => return format!("{bytes} bytes"),
        1000..999_950 => (tenths(1000), "KB"),
        _ => (tenths(1_000_000), "MB"),
    };
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// Marks a name within a sentence, so that [`Sentence`] isolates its text direction. No name contains these two
/// characters.
pub fn isolate(name: &str) -> String {
    format!("\u{2068}{name}\u{2069}")
}

/// A sentence in which each name that [`isolate`] has marked becomes a `<bdi>`.
#[component]
pub fn Sentence(text: String) -> AnyView {
    let mut parts = Vec::new();
    for (number, part) in text.split(['\u{2068}', '\u{2069}']).enumerate() {
        let part = part.to_owned();
        parts.push(if number % 2 == 0 { part.into_any() } else { view! { <bdi>{part}</bdi> }.into_any() });
    }
    parts.into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;

    /// 2026-11-22T10:28:19Z
    const NOW: Timestamp = Timestamp(1_795_343_299_000);

    fn before(seconds: i64) -> Timestamp {
        NOW.plus(-seconds * 1000)
    }

    #[test]
    fn elapsed_time_is_formatted_in_words() {
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
    fn dates_are_formatted_in_utc() {
        assert_eq!(ago_or_date(NOW, before(HOUR)), "1 hour ago");
        assert_eq!(ago_or_date(NOW, before(10 * DAY)), "12 Nov 2026");
        assert_eq!(to_the_hour(NOW), "22 Nov, 10:00");
        assert_eq!(exact(NOW), "22 November 2026, 10:28:19 UTC");
        assert_eq!(exact(Timestamp(i64::MAX)), "");
    }

    #[test]
    fn sizes_have_decimal_units() {
        for (bytes, words) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1000, "1.0 KB"),
            (1250, "1.3 KB"),
            (999_949, "999.9 KB"),
            (999_950, "1.0 MB"),
            (1_048_576, "1.0 MB"),
        ] {
            assert_eq!(size(bytes), words);
        }
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(counted(1, "key", "keys"), "1 key");
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, words) in [(0, "0"), (999, "999"), (1000, "1,000"), (48_210_775, "48,210,775"), (-1234, "-1,234")]
        {
            assert_eq!(thousands(number), words);
            assert_eq!(counted(number, "key", "keys"), format!("{words} keys"));
        }
    }
}
