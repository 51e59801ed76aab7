//! The usage log: the counts that it has, as memory knows them, and the lines that are appended to it.

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

/// The counts that are in the log, and not in the rows of the keys yet.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) parts: Vec<Part>,
    /// The next part to fold into the rows, and when the last one was folded, on the monotonic clock.
    pub(super) next: usize,
    pub(super) moved_on: u64,
}

#[derive(Debug, Default)]
pub(super) struct Part {
    /// The counts that no record has.
    pub(super) ledger: Ledger,
    /// The records that have the other counts.
    pub(super) records: Vec<Slot>,
    /// Turns of this part since it was folded.
    pub(super) turns: u32,
}

impl Part {
    /// Adds logged uses of a key: its record has them, by `kept` (see `Record::keep_logged`), or the ledger.
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
        Self { parts: std::iter::repeat_with(Part::default).take(SHARDS).collect(), next: 0, moved_on: 0 }
    }
}

impl Logged {
    /// Whether the log has any counts.
    pub(super) fn is_logging(&self) -> bool {
        self.parts.iter().any(|part| !part.records.is_empty() || !part.ledger.is_empty())
    }

    /// The counts of a key's part that no record has.
    pub(super) fn of(&self, id: KeyId) -> &Ledger {
        &self.parts[shard(id)].ledger
    }

    /// Adds logged uses that their record cannot hold any more.
    pub(super) fn add(&mut self, uses: Uses) {
        self.parts[shard(uses.id)].ledger.add_uses(uses);
    }
}

/// Lines that are appended to the log, each with the number of its part.
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
