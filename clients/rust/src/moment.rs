//! The time on two clocks, passed as a value so that tests can set it.

use std::time::{Duration, Instant, SystemTime};

/// A moment on the wall clock and on the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The wall clock, which can be set.
    pub(crate) wall: SystemTime,
    /// The monotonic clock, which cannot be set but may stand still while the machine sleeps.
    pub(crate) monotonic: Instant,
}

impl Moment {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub(crate) fn now() -> Self {
        Self { wall: SystemTime::now(), monotonic: Instant::now() }
    }

    pub(crate) fn after(self, elapsed: Duration) -> Self {
        Self { wall: self.wall + elapsed, monotonic: self.monotonic + elapsed }
    }

    /// Returns the earlier moment, for each clock separately.
    pub(crate) fn min(self, other: Self) -> Self {
        Self { wall: self.wall.min(other.wall), monotonic: self.monotonic.min(other.monotonic) }
    }

    /// Whether less than `span` has passed until `now`, by both clocks. Also `false` if the wall clock was set back by
    /// `span` or more.
    pub(crate) fn is_within(self, span: Duration, now: Self) -> bool {
        let wall = now.wall.duration_since(self.wall).unwrap_or_else(|error| error.duration());
        now.monotonic.saturating_duration_since(self.monotonic) < span && wall < span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_moment_is_recent_only_by_both_clocks() {
        let then = Moment::now();
        assert!(then.is_within(SECOND, then.after(SECOND / 2)));
        assert!(!then.is_within(SECOND, then.after(SECOND)));
        let slept = Moment { wall: then.wall + SECOND, ..then };
        assert!(!then.is_within(SECOND, slept), "the monotonic clock stood still");
        let set_back = Moment { wall: then.wall - SECOND, ..then };
        assert!(!then.is_within(SECOND, set_back));
        let before = Moment { wall: then.wall - SECOND / 2, ..then };
        assert!(then.is_within(SECOND, before), "the wall clock was set back a little");
    }
}
