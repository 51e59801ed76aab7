//! The usage log: the counts that it contains, as tracked in memory, and the lines that are appended to it.

use super::pending::Ledger;
use crate::domain::Code;
use crate::keys::cache::Slot;
use crate::keys::cache::record::Uses;
use crate::model::{KeyId, Timestamp};
use crate::store::LoggedUses;

/// Parts of the log, by the upper bits of a key's id.
pub(super) const SHARDS: usize = 64;

/// The part of the log that a key belongs to.
pub(super) fn shard(id: KeyId) -> usize {
    usize::try_from(id.0.cast_unsigned() >> 58).unwrap_or_default()
}

/// The counts that are in the log, but not in the rows of the keys yet.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) parts: Vec<Part>,
    /// The part that has the next turn.
    pub(super) next: usize,
    /// The time of the last turn, on the monotonic clock.
    pub(super) last_turn_at: u64,
}

#[derive(Debug, Default)]
pub(super) struct Part {
    /// The counts that no record holds.
    pub(super) ledger: Ledger,
    /// The records that hold the other counts.
    pub(super) records: Vec<Slot>,
    /// The number of turns since this part was folded.
    pub(super) turns: u32,
}

impl Part {
    /// Adds logged uses of a key. Its record holds them, if `kept` (the result of `Record::keep_logged`) says so;
    /// otherwise the ledger does.
    pub(super) fn remember(&mut self, slot: Slot, uses: Uses, kept: Option<bool>) {
        match kept {
            Some(true) => self.records.push(slot),
            Some(false) => {}
            None => self.ledger.add_uses(uses),
        }
    }
}

impl Default for Logged {
    fn default() -> Self {
        Self { parts: std::iter::repeat_with(Part::default).take(SHARDS).collect(), next: 0, last_turn_at: 0 }
    }
}

impl Logged {
    /// Returns whether the log has any counts.
    pub(super) fn is_logging(&self) -> bool {
        self.parts.iter().any(|part| !part.records.is_empty() || !part.ledger.is_empty())
    }

    /// Returns the counts of a key's part that no record holds.
    pub(super) fn of(&self, id: KeyId) -> &Ledger {
        &self.parts[shard(id)].ledger
    }

    /// Adds logged uses that their record can no longer hold.
    pub(super) fn add(&mut self, uses: Uses) {
        self.parts[shard(uses.id)].ledger.add_uses(uses);
    }
}

/// The lines to append to the log, by the number of their part.
pub(super) struct Lines(Vec<Vec<LoggedUses>>);

impl Lines {
    pub(super) fn new() -> Self {
        Self(std::iter::repeat_with(Vec::new).take(SHARDS).collect())
    }

    fn add(&mut self, id: KeyId, hour: i64, code: Code, count: i64, last: Timestamp) {
        let part = &mut self.0[shard(id)];
        match part.iter_mut().find(|line| (line.hour, line.code) == (hour, code)) {
            Some(line) => line.add(id, count, last),
            None => part.push(LoggedUses::of(hour, code, (id, count, last))),
        }
    }

    pub(super) fn add_uses(&mut self, uses: Uses) {
        self.add(uses.id, uses.hour, Code::Valid, uses.count.into(), uses.last);
    }

    pub(super) fn add_ledger(&mut self, ledger: &Ledger) {
        ledger.lines().for_each(|(id, hour, code, count, last)| self.add(id, hour, code, count, last));
    }

    pub(super) fn of_parts(self) -> Vec<(usize, LoggedUses)> {
        let of_part = |(part, lines): (usize, Vec<LoggedUses>)| lines.into_iter().map(move |line| (part, line));
        self.0.into_iter().enumerate().flat_map(of_part).collect()
    }
}
