//! Writing counts down.
//!
//! Few counts go straight to the rows of their keys. Many would make the database rewrite a page for
//! almost every one of them, each second: they are appended to a log instead, in [`SHARDS`] parts, and
//! one part after the other moves on to the rows, where the keys of one part lie side by side. A part with many keys
//! is written anew most of the times, without its repetitions, which costs less than their rows do. What stands
//! in the log is remembered in the records themselves, so that a million keys need no second memory. Where several
//! nodes count, all goes to the rows, where each sees it.

use std::time::Duration;

use super::Usage;
use super::addresses::ADDRESSES;
use super::log::{Lines, SHARDS, shard};
use super::pending::{Ledger, Uses};
use crate::keys::Keys;
use crate::keys::check::cache::Slot;
use crate::keys::check::record::Record;
use crate::store::{LoggedUses, StoreError, UsageRows};

/// How often counts are written down; what a killed process loses at the most.
pub const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Nanoseconds from one part's turn to the next's, so that each has one about every two minutes.
const FOLD_EVERY: u64 = 2_000_000_000;
/// Turns of a part after which its counts move on to the rows even where it has many: a quarter of an hour.
const FOLD_AFTER_TURNS: u32 = 8;
/// Up to so many counts are few.
const LOG_THRESHOLD: usize = 500;
/// A part of the log with so many records is worth being written anew.
const COMPACT_FROM_RECORDS: usize = 100;
/// Rows of one transaction. Others that write get the database between two, so that a tenant that uses many keys does
/// not make them wait for all of its counts.
const MAX_ROWS: usize = 1_000;
/// Counts of one transaction that appends to the log, where a count is a few bytes.
const MAX_LOGGED: usize = 20_000;
/// After so many records a flush lets others have its place, and its locks.
const YIELD_EVERY: usize = 64;

/// How many of these lines one transaction appends.
fn few_enough(lines: &[(usize, LoggedUses)]) -> usize {
    let mut counts = 0;
    let fits = |(_, line): &&(usize, LoggedUses)| {
        let is_room = counts < MAX_LOGGED;
        counts += line.uses().len();
        is_room
    };
    lines.iter().take_while(fits).count()
}

