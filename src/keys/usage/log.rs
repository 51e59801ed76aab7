//! The log of counts in memory: what stands in it, and the lines that are appended to it.

use super::pending::{Ledger, Uses};
use crate::domain::Code;
use crate::keys::check::cache::Slot;
use crate::model::{KeyId, Timestamp};
use crate::store::LoggedUses;

/// Parts of the log, by the upper bits of a key's id.
pub(super) const SHARDS: usize = 64;

/// Which part of the log a key belongs to.
pub(super) fn shard(id: KeyId) -> usize {
    usize::try_from(id.0.cast_unsigned() >> 58).unwrap_or_default()
}

/// What stands in the log and not in the rows of the keys yet.
#[derive(Debug)]
pub(in crate::keys) struct Logged {
    pub(super) parts: Vec<Part>,
    /// The next one to move on, and when the last one did, on the monotonic clock.
    pub(super) next: usize,
    pub(super) moved_on: u64,
}

#[derive(Debug, Default)]
pub(super) struct Part {
    /// What has no place in a record.
    pub(super) ledger: Ledger,
    /// The records that have the rest.
    pub(super) records: Vec<Slot>,
    /// How often it was its turn since it moved on.
    pub(super) turns: u32,
}

impl Part {
    /// What stands in the log of a key: its record has it, by `kept` (see [`Record::keep_logged`]), or the ledger.
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
    /// Whether the log has anything.
    pub(super) fn is_logging(&self) -> bool {
        self.parts.iter().any(|part| !part.records.is_empty() || !part.ledger.is_empty())
    }

    /// What is not in the record of a key.
    pub(super) fn of(&self, id: KeyId) -> &Ledger {
        &self.parts[shard(id)].ledger
    }

    /// A record cannot keep this any more.
    pub(super) fn add(&mut self, uses: Uses) {
        self.parts[shard(uses.id)].ledger.add_uses(uses);
    }
}

/// What is appended to the log, each line with the number of its part.
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
