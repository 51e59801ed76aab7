//! Time as a parameter: code that needs it gets a [`Clock`], so that a test can control it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::model::Timestamp;

/// A moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The calendar time.
    pub wall: Timestamp,
    /// Nanoseconds on the monotonic clock.
    pub monotonic: u64,
}

/// The source of the time.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The clocks of the machine.
    System,
    /// A clock that only a test advances; milliseconds since 1970.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// Creates a clock that is stopped at a moment.
    pub fn fixed(at: Timestamp) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(at.0)))
    }

    /// Returns the calendar time.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                // `SystemTime` reads the clock with libc, so that a test can set this clock alone
                // (tests/cluster/clocks.rs).
                let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
            }
            Self::Fixed(now) => Timestamp(now.load(Ordering::SeqCst)),
        }
    }

    /// Returns the nanoseconds of the monotonic clock, which nothing sets. Its origin is arbitrary.
    pub fn monotonic(&self) -> u64 {
        match self {
            Self::System => nanoseconds(ClockId::Monotonic),
            Self::Fixed(now) => u64::try_from(now.load(Ordering::SeqCst)).unwrap_or_default().saturating_mul(1_000_000),
        }
    }

    /// Returns the nanoseconds of the boot-time clock, which nothing sets and which also runs while the machine sleeps.
    /// Leases use it.
    pub fn boottime(&self) -> u64 {
        match self {
            Self::System => nanoseconds(ClockId::Boottime),
            Self::Fixed(_) => self.monotonic(),
        }
    }

    /// Returns the moment on both clocks.
    pub fn both(&self) -> Now {
        Now { wall: self.now(), monotonic: self.monotonic() }
    }

    /// Advances a fixed clock; does nothing on the machine's.
    pub fn advance(&self, milliseconds: i64) {
        if let Self::Fixed(now) = self {
            now.fetch_add(milliseconds, Ordering::SeqCst);
        }
    }
}

/// Reads a monotonic clock. Does not use `Instant`: computing its differences takes as long as reading the clock.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clocks")]
fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Neither part is negative: the clock counts from the start of the machine.
    time.tv_sec.unsigned_abs().saturating_mul(1_000_000_000) + time.tv_nsec.unsigned_abs()
}
