//! Writing counts down.
//!
//! Few counts go straight to the rows of their keys. Many would make the database rewrite a page for
//! almost every one of them, each second: they are appended to a log instead, in [`SHARDS`] parts, and
//! one part after the other moves on to the rows, where the keys of one part lie side by side. What stands
//! in the log is remembered in the records themselves, so that a million keys need no second memory. Where several
//! nodes count, all goes to the rows, where each sees it.

use std::time::Duration;

use super::cache::{Cache, Slot};
use super::ledger::{Ledger, Uses};
use super::usage::{ADDRESSES, Usage};
use super::{Code, Keys, Record};
use crate::model::KeyId;
use crate::store::{LoggedUses, StoreError, UsageRows};

/// How often counts are written down; what a killed process loses at the most.
pub const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Parts of the log, by the upper bits of a key's id.
const SHARDS: usize = 64;
/// Nanoseconds from one part that moves on to the next, so that each does about every two minutes.
const FOLD_EVERY: u64 = 2_000_000_000;
/// Up to so many counts are few.
const FEW: usize = 500;
/// After so many records a flush lets others have its place, and its locks.
const BREATH: usize = 64;

/// Which part of the log a key belongs to.
fn shard(id: KeyId) -> usize {
    usize::try_from(id.0.cast_unsigned() >> 58).unwrap_or_default()
}

/// What stands in the log and not in the rows of the keys yet.
#[derive(Debug)]
pub(super) struct Logged {
    parts: Vec<Part>,
    /// The next one to move on, and when the last one did, on the monotonic clock.
    next: usize,
    moved_on: u64,
}

#[derive(Debug, Default)]
struct Part {
    /// What has no place in a record.
    ledger: Ledger,
    /// The records that have the rest.
    records: Vec<Slot>,
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

/// All that is not in the database, taken out.
struct Fresh {
    uses: Vec<(Slot, Uses)>,
    ledger: Ledger,
}

impl Fresh {
    async fn take(usage: &Usage, cache: &Cache) -> Self {
        let counted = usage.take_counted();
        let mut uses = Vec::with_capacity(counted.len());
        for some in counted.chunks(BREATH) {
            uses.extend(some.iter().filter_map(|slot| Some((*slot, Usage::take_uses(*slot, cache)?))));
            tokio::task::yield_now().await;
        }
        Self { uses, ledger: usage.take_ledger() }
    }

    fn len(&self) -> usize {
        self.uses.len() + self.ledger.counts.len()
    }

    fn is_empty(&self) -> bool {
        self.uses.is_empty() && self.ledger.is_empty()
    }

    fn into_ledger(self) -> Ledger {
        let mut ledger = self.ledger;
        self.uses.into_iter().for_each(|(_, uses)| ledger.add_uses(uses));
        ledger
    }

    /// As it is kept in the log, each line with the number of its part.
    async fn lines(&self) -> Vec<(usize, LoggedUses)> {
        let mut lines: Vec<Vec<LoggedUses>> = std::iter::repeat_with(Vec::new).take(SHARDS).collect();
        let mut add = |(id, hour, code, count, last): (KeyId, i64, Code, i64, _)| {
            let part = &mut lines[shard(id)];
            match part.iter_mut().find(|line| (line.hour, line.code) == (hour, code)) {
                Some(line) => line.add(id, count, last),
                None => part.push(LoggedUses::of(hour, code, (id, count, last))),
            }
        };
        for some in self.uses.chunks(BREATH) {
            for (_, uses) in some {
                add((uses.id, uses.hour, Code::Valid, uses.count.into(), uses.last));
            }
            tokio::task::yield_now().await;
        }
        self.ledger.lines().for_each(add);
        lines
            .into_iter()
            .enumerate()
            .flat_map(|(part, lines)| lines.into_iter().map(move |line| (part, line)))
            .collect()
    }

    /// All of it stands in the log now.
    async fn remember(self, usage: &Usage, cache: &Cache) {
        for some in self.uses.chunks(BREATH) {
            {
                let (_ledger, mut logged) = (usage.ledger(), usage.logged());
                for (slot, uses) in some {
                    let part = &mut logged.parts[shard(uses.id)];
                    match cache.at(*slot, |record| record.keep_logged(*uses)).flatten() {
                        Some(true) => part.records.push(*slot),
                        Some(false) => {}
                        None => part.ledger.add_uses(*uses),
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        let mut logged = usage.logged();
        for (id, hour, code, count, last) in self.ledger.lines() {
            logged.parts[shard(id)].ledger.add(id, hour, code, count, last);
        }
    }
}

impl Keys {
    /// Writes the counts down, and what was spent of limits. On a failure they stay and are tried again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn flush_usage(&self) -> Result<(), StoreError> {
        let (db, usage, cache) = (&self.core.db, &self.core.usage, &self.core.cache);
        let _flushing = usage.flushing.write().await;
        self.write_spent().await?;
        let fresh = Fresh::take(usage, cache).await;
        // What several nodes count must not wait in the memory of one of them.
        let is_shared = self.core.together.get().is_some();
        if is_shared || fresh.len() <= FEW && !usage.logged().is_logging() {
            let ledger = fresh.into_ledger();
            if !ledger.is_empty()
                && let Err(error) = db.write_usage(&ledger.rows(), ADDRESSES).await
            {
                usage.ledger().merge(ledger);
                return Err(error);
            }
            return Ok(());
        }
        if !fresh.is_empty() {
            let addresses = UsageRows { addresses: fresh.ledger.addresses(), ..UsageRows::default() };
            if let Err(error) = db.log_usage(&fresh.lines().await, &addresses, ADDRESSES).await {
                usage.ledger().merge(fresh.into_ledger());
                return Err(error);
            }
            fresh.remember(usage, cache).await;
        }
        self.fold().await
    }

    /// The next part of the log moves on to the rows of its keys, if it is time.
    async fn fold(&self) -> Result<(), StoreError> {
        let (usage, now) = (&self.core.usage, self.core.clock.monotonic());
        let (number, records) = {
            let mut logged = usage.logged();
            if now.saturating_sub(logged.moved_on) < FOLD_EVERY {
                return Ok(());
            }
            let number = logged.next;
            (logged.moved_on, logged.next) = (now, (number + 1) % SHARDS);
            (number, std::mem::take(&mut logged.parts[number].records))
        };
        let mut ledger = Ledger::default();
        for some in records.chunks(BREATH) {
            {
                let _ledger = usage.ledger();
                let logged = some.iter().filter_map(|slot| self.core.cache.at(*slot, Record::take_logged).flatten());
                logged.for_each(|uses| ledger.add_uses(uses));
            }
            tokio::task::yield_now().await;
        }
        // After the records: what one of them gave up meanwhile is here.
        ledger.merge(std::mem::take(&mut usage.logged().parts[number].ledger));
        if ledger.is_empty() {
            return Ok(());
        }
        let folded = self.core.db.fold_usage(number, &ledger.rows()).await;
        if folded.is_err() {
            usage.logged().parts[number].ledger.merge(ledger);
        }
        folded
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
        written
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
            if let Some(part) = self.core.usage.logged().parts.get_mut(number) {
                part.ledger.recall(&logged);
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
