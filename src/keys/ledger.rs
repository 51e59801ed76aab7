//! Counts that are in no row and in no record: by key, hour and outcome.

use std::collections::BTreeMap;

use super::Code;
use super::journal::Counted;
use crate::model::{KeyId, Timestamp};

/// How often, and when the last time was.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<(KeyId, i64, Code), (u64, Timestamp)>);

impl Ledger {
    pub(super) fn add(&mut self, counted: Counted) {
        let (count, last) = self.0.entry((counted.id, counted.hour(), counted.code)).or_default();
        *count += counted.count;
        *last = counted.at.max(*last);
    }

    /// As much of these as is here goes; how many are left.
    pub(super) fn take(&mut self, counted: &Counted) -> u64 {
        let entry = (counted.id, counted.hour(), counted.code);
        let Some((count, _)) = self.0.get_mut(&entry) else { return counted.count };
        let taken = counted.count.min(*count);
        *count -= taken;
        if *count == 0 {
            self.0.remove(&entry);
        }
        counted.count - taken
    }

    /// What is here of a key.
    pub(super) fn of(&self, id: KeyId) -> impl Iterator<Item = Counted> {
        let (first, last) = (Code::ALL[0], Code::ALL[Code::ALL.len() - 1]);
        let entries = self.0.range((id, i64::MIN, first)..=(id, i64::MAX, last));
        entries.map(|((id, _, code), (count, last))| Counted { id: *id, code: *code, count: *count, at: *last })
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
