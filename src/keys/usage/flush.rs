//! Flushes the counts to the database.
//!
//! A few counts are written to the rows of their keys directly. Many counts would make the database rewrite a page for
//! almost each of them, every second. The server appends them to a log of [`SHARDS`] parts instead, and folds one part
//! after the other into the rows: the keys of one part are adjacent in the table. On most of its turns, a part with
//! many keys is only compacted (its counts of the same key are merged), which costs less than the rows. The records
//! hold the logged counts, so that a million keys need no second map. With several nodes, all counts are written to the
//! rows, so that each node sees them.

use std::time::Duration;

use super::Usage;
use super::addresses::MAX_ADDRESSES;
use super::log::{Lines, SHARDS, shard};
use super::pending::Ledger;
use crate::keys::cache::Slot;
use crate::keys::cache::record::{Record, Uses};
use crate::store::{LoggedUses, StoreError, UsageRows};

/// Time between flushes: a killed process loses at most the counts of this time.
pub const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Nanoseconds between the turns of two parts: each part has a turn about every two minutes.
const FOLD_EVERY: u64 = 2_000_000_000;
/// Turns after which a part is folded even if it has many keys: about a quarter of an hour.
const FOLD_AFTER_TURNS: u32 = 8;
/// Flushes of up to this many counts skip the log.
const LOG_THRESHOLD: usize = 500;
/// A part of the log with this many records or more is compacted instead of folded.
const COMPACT_FROM_RECORDS: usize = 100;
/// Rows of one transaction. Other writers get the database between two transactions, so that they do not wait for all
/// counts of a tenant with many keys.
const MAX_ROWS: usize = 1_000;
/// Counts of one transaction that appends to the log, where a count has a few bytes.
const MAX_LOGGED: usize = 20_000;
/// Records between yields, so that requests can take the locks.
const YIELD_EVERY: usize = 64;

/// Returns the number of lines for one transaction.
fn fitting(lines: &[(usize, LoggedUses)]) -> usize {
    let mut counts = 0;
    let fits = |(_, line): &&(usize, LoggedUses)| {
        let is_room = counts < MAX_LOGGED;
        counts += line.uses().len();
        is_room
    };
    lines.iter().take_while(fits).count()
}

