//! The outcome of a load: the recorded events and the verdict.

use std::sync::Arc;

use crate::checker::Verdict;
use crate::history::{Event, Moment, Operation, Revocation, State};
use crate::load::Shared;

/// The recorded events of a load and the verdict.
pub struct Outcome {
    pub events: Vec<Event>,
    pub revocations: Vec<Revocation>,
    pub verdict: Verdict,
    pub shared: Arc<Shared>,
}

impl Outcome {
    /// The counts of all requests without success.
    pub fn failures(&self) -> Vec<String> {
        let success = ["200", "201", "VALID", "DISABLED", "REVOKED"];
        let counts = self.shared.history.counts().into_iter();
        counts
            .filter(|(what, _)| !success.iter().any(|outcome| what.ends_with(&format!(" {outcome}"))))
            .map(|(what, count)| format!("{what}: {count}"))
            .collect()
    }

    /// Checks that were sent to a node in a period.
    pub fn checks(&self, node: usize, from: Moment, to: Moment) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| {
            matches!(event.operation, Operation::Check(_))
                && event.node == node
                && event.start > from
                && event.start < to
        })
    }

    /// The number of checks that were sent in a period, answered in it, and accepted.
    pub fn let_in(&self, node: usize, from: Moment, to: Moment) -> usize {
        let let_in = |event: &&Event| event.operation == Operation::Check(Some(State::Live)) && event.end < to;
        self.checks(node, from, to).filter(let_in).count()
    }

    /// Revocations that were sent and answered in a period.
    pub fn revocations(&self, from: Moment, to: Moment) -> Vec<&Revocation> {
        self.revocations.iter().filter(|revocation| revocation.start > from && revocation.end < to).collect()
    }
}
