//! Counts that no record holds, by key, hour and outcome.

use std::collections::HashMap;

use crate::domain::Code;
use crate::keys::cache::record::Uses;
use crate::model::{KeyId, Timestamp};
use crate::store::{HourlyUse, LoggedUses, UsageRows};

/// Counts by key, hour and outcome. Counts saturate: absurd reports for one key must not stop the counting of others.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) counts: HashMap<(KeyId, i64, Code), i64>,
    /// The number of accepted requests of each key, and the time of the last one, as lists show them.
    pub(super) good: HashMap<KeyId, (i64, Timestamp)>,
}

impl Ledger {
    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    pub(super) fn add(&mut self, id: KeyId, hour: i64, code: Code, count: i64, at: Timestamp) {
        let counted = self.counts.entry((id, hour, code)).or_default();
        *counted = counted.saturating_add(count);
        if code == Code::Valid {
            let (requests, last) = self.good.entry(id).or_default();
            *requests = requests.saturating_add(count);
            *last = at.max(*last);
        }
    }

    pub(super) fn add_uses(&mut self, uses: Uses) {
        self.add(uses.id, uses.hour, Code::Valid, uses.count.into(), uses.last);
    }

    /// Returns the time of a key's last accepted request.
    fn last(&self, id: KeyId) -> Timestamp {
        self.good.get(&id).map_or(Timestamp(0), |(_, last)| *last)
    }

    /// Adds all counts of another ledger.
    pub(super) fn merge(&mut self, other: &Self) {
        for ((id, hour, code), count) in &other.counts {
            self.add(*id, *hour, *code, *count, other.last(*id));
        }
    }

    /// Returns the counts as rows, in the order of the keys.
    pub(super) fn rows(&self) -> UsageRows {
        let mut rows = UsageRows {
            uses: self.good.iter().map(|(id, (requests, last))| (*id, *requests, *last)).collect(),
            hours: self
                .counts
                .iter()
                // Skip counts that add up to zero after `take_back`.
                .filter(|(_, count)| **count != 0)
                .map(|((id, hour, code), count)| (*id, HourlyUse { hour: *hour, code: *code, count: *count }))
                .collect(),
            ..UsageRows::default()
        };
        rows.uses.sort_unstable_by_key(|(id, ..)| *id);
        rows.hours.sort_unstable_by_key(|(id, hour)| (*id, hour.hour, hour.code));
        rows
    }

    /// Divides the counts into ledgers of at most `rows` counts, in the order of the keys.
    pub(super) fn into_parts(self, rows: usize) -> Vec<Self> {
        if self.counts.len() <= rows {
            return vec![self];
        }
        let mut lines: Vec<_> = self.lines().collect();
        lines.sort_unstable_by_key(|(id, hour, code, ..)| (*id, *hour, *code));
        let part = |lines: &[(KeyId, i64, Code, i64, Timestamp)]| {
            let mut part = Self::default();
            for (id, hour, code, count, last) in lines {
                part.add(*id, *hour, *code, *count, *last);
            }
            part
        };
        lines.chunks(rows).map(part).collect()
    }

    /// Returns the counts in the form of the log.
    pub(super) fn lines(&self) -> impl Iterator<Item = (KeyId, i64, Code, i64, Timestamp)> {
        self.counts.iter().map(|((id, hour, code), count)| (*id, *hour, *code, *count, self.last(*id)))
    }

    /// Adds counts that were read from the log.
    pub(super) fn recall(&mut self, logged: &LoggedUses) {
        for (id, count, last) in logged.uses() {
            self.add(id, logged.hour, logged.code, count, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_saturate() {
        let mut ledger = Ledger::default();
        for count in [i64::MAX - 1, 5, 5] {
            ledger.add(KeyId(1), 7, Code::Valid, count, Timestamp(9));
        }
        let rows = ledger.rows();
        assert_eq!(rows.uses, [(KeyId(1), i64::MAX, Timestamp(9))]);
        assert_eq!(rows.hours, [(KeyId(1), HourlyUse { hour: 7, code: Code::Valid, count: i64::MAX })]);
    }
}