impl Usage {
    /// Saves the counts, and the spending of rate limits and quotas. After a failure they stay in memory, and the next
    /// flush retries.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let _flushing = self.flushing.write().await;
        // Both are tried, even if the first one fails.
        let (spent, counts) = (self.limits.save_spending().await, self.write_counts().await);
        spent.and(counts)
    }

    /// Writes the counts. The caller holds `flushing` for writing.
    async fn write_counts(&self) -> Result<(), StoreError> {
        let (counted, mut ledger, seen) = (self.take_counted(), self.take_pending(), self.addresses.take());
        let mut addresses = seen.iter().flat_map(|(id, seen)| seen.iter().map(|from| (*id, *from))).collect::<Vec<_>>();
        let is_few = counted.len() + ledger.counts.len() <= LOG_THRESHOLD && !self.ledgers().logged.is_logging();
        // With several nodes, no count stays in the memory of one node.
        if is_few || self.limits.is_shared() {
            for some in counted.chunks(YIELD_EVERY) {
                some.iter().filter_map(|slot| self.take_uses(*slot)).for_each(|uses| ledger.add_uses(uses));
                tokio::task::yield_now().await;
            }
            let mut parts = ledger.into_parts(MAX_ROWS).into_iter();
            while let Some(part) = parts.next() {
                // The last part has the addresses, so that a small flush is one transaction.
                let addresses = if parts.len() == 0 { std::mem::take(&mut addresses) } else { Vec::new() };
                let rows = UsageRows { addresses, ..part.rows() };
                if !rows.is_empty()
                    && let Err(error) = self.db.write_usage(&rows, MAX_ADDRESSES).await
                {
                    let mut ledgers = self.ledgers();
                    std::iter::once(part).chain(parts).for_each(|part| ledgers.pending.merge(&part));
                    self.addresses.keep(seen);
                    return Err(error);
                }
            }
            return Ok(());
        }
        let mut lines = self.take_lines(&counted, &ledger).await;
        loop {
            let rest = lines.split_off(fitting(&lines));
            let addresses = if rest.is_empty() { std::mem::take(&mut addresses) } else { Vec::new() };
            let rows = UsageRows { addresses, ..UsageRows::default() };
            if !(lines.is_empty() && rows.is_empty())
                && let Err(error) = self.db.log_usage(&lines, &rows, MAX_ADDRESSES).await
            {
                self.take_back(&lines);
                self.take_back(&rest);
                self.addresses.keep(seen);
                return Err(error);
            }
            if rest.is_empty() {
                return self.fold().await;
            }
            lines = rest;
        }
    }

    /// Drains all pending counts into log lines, and counts them as logged from now on.
    async fn take_lines(&self, counted: &[Slot], ledger: &Ledger) -> Vec<(usize, LoggedUses)> {
        let mut lines = Lines::new();
        for some in counted.chunks(YIELD_EVERY) {
            {
                // Readers lock the ledgers as well, so no reader misses a count that moves from a record to the log.
                let mut ledgers = self.ledgers();
                for slot in some {
                    let kept = |record: &Record| record.take_pending().map(|uses| (uses, record.keep_logged(uses)));
                    // A record that was evicted meanwhile has moved its count to the ledger.
                    let Some((uses, kept)) = self.cache.at(*slot, kept).flatten() else { continue };
                    lines.add_uses(uses);
                    ledgers.logged.parts[shard(uses.id)].remember(*slot, uses, kept);
                }
            }
            tokio::task::yield_now().await;
        }
        lines.add_ledger(ledger);
        let mut ledgers = self.ledgers();
        for (id, hour, code, count, last) in ledger.lines() {
            ledgers.logged.parts[shard(id)].ledger.add(id, hour, code, count, last);
        }
        lines.of_parts()
    }

    /// Makes lines pending again after a failed write to the log. A record that holds them still has them as logged, so
    /// they are subtracted from the logged counts in the ledger.
    fn take_back(&self, lines: &[(usize, LoggedUses)]) {
        let mut ledgers = self.ledgers();
        for (part, line) in lines {
            for (id, count, last) in line.uses() {
                ledgers.logged.parts[*part].ledger.add(id, line.hour, line.code, -count, last);
                ledgers.pending.add(id, line.hour, line.code, count, last);
            }
        }
    }

    /// Folds the next part of the log into the rows of its keys, if its turn is due. A part with many keys is compacted
    /// instead on most of its turns.
    async fn fold(&self) -> Result<(), StoreError> {
        let now = self.clock.monotonic();
        let (number, records, is_due) = {
            let mut ledgers = self.ledgers();
            let logged = &mut ledgers.logged;
            if now.saturating_sub(logged.last_turn_at) < FOLD_EVERY {
                return Ok(());
            }
            let number = logged.next;
            (logged.last_turn_at, logged.next) = (now, (number + 1) % SHARDS);
            let part = &mut logged.parts[number];
            part.turns += 1;
            let is_due = part.turns >= FOLD_AFTER_TURNS || part.records.len() < COMPACT_FROM_RECORDS;
            if is_due {
                part.turns = 0;
            }
            (number, std::mem::take(&mut part.records), is_due)
        };
        let mut taken = Vec::with_capacity(records.len());
        for some in records.chunks(YIELD_EVERY) {
            {
                let _ledgers = self.ledgers();
                let uses = |slot: &Slot| Some((*slot, self.cache.at(*slot, Record::take_logged).flatten()?));
                taken.extend(some.iter().filter_map(uses));
            }
            tokio::task::yield_now().await;
        }
        // After the records, because a record that was evicted meanwhile has moved its counts to the ledger.
        let mut ledger = std::mem::take(&mut self.ledgers().logged.parts[number].ledger);
        if taken.is_empty() && ledger.is_empty() {
            return Ok(());
        }
        if is_due {
            for (_, uses) in taken {
                ledger.add_uses(uses);
            }
            let mut parts = ledger.into_parts(MAX_ROWS).into_iter();
            while let Some(part) = parts.next() {
                let mut rest = Lines::new();
                parts.as_slice().iter().for_each(|part| rest.add_ledger(part));
                if let Err(error) = self.db.fold_usage(number, &part.rows(), &rest.of_parts()).await {
                    let mut ledgers = self.ledgers();
                    let logged = &mut ledgers.logged.parts[number].ledger;
                    std::iter::once(part).chain(parts).for_each(|part| logged.merge(&part));
                    return Err(error);
                }
            }
            return Ok(());
        }
        let mut lines = Lines::new();
        for (_, uses) in &taken {
            lines.add_uses(*uses);
        }
        lines.add_ledger(&ledger);
        let compacted = self.db.compact_usage_log(number, &lines.of_parts()).await;
        // The counts are still in the log.
        for some in taken.chunks(YIELD_EVERY) {
            self.keep_logged(some);
            tokio::task::yield_now().await;
        }
        self.ledgers().logged.parts[number].ledger.merge(&ledger);
        compacted
    }

    /// Returns logged uses to their records.
    fn keep_logged(&self, some: &[(Slot, Uses)]) {
        let mut ledgers = self.ledgers();
        for (slot, uses) in some {
            let kept = self.cache.at(*slot, |record| record.keep_logged(*uses)).flatten();
            ledgers.logged.parts[shard(uses.id)].remember(*slot, *uses, kept);
        }
    }

    /// Reads the counts that an earlier process left in the log. Called before anything is counted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recall(&self) -> Result<(), StoreError> {
        if self.limits.is_shared() {
            let rows = |logged: Vec<LoggedUses>| {
                let mut ledger = Ledger::default();
                for line in &logged {
                    ledger.recall(line);
                }
                ledger.rows()
            };
            return self.db.empty_usage_log(rows).await;
        }
        for (number, logged) in self.db.logged_usage().await? {
            if let Some(part) = self.ledgers().logged.parts.get_mut(number) {
                part.ledger.recall(&logged);
            } else {
                tracing::error!(part = number, "a line of the usage log has an unknown part; its counts are ignored");
            }
        }
        Ok(())
    }
}
