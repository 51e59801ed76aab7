//! The expiry of a new key, in the time zone of the browser.

use js_sys::Date;

use super::field::Moment;

/// The value of the choice "On a date…".
pub const ON_A_DATE: &str = "date";

/// The choices: value (a number of days, or a keyword) and label.
pub const CHOICES: [(&str, &str); 6] = [
    ("", "Never"),
    ("7", "In 7 days"),
    ("30", "In 30 days"),
    ("90", "In 90 days"),
    ("365", "In 1 year"),
    (ON_A_DATE, "On a date…"),
];

/// Milliseconds of a day.
const DAY_MS: f64 = 24.0 * 3600.0 * 1000.0;

/// Returns the expiry of a choice, RFC 3339; `None` for "Never" and for an invalid date.
pub fn expires_at(choice: &str, date: &str) -> Option<String> {
    let moment = if choice == ON_A_DATE {
        end_of(date)
    } else {
        let days: u16 = choice.parse().ok()?;
        Date::new(&(Date::now() + f64::from(days) * DAY_MS).into())
    };
    moment.get_time().is_finite().then(|| String::from(moment.to_iso_string()))
}

/// Returns the error of a date.
pub fn check_date(date: &str, moment: Moment) -> Option<String> {
    if date.is_empty() && moment == Moment::Typing {
        return None;
    }
    // An invalid date is NaN, which is never greater.
    let later = end_of(date).get_time() > Date::now();
    (!later).then(|| "Choose today or a later date.".to_owned())
}

/// Returns the last second of a day (`2026-11-01`) in the viewer's zone, so that the key works on the whole day.
fn end_of(date: &str) -> Date {
    Date::new(&format!("{date}T23:59:59").into())
}

/// Describes a date with its offset from UTC: `UTC+02:00` in the summer of a zone that has `UTC+01:00` in winter.
pub fn meaning(date: &str) -> String {
    // Minutes by which UTC is ahead of this zone; NaN for an invalid date.
    let ahead = end_of(date).get_timezone_offset();
    if ahead.is_nan() {
        return "The key works until the end of that day, in your time zone.".to_owned();
    }
    let sign = if ahead > 0.0 { '-' } else { '+' };
    let (hours, minutes) = ((ahead.abs() / 60.0).floor(), ahead.abs() % 60.0);
    format!("The key works until the end of that day, in your time zone (UTC{sign}{hours:02}:{minutes:02}).")
}
