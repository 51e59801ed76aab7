//! The log budget of one kind of lines in an interval, and the counts of the lines beyond it, in bounded memory.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::limit::{Kind, Repeated, SUMMARY_INTERVAL};

/// Full lines of one network and kind in an interval; further lines are counted.
const LINES_PER_NETWORK: u32 = 10;
/// Networks of each kind with counts of their own; further networks are counted together.
const MAX_NETWORKS: usize = 1000;
/// Rows of one network; further routes and accounts are counted together.
const MAX_ROWS_PER_NETWORK: usize = 8;
/// Networks' rows in a summary, the largest first; the other rows are merged into one for each status or reason.
const MAX_SUMMARY_ROWS: usize = 100;
/// The placeholder for networks, routes and accounts that are counted together.
const OTHER: &str = "other";

/// One line of a summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// The network, or `other` for networks that are counted together.
    pub(super) network: String,
    /// [`Repeated::event`].
    pub(super) event: &'static str,
    /// [`Repeated::code`].
    pub(super) code: String,
    /// [`Repeated::subject`], or `other`.
    pub(super) subject: String,
    /// The number of lines that were not written.
    pub(super) count: u64,
    /// The id of the first request that was not written.
    pub(super) first_request_id: String,
}

impl Row {
    fn is_of(&self, event: &str, code: &str, subject: &str) -> bool {
        self.event == event && self.code == code && self.subject == subject
    }
}

/// The lines of a network in an interval: the number of full lines, and rows for the lines that were only counted.
#[derive(Debug, Default)]
struct Counts {
    lines: u32,
    rows: Vec<Row>,
}

impl Counts {
    fn count(&mut self, network: &str, repeated: Repeated<'_>, request_id: &str) {
        let Repeated { event, code, mut subject } = repeated;
        if !self.rows.iter().any(|row| row.is_of(event, code, subject)) && self.rows.len() >= MAX_ROWS_PER_NETWORK {
            subject = OTHER;
        }
        match self.rows.iter_mut().find(|row| row.is_of(event, code, subject)) {
            Some(row) => row.count += 1,
            None => self.rows.push(Row {
                network: network.to_owned(),
                event,
                code: code.to_owned(),
                subject: subject.to_owned(),
                count: 1,
                first_request_id: request_id.to_owned(),
            }),
        }
    }
}

/// The lines of one kind in an interval. Times are seconds of the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct Window {
    began: u64,
    second: u64,
    lines_in_second: u32,
    networks: HashMap<IpAddr, Counts>,
    others: Counts,
}

impl Window {
    pub(super) fn admit(
        &mut self,
        kind: Kind,
        now: u64,
        network: IpAddr,
        repeated: Repeated<'_>,
        request_id: &str,
    ) -> bool {
        if self.second != now {
            (self.second, self.lines_in_second) = (now, 0);
        }
        let has_room = self.lines_in_second < kind.lines_per_second();
        let has_own_counts = self.networks.len() < MAX_NETWORKS || self.networks.contains_key(&network);
        if has_own_counts {
            let counts = self.networks.entry(network).or_default();
            if !has_room || counts.lines >= LINES_PER_NETWORK {
                counts.count(&network.to_string(), repeated, request_id);
                return false;
            }
            counts.lines += 1;
        } else if !has_room {
            self.others.count(OTHER, Repeated { subject: OTHER, ..repeated }, request_id);
            return false;
        }
        self.lines_in_second += 1;
        true
    }

    /// Returns the rows of the summary: the largest ones, and the others merged.
    pub(super) fn summary(self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.networks.into_values().flat_map(|counts| counts.rows).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.count));
        let smaller = rows.split_off(rows.len().min(MAX_SUMMARY_ROWS));
        let mut merged: BTreeMap<(&str, String), Row> = BTreeMap::new();
        for row in smaller.into_iter().chain(self.others.rows) {
            let empty = || Row { network: OTHER.to_owned(), subject: OTHER.to_owned(), count: 0, ..row.clone() };
            merged.entry((row.event, row.code.clone())).or_insert_with(empty).count += row.count;
        }
        rows.extend(merged.into_values());
        rows
    }

    /// Takes out the counts, and begins a new interval.
    pub(super) fn take(&mut self, now: u64) -> Self {
        let (second, lines_in_second) = (self.second, self.lines_in_second);
        // The budget of the current second continues.
        std::mem::replace(self, Self { began: now, second, lines_in_second, ..Self::default() })
    }

    /// Takes out the rows of the summary, if the interval has ended.
    pub(super) fn take_due(&mut self, now: u64) -> Option<Vec<Row>> {
        (now.saturating_sub(self.began) >= SUMMARY_INTERVAL.as_secs()).then(|| self.take(now).summary())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_for_any_number_of_networks_and_accounts() {
        let mut window = Window::default();
        let mut fail = |client: [u8; 4], user: u32| {
            let repeated = Repeated { event: "sign_in", code: "credentials", subject: &user.to_string() };
            window.admit(Kind::Failed, 0, IpAddr::from(client), repeated, "00112233aabbccdd");
        };
        for n in 0..5000_u32 {
            let [_, _, high, low] = n.to_be_bytes();
            for user in 0..20 {
                fail([10, 1, high, low], user);
                fail([203, 0, 113, 9], n * 20 + user);
            }
        }
        assert_eq!(window.networks.len(), MAX_NETWORKS);
        assert!(window.networks.values().all(|counts| counts.rows.len() <= MAX_ROWS_PER_NETWORK + 1));
        assert!(window.others.rows.len() <= MAX_ROWS_PER_NETWORK + 1);
    }
}