impl Keys {
    /// Writes the counts down, and what was spent of limits. On a failure they stay and are tried again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn flush_usage(&self) -> Result<(), StoreError> {
        let _flushing = self.core.usage.flushing.write().await;
        // Either is tried when the other has failed.
        let (spent, counts) = (self.write_spent().await, self.write_counts().await);
        spent.and(counts)
    }

    /// Writes the counts down. Only while `flushing` is held for writing.
    async fn write_counts(&self) -> Result<(), StoreError> {
        let (db, usage, cache) = (&self.core.db, &self.core.usage, &self.core.cache);
        let (counted, mut ledger, seen) = (usage.take_counted(), usage.take_ledger(), usage.addresses.take());
        let mut addresses = seen.iter().flat_map(|(id, seen)| seen.iter().map(|from| (*id, *from))).collect::<Vec<_>>();
        let is_few = counted.len() + ledger.counts.len() <= LOG_THRESHOLD && !usage.ledgers().logged.is_logging();
        // What several nodes count must not wait in the memory of one of them.
        if is_few || self.core.together.get().is_some() {
            for some in counted.chunks(YIELD_EVERY) {
                some.iter().filter_map(|slot| Usage::take_uses(*slot, cache)).for_each(|uses| ledger.add_uses(uses));
                tokio::task::yield_now().await;
            }
            let mut parts = ledger.into_parts(MAX_ROWS).into_iter();
            while let Some(part) = parts.next() {
                // With the last part, so that a flush of few counts is one transaction.
                let addresses = if parts.len() == 0 { std::mem::take(&mut addresses) } else { Vec::new() };
                let rows = UsageRows { addresses, ..part.rows() };
                if !rows.is_empty()
                    && let Err(error) = db.write_usage(&rows, ADDRESSES).await
                {
                    let mut ledgers = usage.ledgers();
                    std::iter::once(part).chain(parts).for_each(|part| ledgers.pending.merge(&part));
                    usage.addresses.keep(seen);
                    return Err(error);
                }
            }
            return Ok(());
        }
        let mut lines = self.take_lines(&counted, &ledger).await;
        loop {
            let rest = lines.split_off(few_enough(&lines));
            let addresses = if rest.is_empty() { std::mem::take(&mut addresses) } else { Vec::new() };
            let rows = UsageRows { addresses, ..UsageRows::default() };
            if !(lines.is_empty() && rows.is_empty())
                && let Err(error) = db.log_usage(&lines, &rows, ADDRESSES).await
            {
                self.take_back(&lines);
                self.take_back(&rest);
                usage.addresses.keep(seen);
                return Err(error);
            }
            if rest.is_empty() {
                return self.fold().await;
            }
            lines = rest;
        }
    }

    /// All that is written down nowhere, as it is about to stand in the log; from now on it is taken to.
    async fn take_lines(&self, counted: &[Slot], ledger: &Ledger) -> Vec<(usize, LoggedUses)> {
        let (usage, cache) = (&self.core.usage, &self.core.cache);
        let mut lines = Lines::new();
        for some in counted.chunks(YIELD_EVERY) {
            cache.prefetch(some.iter().copied());
            {
                // Readers lock the ledgers as well, so none misses a count that is between a record and the log.
                let mut ledgers = usage.ledgers();
                for slot in some {
                    let kept = |record: &Record| record.take_pending().map(|uses| (uses, record.keep_logged(uses)));
                    // One that was thrown out meanwhile has left its count in the ledger.
                    let Some((uses, kept)) = cache.at(*slot, kept).flatten() else { continue };
                    lines.add_uses(uses);
                    ledgers.logged.parts[shard(uses.id)].remember(*slot, uses, kept);
                }
            }
            tokio::task::yield_now().await;
        }
        lines.add_ledger(ledger);
        let mut ledgers = usage.ledgers();
        for (id, hour, code, count, last) in ledger.lines() {
            ledgers.logged.parts[shard(id)].ledger.add(id, hour, code, count, last);
        }
        lines.of_parts()
    }

    /// The log could not be written: what was to stand in it is written down nowhere, as before. Where a record has
    /// it, it stays there, and is taken off what else the log has of that key.
    fn take_back(&self, lines: &[(usize, LoggedUses)]) {
        let mut ledgers = self.core.usage.ledgers();
        for (part, line) in lines {
            for (id, count, last) in line.uses() {
                ledgers.logged.parts[*part].ledger.add(id, line.hour, line.code, -count, last);
                ledgers.pending.add(id, line.hour, line.code, count, last);
            }
        }
    }

    /// The next part of the log, if it is time: it moves on to the rows of its keys or, where it has many, mostly
    /// becomes one entry for all of its lines.
    async fn fold(&self) -> Result<(), StoreError> {
        let (usage, now) = (&self.core.usage, self.core.clock.monotonic());
        let (number, records, is_due) = {
            let mut ledgers = usage.ledgers();
            let logged = &mut ledgers.logged;
            if now.saturating_sub(logged.moved_on) < FOLD_EVERY {
                return Ok(());
            }
            let number = logged.next;
            (logged.moved_on, logged.next) = (now, (number + 1) % SHARDS);
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
            self.core.cache.prefetch(some.iter().copied());
            {
                let _ledgers = usage.ledgers();
                let uses = |slot: &Slot| Some((*slot, self.core.cache.at(*slot, Record::take_logged).flatten()?));
                taken.extend(some.iter().filter_map(uses));
            }
            tokio::task::yield_now().await;
        }
        // After the records: what one of them gave up meanwhile is here.
        let mut ledger = std::mem::take(&mut usage.ledgers().logged.parts[number].ledger);
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
                if let Err(error) = self.core.db.fold_usage(number, &part.rows(), &rest.of_parts()).await {
                    let mut ledgers = usage.ledgers();
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
        let compacted = self.core.db.compact_usage_log(number, &lines.of_parts()).await;
        // It stands in the log, as before.
        for some in taken.chunks(YIELD_EVERY) {
            self.keep_logged(some);
            tokio::task::yield_now().await;
        }
        usage.ledgers().logged.parts[number].ledger.merge(&ledger);
        compacted
    }

    /// Records remember what stands in the log of them.
    fn keep_logged(&self, some: &[(Slot, Uses)]) {
        self.core.cache.prefetch(some.iter().map(|(slot, _)| *slot));
        let mut ledgers = self.core.usage.ledgers();
        for (slot, uses) in some {
            let kept = self.core.cache.at(*slot, |record| record.keep_logged(*uses)).flatten();
            ledgers.logged.parts[shard(uses.id)].remember(*slot, *uses, kept);
        }
    }

    async fn write_spent(&self) -> Result<(), StoreError> {
        let core = &self.core;
        let taken = core.limiter.take_unsaved(core.clock.both());
        let mut meters = taken.meters;
        for rows in taken.rows.chunks(MAX_ROWS) {
            let rows = UsageRows { spent: rows.to_vec(), ..UsageRows::default() };
            if let Err(error) = core.db.write_usage(&rows, ADDRESSES).await {
                core.limiter.keep_unsaved(meters);
                return Err(error);
            }
            meters.drain(..rows.spent.len());
        }
        Ok(())
    }

    /// Reads what an earlier server left in the log. To be done before anything is counted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recall_usage(&self) -> Result<(), StoreError> {
        if self.core.together.get().is_some() {
            let rows = |logged: Vec<LoggedUses>| {
                let mut ledger = Ledger::default();
                for line in &logged {
                    ledger.recall(line);
                }
                ledger.rows()
            };
            return self.core.db.empty_usage_log(rows).await;
        }
        for (number, logged) in self.core.db.logged_usage().await? {
            if let Some(part) = self.core.usage.ledgers().logged.parts.get_mut(number) {
                part.ledger.recall(&logged);
            } else {
                tracing::error!(part = number, "a line of the usage log is of no part; its counts are dropped");
            }
        }
        Ok(())
    }

    /// Resolves when the counts should be written down before their time: a key was used for the first
    /// time.
    pub async fn flush_is_urgent(&self) {
        self.core.usage.urgent().await;
    }
}
