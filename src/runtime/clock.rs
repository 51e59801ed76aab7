//! Time as a parameter: whoever needs it is handed a [`Clock`], so that a test can stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::model::Timestamp;

/// A moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The calendar's.
    pub wall: Timestamp,
    /// Nanoseconds on a clock that nobody sets.
    pub monotonic: u64,
}

/// Where the time comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's.
    System,
    /// One that stands until a test moves it; milliseconds since 1970.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at this moment.
    pub fn fixed(at: Timestamp) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(at.0)))
    }

    /// The time.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                // By way of libc, where a test can set this clock and no other (tests/cluster/clocks.rs).
                let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
            }
            Self::Fixed(now) => Timestamp(now.load(Ordering::SeqCst)),
        }
    }

    /// Nanoseconds on a clock that nobody sets, from some moment on.
    pub fn monotonic(&self) -> u64 {
        match self {
            Self::System => nanoseconds(ClockId::Monotonic),
            Self::Fixed(now) => u64::try_from(now.load(Ordering::SeqCst)).unwrap_or_default().saturating_mul(1_000_000),
        }
    }

    /// Nanoseconds on a clock that nobody sets and that goes on while the machine sleeps: what leases are
    /// counted on.
    pub fn boottime(&self) -> u64 {
        match self {
            Self::System => nanoseconds(ClockId::Boottime),
            Self::Fixed(_) => self.monotonic(),
        }
    }

    /// The moment on both clocks.
    pub fn both(&self) -> Now {
        Now { wall: self.now(), monotonic: self.monotonic() }
    }

    /// Moves a fixed clock on; the machine's cannot be moved.
    pub fn advance(&self, milliseconds: i64) {
        if let Self::Fixed(now) = self {
            now.fetch_add(milliseconds, Ordering::SeqCst);
        }
    }
}

/// Of a clock that nobody sets. Not by way of `Instant`, whose differences take as long to reckon as the clock to be
/// read.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clocks")]
fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Neither is negative: it counts from when the machine began.
    time.tv_sec.unsigned_abs().saturating_mul(1_000_000_000) + time.tv_nsec.unsigned_abs()
}
