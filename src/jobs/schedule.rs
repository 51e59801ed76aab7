//! The kinds of jobs, with their names, intervals and retry delays.

use crate::runtime::entropy::Entropy;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// The kind of a job, which selects its handler. The name is stored: a renamed kind is a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Deletes sessions that have expired.
    DeleteEndedSessions,
    /// Deletes tokens that have expired, and token families without any.
    DeleteEndedTokens,
    /// Deletes networks that accounts have not signed in from for a long time.
    DeleteOldNetworks,
    /// Deletes key changes that are too old for any subscriber.
    DeleteOldChanges,
    /// Deletes old hourly counts of check outcomes.
    DeleteOldOutcomes,
    /// Deletes keys that were revoked long ago; their hashes stay.
    PurgeRevokedKeys,
    /// Deletes events that are beyond the retention of their environment.
    DeleteOldEvents,
    /// Deletes idempotency keys after their window.
    DeleteOldIdempotencyKeys,
    /// Deletes jobs that ended long ago.
    DeleteEndedJobs,
    /// Deletes invitations that are over.
    DeleteEndedInvitations,
    /// Erases the events and keys of an organisation that was deleted.
    EraseOrganisation,
}

impl Kind {
    /// The periodic jobs that clean up the database.
    pub const CLEAN_UP: [Self; 10] = [
        Self::DeleteEndedSessions,
        Self::DeleteEndedTokens,
        Self::DeleteOldNetworks,
        Self::DeleteOldChanges,
        Self::DeleteOldOutcomes,
        Self::PurgeRevokedKeys,
        Self::DeleteOldEvents,
        Self::DeleteOldIdempotencyKeys,
        Self::DeleteEndedJobs,
        Self::DeleteEndedInvitations,
    ];

    /// The jobs that requests add, and that may take long.
    pub const ERASURES: [Self; 1] = [Self::EraseOrganisation];

    /// Returns the name in the table `jobs`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeleteEndedSessions => "delete_ended_sessions",
            Self::DeleteEndedTokens => "delete_ended_tokens",
            Self::DeleteOldNetworks => "delete_old_networks",
            Self::DeleteOldChanges => "delete_old_changes",
            Self::DeleteOldOutcomes => "delete_old_outcomes",
            Self::PurgeRevokedKeys => "purge_revoked_keys",
            Self::DeleteOldEvents => "delete_old_events",
            Self::DeleteOldIdempotencyKeys => "delete_old_idempotency_keys",
            Self::DeleteEndedJobs => "delete_ended_jobs",
            Self::DeleteEndedInvitations => "delete_ended_invitations",
            Self::EraseOrganisation => "erase_organisation",
        }
    }

    /// Returns the milliseconds from the start of one run to the next; `None` for a job that is not periodic.
    pub fn interval_ms(self) -> Option<i64> {
        match self {
            Self::DeleteEndedSessions
            | Self::DeleteEndedTokens
            | Self::DeleteOldChanges
            | Self::DeleteOldEvents
            | Self::DeleteOldIdempotencyKeys => Some(MINUTE),
            // These rows are kept for days or weeks, so an hour more does not matter.
            Self::DeleteOldNetworks
            | Self::DeleteOldOutcomes
            | Self::PurgeRevokedKeys
            | Self::DeleteEndedJobs
            | Self::DeleteEndedInvitations => Some(HOUR),
            Self::EraseOrganisation => None,
        }
    }
}

/// Exponential backoff between attempts: each delay is twice the one before, from `first_ms` up to `longest_ms`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) first_ms: i64,
    pub(super) longest_ms: i64,
    /// The number of attempts after which a job is dead; a periodic job never is.
    pub(super) attempts: i64,
}

/// Ten attempts within about an hour and a half.
pub(super) const BACKOFF: Backoff = Backoff { first_ms: 10_000, longest_ms: HOUR, attempts: 10 };

impl Backoff {
    /// Returns the delay after a failed attempt in milliseconds; the first attempt is 1. The upper half of the delay is
    /// random, so that jobs that failed together do not retry together.
    pub(super) fn delay_ms(self, attempt: i64, entropy: &Entropy) -> i64 {
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(32);
        let whole = self.first_ms.saturating_mul(1 << doublings).min(self.longest_ms);
        let half = whole / 2;
        whole - entropy.id().rem_euclid(half + 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_delay_is_twice_the_previous_one_up_to_a_limit_and_half_of_it_is_random() {
        let entropy = Entropy::seeded(7);
        let expected = [10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600];
        for (attempt, seconds) in (1..).zip(expected) {
            let delays: Vec<i64> = (0..200).map(|_| BACKOFF.delay_ms(attempt, &entropy)).collect();
            let whole = seconds * 1_000;
            assert!(delays.iter().all(|delay| (whole / 2..=whole).contains(delay)), "attempt {attempt}: {delays:?}");
            assert!(delays.iter().any(|delay| *delay < whole * 6 / 10), "attempt {attempt}");
            assert!(delays.iter().any(|delay| *delay > whole * 9 / 10), "attempt {attempt}");
        }
        assert!(BACKOFF.delay_ms(i64::MAX, &entropy) <= HOUR);
    }

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let kinds = || Kind::CLEAN_UP.into_iter().chain(Kind::ERASURES);
        let names: BTreeSet<&str> = kinds().map(Kind::name).collect();
        assert_eq!(names.len(), kinds().count());
        assert!(Kind::CLEAN_UP.iter().all(|kind| kind.interval_ms().is_some()));
        assert!(Kind::ERASURES.iter().all(|kind| kind.interval_ms().is_none()));
    }
}
