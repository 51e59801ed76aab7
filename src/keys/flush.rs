//! Writing counts down.
//!
//! Few counts go straight to the rows of their keys. Many would make the database rewrite a page for
//! almost every one of them, each second: they are appended to a log instead, in [`SHARDS`] parts, and
//! one part after the other moves on to the rows, where the keys of one part lie side by side. A part with many keys
//! is written anew most of the times, without its repetitions, which costs less than their rows do. The log is for whoever
//! starts after a crash: what stands in it stays in memory too, in the records and the ledger, until it is in the rows. Where several
//! nodes count, all goes to the rows, where each sees it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::addresses::ADDRESSES;
use super::cache::{Slot, slot};
use super::journal::{Counted, empty, merge};
use super::usage::Usage;
use super::{Code, KeyHash, Keys};
use crate::model::KeyId;
use crate::store::{HourlyUse, LoggedUses, StoreError, UsageRows};

/// How often counts are written down; what a killed process loses at the most.
pub const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Parts of the log, by the upper bits of a key's id.
const SHARDS: usize = 64;
/// Nanoseconds from one part's turn to the next's, so that each has one about every two minutes.
const FOLD_EVERY: u64 = 2_000_000_000;
/// Turns of a part after which its counts move on to the rows even where it has many: a quarter of an hour.
const TURNS: u32 = 8;
/// Up to so many counts are few.
const FEW: usize = 500;
/// A part of the log with so many counts is worth being written anew.
const MANY: usize = 100;
/// After so many records a flush lets others have its place, and its locks.
const BREATH: usize = 64;

/// Which part of the log a key belongs to.
fn shard(id: KeyId) -> usize {
    usize::try_from(id.0.cast_unsigned() >> 58).unwrap_or_default()
}

/// What a flush knows of the log.
#[derive(Debug)]
pub(super) struct Log {
    parts: [Part; SHARDS],
    /// The next one to move on, and when the last one did, on the monotonic clock.
    next: usize,
    moved_on: u64,
    /// What a flush works with, kept for the next one: memory that has been used is cheaper than new one.
    counted: Vec<Counted>,
    again: Vec<Slot>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Part {
    has_lines: bool,
    /// How often it was its turn since it moved on.
    turns: u32,
}

impl Default for Log {
    fn default() -> Self {
        let parts = [Part::default(); SHARDS];
        Self { parts, next: 0, moved_on: 0, counted: Vec::new(), again: Vec::new() }
    }
}

impl Log {
    fn has_lines(&self) -> bool {
        self.parts.iter().any(|part| part.has_lines)
    }
}

/// Counts as they stand in the log, each line with the number of its part. They come in the order of [`merge`].
fn lines(counted: &[Counted]) -> impl Iterator<Item = (usize, LoggedUses)> {
    counted.chunk_by(|one, next| shard(one.id) == shard(next.id)).flat_map(|of_part| {
        let mut lines: Vec<(usize, LoggedUses)> = Vec::with_capacity(1);
        for Counted { id, code, count, at } in of_part {
            let hour = at.hour();
            let known = lines.iter().position(|(_, line)| line.is_of(hour, *code)).unwrap_or(lines.len());
            if known == lines.len() {
                lines.push((shard(*id), LoggedUses::of(hour, *code, *at)));
            }
            lines[known].1.add(*id, *count, *at);
        }
        lines
    })
}

/// What a line of the log says.
fn counted(line: &LoggedUses) -> impl Iterator<Item = Counted> {
    let code = line.code;
    line.uses().map(move |(id, count, at)| Counted { id, code, count, at })
}

/// Counts as they go to the rows. They come in the order of [`merge`].
fn rows(counted: &[Counted]) -> UsageRows {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let mut rows = UsageRows::default();
    for of_key in counted.chunk_by(|one, next| one.id == next.id) {
        let good = of_key.iter().filter(|counted| counted.code == Code::Valid);
        if let Some(last) = good.clone().map(|counted| counted.at).max() {
            rows.uses.push((of_key[0].id, number(good.map(|counted| counted.count).sum()), last));
        }
    }
    let hour = |counted: &Counted| {
        (counted.id, HourlyUse { hour: counted.hour(), code: counted.code, count: number(counted.count) })
    };
    rows.hours = counted.iter().map(hour).collect();
    rows
}

impl Keys {
    /// Writes the counts down, and what was spent of limits. On a failure they stay and are tried again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn flush_usage(&self) -> Result<(), StoreError> {
        let (db, usage) = (&self.core.db, &self.core.usage);
        let mut log = usage.log.lock().await;
        self.write_spent().await?;
        self.take_counted(&mut log).await;
        let counted = &log.counted;
        let seen = usage.addresses.take();
        let addresses: Vec<_> = seen.iter().flat_map(|(id, seen)| seen.iter().map(|from| (*id, *from))).collect();
        // What several nodes count must not wait in the memory of one of them.
        let goes_to_rows = (counted.len() <= FEW && !log.has_lines()) || self.core.together.get().is_some();
        let written = if counted.is_empty() && addresses.is_empty() {
            Ok(())
        } else if goes_to_rows {
            let rows = UsageRows { addresses, ..rows(counted) };
            self.settle(counted, db.write_usage(&rows, ADDRESSES)).await
        } else {
            db.log_usage(lines(counted), &UsageRows { addresses, ..UsageRows::default() }, ADDRESSES).await
        };
        if let Err(error) = written {
            usage.journal.put_back(counted);
            usage.addresses.keep(seen);
            return Err(error);
        }
        if !goes_to_rows {
            let Log { parts, counted, .. } = &mut *log;
            for counted in counted {
                parts[shard(counted.id)].has_lines = true;
            }
            self.fold(&mut log).await?;
        }
        usage.is_logging.store(log.has_lines(), Ordering::Relaxed);
        Ok(())
    }

