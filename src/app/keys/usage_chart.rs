//! The recent use of a key: a chart that the server draws, and its numbers as a table.
//!
//! The horizontal unit of the chart is per cent, so that it fits every width without distortion. The vertical unit is
//! pixels.

use leptos::prelude::*;

use crate::app::kit::{Moment, ago, thousands, to_the_hour};
use crate::domain::Code;
use crate::keys::KeyUsage;
use crate::model::Timestamp;

/// Hours in the chart, up to the current one.
pub const HOURS: i64 = 48;
/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;
/// Height of the highest possible bar, in pixels.
const CHART_HEIGHT_PX: i64 = 128;
/// Smallest height of a bar, in pixels, so that one request is visible.
const MIN_BAR_HEIGHT_PX: i64 = 3;

/// The outcomes of a key's requests in an hour.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Hour {
    /// Hours since 1970.
    number: i64,
    accepted: i64,
    rejected: Vec<(Code, i64)>,
}

impl Hour {
    fn begins(&self) -> Timestamp {
        Timestamp(self.number.saturating_mul(HOUR_MS))
    }

    fn rejections(&self) -> i64 {
        self.rejected.iter().map(|(_, count)| count).sum()
    }

    fn all(&self) -> i64 {
        self.accepted + self.rejections()
    }
}

/// Returns all hours of the chart, oldest first.
fn hours(usage: &KeyUsage, now: Timestamp) -> Vec<Hour> {
    let last = now.0.div_euclid(HOUR_MS);
    let hour = |number: i64| {
        let mut hour = Hour { number, ..Hour::default() };
        for used in usage.hours.iter().filter(|used| used.hour == number) {
            match used.code {
                Code::Valid => hour.accepted += used.count,
                code => hour.rejected.push((code, used.count)),
            }
        }
        hour
    };
    (last - HOURS + 1..=last).map(hour).collect()
}

/// Returns the highest label of an axis for values up to `most`: an even number, so that its half is a label too.
fn end_of_axis(most: i64) -> i64 {
    let mut unit: i64 = 1;
    loop {
        let fits = |steps: i64| {
            Some(unit.saturating_mul(steps)).filter(|end| most <= *end && (end % 2 == 0 || *end == i64::MAX))
        };
        if let Some(end) = [2, 3, 4, 5, 6, 8, 10].into_iter().find_map(fits) {
            return end;
        }
        unit = unit.saturating_mul(10);
    }
}

/// Formats the label of an axis: `500`, `2.5k`, `4M`.
fn short(number: i64) -> String {
    let (unit, name) = match number {
        1_000_000.. => (1_000_000, "M"),
        1000.. => (1000, "k"),
        _ => return number.to_string(),
    };
    match number % unit / (unit / 10) {
        0 => format!("{}{name}", thousands(number / unit)),
        tenths => format!("{}.{tenths}{name}", thousands(number / unit)),
    }
}

/// Returns the height of a bar, in pixels.
fn height(count: i64, end: i64) -> i64 {
    let exact = i128::from(count) * i128::from(CHART_HEIGHT_PX) / i128::from(end.max(1));
    if count == 0 { 0 } else { i64::try_from(exact).unwrap_or(CHART_HEIGHT_PX).max(MIN_BAR_HEIGHT_PX) }
}

/// Returns a distance from the left in per cent (`4.166%`), given in hundredths of the width of an hour.
fn across(hundredths: i64) -> String {
    let millis = hundredths * 1000 / HOURS;
    format!("{}.{:03}%", millis / 1000, millis % 1000)
}

/// Describes an outcome in words.
fn reason(code: Code) -> &'static str {
    match code {
        Code::NotFound => "another organisation’s",
        Code::Revoked => "revoked",
        Code::Disabled => "paused",
        Code::Expired => "expired",
        Code::WrongEnvironment => "wrong environment",
        Code::Forbidden => "network not allowed",
        Code::InsufficientScopes => "scope missing",
        Code::RateLimited => "rate limit",
        Code::QuotaExceeded => "quota used up",
        Code::Valid => "accepted",
    }
}

/// The section about the use of a key in the last [`HOURS`].
#[component]
pub fn UsageSection(usage: KeyUsage, last_used_at: Option<Timestamp>, now: Timestamp) -> AnyView {
    let hours = hours(&usage, now);
    let accepted: i64 = hours.iter().map(|hour| hour.accepted).sum();
    let rejected: i64 = hours.iter().map(Hour::rejections).sum();
    let content = if accepted + rejected == 0 {
        let before = match last_used_at {
            Some(at) => view! { "It was last used " <Moment at words=ago(now, at)/> "." }.into_any(),
            None => view! { "It was never used. The first request shows here at once." }.into_any(),
        };
        view! { <div class="no-usage"><p><strong>"No requests in the last 48 hours"</strong></p><p>{before}</p></div> }
            .into_any()
    } else {
        let words = format!(
            "Requests by the hour in the last 48 hours: {} accepted, {} rejected. The table below has the numbers.",
            thousands(accepted),
            thousands(rejected)
        );
        view! {
            <ul class="legend">
                <li class="good"><strong>{thousands(accepted)}</strong> " accepted"</li>
                <li class="refused"><strong>{thousands(rejected)}</strong> " rejected"</li>
            </ul>
            <Chart hours=hours.clone() words/>
            <Numbers hours/>
        }
        .into_any()
    };
    view! {
        <section class="card usage" aria-labelledby="usage-title">
            <h2 id="usage-title">"Last 48 hours" <span class="optional">" by the hour, UTC"</span></h2>
            {content}
        </section>
    }
    .into_any()
}

