//! The disk reserve: events are refused while there is still room for what must never fail, such as revocations.

use std::time::Duration;

use crate::runtime::clock::Clock;
use crate::store::Db;

/// Time between two looks at the free space, while events come.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After this part of the reserve was written, the free space is looked at before the second is over.
const PART: u64 = 8;

/// Watches the free space of the file system that a SQLite file is on.
#[derive(Debug)]
pub(super) struct Reserve {
    db: Db,
    clock: Clock,
    /// Bytes that stay free; 0 turns this off.
    least: u64,
    looked_at: Option<u64>,
    /// Bytes of events since the last look.
    written: u64,
    is_low: bool,
}

impl Reserve {
    pub(super) fn new(db: Db, clock: Clock, least: u64) -> Self {
        Self { db, clock, least, looked_at: None, written: 0, is_low: false }
    }

    /// Whether events of so many bytes must be refused, because fewer bytes than the reserve are free.
    pub(super) fn is_low(&mut self, bytes: usize) -> bool {
        if self.least == 0 {
            return false;
        }
        let now = self.clock.monotonic();
        let is_recent = |at: u64| u128::from(now.saturating_sub(at)) < LOOK_EVERY.as_nanos();
        if !self.looked_at.is_some_and(is_recent) || self.written >= self.least / PART {
            (self.looked_at, self.written) = (Some(now), 0);
            self.look();
        }
        if !self.is_low {
            self.written = self.written.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        self.is_low
    }

    fn look(&mut self) {
        let free = match self.db.free_bytes() {
            // PostgreSQL's disk is its operator's.
            None => return,
            Some(Ok(free)) => free,
            Some(Err(error)) => {
                tracing::error!(%error, "cannot read the free space of the disk; events are accepted as before");
                return;
            }
        };
        let was_low = std::mem::replace(&mut self.is_low, free < self.least);
        if self.is_low && !was_low {
            tracing::error!(free, reserve = self.least, "the disk is almost full; events are refused (503)");
        } else if was_low && !self.is_low {
            tracing::info!(free, reserve = self.least, "the disk has room again; events are accepted");
        }
    }
}
