//! When a new key is to end, in the time of whoever makes it.

use js_sys::Date;

use super::field::Moment;

/// The value of the choice "On a date…".
pub const ON_A_DATE: &str = "date";

/// The choices: a value (a number of days, where it is one) and its words.
pub const CHOICES: [(&str, &str); 6] = [
    ("", "Never"),
    ("7", "In 7 days"),
    ("30", "In 30 days"),
    ("90", "In 90 days"),
    ("365", "In 1 year"),
    (ON_A_DATE, "On a date…"),
];

const DAY: f64 = 24.0 * 3600.0 * 1000.0;

/// The moment of a choice, RFC 3339; none for "Never", and for a date that is none.
pub fn expires_at(choice: &str, date: &str) -> Option<String> {
    let moment = if choice == ON_A_DATE {
        end_of(date)
    } else {
        let days: u16 = choice.parse().ok()?;
        Date::new(&(Date::now() + f64::from(days) * DAY).into())
    };
    moment.get_time().is_finite().then(|| String::from(moment.to_iso_string()))
}

/// What is wrong with a date.
pub fn check_date(date: &str, moment: Moment) -> Option<String> {
    if date.is_empty() && moment == Moment::Typing {
        return None;
    }
    // A date that is none is not a number, and not later than anything.
    let later = end_of(date).get_time() > Date::now();
    (!later).then(|| "Choose today or a later date.".to_owned())
}

/// The last second of a day (`2026-11-01`) in the zone of the viewer. Whoever chooses a day means all of it.
fn end_of(date: &str) -> Date {
    Date::new(&format!("{date}T23:59:59").into())
}

/// Says what a date means, and in which zone: `UTC+02:00` in the summer of a zone that is `UTC+01:00` in winter.
pub fn meaning(date: &str) -> String {
    // Minutes that UTC is ahead of this zone; not a number for a date that is none.
    let ahead = end_of(date).get_timezone_offset();
    if ahead.is_nan() {
        return "The key works until the end of that day, in your time zone.".to_owned();
    }
    let sign = if ahead > 0.0 { '-' } else { '+' };
    let (hours, minutes) = ((ahead.abs() / 60.0).floor(), ahead.abs() % 60.0);
    format!("The key works until the end of that day, in your time zone (UTC{sign}{hours:02}:{minutes:02}).")
}
