//! Time as a parameter: whoever needs it is handed a [`Clock`], so that a test can stop it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

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
                let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
            }
            Self::Fixed(now) => Timestamp(now.load(Ordering::SeqCst)),
        }
    }

    /// Nanoseconds on a clock that nobody sets, from some moment on.
    pub fn monotonic(&self) -> u64 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        match self {
            Self::System => u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Self::Fixed(now) => u64::try_from(now.load(Ordering::SeqCst)).unwrap_or_default().saturating_mul(1_000_000),
        }
    }

    /// Nanoseconds on a clock that nobody sets and that goes on while the machine sleeps: what leases are
    /// counted on.
    pub fn boottime(&self) -> u64 {
        match self {
            Self::System => {
                let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                // Neither part is negative: the clock begins with the machine.
                since.tv_sec.unsigned_abs().saturating_mul(1_000_000_000) + since.tv_nsec.unsigned_abs()
            }
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

impl governor::clock::Clock for Clock {
    type Instant = std::time::Duration;

    fn now(&self) -> Self::Instant {
        std::time::Duration::from_millis(u64::try_from(Self::now(self).0).unwrap_or_default())
    }
}