#[component]
fn Chart(hours: Vec<Hour>, words: String) -> AnyView {
    let end = end_of_axis(hours.iter().map(Hour::all).max().unwrap_or_default());
    let bars = hours.iter().zip(0..).map(|(hour, place)| bar(hour, place, end)).collect_view();
    // No ticks near the edges, where their labels would be cut.
    let ticks = hours.iter().zip(0..).filter(|(hour, place)| hour.number % 12 == 0 && (3..=HOURS - 3).contains(place));
    let ticks = ticks
        .map(|(hour, place)| {
            let text = to_the_hour(hour.begins());
            let (day, time) = text.split_once(", ").unwrap_or_default();
            let words = if hour.number % 24 == 0 { day.to_owned() } else { time.to_owned() };
            view! {
                <line class="tick" x1=across(place * 100) x2=across(place * 100) y1="128" y2="133"></line>
                <text x=across(place * 100) y="148" text-anchor="middle">{words}</text>
            }
        })
        .collect_view();
    let line = |y: &'static str| view! { <line class="grid" x1="0" x2="100%" y1=y y2=y></line> };
    view! {
        <div class="chart">
            <div class="axis" aria-hidden="true">
                <span>{short(end)}</span>
                <span>{short(end / 2)}</span>
                <span>"0"</span>
            </div>
            <svg width="100%" height="154" role="img" aria-label=words>
                <defs>
                    <pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
                        <rect class="ground" width="5" height="5"></rect>
                        <rect class="stroke" width="2.5" height="5"></rect>
                    </pattern>
                </defs>
                {line("0.5")}
                {line("64.5")}
                {bars}
                <line class="base" x1="0" x2="100%" y1="128.5" y2="128.5"></line>
                {ticks}
            </svg>
        </div>
    }
    .into_any()
}

/// The bar of an hour: rejected requests stacked on accepted ones. The whole column shows a tooltip.
fn bar(hour: &Hour, place: i64, end: i64) -> AnyView {
    let (accepted, rejected) = (height(hour.accepted, end), height(hour.rejections(), end));
    let (x, width) = (across(place * 100 + 14), across(72));
    let rect = |class: &'static str, fill: Option<&'static str>, y: i64, height: i64| {
        (height > 0).then(|| {
            view! {
                <rect class=class fill=fill x=x.clone() y=y.to_string() width=width.clone() height=height.to_string()></rect>
            }
        })
    };
    let from = to_the_hour(hour.begins());
    let title = match (hour.accepted, hour.rejections()) {
        (0, 0) => format!("{from}: no requests"),
        (accepted, rejected) => {
            format!("{from}: {} accepted, {} rejected", thousands(accepted), thousands(rejected))
        }
    };
    view! {
        <g class="hour">
            <title>{title}</title>
            <rect class="hit" x=across(place * 100) y="0" width=across(100) height="128"></rect>
            {rect("good", None, CHART_HEIGHT_PX - accepted, accepted)}
            {rect("refused", Some("url(#hatch)"), CHART_HEIGHT_PX - accepted - rejected, rejected)}
        </g>
    }
    .into_any()
}

/// The numbers of the chart as a table, newest first; hours without requests are left out.
#[component]
fn Numbers(hours: Vec<Hour>) -> AnyView {
    let row = |hour: &Hour| {
        let why: Vec<String> =
            hour.rejected.iter().map(|(code, count)| format!("{} {}", thousands(*count), reason(*code))).collect();
        view! {
            <tr>
                <th scope="row">{to_the_hour(hour.begins())}</th>
                <td>{thousands(hour.accepted)}</td>
                <td>{thousands(hour.rejections())}</td>
                <td>{why.join(", ")}</td>
            </tr>
        }
    };
    let rows = hours.iter().rev().filter(|hour| hour.all() > 0).map(row).collect_view();
    view! {
        <details class="numbers">
            <summary>"Show as table"</summary>
            <table>
                <caption class="visually-hidden">"Requests by the hour, newest first; hours without any are left out"</caption>
                <thead>
                    <tr>
                        <th scope="col">"Hour, UTC"</th>
                        <th scope="col">"Accepted"</th>
                        <th scope="col">"Rejected"</th>
                        <th scope="col">"Reason"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </details>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_an_axis_is_a_whole_number() {
        for (most, end) in
            [(0, 2), (1, 2), (2, 2), (3, 4), (9, 10), (11, 20), (21, 30), (41, 50), (100, 100), (101, 200)]
        {
            assert_eq!(end_of_axis(most), end, "{most}");
        }
        assert_eq!(end_of_axis(i64::MAX), i64::MAX);
        let words: Vec<String> = [0, 10, 999, 2000, 1500, 25_000, 3_000_000].into_iter().map(short).collect();
        assert_eq!(words, ["0", "10", "999", "2k", "1.5k", "25k", "3M"]);
    }

    #[test]
    fn a_bar_is_visible_and_within_the_chart() {
        assert_eq!((height(0, 10), height(1, 1_000_000), height(5, 10), height(10, 10)), (0, 3, 64, 128));
        assert_eq!(height(i64::MAX, i64::MAX), 128);
        assert_eq!((across(0).as_str(), across(100).as_str(), across(4800).as_str()), ("0.000%", "2.083%", "100.000%"));
    }
}
