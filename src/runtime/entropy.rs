//! Randomness as a parameter: code that needs it gets an [`Entropy`], so that a test can seed it.

use std::sync::{Arc, PoisonError};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tracing_mutex::stdsync::Mutex;

use crate::model::Timestamp;

/// A source of random bytes. Both kinds are cryptographically strong generators; they differ in the seed.
#[derive(Clone)]
pub enum Entropy {
    /// Seeded, and reseeded, by the operating system.
    System,
    /// Seeded by a test, so that it can compare whole responses. The second generator is for [`Entropy::for_audit`].
    Seeded(Arc<Mutex<ChaCha20Rng>>, Arc<Mutex<ChaCha20Rng>>),
}

impl Entropy {
    /// Creates a generator that returns equal bytes for equal seeds.
    pub fn seeded(seed: u64) -> Self {
        let mut for_audit = ChaCha20Rng::seed_from_u64(seed);
        for_audit.set_stream(1);
        Self::Seeded(Arc::new(Mutex::new(ChaCha20Rng::seed_from_u64(seed))), Arc::new(Mutex::new(for_audit)))
    }

    /// Returns a separate generator for the ids of audit entries: in a test, an additional entry does not shift the
    /// ids, key strings and tokens that are drawn after it.
    #[must_use]
    pub fn for_audit(&self) -> Self {
        match self {
            Self::System => Self::System,
            Self::Seeded(_, for_audit) => Self::Seeded(Arc::clone(for_audit), Arc::clone(for_audit)),
        }
    }

    /// Fills a buffer with random bytes.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks for the system's randomness")]
    pub fn fill(&self, bytes: &mut [u8]) {
        match self {
            Self::System => rand::rng().fill_bytes(bytes),
            Self::Seeded(rng, _) => {
                rng.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
            }
        }
    }

    /// Returns `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// Returns 64 random bits, in the type of a stored id.
    pub fn id(&self) -> i64 {
        i64::from_le_bytes(self.bytes())
    }

    /// Returns an id with the moment, in units of eight milliseconds, in its upper half and random bits in its lower
    /// half. Rows that are created at the same time are adjacent in the index, where random ids would each change a
    /// page of their own. The six bits of the moment that change most often come first, so that ids are spread over the
    /// whole range at any time. The caller draws another id when this one is taken.
    pub fn id_at(&self, at: Timestamp) -> i64 {
        const HALF: i64 = 0xffff_ffff;
        // The moment wraps after thirteen months, which does no harm.
        let moment = u32::try_from((at.0 >> 3) & HALF).unwrap_or_default().rotate_right(6);
        (u64::from(moment) << 32).cast_signed() | (self.id() & HALF)
    }

    /// Returns a version 7 UUID: the moment, then random bits. Such ids append to the end of an index, where random
    /// ones would each change a page of their own.
    pub fn uuid_at(&self, at: Timestamp) -> uuid::Uuid {
        let milliseconds = u64::try_from(at.0).unwrap_or_default();
        let random: [u8; 16] = self.bytes();
        let mut rest = [0; 10];
        rest.copy_from_slice(&random[6..]);
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &rest).into_uuid()
    }

    /// Returns a random (version 4) UUID.
    pub fn uuid(&self) -> uuid::Uuid {
        uuid::Builder::from_random_bytes(self.bytes()).into_uuid()
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_of_one_moment_are_adjacent_and_ids_of_a_second_are_spread() {
        let entropy = Entropy::seeded(1);
        let halves = |at: i64| {
            let id = entropy.id_at(Timestamp(1_772_366_400_000_i64 + at)).cast_unsigned();
            (id >> 32, id & u64::from(u32::MAX))
        };
        let moment: Vec<_> = (0..8).map(halves).collect();
        assert!(moment.iter().all(|(upper, _)| *upper == moment[0].0), "{moment:x?}");
        assert_eq!(moment.iter().map(|(_, lower)| lower).collect::<HashSet<_>>().len(), 8);
        let parts: HashSet<u64> = (0..1000).map(|at| halves(at).0 >> 26).collect();
        assert_eq!(parts.len(), 64);
        // Within one of the 64 parts, ids grow with the moment.
        assert!(halves(0).0 < halves(512).0 && halves(512).0 < halves(1024).0);
    }

    #[test]
    fn ids_of_audit_entries_do_not_shift_other_ids() {
        let (entropy, other) = (Entropy::seeded(1), Entropy::seeded(1));
        let ids = [entropy.for_audit().id(), entropy.for_audit().id()];
        assert_ne!(ids[0], ids[1]);
        assert_eq!(ids, [(); 2].map(|()| other.for_audit().id()));
        let next = entropy.id();
        assert_eq!(next, Entropy::seeded(1).id());
        assert!(!ids.contains(&next));
    }
}
