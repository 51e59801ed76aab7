//! The disk reserve: refuses events before the disk is full, so that revocations can still be written.

use std::time::Duration;

use crate::runtime::clock::Clock;
use crate::store::Db;

/// Time between two readings of the free space, while events arrive.
const READ_EVERY: Duration = Duration::from_secs(1);
/// The free space is read earlier, once events of an eighth of the reserve were written since the last reading.
const READ_EARLY_DIVISOR: u64 = 8;

/// Watches the free space of the file system that holds the SQLite file.
#[derive(Debug)]
pub(super) struct Reserve {
    db: Db,
    clock: Clock,
    /// Bytes to keep free; 0 turns the reserve off.
    min_free: u64,
    /// Time of the last reading, on the monotonic clock.
    read_at: Option<u64>,
    /// Bytes of events since the last reading.
    written: u64,
    is_low: bool,
}

impl Reserve {
    pub(super) fn new(db: Db, clock: Clock, min_free: u64) -> Self {
        Self { db, clock, min_free, read_at: None, written: 0, is_low: false }
    }

    /// Returns whether events of `bytes` must be refused, because less than the reserve is free.
    pub(super) fn is_low(&mut self, bytes: usize) -> bool {
        if self.min_free == 0 {
            return false;
        }
        let now = self.clock.monotonic();
        let is_recent = |at: u64| u128::from(now.saturating_sub(at)) < READ_EVERY.as_nanos();
        if !self.read_at.is_some_and(is_recent) || self.written >= self.min_free / READ_EARLY_DIVISOR {
            (self.read_at, self.written) = (Some(now), 0);
            self.read_free_space();
        }
        if !self.is_low {
            self.written = self.written.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        self.is_low
    }

    fn read_free_space(&mut self) {
        let free = match self.db.free_bytes() {
            // The disk of a PostgreSQL server cannot be read from here; its operator watches it.
            None => return,
            Some(Ok(free)) => free,
            Some(Err(error)) => {
                tracing::error!(%error, "cannot read the free space of the disk; the last result still applies");
                return;
            }
        };
        let was_low = std::mem::replace(&mut self.is_low, free < self.min_free);
        if self.is_low && !was_low {
            tracing::error!(free, reserve = self.min_free, "the disk is almost full; events are refused (503)");
        } else if was_low && !self.is_low {
            tracing::info!(free, reserve = self.min_free, "the disk has free space again; events are accepted");
        }
    }
}