    /// All that is written down nowhere; from now on it is taken to be.
    async fn take_counted(&self, log: &mut Log) {
        let (usage, cache) = (&self.core.usage, &self.core.cache);
        let Log { counted, again, .. } = log;
        empty(counted, |_| ());
        empty(again, |_| ());
        usage.journal.take(counted, again);
        for some in again.chunks(BREATH) {
            cache.fetch(some.iter().copied());
            counted.extend(Usage::take_fresh(some, cache));
            tokio::task::yield_now().await;
        }
        merge(counted);
    }

    /// Counts become rows, and are no more in memory alone.
    async fn settle(
        &self,
        counted: &[Counted],
        write: impl Future<Output = Result<Vec<(KeyId, KeyHash)>, StoreError>>,
    ) -> Result<(), StoreError> {
        let _flushing = self.core.usage.flushing.write().await;
        let slots = write.await?.into_iter().map(|(id, hash)| (id, slot(&hash))).collect();
        for some in counted.chunks(BREATH) {
            self.core.usage.settle(some, &slots, &self.core.cache);
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The next part of the log, if it is time: it moves on to the rows of its keys or, where it has many, mostly
    /// becomes one entry for all of its lines.
    async fn fold(&self, log: &mut Log) -> Result<(), StoreError> {
        let (db, now) = (&self.core.db, self.core.clock.monotonic());
        if now.saturating_sub(log.moved_on) < FOLD_EVERY {
            return Ok(());
        }
        let number = log.next;
        (log.moved_on, log.next) = (now, (number + 1) % SHARDS);
        let Log { parts, counted: logged, .. } = log;
        let part = &mut parts[number];
        if !part.has_lines {
            return Ok(());
        }
        part.turns += 1;
        logged.clear();
        db.usage_log_of(number, |line| logged.extend(counted(&line))).await?;
        merge(logged);
        if part.turns < TURNS && logged.len() >= MANY {
            return db.compact_usage_log(number, lines(logged)).await;
        }
        self.settle(logged, db.fold_usage(number, &rows(logged))).await?;
        *part = Part::default();
        Ok(())
    }

    async fn write_spent(&self) -> Result<(), StoreError> {
        let core = &self.core;
        let spent = core.limiter.take_unsaved(core.clock.both());
        if spent.is_empty() {
            return Ok(());
        }
        let rows = UsageRows { spent, ..UsageRows::default() };
        let written = core.db.write_usage(&rows, ADDRESSES).await;
        if written.is_err() {
            core.limiter.keep_unsaved(&rows.spent);
        }
        written.map(drop)
    }

    /// Reads what an earlier server left in the log. To be done before anything is counted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recall_usage(&self) -> Result<(), StoreError> {
        let (db, usage) = (&self.core.db, &self.core.usage);
        if self.core.together.get().is_some() {
            let logged_rows = |lines: Vec<LoggedUses>| {
                let mut logged = lines.iter().flat_map(counted).collect();
                merge(&mut logged);
                rows(&logged)
            };
            return db.empty_usage_log(logged_rows).await;
        }
        let mut log = usage.log.lock().await;
        for (number, line) in db.logged_usage().await? {
            counted(&line).for_each(|counted| usage.ledger().add(counted));
            if let Some(part) = log.parts.get_mut(number) {
                part.has_lines = true;
            }
        }
        usage.is_logging.store(log.has_lines(), Ordering::Relaxed);
        Ok(())
    }

    /// Resolves when the counts should be written down before their time: a key was used for the first
    /// time.
    pub async fn flush_is_urgent(&self) {
        self.core.usage.urgent().await;
    }
}
